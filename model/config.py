"""Settings from a YAML file, from `--set key=value` and from a command's options."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from model.settings import Settings
from pipeline.catalog.problems import describe_problem
from pipeline.catalog.strict_yaml import read_mapping
from pipeline.errors import InputError


def read_settings(
    file: Path | None, assignments: Sequence[str], options: Mapping[str, Any]
) -> Settings:
    """Return the settings that a user gives; what is not given takes its default.

    Args:
        file: YAML mapping of fields of `Settings` to values; options and assignments override it.
        assignments: `field=value` each, the value in YAML.
        options: fields and values of the command's own options.

    Raises:
        InputError: no such file or field, a value that does not fit, or a field that is given
            twice on the command line.
    """
    given: dict[str, Any] = {}
    if file is not None:
        content, _ = read_mapping(file, "settings")
        given = {str(name): value for name, value in content.items()}
        _check_fields(given, str(file))
    chosen = dict(options)
    for text in assignments:
        name, equals, value = (part.strip() for part in text.partition("="))
        if not equals:
            raise InputError(f"--set {text}: expected a setting and its value, as hidden=64")
        if name in chosen:
            raise InputError(f"--set {text}: {name} is given twice: expected it once")
        chosen[name] = _parse(text, value)
        _check_fields({name: chosen[name]}, "--set")
    _check_fields(chosen, "settings")
    try:
        return Settings(**(given | chosen))
    except ValidationError as error:
        where = str(file) if file and not chosen else "settings"
        raise _refusal(error.errors(include_url=False), where) from error


def show_settings(settings: Settings) -> str:
    """Write settings as the YAML that `read_settings` reads, each with its meaning and unit."""
    values = settings.model_dump(mode="json")
    lines = []
    for name, field in Settings.model_fields.items():
        lines.append(f"{name}: {json.dumps(values[name])}  # {field.description}")
    return "\n".join(lines)


def _parse(text: str, value: str) -> Any:
    try:
        return yaml.safe_load(value)
    except (yaml.YAMLError, ValueError) as error:
        raise InputError(f"--set {text}: expected a value in YAML, as false or [1, 2]") from error


def _check_fields(given: dict[str, Any], where: str) -> None:
    """Check settings one by one; whether they fit each other is seen when all are known.

    Raises:
        InputError: a field that does not exist, with the nearest one, or a value that does not fit.
    """
    for name in given:
        if name not in Settings.model_fields:
            near = get_close_matches(name.lower().replace("-", "_"), Settings.model_fields, n=1)
            meant = f"did you mean {near[0]}? " if near else ""
            raise InputError(
                f"{where}: {name}: unknown setting: {meant}`domst train --show-config` lists all"
            )
    try:
        Settings(**given)
    except ValidationError as error:
        problems = error.errors(include_url=False)
        if any(problem["loc"] for problem in problems):
            raise _refusal(problems, where) from error


def _refusal(problems: Sequence[Any], where: str) -> InputError:
    """The error of pydantic's problems with settings that come from somewhere."""
    texts = [
        describe_problem(problem, Settings)
        if problem["loc"]
        else problem["msg"].removeprefix("Value error, ")  # of several fields
        for problem in problems
    ]
    return InputError("; ".join(f"{where}: {text}" for text in texts))
