"""Print the size and the import structure of the packages: `python -m tests.house [ROOT]`.

A room is a file or folder directly in a package. An arrow is an import of one file, or room, by
another of the same package. Levels are the length of the longest chain of imports; what lies in a
cycle counts as one.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path

import grimp

PACKAGES = ("pipeline", "model")


def measure(root: Path, package: str) -> dict[str, int]:
    """Files, folders, lines, arrows, levels and files in import cycles of a package at `root`."""
    graph = grimp.build_graph(package, cache_dir=None)
    modules = sorted(graph.modules)
    imports = {name: graph.find_modules_directly_imported_by(name) for name in modules}
    files = sorted((root / package).rglob("*.py"))
    lines = [len(path.read_text().splitlines()) for path in files]
    rooms = between_rooms(imports)
    return {
        "files": len(files),
        "lines": sum(lines),
        "lines of the longest file": max(lines),
        "arrows between files": sum(len(found) for found in imports.values()),
        "levels of files": levels(imports),
        "files in cycles": sum(len(one) for one in strong_components(imports) if len(one) > 1),
        "rooms": len(rooms),
        "arrows between rooms": sum(len(found) for found in rooms.values()),
        "levels of rooms": levels(rooms),
    }


def between_rooms(imports: Mapping[str, set[str]]) -> dict[str, set[str]]:
    """For each room the other rooms that it imports; the package itself is none."""
    room = {name: ".".join(name.split(".")[:2]) for name in imports if "." in name}
    found: dict[str, set[str]] = {one: set() for one in room.values()}
    for name, one in room.items():
        found[one] |= {room[other] for other in imports[name] if other in room} - {one}
    return found


def strong_components(imports: Mapping[str, set[str]]) -> list[set[str]]:
    """Groups of modules that import each other, directly or not."""
    reach = {name: reachable(name, imports) for name in imports}
    found: list[set[str]] = []
    for name in imports:
        if not any(name in one for one in found):
            found.append({name} | {other for other in reach[name] if name in reach[other]})
    return found


def reachable(name: str, imports: Mapping[str, set[str]]) -> set[str]:
    """Modules that a module imports, directly or not."""
    seen: set[str] = set()
    queue = [name]
    while queue:
        fresh = imports[queue.pop()] - seen
        seen |= fresh
        queue += fresh
    return seen


def levels(imports: Mapping[str, set[str]]) -> int:
    """Length of the longest chain of imports."""
    components = strong_components(imports)
    component = {name: i for i, one in enumerate(components) for name in one}
    below = [
        {component[other] for name in one for other in imports[name]} - {i}
        for i, one in enumerate(components)
    ]
    known: dict[int, int] = {}

    def level(i: int) -> int:
        if i not in known:
            known[i] = 1 + max((level(other) for other in below[i]), default=0)
        return known[i]

    return max(level(i) for i in range(len(components)))


def main() -> None:
    root = Path(sys.argv[1] if len(sys.argv) > 1 else ".").resolve()
    sys.path.insert(0, str(root))
    measured = {package: measure(root, package) for package in PACKAGES}
    print(f"{'':28}" + "".join(f"{package:>10}" for package in PACKAGES))
    for name in next(iter(measured.values())):
        print(f"{name:28}" + "".join(f"{measured[package][name]:10}" for package in PACKAGES))


if __name__ == "__main__":
    main()
