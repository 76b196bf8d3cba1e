"""Headless Chromium, driven through its DevTools protocol."""

from __future__ import annotations

import asyncio
import base64
import itertools
import json
import subprocess
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from tornado.httpclient import AsyncHTTPClient
from tornado.websocket import WebSocketClientConnection, websocket_connect

# Calls a function with every element of the page, those in shadow roots too.
EACH = """
const each = (act, root = document) => root.querySelectorAll("*").forEach(one => {
    act(one); if (one.shadowRoot) each(act, one.shadowRoot); });
"""
ROWS = (
    EACH
    + """
(() => { const rows = []; each(one => { if (one.classList.contains("slick-row"))
    rows.push([...one.querySelectorAll(".slick-cell")].map(cell => cell.textContent)); });
  return rows; })()
"""
)
CLICK = (
    EACH
    + """
each(one => { if (one.classList.contains("slick-header-column") &&
    one.textContent.trim() === TITLE) one.click(); })
"""
)
WAIT_SECONDS = 60


class Tab:
    """A tab of the browser.

    Attributes:
        errors: messages of the console that are errors, and addresses that were not loaded.
        hosts: of all requests.
    """

    def __init__(self, socket: WebSocketClientConnection) -> None:
        self.socket, self.numbers = socket, itertools.count(1)
        self.errors: list[str] = []
        self.hosts: set[str] = set()

    async def call(self, method: str, **parameters: Any) -> Any:
        """Call a method of the protocol."""
        number = next(self.numbers)
        await self.socket.write_message(
            json.dumps({"id": number, "method": method, "params": parameters})
        )
        while True:
            answer = json.loads(await self.socket.read_message() or "{}")
            if answer.get("id") == number:
                assert "error" not in answer, answer
                return answer["result"]
            self._note(answer["method"], answer.get("params", {}))

    def _note(self, event: str, about: dict[str, Any]) -> None:
        if event == "Network.requestWillBeSent" and about["request"]["url"].startswith("http"):
            self.hosts.add(about["request"]["url"].split("/")[2])
        elif (
            event in ("Runtime.exceptionThrown", "Network.loadingFailed")
            or (event == "Runtime.consoleAPICalled" and about["type"] == "error")
            or (event == "Log.entryAdded" and about["entry"]["level"] == "error")
        ):
            self.errors.append(json.dumps(about))

    async def evaluate(self, script: str) -> Any:
        """Evaluate JavaScript."""
        found = await self.call("Runtime.evaluate", expression=f"{{{script}}}", returnByValue=True)
        assert "exceptionDetails" not in found, found
        return found["result"].get("value")

    async def rows(self) -> list[list[str]]:
        """Text of the table's rows."""
        found: list[list[str]] = await self.evaluate(ROWS)
        return found

    async def wait_for(self, script: str, wanted: Any, seconds: float = WAIT_SECONDS) -> None:
        """Wait until JavaScript gives a value."""
        until, found = time.monotonic() + seconds, None
        while time.monotonic() < until:
            found = await self.evaluate(script)
            if found == wanted:
                return
            await asyncio.sleep(0.2)
        raise AssertionError(f"{script}: {found!r} and not {wanted!r}")

    async def save_picture(self, path: Path) -> None:
        """Save what is seen as a PNG."""
        picture = await self.call("Page.captureScreenshot", format="png")
        path.write_bytes(base64.b64decode(picture["data"]))


@asynccontextmanager
async def open_tab(
    program: str, folder: Path, width: int = 1400, height: int = 900
) -> AsyncIterator[Tab]:
    """Start Chromium, without any profile, and yield its tab."""
    process = subprocess.Popen(
        [
            program, "--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run",
            "--remote-debugging-port=0", f"--user-data-dir={folder}", "about:blank",
        ],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        port = folder / "DevToolsActivePort"
        until = time.monotonic() + WAIT_SECONDS
        while not (port.exists() and port.read_text().strip()):
            assert time.monotonic() < until, "Chromium does not start"
            await asyncio.sleep(0.1)
        where = f"http://127.0.0.1:{port.read_text().split()[0]}/json"
        tabs = json.loads((await AsyncHTTPClient().fetch(where)).body)
        (address,) = [one["webSocketDebuggerUrl"] for one in tabs if one["type"] == "page"]
        socket = await websocket_connect(address, max_message_size=2**26)
        tab = Tab(socket)
        for domain in ("Runtime", "Log", "Page", "Network"):
            await tab.call(f"{domain}.enable")
        await tab.call(
            "Emulation.setDeviceMetricsOverride",
            width=width, height=height, deviceScaleFactor=1, mobile=False,
        )  # fmt: skip
        yield tab
        socket.close()
    finally:
        process.terminate()
        process.wait()
