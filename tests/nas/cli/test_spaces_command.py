"""`nas spaces`."""

from __future__ import annotations

import json
import subprocess
import sys
from math import prod
from pathlib import Path
from typing import Any

from click.testing import CliRunner

from nas.cli.app import app
from nas.cli.spaces import size_text


def as_json(*arguments: str) -> Any:
    done = CliRunner().invoke(app, ["spaces", *arguments, "--json"])
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)


def test_lists_spaces_with_sizes_and_architectures_with_costs() -> None:
    listed = as_json()
    assert {"tiny", "real_time"} <= {space["name"] for space in listed["spaces"]}
    assert all(space["size"] > 1 for space in listed["spaces"])
    architectures = {a["name"]: a for a in listed["architectures"]}
    for family in ("fcn", "fpn", "pspnet", "deeplabv3plus"):
        assert (
            architectures[f"{family}_resnet18"]["params"]
            < architectures[f"{family}_resnet50"]["params"]
        )
    assert len({a["id"] for a in architectures.values()}) == len(architectures)
    assert [name for name, a in architectures.items() if not a["source"]] == []
    assert architectures["mosaic"]["source"] == "Wang and Howard 2021, arXiv 2112.11623"


def test_the_table_names_what_the_json_has() -> None:
    done = CliRunner().invoke(app, ["spaces"])
    assert done.exit_code == 0
    listed = as_json()
    for entry in [*listed["spaces"], *listed["architectures"]]:
        assert entry["name"] in done.stdout
    assert "Wang and Howard 2021" in done.stdout
    assert {"encoder", "context", "neck", "head", "cell"} <= set(listed["kinds"])
    assert all(name in done.stdout for names in listed["kinds"].values() for name in names)


def test_show_prints_decisions_and_options() -> None:
    shown = as_json("show", "tiny")
    assert shown["size"] <= prod(len(options) for options in shown["decisions"].values())
    text = CliRunner().invoke(app, ["spaces", "show", "tiny"]).stdout
    assert all(path in text for path in shown["decisions"])


def test_show_checks_a_file_of_your_own(tmp_path: Path) -> None:
    space = tmp_path / "mine.yaml"
    space.write_text(
        "base: tiny\ndecoders:\n  semantic:\n    head: {choice: {fnc: {}, merge: {}}}\n"
    )
    done = CliRunner().invoke(app, ["spaces", "show", str(space)])
    assert done.exit_code == 2
    assert "mine.yaml:4" in done.stderr
    assert "fcn" in done.stderr


def test_sizes_as_text() -> None:
    assert [size_text(n) for n in (1, 999_999, 10**6, 123 * 10**40)] == [
        "1",
        "999,999",
        "1.0e6",
        "1.2e42",
    ]
    assert size_text(10**4000) == "1e4000"


def test_a_block_of_your_own_is_listed(tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text(
        "from torch import nn\n"
        "from nas.registry import kind\n"
        "@kind('my_own_block', 'cell')\n"
        "class Mine(nn.Identity):\n"
        "    def __init__(self, channels: int) -> None:\n"
        "        super().__init__()\n"
    )
    command = [sys.executable, "-m", "nas", "spaces", "--use", str(file), "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "my_own_block" in json.loads(done.stdout)["kinds"]["cell"]
