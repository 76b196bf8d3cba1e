"""Loss and NSE of a head over its updates, in bounded memory."""

from __future__ import annotations

from array import array
from dataclasses import dataclass, field

MAX_POINTS = 64  # even, so that leaving out every second of one more keeps the last


def _doubles() -> array[float]:
    return array("d")


@dataclass
class Curve:
    """At most `MAX_POINTS` validations of a head.

    Beyond them every second point is left out, so old points become sparser; the last one stays.

    Attributes:
        update, loss, nse: of each validation, in the order of the updates.
    """

    update: array[float] = field(default_factory=_doubles)
    loss: array[float] = field(default_factory=_doubles)
    nse: array[float] = field(default_factory=_doubles)

    def add(self, update: float, loss: float, nse: float) -> None:
        """Add a validation; later ones are of an interrupted attempt, and are left out."""
        while self.update and self.update[-1] >= update:
            for values in (self.update, self.loss, self.nse):
                values.pop()
        for values, value in ((self.update, update), (self.loss, loss), (self.nse, nse)):
            values.append(value)
        if len(self.update) > MAX_POINTS:
            for values in (self.update, self.loss, self.nse):
                del values[1::2]

    def pack(self) -> bytes:
        """Return the curve as bytes."""
        return self.update.tobytes() + self.loss.tobytes() + self.nse.tobytes()

    @classmethod
    def unpack(cls, content: bytes) -> Curve:
        """Return the curve that `pack` made the bytes of."""
        size = len(content) // 3
        return cls(*(array("d", content[at : at + size]) for at in (0, size, 2 * size)))
