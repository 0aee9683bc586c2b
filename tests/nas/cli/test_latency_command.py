"""`nas latency`: measuring, predicting and making tables, as typed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from nas.cli.app import app
from nas.latency.table import load_table

NAME = "fcn_resnet18"


def run(*arguments: Any) -> Result:
    return CliRunner().invoke(app, ["latency", *map(str, arguments)])


def test_networks_are_measured_in_turns() -> None:
    done = run(NAME, "fpn_resnet18", "--input", "32x64", "--target", "eager", "--runs", 3, "--json")
    assert done.exit_code == 0, done.output
    first, second = json.loads(done.stdout)
    assert [first["name"], second["name"]] == [NAME, "fpn_resnet18"]
    for found in (first, second):
        assert found["conditions"]["target"]["size"] == [32, 64]
        assert found["measured"]["runs"] == 3
        assert 0 < found["measured"]["min_ms"] <= found["measured"]["median_ms"]


def test_the_table_says_how_it_was_measured() -> None:
    done = run(NAME, "--input", "32x64", "--target", "eager,dtype=bfloat16", "--runs", 2)
    assert done.exit_code == 0, done.output
    assert "eager,dtype=bfloat16 at 32x64, batch 1, bfloat16, 1 thread(s), on" in done.stdout
    assert all(name in done.stdout for name in ("median ms", "p90", "processor", "repeat error"))


@pytest.mark.parametrize(
    "arguments", [(), (NAME, "--make-table", "tiny"), ("--read-times", "x"), ("--runs", "0", NAME)]
)
def test_what_makes_no_sense_is_a_usage_error(arguments: tuple[str, ...]) -> None:
    assert run(*arguments).exit_code == 2


@pytest.mark.full
def test_a_table_is_made_used_and_refused(tmp_path: Path) -> None:
    pytest.importorskip("sklearn")
    path = tmp_path / "table.json"
    asked = ("--input", "32x64", "--target", "eager", "--networks", 10, "--runs", 2)
    made = run("--make-table", "tiny", *asked, "--out", path)
    assert made.exit_code == 0, made.output
    assert "held-out error: median" in made.stdout
    assert len(load_table(path).networks) == 10
    before = path.read_bytes()
    again = run("--make-table", "tiny", *asked, "--out", path, "--json")
    assert json.loads(again.stdout)["networks"] == 10
    assert path.read_bytes() == before
    beside = run(NAME, "--input", "32x64", "--table", path, "--runs", 2)
    assert beside.exit_code == 0, beside.output
    assert "90 % interval" in beside.stdout
    alone = run(NAME, "--table", path, "--predict-only", "--json")
    (found,) = json.loads(alone.stdout)
    assert found["measured"] is None
    assert found["predicted"]["low"] < found["predicted"]["ms"] < found["predicted"]["high"]
    refused = run(NAME, "--table", path, "--input", "64x64", "--predict-only")
    assert refused.exit_code == 3
    assert "size: it has 32x64, wanted 64x64" in refused.stderr


@pytest.mark.full
def test_a_plan_is_written_filled_and_read(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    pytest.importorskip("sklearn")
    board, table = tmp_path / "board", tmp_path / "board.json"
    planned = run("--plan-table", "tiny", "--input", "32x64", "--networks", 10, "--out", board)
    assert planned.exit_code == 0, planned.output
    assert "fill in `milliseconds`" in planned.stdout
    lines = (board / "times.csv").read_text().splitlines()
    filled = [f"{r[0]},{float(r[2]) / 1e6},,{r[3]}" for r in (x.split(",") for x in lines[1:])]
    times = tmp_path / "filled.csv"
    times.write_text("\n".join([lines[0], *filled]))
    read = run("--read-times", board, "--times", times, "--host", "a board", "--out", table)
    assert read.exit_code == 0, read.output
    assert "10 networks on a board" in read.stdout
    again = run("--read-times", board, "--times", times, "--host", "a board", "--out", table)
    assert again.exit_code == 3
    assert "already there" in again.stderr
