"""Site numbers, and the leading zeros that spreadsheets and integer fields drop from them."""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache

from pipeline.catalog.models import Catalog
from pipeline.errors import InputError

USGS_DIGITS = 8  # of the agency's shortest number; shorter texts lack leading zeros


@lru_cache(maxsize=1024)  # few are distinct in a record
def site_number(text: object, usgs: bool) -> str:
    """A site number as text; those of the USGS get back the zeros that they lack."""
    site = str(text).strip()
    whole = re.fullmatch(r"([0-9]+)(?:\.0*)?", site)  # an integer in a column of floats
    if whole is None:
        return site
    return whole[1].zfill(USGS_DIGITS) if usgs else whole[1]


def unpadded(site: str) -> str:
    """A site number without its leading zeros, if it consists of digits."""
    return site.lstrip("0") if re.fullmatch("[0-9]+", site) else site


class Spellings:
    """Site numbers as a file spells them.

    Args:
        catalog: for messages.
        where: the file, for messages.
        found: the numbers.
    """

    def __init__(self, catalog: Catalog, where: object, found: Iterable[str]) -> None:
        self._catalog, self._where = catalog, where
        self._alike: dict[str, set[str]] = {}
        for site in found:
            self._alike.setdefault(unpadded(site), set()).add(site)

    def of(self, site: str) -> str | None:
        """How the file spells a number: as it is, or without leading zeros; None if not at all.

        Raises:
            InputError: the file spells it with more zeros, or in several ways.
        """
        alike = sorted(self._alike.get(unpadded(site), ()))
        if not alike:
            return None
        if len(alike) > 1 or len(alike[0]) > len(site):
            raise InputError(
                f"{self._where}: holds the site {' and '.join(alike)}, wanted is {site}: expected "
                "one spelling in the polygons, watersheds.sites and the records, or gauges.agency: "
                f"usgs in {self._catalog.path} if its numbers lost their zeros"
            )
        return alike[0]
