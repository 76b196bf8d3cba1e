"""Checks of written pages, and a browser that draws them."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import lxml.html

CHROMIUM = shutil.which("chromium")
MB = 1_000_000
LOADING = ("src", "srcset", "data", "action", "poster", "background", "formaction")


def words(text: str) -> str:
    """Text of a page outside of scripts and styles, one space between words."""
    tree = lxml.html.fromstring(text)
    for element in tree.xpath("//script|//style|//details[pre]"):
        element.drop_tree()
    return " ".join(tree.text_content().split())


def require_offline(text: str) -> None:
    """Require that a page loads nothing, and that each link and label has its element."""
    tree = lxml.html.fromstring(text)
    for element in tree.iter("*"):
        assert not [name for name in LOADING if name in element.attrib], element.tag
        assert element.get("href", "#").startswith("#"), element.get("href")
    assert not tree.xpath("//link|//img|//iframe|//object|//embed|//base")
    (style,) = tree.xpath("//style/text()")
    assert "url(" not in style
    assert "@import" not in style
    ids = tree.xpath("//@id")
    assert len(ids) == len(set(ids))
    assert {href[1:] for href in tree.xpath("//a/@href")} <= set(ids)
    assert tree.get("lang") == "en"


def draw(text: str, actions: str, folder: Path, width: int = 1400, address: str = "") -> Any:
    """Draw a page in a browser, act on it, and return what it found and its tree.

    Args:
        text: of the page.
        actions: JavaScript that fills an object `found`, and may `await wait()`.
        folder: for the page and the browser's profile.
        width: of the window [pixels].
        address: fragment of the page's address, with its #.
    """
    script = f"""addEventListener("load", async () => {{
        const found = {{}}, wait = () => new Promise(done => setTimeout(done, 1000));
        await wait();
        {actions}
        document.body.dataset.found = JSON.stringify(found);
    }});"""
    (folder / "page.html").write_text(
        text.replace("</body>", f"<script>{script}</script></body>"), encoding="utf-8"
    )
    command = [str(CHROMIUM), "--headless", "--no-sandbox", "--disable-gpu", "--dump-dom"]
    command += ["--enable-logging=stderr", "--virtual-time-budget=10000"]
    command += [f"--window-size={width},900", f"--user-data-dir={folder / 'profile'}"]
    command += [f"file://{folder}/page.html{address}"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    assert "Uncaught" not in done.stderr, done.stderr
    tree = lxml.html.fromstring(done.stdout)
    return json.loads(tree.find("body").get("data-found")), tree
