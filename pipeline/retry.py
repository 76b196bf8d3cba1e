"""Repeat what failed because a service or the network is in trouble for a moment.

The clients repeat single requests by themselves, for seconds. What they give up is repeated here,
for minutes. A user's mistake, a wrong file or a full disk is not repeated.
"""

from __future__ import annotations

import errno
import random
import re
import ssl
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from typing import TypeVar

from pipeline.errors import RunError
from pipeline.log import get_logger

LOG = get_logger(__name__)
TRIES = 8
FIRST_WAIT = 1.0  # s before the second try at most; doubles each time
LONGEST_WAIT = 60.0  # s
STATUSES = frozenset({408, 429, 500, 502, 503, 504})  # of HTTP; not 507, insufficient storage
CODES = re.compile("SlowDown|Throttl|RequestTimeout$|RequestLimitExceeded|TooManyRequests")  # of S3
ERRNOS = frozenset(
    {
        errno.ECONNABORTED,
        errno.ECONNREFUSED,
        errno.ECONNRESET,
        errno.EHOSTUNREACH,
        errno.EIO,
        errno.ENETDOWN,
        errno.ENETRESET,
        errno.ENETUNREACH,
        errno.EPIPE,
        errno.ESTALE,
        errno.ETIMEDOUT,
    }
)
GDAL = re.compile(  # what it says of HTTP, of the connection, and of S3's errors, by their messages
    rf"HTTP[\w ]*code: (?:{'|'.join(map(str, sorted(STATUSES)))})|CURL error(?!.*certificate)"
    "|reduce your request rate|internal error|try again|timeout period|unavailable"
    "|(?:Malformed|Invalid) AWS",
    re.IGNORECASE,
)

T = TypeVar("T")


def pause(attempt: int) -> float:
    """Seconds to wait after a failed attempt: longer each time, with some randomness.

    Args:
        attempt: its number, from 0.
    """
    longest = min(LONGEST_WAIT, FIRST_WAIT * 2**attempt)
    return random.uniform(longest / 2, longest)


def retrying(call: Callable[[], T], sleep: Callable[[float], None] = time.sleep) -> T:
    """Make a call, and repeat it after transient errors: `TRIES` times, and 2 minutes of waiting.

    Args:
        call: what to do; it must be safe to repeat.
        sleep: waits for some seconds.

    Returns:
        What the call returns.

    Raises:
        RunError: the last try failed as well.
        Exception: of the call, if it is not transient.
    """
    for attempt in range(TRIES):
        try:
            return call()
        except Exception as error:
            _clear_frames(error)
            if not is_transient(error):
                raise
            reason = " ".join(str(error).split()) or type(error).__name__
            if attempt + 1 == TRIES:
                raise RunError(f"{reason} (tried {TRIES} times)") from error
        wait = pause(attempt)
        LOG.warning("%s: try %d of %d follows in %.0f s", reason, attempt + 2, TRIES, wait)
        sleep(wait)
    raise AssertionError(TRIES)


def _clear_frames(error: BaseException) -> None:
    """Clear the variables of the calls that failed.

    Errors of fsspec are in reference cycles, which hold these variables until the garbage collector
    runs. If it runs in fsspec's thread, and they hold objects of HDF5, it waits for HDF5's lock,
    whose owner waits for that thread.
    """
    for one in _chain(error):
        traceback.clear_frames(one.__traceback__)


def is_transient(error: BaseException) -> bool:
    """Whether an error comes from a service or a network that may work again in a moment.

    The innermost cause that says so decides, whatever it was turned into since.
    """
    verdicts = [_verdict(one) for one in _chain(error)]
    known = [verdict for verdict in verdicts if verdict is not None]
    return bool(known) and known[-1]


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """An error and its causes, the innermost last."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)


def _verdict(error: BaseException) -> bool | None:
    """Whether an error is transient; None if it does not say."""
    for module, judge in (
        ("botocore.exceptions", _verdict_of_s3),
        ("aiohttp", _verdict_of_http),
        ("rasterio.errors", _verdict_of_gdal),
    ):
        verdict = judge(error) if module in sys.modules else None
        if verdict is not None:
            return verdict
    if isinstance(error, ssl.SSLCertVerificationError):
        return False
    if isinstance(error, (TimeoutError, ConnectionError)):
        return True
    return True if isinstance(error, OSError) and error.errno in ERRNOS else None


def _verdict_of_s3(error: BaseException) -> bool | None:
    from botocore import exceptions
    from botocore.parsers import ResponseParserError

    if isinstance(error, exceptions.ClientError):
        status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode")
        code = str(error.response.get("Error", {}).get("Code"))
        return status in STATUSES or CODES.search(code) is not None
    lost = (exceptions.ConnectionError, exceptions.HTTPClientError, ResponseParserError)
    return True if isinstance(error, lost) else None


def _verdict_of_http(error: BaseException) -> bool | None:
    import aiohttp

    if isinstance(error, aiohttp.ClientResponseError):
        return error.status in STATUSES
    lost = (aiohttp.ClientConnectionError, aiohttp.ClientPayloadError)
    return True if isinstance(error, lost) else None


def _verdict_of_gdal(error: BaseException) -> bool | None:
    from rasterio.errors import RasterioError

    return True if isinstance(error, RasterioError) and GDAL.search(str(error)) else None
