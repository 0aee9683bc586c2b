"""Retraining by several processes: equal to one, also where it is interrupted and goes on with another number."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from nas.checkpoint import load_checkpoint
from nas.errors import RunError, TrainingError
from nas.parallel.launch import launch
from nas.train import Stopped, never
from tests.nas.parallel.legs import SGD, job
from tests.nas.retraining import again

pytestmark = pytest.mark.full
STEPS_PER_EPOCH = 3
ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An uninterrupted training by one process."""
    folder = tmp_path_factory.mktemp("whole")
    again(folder, recipe=SGD)
    return folder


def assert_equal(one: Path, other: Path) -> None:
    """Compare what was trained: within rounding, which SGD does not magnify."""
    a, b = (load_checkpoint(folder / "checkpoint.pt") for folder in (one, other))
    assert a.epoch == b.epoch
    for part in ("network", "ema"):
        torch.testing.assert_close(getattr(a, part), getattr(b, part), rtol=1e-4, atol=1e-5)
    losses = [[row["loss"] for row in state.rows] for state in (a, b)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)
    scores = [json.loads((folder / "score.json").read_text()) for folder in (one, other)]
    assert scores[0]["miou"] == pytest.approx(scores[1]["miou"], abs=1e-3)


def leg(function: str, steps: float, folder: Path, cache: Path) -> list[dict[str, Any]]:
    """Train by two ranks until they end as `function` makes them."""
    name = f"tests.nas.parallel.legs:{function}"
    return list(launch(name, steps, job(folder, cache), number=2, stop=never))


def test_two_workers_are_one_and_say_so(whole: Path, tmp_path: Path) -> None:
    rows: list[Any] = []
    score = again(tmp_path, recipe=SGD, workers=2, cache=whole / "cache", progress=rows.append)
    assert_equal(whole, tmp_path)
    assert [(row["epoch"], row["epochs"], row["images"]) for row in rows] == [
        (epoch, 4, 12) for epoch in range(1, 5)
    ]
    assert score == json.loads((tmp_path / "score.json").read_text())
    assert score["workers"] == 2
    assert score["threads"] == max(1, torch.get_num_threads() // 2)
    with pytest.raises(RunError, match="is finished; choose another folder"):
        again(tmp_path, recipe=SGD, workers=2)


def test_two_then_one_then_two(whole: Path, tmp_path: Path) -> None:
    cache = whole / "cache"
    with pytest.raises(Stopped) as stopped:
        leg("stopped", STEPS_PER_EPOCH + 1, tmp_path, cache)
    assert len(stopped.value.epochs) == load_checkpoint(tmp_path / "checkpoint.pt").epoch == 1
    asked = iter([False] * (STEPS_PER_EPOCH + 1))
    with pytest.raises(Stopped):
        again(tmp_path, recipe=SGD, resume=True, cache=cache, stop=lambda: next(asked, True))
    assert load_checkpoint(tmp_path / "checkpoint.pt").epoch == 2
    again(tmp_path, recipe=SGD, resume=True, cache=cache, workers=2)
    assert_equal(whole, tmp_path)


def test_a_killed_rank_costs_the_epoch_in_flight(whole: Path, tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=r"rank 1 of 2: .*SIGKILL.*last checkpoint is kept"):
        leg("killed", 2 * STEPS_PER_EPOCH + 1, tmp_path, whole / "cache")
    assert load_checkpoint(tmp_path / "checkpoint.pt").epoch == 2
    again(tmp_path, recipe=SGD, resume=True, cache=whole / "cache")
    assert_equal(whole, tmp_path)


def test_torchrun_is_another_way_to_start_the_same(tmp_path: Path) -> None:
    again(tmp_path / "ours", workers=2, resume=True)
    command = ["torch.distributed.run", "--nproc-per-node", "2", "-m", "--", "tests.nas.retraining"]
    threads = os.environ | {"OMP_NUM_THREADS": str(max(1, torch.get_num_threads() // 2))}
    subprocess.run(
        [sys.executable, "-m", *command, tmp_path / "theirs"], check=True, cwd=ROOT, env=threads
    )
    a, b = (load_checkpoint(tmp_path / name / "checkpoint.pt") for name in ("ours", "theirs"))
    torch.testing.assert_close(a.network, b.network, rtol=0, atol=0)
    assert json.loads((tmp_path / "theirs" / "score.json").read_text())["workers"] == 2


def test_a_budget_is_one_for_all_ranks(whole: Path, tmp_path: Path) -> None:
    rows = leg("paced", 10.0, tmp_path, whole / "cache")
    planned = json.loads((tmp_path / "retrain.json").read_text())["epochs"]
    score = json.loads((tmp_path / "score.json").read_text())
    assert 1 <= len(rows) == score["epochs"] <= score["planned_epochs"] == planned
