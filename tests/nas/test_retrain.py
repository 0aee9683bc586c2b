"""Retraining: what it writes, that it goes on exactly, what it refuses, and budgets."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from nas.checkpoint import load_checkpoint
from nas.cost import cost
from nas.errors import DataError, RunError, TrainingError
from nas.evaluate import restore
from nas.retrain import retrain
from nas.train import Stopped
from nas.weights import read_about
from tests.nas.retraining import ARCHITECTURE, RECIPE, again

SAME = (
    "miou",
    "iou",
    "pixel_accuracy",
    "architecture",
    "split",
    "size",
    "epochs",
    "seed",
    "macs",
    "params",
    "recipe",
)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An uninterrupted training."""
    folder = tmp_path_factory.mktemp("whole")
    again(folder)
    return folder


def result(folder: Path) -> dict[str, Any]:
    return dict(json.loads((folder / "score.json").read_text()))


def equal(one: Path, other: Path) -> bool:
    a, b = (
        restore(None, folder / "weights.safetensors")[0].state_dict() for folder in (one, other)
    )
    same = a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)
    return same and all(result(one)[key] == result(other)[key] for key in SAME)


def losses(folder: Path) -> list[tuple[int, float]]:
    rows = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    return [(row["epoch"], row["loss"]) for row in rows]


def test_what_it_writes(whole: Path) -> None:
    score = result(whole)
    counted = cost(ARCHITECTURE.with_classes(11))
    assert (score["epochs"], score["planned_epochs"], score["seed"]) == (4, 4, 3)
    assert (score["split"], score["size"], score["cut_by_budget"]) == ("val", [32, 64], False)
    assert (score["macs"], score["params"]) == (counted.macs, counted.params)
    assert len(score["iou"]) == 11
    assert [epoch for epoch, _ in losses(whole)] == [1, 2, 3, 4]
    about = read_about(whole / "weights.safetensors")
    assert about["architecture"] == ARCHITECTURE.with_classes(11).tree
    assert about["data"].startswith("street:images=12")
    assert (about["size"], len(about["palette"]), about["recipe"]["ema"]) == ([32, 64], 11, 0.9)
    average = load_checkpoint(whole / "checkpoint.pt").ema
    weights = restore(None, whole / "weights.safetensors")[0].state_dict()
    assert average is not None
    assert all(torch.equal(average[name], value) for name, value in weights.items())


def test_the_seed_alone_decides(whole: Path, tmp_path: Path) -> None:
    again(tmp_path / "same", cache=whole / "cache")
    again(tmp_path / "other", cache=whole / "cache", seed=4)
    assert equal(whole, tmp_path / "same")
    assert not equal(whole, tmp_path / "other")


@pytest.mark.parametrize("steps", [0, 1, 3, 7, 11])
def test_stopped_then_resumed_equals_uninterrupted(whole: Path, tmp_path: Path, steps: int) -> None:
    asked = iter([False] * steps + [True])
    with pytest.raises(Stopped):
        again(tmp_path, cache=whole / "cache", stop=lambda: next(asked))
    assert not (tmp_path / "score.json").exists()
    torch.manual_seed(steps)
    seen: list[int] = []
    again(
        tmp_path, resume=True, cache=whole / "cache", progress=lambda row: seen.append(row["epoch"])
    )
    assert seen == list(range(steps // 3 + 1, 5))
    assert equal(whole, tmp_path)
    assert losses(whole) == losses(tmp_path)


def test_a_finished_training_is_never_overwritten(whole: Path) -> None:
    before = {file: file.read_bytes() for file in whole.iterdir() if file.is_file()}
    with pytest.raises(RunError, match="holds a training that is finished; choose another folder"):
        again(whole)
    assert again(whole, resume=True) == result(whole)
    assert before == {file: file.read_bytes() for file in whole.iterdir() if file.is_file()}


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"seed": 4}, "another seed (3 there, 4 asked)"),
        ({"recipe": replace(RECIPE, lr=0.02)}, "another recipe (lr: 0.01 there, 0.02 asked)"),
        ({"size": (32, 96)}, "another architecture"),
        ({"budget_seconds": 5.0}, "another"),
    ],
)
def test_another_training_is_not_resumed(whole: Path, change: dict[str, Any], told: str) -> None:
    with pytest.raises(RunError) as error:
        again(whole, resume=True, **change)
    assert told in str(error.value)


