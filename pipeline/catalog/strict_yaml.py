"""Read a YAML file that is one mapping, refusing what YAML readers let pass: duplicate keys."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from pipeline.errors import InputError


class _Loader(yaml.SafeLoader):
    """A YAML loader that refuses duplicate keys."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            if key.value in seen:
                problem = f"duplicate key {key.value!r}"
                raise yaml.constructor.ConstructorError(None, None, problem, key.start_mark)
            if isinstance(key.value, str):
                seen.add(key.value)
        return super().construct_mapping(node, deep)


def read_mapping(path: Path, what: str) -> tuple[dict[Any, Any], str]:
    """Read a YAML file: its mapping, and its text.

    Args:
        path: of the file.
        what: the file is expected to be, for the error messages.

    Raises:
        InputError: the file is not readable, not YAML, has duplicate keys, or is no mapping.
    """
    try:
        text = path.read_text(encoding="utf-8")
        data = yaml.load(text, _Loader)  # noqa: S506, a safe loader
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: not readable ({error}): expected {what} in YAML") from error
    except yaml.YAMLError as error:
        where = getattr(error, "problem_mark", None)
        line = f" line {where.line + 1}" if where else ""
        raise InputError(
            f"{path}:{line} {getattr(error, 'problem', error)}: expected YAML"
        ) from error
    except (ValueError, RecursionError) as error:  # 2020-02-30 looks like a date
        raise InputError(f"{path}: {error}: expected YAML with valid values") from error
    if not isinstance(data, dict):
        raise InputError(f"{path}: holds {type(data).__name__}: expected a mapping of keys")
    return data, text
