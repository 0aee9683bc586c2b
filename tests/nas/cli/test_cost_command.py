"""`nas cost`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from nas.breakdown import slot_of
from nas.cli.app import app

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
    assert all(node["slot"] == slot_of(node["name"]) for node in cost["nodes"])
    assert cost["memory_bytes"] == max(node["memory_bytes"] for node in cost["nodes"])


def lines(*arguments: str) -> list[str]:
    done = CliRunner().invoke(app, ["cost", NAME, "--input", "64x96", *arguments])
    assert done.exit_code == 0, done.output
    return done.stdout.splitlines()


def test_the_table_has_every_node_and_the_total() -> None:
    names = [node["name"] for node in as_json(NAME)["nodes"]]
    shown = [line.split()[0] for line in lines() if line.strip()]
    assert [name for name in shown if name in names] == names
    assert "total" in shown


def test_slots_are_what_a_space_has() -> None:
    shown = lines("--by", "slot")
    slots = {slot_of(node["name"]) for node in as_json(NAME)["nodes"]}
    assert slots == {"encoder", "decoder.semantic.head"}
    assert {line.split()[0] for line in shown if line.split()[:1]} >= slots
    assert len(shown) < len(lines())


def test_shares_add_up_and_bars_are_as_long_as_shares() -> None:
    rows = [line for line in lines("--by", "slot") if "%" in line and not line.startswith("total")]
    shares = [float(row.split("%")[0].split()[-1]) for row in rows]
    assert sum(shares) == pytest.approx(100, abs=0.2)
    assert [row.count("█") for row in rows] == [round(20 * share / 100) for share in shares]


def test_time_is_measured_inside_the_network_and_drawn(tmp_path: Path) -> None:
    file = tmp_path / "where.png"
    shown = lines("--by", "slot", "--target", "eager", "--plot", str(file))
    header = next(line for line in shown if line.startswith("node"))
    assert " ms " in header
    assert file.stat().st_size > 1000
    timed = as_json(NAME, "--input", "64x96", "--target", "eager")["nodes"]
    assert all(node["time_ms"] > 0 for node in timed)


def test_a_table_predicts_where_the_time_goes(tmp_path: Path) -> None:
    pytest.importorskip("sklearn")
    from tests.nas.latency.synthetic import table

    table().save(tmp_path / "table.json")
    asked = ("--latency-table", str(tmp_path / "table.json"))
    nodes = as_json(NAME, "--input", "64x96", *asked)["nodes"]
    assert sum(node["time_ms"] for node in nodes) > 0
    done = CliRunner().invoke(app, ["cost", NAME, "--input", "64x64", *asked])
    assert done.exit_code == 3
    assert "size: it has 64x96, wanted 64x64" in done.stderr


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
