"""Match the sites of records with the fields of polygons: by numbers that both hold."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from pipeline.gauges.site_numbers import unpadded
from pipeline.inspect.draft.groups import SITE_NUMBER, Group

TOKEN_END = r"(?![A-Za-z0-9])"
TOKEN_START = r"(?<![A-Za-z0-9])"
MIN_LENGTH = 3  # of a number that is looked for in names and headers


@dataclass(frozen=True)
class Match:
    """Sites that both the records and the polygons hold.

    Attributes:
        files: path of the records in the catalog, with {site} if each site has a file.
        where: what holds the sites of the records; None if nothing matches.
        field: of the polygons; None if nothing matches.
        sites: that match, as the polygons spell them.
    """

    files: str
    where: str | None = None
    field: str | None = None
    sites: tuple[str, ...] = ()

    @property
    def by_chance(self) -> bool:
        """Whether the numbers are so short that they may agree by chance, as those of rows."""
        return all(len(site) < MIN_LENGTH for site in self.sites)


def match_sites(group: Group | None, polygons: Group | None) -> Match:
    """The field of polygons, and the place in the records, with the most numbers in common."""
    files = group.pattern if group else ""
    if group is None or polygons is None:
        return Match(files)
    found = [
        (len(match.sites), match)
        for field, numbers in polygons.description.sites.items()
        for match in _matches(group, field, numbers)
        if match.sites
    ]
    return max(found, key=lambda one: one[0])[1] if found else Match(files)


def _matches(group: Group, field: str, numbers: Sequence[str]) -> Iterator[Match]:
    """Matches of a field with the records' columns, the names of files, and lines above tables."""
    whose = {unpadded(number): number for number in numbers}
    several = "{site}" in group.pattern
    if several:
        named = [SITE_NUMBER.search(path.name) for path in group.paths]
        common = [whose[key] for one in named if one and (key := unpadded(one[0])) in whose]
        yield Match(group.pattern, "the names of the files", field, tuple(common))
    above = [where for where in group.description.sites if where.startswith("the lines above")]
    for where, sites in group.description.sites.items():
        if where not in above:
            common = [whose[key] for site in sites if (key := unpadded(site)) in whose]
            yield Match(group.pattern, where, field, tuple(dict.fromkeys(common)))
    if several or len(group.paths) > 1:
        return
    yield from _in_name(group, field, numbers)
    for where in above:
        sites = group.description.sites[where]
        found = dict.fromkeys(whose[key] for site in sites if (key := unpadded(site)) in whose)
        if len(found) == 1:
            yield Match(group.pattern, where, field, tuple(found))


def _in_name(group: Group, field: str, numbers: Sequence[str]) -> Iterator[Match]:
    """The longest number that stands in the name of the only file."""
    path = Path(group.pattern)
    for number in sorted(numbers, key=len, reverse=True):
        token = rf"{TOKEN_START}{re.escape(number)}{TOKEN_END}"
        if len(number) >= MIN_LENGTH and len(re.findall(token, path.name)) == 1:
            name = re.sub(token, "{site}", path.name)
            yield Match((path.parent / name).as_posix(), "the file's name", field, (number,))
            return
