"""The log of the product: the logger `domst`, with a child for each module.

Warnings go to stderr as text. With `json_lines` stderr has everything that is logged, as JSON, one
object a line: time, level, logger, message and fields.
"""

from __future__ import annotations

import logging
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any, TextIO

from pipeline.json_text import as_json

ROOT = "domst"


def get_logger(module: str) -> logging.Logger:
    """Return the logger of a module: of `pipeline.run.plan`, `domst.pipeline.run.plan`."""
    return logging.getLogger(f"{ROOT}.{module}")


class StderrHandler(logging.StreamHandler):
    """Writes to what is stderr at the time of a message: a live display moves it."""

    def __init__(self, level: int, formatter: logging.Formatter) -> None:
        logging.Handler.__init__(self, level)
        self.setFormatter(formatter)

    @property
    def stream(self) -> TextIO:
        return sys.stderr


STREAMS = (logging.StreamHandler, StderrHandler)


class JsonFormatter(logging.Formatter):
    """A message as a JSON object in one line.

    Values of a message that is formatted with a mapping, as in
    `log.info("block %(block)s", {"block": 3, "rasters": 31})`, are its fields.
    """

    def format(self, record: logging.LogRecord) -> str:
        """Format a message."""
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            "fields": record.args if isinstance(record.args, Mapping) else {},
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return as_json(line)


class Collector(logging.Handler):
    """Keeps the text of messages, each once.

    Args:
        level: of the least message to keep.
        thread: whose messages to keep; those of all threads if left out.
    """

    def __init__(self, level: int, thread: int | None = None) -> None:
        super().__init__(level)
        self.lines: list[str] = []
        self.thread = thread

    def emit(self, record: logging.LogRecord) -> None:
        """Keep a message."""
        text = record.getMessage()
        if self.thread in (None, record.thread) and text not in self.lines:
            self.lines.append(text)


@contextmanager
def collect_warnings(*, this_thread: bool = False) -> Iterator[list[str]]:
    """Collect what the product warns of meanwhile.

    Args:
        this_thread: leave out what other threads log.

    Yields:
        The messages, to which others are added meanwhile.
    """
    collector = Collector(logging.WARNING, threading.get_ident() if this_thread else None)
    logger = logging.getLogger(ROOT)
    logger.addHandler(collector)
    try:
        yield collector.lines
    finally:
        logger.removeHandler(collector)


@contextmanager
def handling(handler: logging.Handler) -> Iterator[None]:
    """Give what the product logs to a handler too, from the handler's level on."""
    logger = logging.getLogger(ROOT)
    before = logger.level
    logger.addHandler(handler)
    logger.setLevel(min(logger.getEffectiveLevel(), handler.level))
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(before)


def warn_on_stderr() -> None:
    """Write the product's warnings to stderr, as text."""
    formatter = logging.Formatter("%(levelname)s: %(message)s")
    logging.getLogger(ROOT).addHandler(StderrHandler(logging.WARNING, formatter))


@contextmanager
def json_lines(wanted: bool = True) -> Iterator[None]:
    """Write to stderr JSON lines alone: what the product logs, and what Python and Dask warn of.

    Args:
        wanted: change nothing if it is False.
    """
    if not wanted:
        yield
        return
    import distributed  # noqa: F401  (gives its loggers handlers)

    loggers = [
        one for one in logging.root.manager.loggerDict.values() if isinstance(one, logging.Logger)
    ]
    removed: list[tuple[logging.Logger, logging.Handler]] = []
    added: list[logging.Logger] = [logging.root]
    for logger in (*loggers, logging.root):
        for stream in [one for one in logger.handlers if type(one) in STREAMS]:
            logger.removeHandler(stream)
            removed.append((logger, stream))
            if not logger.propagate and logger not in added:
                added.append(logger)
    # one each, as Dask sets the level of those of `distributed` when a cluster is to be silent
    handlers = [StderrHandler(logging.NOTSET, JsonFormatter()) for _ in added]
    for logger, handler in zip(added, handlers, strict=True):
        logger.addHandler(handler)
    ours = logging.getLogger(ROOT)
    level = ours.level
    ours.setLevel(min(ours.getEffectiveLevel(), logging.INFO))
    logging.captureWarnings(True)
    try:
        yield
    finally:
        logging.captureWarnings(False)
        ours.setLevel(level)
        for logger, handler in zip(added, handlers, strict=True):
            logger.removeHandler(handler)
        for logger, stream in removed:
            logger.addHandler(stream)


def say_error(message: str, code: int) -> None:
    """Write the error that ends a command to stderr: a line of text, or of JSON.

    Args:
        message: of the error.
        code: with which the command exits.
    """
    if any(isinstance(one.formatter, JsonFormatter) for one in logging.root.handlers):
        fields = {"error": message, "exit_code": code}
        logging.getLogger(ROOT).error("%(error)s", fields)
    else:
        print(f"error: {message}", file=sys.stderr)
