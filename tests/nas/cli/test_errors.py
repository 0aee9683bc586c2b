"""Errors: one clean message and the documented exit code; a traceback only when asked for."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from nas.cli.app import app, exit_code
from nas.errors import (
    DataError,
    ExportError,
    LimitError,
    NasError,
    PlanError,
    RecipeError,
    RunError,
    SpaceError,
    TrainingError,
)


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (SpaceError, 2),
        (RunError, 2),
        (RecipeError, 2),
        (DataError, 3),
        (PlanError, 3),
        (LimitError, 3),
        (TrainingError, 1),
        (ExportError, 1),
    ],
)
def test_exit_codes(error: type[NasError], code: int) -> None:
    assert exit_code(error("x")) == code


def test_an_error_is_a_message_not_a_traceback() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "nas", "cost", "fcn_resnet81"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith("error: ")
    assert "Traceback" not in done.stderr
    assert "fcn_resnet18" in done.stderr


def test_debug_shows_the_traceback() -> None:
    command = [sys.executable, "-m", "nas", "cost", "fcn_resnet81", "--debug"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert "Traceback" in done.stderr


@pytest.mark.parametrize("size", ["360", "0x10", "axb", "360x480x3", "-1x5"])
def test_a_size_that_is_none(size: str) -> None:
    done = CliRunner().invoke(app, ["cost", "fcn_resnet18", f"--input={size}"])
    assert done.exit_code == 2
    assert "HEIGHTxWIDTH" in done.stderr


@pytest.mark.parametrize(
    "arguments", [["front", "nowhere"], ["evaluate", "nowhere"], ["retrain", "nowhere.yaml"]]
)
def test_what_is_not_there_is_a_usage_error(
    arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 2
    assert done.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ["search"],
        ["search", "tiny", "--resume", "results/x"],
        ["search", "tiny", "--strategy", "grid"],
        ["search", "tiny", "--objective", "speed"],
        ["spaces", "show"],
        ["retrain", "fcn_resnet18"],
        ["retrain", "fcn_resnet18", "--data", "street", "--epochs", "1", "--budget", "1h"],
        ["retrain", "fcn_resnet18", "--data", "street", "--budget", "5trials"],
        ["demo", "--trials", "0"],
        ["predict", "weights.safetensors"],
        ["evaluate", "weights.safetensors", "knee"],
    ],
)
def test_arguments_that_do_not_fit_together(arguments: list[str]) -> None:
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 2, done.output
    assert "Traceback" not in done.stderr


def test_data_that_is_not_there_is_exit_code_3(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    done = CliRunner().invoke(
        app, ["search", "tiny", "--data", f"folder:{tmp_path}/none", "--run", str(folder)]
    )
    assert done.exit_code == 3, done.output
    assert "none" in done.stderr
    assert not (folder / "run.yaml").exists()
