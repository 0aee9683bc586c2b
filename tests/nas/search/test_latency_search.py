"""A search under a latency limit, from a table that was brought along and from one that it makes itself."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from nas.architecture import Architecture
from nas.errors import LatencyError, LimitError, RunError
from nas.front import front
from nas.latency.in_search import cached_file
from nas.latency.predictor import Predictor
from nas.latency.table import load_table
from nas.latency.target import Conditions, Target
from nas.plan import Planner
from nas.run import Run
from nas.space import load_space
from search_spaces.data import open_data
from tests.nas.latency.synthetic import SIZE, table

pytest.importorskip("sklearn")


@pytest.fixture
def brought(tmp_path: Path) -> Path:
    """A table of an imaginary machine."""
    path = tmp_path / "brought.json"
    table().save(path)
    return path


def predicted(run: Run) -> dict[int, float]:
    """The latency of each trial, by a predictor of our own."""
    predictor, planner = Predictor(load_table(run.latency_table)), Planner(SIZE)
    found = ((t.number, t.architecture) for t in run.trials())
    return {n: predictor(planner.plan(Architecture(text))) for n, text in found}


def test_nothing_over_the_limit_is_trained(find: Any, brought: Path) -> None:
    ms = sorted(timed.ms for timed in table().networks)
    cap = ms[len(ms) // 2]
    run = find(
        size=SIZE, max_latency=cap, latency_table=brought, budget="10trials", strategy="random"
    )
    trials, expected = run.trials(), predicted(run)
    assert load_table(run.latency_table) == load_table(brought)
    assert run.settings.target == "eager"
    for trial in trials:
        assert trial.latency == pytest.approx(expected[trial.number])
        assert (trial.latency > cap) == (trial.outcome == "refused")
    assert {"complete", "refused"} <= {t.outcome for t in trials}
    found = front(run)
    assert ">latency" in found.columns()
    assert all(row.measured is None for row in found.rows)


def test_latency_is_an_objective_like_any_other(find: Any, brought: Path) -> None:
    run = find(size=SIZE, objectives=["miou", "latency"], latency_table=brought, max_memory="1GB")
    for trial in run.trials():
        assert set(trial.values) == {"miou", "latency"}
        assert trial.values["latency"] == trial.latency
        assert trial.memory is not None
    again = find(resume=run.folder, budget="10trials")
    assert len(again.trials()) > len(run.trials()) - 1
    assert again.settings.target == "eager"


def test_what_does_not_fit_is_refused(find: Any, brought: Path, tmp_path: Path) -> None:
    with pytest.raises(LimitError, match="latency is neither limited"):
        find(target="eager")
    with pytest.raises(LimitError, match="latency is neither limited"):
        find(latency_table=brought)
    with pytest.raises(LatencyError, match="size: it has 64x96, wanted 32x64"):
        find(size=(32, 64), max_latency="20ms", latency_table=brought)
    with pytest.raises(LatencyError, match="host: it has imaginary"):
        find(size=SIZE, max_latency="20ms", latency_table=brought, target="eager")
    with pytest.raises(LatencyError, match="threads: it has 1, wanted 2"):
        find(size=SIZE, max_latency="20ms", latency_table=brought, target="eager,threads=2")
    run = find(size=SIZE, max_latency="20ms", latency_table=brought)
    with pytest.raises(RunError, match="target"):
        find(resume=run.folder, target="onnxruntime")
    assert not list(tmp_path.glob("run-*"))


@pytest.mark.full
def test_a_table_of_this_machine_is_made_once_and_the_front_is_measured(
    find: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("NAS_CACHE", str(tmp_path / "cache"))
    asked = {"space": "tiny", "size": (32, 64), "max_latency": "1s", "target": "eager"}
    run = find(**asked, progress=True)
    (kept,) = (tmp_path / "cache" / "latency").glob("*.json")
    assert load_table(kept) == load_table(run.latency_table)
    assert "networks are timed once" in capsys.readouterr().err
    rows = front(run).rows
    assert all(row.measured and row.measured.min_ms <= row.measured.median_ms for row in rows)
    assert ">measured (median)" in front(run).columns()
    content = json.loads((run.folder / "measured.json").read_text())
    assert Conditions.from_dict(content["conditions"]) == load_table(kept).conditions
    before = kept.read_bytes()
    find(**asked, folder="second")
    assert kept.read_bytes() == before


@pytest.mark.full
def test_a_stale_table_of_this_machine_is_made_again(
    find: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("NAS_CACHE", str(tmp_path / "cache"))
    classes = len(open_data("street").classes)
    space = load_space("tiny").with_classes(classes).with_input((3, 32, 64))
    place = cached_file(space, Target(runtime="eager", size=(32, 64)))
    conditions = replace(table().conditions, code="0" * 12)
    stale = replace(table(), space_digest=space.digest, conditions=conditions)
    stale.save(place)
    run = find(space="tiny", size=(32, 64), max_latency="1s", target="eager")
    made = load_table(run.latency_table)
    assert made == load_table(place)
    assert made.conditions.code != stale.conditions.code
    assert load_table(place.with_suffix(".old")) == stale
