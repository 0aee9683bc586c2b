"""The help: every command has one, its examples parse, and it comes quickly."""

from __future__ import annotations

import shlex
import subprocess
import sys

import pytest
import rich_click as click
from click.testing import CliRunner

from nas.cli.app import COMMANDS, app
from nas.cli.command import Command


def command(name: str) -> Command:
    found = app.get_command(click.Context(app), name)
    assert isinstance(found, Command)
    return found


@pytest.mark.parametrize("name", COMMANDS)
def test_help_teaches(name: str) -> None:
    done = CliRunner().invoke(app, [name, "--help"])
    assert done.exit_code == 0
    assert f"nas {name} " in done.stdout.replace(f"Usage: nas {name}", "")
    assert "Examples" in done.stdout


@pytest.mark.parametrize("name", COMMANDS)
def test_every_option_has_a_help_text(name: str) -> None:
    silent = [p.name for p in command(name).params if not getattr(p, "help", None)]
    assert not silent


@pytest.mark.parametrize("name", COMMANDS)
def test_examples_parse(name: str) -> None:
    made = command(name)
    assert made.examples
    for example in made.examples:
        program, called, *arguments = shlex.split(example)
        assert (program, called) == ("nas", name)
        made.make_context(
            name,
            [a for a in arguments if a not in {"--use", "my_block.py"}],
            resilient_parsing=False,
        )


def test_all_commands_are_listed_in_the_order_of_the_work() -> None:
    listed = CliRunner().invoke(app, ["--help"]).stdout
    positions = [listed.index(f"│ {name} ") for name in COMMANDS]
    assert positions == sorted(positions)


def test_an_unknown_command_is_answered_with_the_closest() -> None:
    done = CliRunner().invoke(app, ["serach"])
    assert done.exit_code == 2
    assert "did you mean 'search'" in done.stderr


def test_version_and_module() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "nas", "--version"], capture_output=True, text=True, check=True
    )
    assert done.stdout.startswith("nas, version")


def test_help_loads_neither_torch_nor_optuna() -> None:
    code = (
        "import sys\n"
        "from nas.cli import main\n"
        "try:\n    main(['search', '--help'])\n"
        "except SystemExit:\n    pass\n"
        "print([m for m in ('torch', 'optuna', 'numpy') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
