"""Numbers as the page writes them."""

from __future__ import annotations


def clock(seconds: float) -> str:
    """Seconds as hours, minutes and seconds."""
    whole = int(seconds)
    return f"{whole // 3600}:{whole // 60 % 60:02d}:{whole % 60:02d}"
