"""Tables on disk: read back, refused when damaged or of other conditions, gone on with, made by hand."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path

import pytest

from nas import latency
from nas.errors import LatencyError
from nas.latency.choose import networks_to_time
from nas.latency.make_table import AT_ONCE, Effort, make_table
from nas.latency.plan_table import plan_table, read_times
from nas.latency.table import load_table
from nas.latency.target import Target
from nas.plan import Planner
from nas.space import load_space
from tests.nas.latency.synthetic import table

EAGER = Target(runtime="eager", size=(32, 64))
EFFORT = Effort(networks=2 * AT_ONCE, runs=2)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "damaged"),
        ("{}", "damaged: KeyError"),
        ('{"schema": 99}', "schema 99, this version reads 1"),
        ('{"schema": 1, "networks": [', "damaged"),
    ],
)
def test_a_damaged_file_is_refused(tmp_path: Path, content: str, message: str) -> None:
    file = tmp_path / "table.json"
    file.write_text(content)
    with pytest.raises(LatencyError, match=message):
        load_table(file)


def test_a_table_that_lost_a_part_is_refused(tmp_path: Path) -> None:
    table().save(tmp_path / "t.json")
    content = json.loads((tmp_path / "t.json").read_text())
    del content["conditions"]["target"]["dtype"], content["networks"][0]["ms"]
    (tmp_path / "t.json").write_text(json.dumps(content))
    with pytest.raises(LatencyError, match="damaged"):
        load_table(tmp_path / "t.json")


@pytest.mark.parametrize(
    ("change", "name"),
    [
        ({"device": "cuda"}, "device: it has cpu, wanted cuda"),
        ({"dtype": "float16"}, "dtype: it has float32, wanted float16"),
        ({"size": (64, 64)}, "size: it has 64x96, wanted 64x64"),
        ({"runtime": "compiled"}, "runtime: it has eager, wanted compiled"),
        ({"batch": 2}, "batch: it has 1, wanted 2"),
    ],
)
def test_a_table_of_other_conditions_is_refused(change: dict[str, object], name: str) -> None:
    made = table()
    with pytest.raises(LatencyError, match=name):
        latency.check(made, replace(made.target, **change), here=False)


def test_a_table_of_another_machine_or_of_other_blocks_is_refused() -> None:
    made = table()
    latency.check(made, made.target, here=False)
    with pytest.raises(LatencyError, match="host: it has imaginary"):
        latency.check(made, made.target, here=True)
    stale = replace(made, conditions=replace(made.conditions, code="0" * 12))
    with pytest.raises(LatencyError, match="version of the blocks' code: it has 000000000000"):
        latency.check(stale, made.target, here=False)


def test_networks_are_chosen_of_every_size_and_always_the_same() -> None:
    space = load_space("real_time")
    chosen = networks_to_time(space, (64, 128), 5)
    assert [a.text for a in chosen] == [a.text for a in networks_to_time(space, (64, 128), 5)]
    assert len({a.id for a in chosen}) == 5
    planner = Planner((64, 128))
    macs = sorted(planner.plan(a).macs for a in chosen)
    assert macs[-1] > 2 * macs[0]


def test_a_small_space_gives_what_it_has(tmp_path: Path) -> None:
    file = tmp_path / "one.yaml"
    file.write_text(
        "base: tiny\nlet: {width: 8}\ndecoders: {semantic: {head: {fcn: {width: 16}}}}\n"
    )
    space = load_space(file)
    assert 1 <= len(networks_to_time(space, (64, 64), 500)) <= space.size()


class StoppedError(Exception):
    """Somebody pulled the plug."""


@pytest.mark.full
def test_a_table_that_was_stopped_is_gone_on_with(tmp_path: Path) -> None:
    space, path = load_space("tiny"), tmp_path / "table.json"

    def stop(done: int, planned: int) -> None:
        if done == AT_ONCE:
            raise StoppedError

    with pytest.raises(StoppedError):
        make_table(space, EAGER, path, effort=EFFORT, told=stop)
    half = load_table(path)
    assert (len(half.networks), half.is_complete) == (AT_ONCE, False)
    whole = make_table(space, EAGER, path, effort=EFFORT)
    assert whole.is_complete
    assert whole.networks[:AT_ONCE] == half.networks
    assert load_table(path) == whole
    assert all(t.nodes and t.ms > 0 for t in whole.networks)
    with pytest.raises(LatencyError, match="is of the space tiny"):
        make_table(load_space("real_time"), EAGER, path, effort=EFFORT)
    with pytest.raises(LatencyError, match="threads: it has 1, wanted 2"):
        make_table(space, replace(EAGER, threads=2), path, effort=EFFORT)


@pytest.mark.full
def test_a_list_is_timed_elsewhere_and_comes_back(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    folder = tmp_path / "board"
    written = plan_table(load_space("tiny"), EAGER, folder, effort=Effort(networks=10))
    rows = list(csv.DictReader(written.open()))
    assert len(rows) == 10
    assert all((folder / row["file"]).stat().st_size > 1000 for row in rows)
    again = plan_table(load_space("tiny"), EAGER, folder, effort=Effort(networks=10))
    assert list(csv.DictReader(again.open())) == rows
    for row in rows:
        row["milliseconds"] = str(int(row["macs"]) / 1e6)
    fill(written, rows)
    made = read_times(folder, host="a board")
    assert made.conditions.host == "a board"
    assert [t.ms for t in made.networks] == [float(row["milliseconds"]) for row in rows]
    with pytest.raises(LatencyError, match=r"has times in its times\.csv already"):
        plan_table(load_space("tiny"), EAGER, folder, effort=Effort(networks=10))
    refused(folder, written, rows, {"milliseconds": "fast"}, r"times.csv:2: 'fast' is no time")
    refused(folder, written, rows, {"milliseconds": "-1"}, r"times.csv:2: '-1' is no time")
    refused(folder, written, rows, {"file": "x.onnx"}, r"times.csv:2: 'x.onnx' is not one of")
    written.write_text("name,ms\n")
    with pytest.raises(LatencyError, match="no column 'file'"):
        read_times(folder, host="a board")


def fill(path: Path, rows: list[dict[str, str]]) -> None:
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)


def refused(
    folder: Path, path: Path, rows: list[dict[str, str]], change: dict[str, str], message: str
) -> None:
    fill(path, [rows[0] | change, *rows[1:]])
    with pytest.raises(LatencyError, match=message):
        read_times(folder, host="a board")
