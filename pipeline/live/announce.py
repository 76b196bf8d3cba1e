"""Tell the scheduler of a client about a run, for the live page."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import CancelledError
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from distributed import Client
from distributed.client import ClosedClientError

from pipeline.live.board import lines_topic, live_topic
from pipeline.live.plugin import LivePlugin
from pipeline.live.rain import RainPicture
from pipeline.log import get_logger
from pipeline.storage import Location

LOG = get_logger(__name__)
# What a scheduler answers that lacks this package, has another version of it, or takes no plugins.
REFUSALS = (ImportError, AttributeError, TypeError, ValueError)
# There is no scheduler any more; a client that has closed has lost the attribute.
LOST = (OSError, RuntimeError, CancelledError, ClosedClientError, AttributeError)
RAIN_SECONDS = 1.0  # between two pictures of rain, as the page is redrawn


class Announcer:
    """Sends what begins and ends in a run to the scheduler of a client, if it can show it.

    Args:
        client: of the run.
        run: identifier of the run, unique on the scheduler.

    Attributes:
        lines: topic of the run's validations.
        heard: whether the scheduler follows the run.
    """

    def __init__(self, client: Client, run: str) -> None:
        self.client, self.lines = client, lines_topic(run)
        self.heard = False
        self._topics: list[str] = []
        self._rained = -RAIN_SECONDS

    @contextmanager
    def running(self, **about: Any) -> Iterator[None]:
        """Show the run while it lasts.

        Args:
            about: what the run is.
        """
        self.heard = register(self.client)
        self.send("begin", client=self.client.id, **about)
        state = "stopped"
        try:
            yield
            state = "finished"
        finally:
            if self.client.status == "running":
                for topic in self._topics:
                    self.client.unsubscribe_topic(topic)
            self.send("end", state=state)

    def subscribe(self, topic: str, handler: Callable[[Mapping[str, Any]], None]) -> None:
        """Have a function called with the events of the run on one of its topics, while it lasts.

        Args:
            topic: `RETRIED` or `SUFFIX` of `pipeline.live.board`.
            handler: called in the client's event loop, so it has to be quick.
        """
        self._topics.append(self.lines + topic)
        self.client.subscribe_topic(self._topics[-1], lambda event: handler(event[1]))

    def send(self, event: str, **about: Any) -> None:
        """Send what begins or ends in the run."""
        self._send(live_topic(self.lines), {"event": event, **about})

    def send_rain(self, picture: RainPicture) -> None:
        """Send the rain of the block just done, unless another one was sent just before."""
        now = time.monotonic()
        if now - self._rained >= RAIN_SECONDS:
            self._rained = now
            self.send("rain", **picture.pack())

    def send_line(self, line: Mapping[str, Any]) -> None:
        """Send a validation that no worker sends."""
        self._send(self.lines, line)

    def _send(self, topic: str, message: Mapping[str, Any]) -> None:
        if not self.heard:
            return
        try:
            self.client.log_event(topic, message)
        except LOST:
            self.heard = False


def register(client: Client) -> bool:
    """Register the plugin with the client's scheduler; whether it is there.

    A scheduler that refuses it is named in one line, as the run can do without.
    """
    try:
        client.register_plugin(LivePlugin())
    except REFUSALS as error:
        LOG.warning(
            "no page /domst on the dashboard: the scheduler cannot load it (%s: %s): expected this "
            "package there, in the same version",
            type(error).__name__,
            str(error).splitlines()[0] if str(error) else "",
        )
        return False
    except LOST:
        return False
    return True


def short_place(place: Location) -> str:
    """A store or run directory as the page shows it: a path from the working directory.

    Of a path elsewhere the last two parts remain; URLs stay.
    """
    if not isinstance(place, Path):
        return str(place)
    if place.is_absolute() and place.is_relative_to(Path.cwd()):
        place = place.relative_to(Path.cwd())
    return str(Path("...", *place.parts[-2:])) if place.is_absolute() else str(place)
