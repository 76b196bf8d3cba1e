"""Every command: an example that fits it, one vocabulary, exit codes, completion."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from model.command_line import app
from pipeline import errors
from pipeline.commands.options import EXIT_CODES

ROOT = Path(__file__).resolve().parents[1]
GROUP: Any = typer.main.get_command(app)
COMMANDS: dict[str, Any] = dict(GROUP.commands)
# What these options take is the same everywhere, but not what becomes of it.
SAID_OTHERWISE = {"--store", "--out", "--map", "--test", "--run", "--site", "--force"}


def help_of(*arguments: str) -> str:
    result = CliRunner().invoke(app, [*arguments, "--help"], env={"COLUMNS": "80"})
    assert result.exit_code == 0, result.output
    return result.stdout


def example_of(name: str) -> list[str]:
    """Words of the example that a command's help ends with, which stands on one line."""
    (line,) = re.findall(r"^ *Example: (domst .*?) *$", help_of(name), re.MULTILINE)
    return shlex.split(line.partition(">")[0])


@pytest.mark.parametrize("name", COMMANDS)
def test_help_ends_with_an_example_that_fits_the_command(name: str) -> None:
    program, command, *arguments = example_of(name)
    assert (program, command) == ("domst", name)
    with COMMANDS[name].make_context(name, arguments) as context:
        assert context.params.keys() <= {one.name for one in COMMANDS[name].params}


@pytest.mark.parametrize("name", ["", *COMMANDS])
def test_help_names_the_exit_codes(name: str) -> None:
    text = " ".join(help_of(*name.split()).split())
    assert "Exit codes: " in text
    for code, meaning in EXIT_CODES.items():
        assert f"{code} {meaning}" in text


@pytest.mark.parametrize("module", ["pipeline", "model.train", "model.predict"])
def test_modules_have_the_help_of_the_commands(module: str) -> None:
    command = [sys.executable, "-m", module, "--help"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)
    assert "Exit codes: " in done.stdout
    assert module == "pipeline" or "Example: domst" in done.stdout


def test_exit_codes_are_those_of_the_code_and_of_the_documentation() -> None:
    used = {value for name, value in vars(errors).items() if name.startswith("EXIT_")}
    assert set(EXIT_CODES) == {0, *used}
    page = (ROOT / "docs" / "running.md").read_text()
    table = page.partition("## Exit codes")[2].partition("\n## ")[0]
    cells = re.findall(r"^\| ([\d, ]+) \|", table, re.MULTILINE)
    assert {int(code) for cell in cells for code in cell.split(",")} == set(EXIT_CODES)


def test_one_option_means_one_thing() -> None:
    meanings: dict[str, set[tuple[str, ...]]] = defaultdict(set)
    for command in COMMANDS.values():
        for one in command.params:
            for option in [name for name in one.opts if name.startswith("--")]:
                if option not in SAID_OTHERWISE:
                    meanings[option].add((str(one.metavar), one.help))
    assert {option: found for option, found in meanings.items() if len(found) > 1} == {}


@pytest.mark.parametrize("name", COMMANDS)
def test_every_option_and_argument_is_explained(name: str) -> None:
    for one in COMMANDS[name].params:
        assert one.help, one.name
        assert "[" not in one.help, f"{one.name}: rich takes it for markup"


def test_who_prints_json_and_who_logs_it() -> None:
    def having(option: str) -> set[str]:
        return {
            name
            for name, command in COMMANDS.items()
            if any(option in one.opts for one in command.params)
        }

    assert having("--json") >= {"plan", "check", "inspect", "train", "predict"}
    assert having("--log-json") >= {"run", "fetch", "train", "predict"}
    assert having("--workers") == having("--scheduler") | {"plan"}


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("domst pl", {"plan"}),
        ("domst plan --wor", {"--workers"}),
        ("domst train --tru", {"--trunk"}),
    ],
)
def test_completion(words: str, expected: set[str]) -> None:
    environment = {
        "_DOMST_COMPLETE": "complete_bash",
        "COMP_WORDS": words,
        "COMP_CWORD": str(len(words.split()) - 1),
    }
    result = CliRunner().invoke(app, prog_name="domst", env=environment)
    assert set(result.stdout.split()) == expected, result.output


def test_completion_can_be_installed() -> None:
    assert {"--install-completion", "--show-completion"} <= set(re.findall(r"--[\w-]+", help_of()))