def test_a_torn_checkpoint_says_what_to_do(whole: Path, tmp_path: Path) -> None:
    asked = iter([False] * 7 + [True])
    with pytest.raises(Stopped):
        again(tmp_path, cache=whole / "cache", stop=lambda: next(asked))
    (tmp_path / "checkpoint.pt").write_bytes(b"torn")
    with pytest.raises(RunError, match=r"checkpoint\.pt.*damaged.*delete it to start again"):
        again(tmp_path, resume=True, cache=whole / "cache")
    (tmp_path / "checkpoint.pt").unlink()
    again(tmp_path, resume=True, cache=whole / "cache")
    assert equal(whole, tmp_path)


def test_fewer_images_than_a_batch(tmp_path: Path) -> None:
    with pytest.raises(
        TrainingError, match=r"has 12 training images, one batch takes 16; choose a smaller batch"
    ):
        again(tmp_path, recipe=replace(RECIPE, batch=16))


def test_a_budget_chooses_the_epochs_and_a_resumed_run_keeps_them(tmp_path: Path) -> None:
    start = time.monotonic()
    asked = iter([False] * 8)
    with pytest.raises(Stopped):
        again(tmp_path, budget_seconds=3.0, stop=lambda: next(asked, True))
    planned = json.loads((tmp_path / "retrain.json").read_text())["epochs"]
    score = again(tmp_path, resume=True, budget_seconds=3.0)
    assert score["planned_epochs"] == planned > 4
    assert score["cut_by_budget"] == (score["epochs"] < planned)
    assert time.monotonic() - start < 12


def test_a_budget_that_is_gone_at_once(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="the budget ended within the first epoch"):
        again(tmp_path, budget_seconds=0.001)


def test_a_machine_that_slows_down_ends_at_the_budget_with_the_last_full_epoch(
    tmp_path: Path,
) -> None:
    score = again(tmp_path, budget_seconds=3.0, progress=lambda _: time.sleep(1.0))
    state = load_checkpoint(tmp_path / "checkpoint.pt")
    assert score["cut_by_budget"]
    assert 1 <= score["epochs"] == state.epoch < score["planned_epochs"]
    weights = restore(None, tmp_path / "weights.safetensors")[0].state_dict()
    assert state.ema is not None
    assert all(torch.equal(state.ema[name], value) for name, value in weights.items())
    assert again(tmp_path, budget_seconds=3.0, resume=True) == score


def test_one_training_at_a_time_in_a_folder(tmp_path: Path) -> None:
    told: list[str] = []

    def second(_: dict[str, Any]) -> None:
        with pytest.raises(RunError, match="another process is training in this folder") as error:
            again(tmp_path, resume=True)
        told.append(str(error.value))

    again(tmp_path, recipe=replace(RECIPE, epochs=1), progress=second)
    assert len(told) == 1


def test_a_broken_image_to_report_on_shows_before_the_training(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for part in ("train", "val"):
        for kind in ("images", "masks"):
            (tmp_path / part / kind).mkdir(parents=True)
            for name in "abcd":
                pixels = rng.integers(0, 2, (32, 64), dtype=np.uint8)
                Image.fromarray(pixels).save(tmp_path / part / kind / f"{name}.png")
    (tmp_path / "classes.txt").write_text("road\nsky\n")
    (tmp_path / "val" / "images" / "c.png").write_bytes(b"broken")
    rows: list[Any] = []
    with pytest.raises(DataError, match=r"c\.png"):
        retrain(
            ARCHITECTURE,
            f"folder:{tmp_path}",
            folder=tmp_path / "r",
            recipe=RECIPE,
            progress=rows.append,
        )
    assert rows == []


@pytest.mark.full
def test_killed_then_resumed_equals_uninterrupted(whole: Path, tmp_path: Path) -> None:
    threads = str(torch.get_num_threads())
    command = [sys.executable, "-m", "tests.nas.retraining", str(tmp_path)]
    process = subprocess.Popen(
        command, env=os.environ | {"OMP_NUM_THREADS": threads}, cwd=Path(__file__).parents[2]
    )
    log, deadline = tmp_path / "log.jsonl", time.monotonic() + 120
    while not log.exists() or len(losses(tmp_path)) < 2:
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (tmp_path / "score.json").exists()
    again(tmp_path, resume=True)
    assert equal(whole, tmp_path)
    assert losses(whole) == losses(tmp_path)
