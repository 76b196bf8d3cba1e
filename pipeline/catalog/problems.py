"""Describe what is wrong in a catalog: key, value, what was expected, and the nearest key."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from difflib import get_close_matches
from typing import Any, get_args, get_origin

from pydantic import BaseModel

Model = type[BaseModel]


def describe_problem(problem: Any, catalog: Model) -> str:
    """Describe one of pydantic's problems in one line: key, value, expectation.

    Args:
        problem: of `ValidationError.errors()`.
        catalog: model of the whole catalog.
    """
    key = ".".join(str(part) for part in problem["loc"]) or "catalog"
    if problem["type"] == "extra_forbidden":
        *parents, name = problem["loc"]
        return f"{key}: unknown key: {_known_keys(catalog, parents, str(name))}"
    if problem["type"] == "missing":
        return f"{key}: missing: this key is required"
    value = "" if isinstance(problem["input"], dict) else f" {problem['input']!r}:"
    message = re.sub(r"^\w+ should be ", "expected ", problem["msg"].removeprefix("Value error, "))
    message = re.sub(r"^\w+ should ", "expected it to ", message)
    message = re.sub(r"datetime\.timedelta\((?:days=)?(-?\d+)\)", r"\1 days", message)
    return message if message.startswith(f"{key}.") else f"{key}:{value} {message}"


def open_keys(value: Any, at: str = "") -> Iterator[str]:
    """Keys whose value is still OPEN, as in a draft of `domst init`."""
    if isinstance(value, dict):
        for key, one in value.items():
            yield from open_keys(one, f"{at}.{key}" if at else str(key))
    elif isinstance(value, list):
        for one in value:
            yield from open_keys(one, at)
    elif value == "OPEN":
        yield at


def _known_keys(catalog: Model, parents: Sequence[Any], name: str) -> str:
    """The keys that were expected in place of an unknown one, and the one that was meant."""
    keys = list(_model_at(catalog, parents).model_fields)
    expected = f"expected one of {', '.join(keys)}"
    plain = name.lower().replace("-", "_")
    if near := get_close_matches(plain, keys, n=1):
        return f"{expected}; did you mean {near[0]}?"
    if elsewhere := [place for place in _places(catalog) if place.rpartition(".")[2] == plain]:
        return f"{expected}; did you mean {' or '.join(elsewhere)}?"
    return expected


def _model_at(catalog: Model, parents: Sequence[Any]) -> Model:
    """The model of the keys below `parents`, which are keys and names that the user chose."""
    model, parts = catalog, iter(parents)
    for part in parts:
        field = model.model_fields.get(str(part))
        found, named = _nested(field.annotation if field else None)
        if found is None:
            break
        model = found
        if named:
            next(parts, None)
    return model


def _places(model: Model, above: str = "") -> Iterator[str]:
    """Each key of a model and of the models in it, with the keys above it."""
    for name, field in model.model_fields.items():
        yield f"{above}{name}"
        found, named = _nested(field.annotation)
        if found is not None:
            yield from _places(found, f"{above}{name}.{'<name>.' if named else ''}")


def _nested(annotation: Any) -> tuple[Model | None, bool]:
    """The model in a field's annotation, and whether it is in a mapping by name."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation, False
    for part in get_args(annotation):
        found, named = _nested(part)
        if found is not None:
            return found, named or get_origin(annotation) is dict
    return None, False
