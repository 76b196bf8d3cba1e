"""What the site makes from the code: its menu, and the reference.

Each generator returns Markdown, which is appended to a page of `docs/` when Sphinx reads it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from types import ModuleType
from typing import Any

import typer
from sphinx.application import Sphinx
from typer.core import TyperGroup

import model
import pipeline
from model.command_line import app as domst
from model.settings import Settings
from pipeline.catalog.models import Catalog

Schema = dict[str, Any]
LINK = re.compile(r"^- \[([^\]]+)\]\(([^)]+)\.(?:md|ipynb)\)")
# Of these classes, whose other members are not for users; of the others all members are.
MEMBERS = {"Run": "metrics, scores, open_predictions", "Settings": "resolved"}
VALUES = {
    "str": "text",
    "int": "whole number",
    "int range": "whole number",
    "list[str]": "text",
    "list[Path]": "path",
}
LIMITS = (
    ("exclusiveMinimum", "above"),
    ("minimum", "at least"),
    ("exclusiveMaximum", "below"),
    ("maximum", "at most"),
)


def append_generated(app: Sphinx, page: str, source: list[str]) -> None:
    """Append to a page what is made for it."""
    if page == app.config.root_doc:
        source[0] += menu(source[0])
    elif page in GENERATORS:
        source[0] += GENERATORS[page]()


def always_read(*_: object) -> list[str]:
    """Pages to read again although their files have not changed."""
    return list(GENERATORS)


def menu(index: str) -> str:
    """Hidden tables of contents: the lists of the index, under their headings."""
    text = ""
    for part in re.split(r"^## ", index, flags=re.MULTILINE)[1:]:
        links = [LINK.match(line) for line in part.splitlines()]
        entries = [f"{found[1]} <{found[2]}>" for found in links if found]
        options = ["```{toctree}", ":hidden:", f":caption: {part.splitlines()[0]}", ""]
        text += "\n".join(["\n", *options, *entries, "```\n"]) if entries else ""
    return text


def python_api() -> str:
    """The docstrings of all that `pipeline` and `model` export."""
    return "".join(_package(package) for package in (pipeline, model))


def _package(package: ModuleType) -> str:
    text = f"\n## {package.__name__}\n"
    for name in package.__all__:
        found, kind = getattr(package, name), "function"
        if isinstance(found, type):
            kind = "exception" if issubclass(found, Exception) else "class"
        members = f"   :members: {MEMBERS.get(name, '')}" if kind == "class" else ""
        text += (
            f"\n### {package.__name__}.{name}\n\n```{{eval-rst}}\n"
            f".. auto{kind}:: {package.__name__}.{name}\n{members}\n```\n"
        )
    return text


def commands() -> str:
    """Every command of `domst`, with its arguments and options."""
    group = typer.main.get_command(domst)
    assert isinstance(group, TyperGroup)
    text = ""
    for name, command in group.commands.items():
        context = typer.Context(command, info_name=f"domst {name}")
        usage = command.get_usage(context).removeprefix("Usage: ")
        text += f"\n## domst {name}\n\n    {usage}\n\n{command.help}\n"
        if command.epilog:  # examples and exit codes
            text += "\n" + "".join(f"    {line}\n" for line in command.epilog.splitlines())
        text += _table(
            ("argument or option", "value", "meaning"),
            [_parameter(one.get_help_record(context) or ("", "")) for one in command.params],
        )
    return text


def _parameter(record: tuple[str, str]) -> tuple[str, str, str]:
    """Name, value and meaning of an argument or option, from what `--help` says of it."""
    names, _, value = record[0].replace(" / ", "/").partition(" ")
    choices = value.strip("<>").split("|")
    if len(choices) > 1:
        value = ", ".join(f"`{one}`" for one in choices)
    else:
        value = VALUES.get(choices[0], choices[0])
    return ", ".join(f"`{name}`" for name in names.split("/")), value, _escape(record[1])


def catalog_keys() -> str:
    """Every key of a catalog, from its JSON schema."""
    schema = Catalog.model_json_schema()
    text = "\n## Top level\n" + _keys(schema)
    for name, part in sorted(schema["$defs"].items()):
        text += f"\n## {name}\n\n{part.get('description', '')}\n" + _keys(part)
    return text


def settings() -> str:
    """Every setting of a training."""
    return _keys(Settings.model_json_schema())


def _keys(schema: Schema) -> str:
    required = schema.get("required", ())
    rows = (
        (
            f"`{key}`",
            _type(value),
            "required" if key in required else _default(value.get("default")),
            _escape(value.get("description", "")),
        )
        for key, value in schema["properties"].items()
    )
    return _table(("key", "type", "default", "meaning"), rows)


def _default(value: Any) -> str:
    """A default as YAML users write it; none if the key then has no value of its own."""
    if value is None or value in ([], {}):
        return "none"
    if isinstance(value, dict):
        value = {key: one for key, one in value.items() if one is not None}
        return f"`{json.dumps(value)}`" if value else "none"
    return f"`{value if isinstance(value, str) else json.dumps(value)}`"


def _type(value: Schema) -> str:
    """The type of a key in words; what a key may not be left as (null) is not said."""
    if "$ref" in value:
        name = value["$ref"].rpartition("/")[2]
        return f"[{name}](#{name.lower()})"
    for word in ("anyOf", "oneOf"):
        if word in value:
            kinds = [one for one in value[word] if one.get("type") != "null"]
            return " or ".join(dict.fromkeys(map(_type, kinds)))
    if "const" in value or "enum" in value:
        return ", ".join(f"`{one}`" for one in value.get("enum", [value.get("const")]))
    kind = value["type"]
    if kind == "array":
        return _array(value)
    if kind == "object":
        (of,) = value.get("patternProperties", {"": value.get("additionalProperties")}).values()
        return f"mapping of {_type(of)}"
    words = {"boolean": "true, false", "integer": "whole number", "string": "text"}
    kinds = kind if isinstance(kind, list) else [kind]
    limits = [f"{text} {value[key]:g}" for key, text in LIMITS if key in value]
    return ", ".join([" or ".join(words.get(one, one) for one in kinds), *limits])


def _array(value: Schema) -> str:
    if "prefixItems" in value:
        kinds = dict.fromkeys(map(_type, value["prefixItems"]))
        return f"{len(value['prefixItems'])} of: {', '.join(kinds)}"
    return f"list of {_type(value['items'])}"


def _escape(text: str) -> str:
    """Text on one line whose signs mean nothing in Markdown, but for code in backticks."""
    parts = " ".join(text.split()).split("`")
    parts[::2] = [re.sub(r"([<*$\[\]_])", r"\\\1", part) for part in parts[::2]]
    return "`".join(parts)


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table in Markdown, if it has rows."""
    rows = list(rows)
    if not rows:
        return ""
    cells = [head, ["---"] * len(head), *rows]
    lines = ["| " + " | ".join(one.replace("|", "\\|") for one in row) + " |" for row in cells]
    return "\n".join(["", *lines, ""])


GENERATORS = {
    "docs/catalog_keys": catalog_keys,
    "docs/commands": commands,
    "docs/python_api": python_api,
    "docs/settings": settings,
}
