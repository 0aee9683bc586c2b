"""Searches that really train, for an epoch on a few small pictures."""

import pytest

from nas.recipe import Recipe
from nas.search import search

pytestmark = pytest.mark.full

ASKED = {
    "data": "street:images=24,size=32x64",
    "size": (32, 64),
    "recipe": Recipe(epochs=2, batch=4),
    "device": "cpu",
    "progress": False,
}


def scores(run):
    return [
        (t.architecture_id, t.outcome, dict(t.values), [e["loss"] for e in t.epochs])
        for t in run.trials()
    ]


def test_resumed_is_uninterrupted_to_the_last_digit(tmp_path, small):
    whole = search(small, run=tmp_path / "whole", budget="4trials", preflight=False, **ASKED)
    part = search(small, run=tmp_path / "part", budget="2trials", preflight=False, **ASKED)
    part = search(resume=part.folder, budget="4trials", progress=False)
    assert scores(part) == scores(whole)
    assert all(
        0 <= t.values["miou"] <= 1 and len(t.epochs) == 2 for t in whole.trials() if t.counts
    )


def test_the_pre_flight_is_no_part_of_the_budget(tmp_path, small, capfd):
    asked = ASKED | {"progress": True}
    dry = search(small, run=tmp_path / "dry", budget="2trials", dry_run=True, **asked)
    said = capfd.readouterr().err
    assert dry.ended == "dry run"
    assert not (tmp_path / "dry").exists()
    assert "a trial" in said
    assert "budget 2trials: about 2 trials" in said
    run = search(small, run=tmp_path / "run", budget="2trials", **ASKED)
    assert sum(t.counts for t in run.trials()) == 2
    again = search(resume=run.folder, dry_run=True, progress=False)
    assert again.ended == "dry run"
    assert again.trials() == run.trials()
