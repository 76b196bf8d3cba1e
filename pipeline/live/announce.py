"""Tell the scheduler of a client about a run, for the live page."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from concurrent.futures import CancelledError
from contextlib import contextmanager
from typing import Any

from distributed import Client
from distributed.client import ClosedClientError

from pipeline.live.board import lines_topic, live_topic
from pipeline.live.plugin import LivePlugin

LOG = logging.getLogger(__name__)
# What a scheduler answers that lacks this package, has another version of it, or takes no plugins.
REFUSALS = (ImportError, AttributeError, TypeError, ValueError)
# There is no scheduler any more; a client that has closed has lost the attribute.
LOST = (OSError, RuntimeError, CancelledError, ClosedClientError, AttributeError)


class Announcer:
    """Sends what begins and ends in a run to the scheduler of a client, if it can show it.

    Args:
        client: of the run.
        run: identifier of the run, unique on the scheduler.

    Attributes:
        lines: topic of the run's validations.
    """

    def __init__(self, client: Client, run: str) -> None:
        self.client, self.lines = client, lines_topic(run)
        self.heard = False

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
            self.send("end", state=state)

    def send(self, event: str, **about: Any) -> None:
        """Send what begins or ends in the run."""
        self._send(live_topic(self.lines), {"event": event, **about})

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
