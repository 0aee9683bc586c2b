"""`nas cost`."""

from __future__ import annotations

import json
from typing import Any

import pytest
from click.testing import CliRunner

from nas.cli.app import app
from nas.cli.cost import block_of

NAME = "fcn_resnet18"


def as_json(*arguments: str) -> Any:
    done = CliRunner().invoke(app, ["cost", *arguments, "--json"])
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)


def test_json_totals_are_the_sums_of_the_nodes() -> None:
    cost = as_json(NAME, "--input", "96x160")
    assert cost["input"] == [96, 160]
    assert cost["macs"] == sum(node["macs"] for node in cost["nodes"])
    assert cost["params"] == sum(node["params"] for node in cost["nodes"])
    assert all(node["block"] == block_of(node["name"]) for node in cost["nodes"])


def test_the_table_has_every_node_and_the_total() -> None:
    done = CliRunner().invoke(app, ["cost", NAME])
    assert done.exit_code == 0
    nodes = as_json(NAME)["nodes"]
    lines = done.stdout.splitlines()
    assert sum(
        any(
            line.strip().startswith(node["name"].removeprefix(f"{node['block']}."))
            for line in lines
        )
        for node in nodes
    )
    assert any(line.startswith("total") for line in lines)


def test_blocks_leave_the_nodes_out() -> None:
    full = CliRunner().invoke(app, ["cost", NAME]).stdout
    short = CliRunner().invoke(app, ["cost", NAME, "--blocks"]).stdout
    assert len(short.splitlines()) < len(full.splitlines()) / 2


def test_any_input_size_without_its_memory() -> None:
    small, large = as_json(NAME, "--input", "64x64"), as_json(NAME, "--input", "16384x16384")
    assert large["params"] == small["params"]
    assert large["macs"] > 60_000 * small["macs"]


def test_fvcore_counts_the_same_convolutions_and_says_its_memory_first() -> None:
    done = CliRunner().invoke(app, ["cost", NAME, "--input", "64x64", "--fvcore", "--json"])
    assert done.exit_code == 0, done.output
    cost = json.loads(done.stdout)
    assert cost["fvcore"]["convolutions"] == cost["macs"]
    assert cost["fvcore"]["total"] >= cost["macs"]
    assert "MiB" in done.stderr


def test_fvcore_is_refused_without_the_memory() -> None:
    done = CliRunner().invoke(app, ["cost", NAME, "--input", "100000x100000", "--fvcore"])
    assert done.exit_code == 1
    assert "GiB are available" in done.stderr
    assert "--force" in done.stderr


@pytest.mark.parametrize("other", ["fpn_resnet18", "pspnet_resnet18", "deeplabv3plus_resnet18"])
def test_published_names(other: str) -> None:
    assert as_json(other)["id"] != as_json(NAME)["id"]
