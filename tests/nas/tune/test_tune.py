"""Tuning with a real Ray: what is found, what is left behind, kills and interruptions."""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import yaml

pytest.importorskip("ray.tune", reason="tuning needs the extra: ray")

from nas.recipe import Recipe
from tests.nas.tune.tuning import RECIPE, again

ROOT = Path(__file__).parents[3]
PATIENCE = 240
full = pytest.mark.full


@pytest.fixture
def home(tmp_path: Path) -> Path:
    folder = tmp_path / "home"
    folder.mkdir()
    return folder


def start(
    folder: Path, home: Path, scheduler: str = "asha", samples: int = 5
) -> subprocess.Popen[str]:
    """Start a tuning, or go on with it."""
    command = [sys.executable, "-m", "tests.nas.tune.tuning", str(folder), scheduler, str(samples)]
    return subprocess.Popen(
        command,
        env=os.environ | {"OMP_NUM_THREADS": "1", "HOME": str(home)},
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finished(process: subprocess.Popen[str]) -> tuple[str, str]:
    out, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, err
    return out, err


def events(folder: Path) -> list[dict[str, Any]]:
    file = folder / "log.jsonl"
    text = file.read_text() if file.exists() else ""
    return [json.loads(line) for line in text.splitlines(keepends=True) if line.endswith("\n")]


def wait_for(folder: Path, process: subprocess.Popen[str], number: int) -> None:
    """Wait until so many events are on record."""
    end = time.monotonic() + PATIENCE
    while len(events(folder)) < number:
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < end
        time.sleep(0.05)


def read(folder: Path, name: str) -> dict[str, Any]:
    return dict(json.loads((folder / name).read_text()))


def scores(folder: Path) -> list[Any]:
    """Return what does not depend on which training reports first: those that were not stopped, and all values."""
    rows = read(folder, "trainings.json")["trainings"]
    return [
        (r["number"], r["values"], [(e["epoch"], e["miou"]) for e in r["epochs"]]) for r in rows
    ]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str, str, Path]:
    """An uninterrupted tuning by successive halving: its folder, what it printed, and its home."""
    folder, home = tmp_path_factory.mktemp("whole"), tmp_path_factory.mktemp("home")
    return (folder, *finished(start(folder, home)), home)


@full
def test_it_finds_a_better_recipe_and_says_so(whole: tuple[Path, str, str, Path]) -> None:
    folder, out, err, _ = whole
    assert out.split()[-1] == "complete"
    found = read(folder, "result.json")
    assert found["is_better"]
    assert found["miou"] > found["default_miou"] + 0.02
    assert found["difference"] == pytest.approx(found["miou"] - found["default_miou"], abs=1e-6)
    assert found["changed"]["lr"][0] == RECIPE.lr < 1e-5 < found["changed"]["lr"][1]
    rows = read(folder, "trainings.json")["trainings"]
    default = rows[0]
    assert (default["why"], default["state"], default["epoch"]) == ("default", "complete", 9)
    assert default["miou"] == found["default_miou"]
    whole_ones = [r for r in rows if r["state"] == "complete"]
    assert found["miou"] == max(r["miou"] for r in whole_ones)
    assert {r["state"] for r in rows} <= {"complete", "stopped"}
    assert sorted(r["number"] for r in rows) == list(range(6))
    assert any("one seed each" in line for line in found["lines"])
    made = Recipe.of(
        {
            k: v
            for k, v in yaml.safe_load((folder / "recipe.yaml").read_text()).items()
            if k != "source"
        }
    )
    assert made.to_dict() == found["recipe"]
    assert (made.epochs, made.batch) == (RECIPE.epochs, RECIPE.batch)
    assert err.count("\n") == len(rows), err


@full
def test_nothing_is_left_at_home_and_no_pickle(whole: tuple[Path, str, str, Path]) -> None:
    folder, _, _, home = whole
    assert not [p for p in home.rglob("*") if ".cache" not in p.parts]
    assert not list(folder.rglob("*.pkl"))
    assert not (folder / "ray").exists()


@full
def test_a_finished_tuning_is_kept(whole: tuple[Path, str, str, Path]) -> None:
    folder, *_ = whole
    before = {p: p.read_bytes() for p in folder.rglob("*.json")}
    assert again(folder).compared.to_dict()["miou"] == read(folder, "result.json")["miou"]
    assert before == {p: p.read_bytes() for p in folder.rglob("*.json")}


def worker_of(driver: int) -> int:
    """Return the process of a training."""
    parents = {}
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            stat = (folder / "stat").read_text().rpartition(")")[2].split()
            parents[int(folder.name)] = (int(stat[1]), (folder / "cmdline").read_text())
    for pid, (above, name) in parents.items():
        while above != driver and above in parents:
            above = parents[above][0]  # noqa: PLW2901 - up to the driver
        if above == driver and name.startswith("ray::ImplicitFunc"):
            return pid
    raise AssertionError(parents)


def check_nothing_lost(folder: Path, whole: Path, ended: set[int], kept: int) -> None:
    """Check a tuning that went on: what had `ended` was left alone, and epochs are those of the uninterrupted one."""
    assert not [e for e in events(folder)[kept:] if e["number"] in ended]
    assert sorted(e["number"] for e in events(folder) if "state" in e) == list(range(6))
    for one, other in zip(scores(whole), scores(folder), strict=True):
        length = min(len(one[2]), len(other[2]))
        assert one[:2] == other[:2]
        assert one[2][:length] == other[2][:length]
    assert scores(folder)[0] == scores(whole)[0]


@full
@pytest.mark.skipif(sys.platform != "linux", reason="finds the worker in /proc")
def test_with_a_worker_killed_and_then_the_driver_nothing_is_lost(
    whole: tuple[Path, str, str, Path], tmp_path: Path, home: Path
) -> None:
    folder = tmp_path / "run"
    process = start(folder, home)
    wait_for(folder, process, 5)
    os.kill(worker_of(process.pid), signal.SIGKILL)
    wait_for(folder, process, len(events(folder)) + 12)
    process.send_signal(signal.SIGKILL)
    assert "its worker died" in process.communicate()[1]
    ended = {e["number"] for e in events(folder) if "state" in e}
    kept = len(events(folder))
    assert finished(start(folder, home))[0].split()[-1] == "complete"
    check_nothing_lost(folder, whole[0], ended, kept)


@pytest.mark.slow
def test_ctrl_c_ends_cleanly_and_goes_on(
    whole: tuple[Path, str, str, Path], tmp_path: Path, home: Path
) -> None:
    folder = tmp_path / "run"
    process = start(folder, home)
    wait_for(folder, process, 8)
    process.send_signal(signal.SIGINT)
    assert finished(process)[0].split()[-1] == "interrupted"
    ended = {e["number"] for e in events(folder) if "state" in e}
    kept = len(events(folder))
    assert finished(start(folder, home))[0].split()[-1] == "complete"
    check_nothing_lost(folder, whole[0], ended, kept)


@full
def test_a_population_takes_over_and_is_compared_from_scratch(tmp_path: Path, home: Path) -> None:
    folder = tmp_path / "run"
    assert finished(start(folder, home, "pbt", 4))[0].split()[-1] == "complete"
    rows = read(folder, "trainings.json")["trainings"]
    default, population, scratch = rows[0], rows[1:5], rows[5:]
    assert [(part["epoch"], part["training"]) for part in default["path"]] == [(1, 0)]
    assert {r["epoch"] for r in rows} == {9}
    taken = [part for r in population for part in r["path"][1:]]
    assert taken
    for part in taken:
        assert 3e-3 <= part["values"]["lr"] <= 1e-1
    found = read(folder, "result.json")
    if found["training"] != 0:
        assert [r["why"] for r in scratch] == ["scratch"]
        assert scratch[0]["path"][0]["values"] == scratch[0]["values"]
        assert found["miou"] == scratch[0]["miou"]
        assert found["schedule_miou"] == max(r["miou"] for r in population)
        assert found["recipe"]["lr"] == scratch[0]["values"]["lr"]


def nas(home: Path, *arguments: str, code: int = 0) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "nas", *arguments],
        env=os.environ | {"OMP_NUM_THREADS": "1", "HOME": str(home)},
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert done.returncode == code, done.stderr
    return done.stdout if code == 0 else done.stderr


TREE = (
    "task: {semantic: {classes: 3}}\n"
    "input: [3, 32, 64]\n"
    "encoder: {stages: {stem: 8, stages: [{width: 16, blocks: [{basic: {}}]}]}}\n"
    "decoders: {semantic: {head: {fcn: {width: 8}}}}\n"
)


@full
def test_the_command_confirms_within_a_budget_and_names_the_next(
    tmp_path: Path, home: Path
) -> None:
    (tmp_path / "net.yaml").write_text(TREE)
    common = ["--data", "street:images=20,val=4,size=32x64", "--run", str(tmp_path / "r")]
    what = ["tune", str(tmp_path / "net.yaml"), *common, "--epochs", "3", "--batch", "4"]
    how = ["--lr", "1e-7", "--vary", "lr=1e-3..3e-2", "--samples", "2", "--cpus-per-trial", "1"]
    out = nas(home, *what, *how, "--confirm", "2", "--budget", "1h")
    (folder,) = (tmp_path / "r" / "tuned").iterdir()
    lines = out.splitlines()
    assert "further seeds: mIoU" in out
    assert "default recipe: mIoU" in out
    assert str(folder / "recipe.yaml") in lines
    nas(home, *shlex.split(lines[-1])[1:], "--run", str(tmp_path / "retrained"))
    (score,) = (tmp_path / "retrained").rglob("score.json")
    recipe = json.loads(score.read_text())["recipe"]
    assert recipe == read(folder, "result.json")["recipe"]
    assert "--overwrite begins anew" in nas(home, *what, *how, code=2)
    found = json.loads(nas(home, *what, *how, "--budget", "1h", "--resume", "--json"))
    assert len(found["trainings"]) == 3
    told = nas(home, *what, *how, "--budget", "1h", "--seed", "7", "--resume", code=2)
    assert "another seed (0 there, 7 asked)" in told


@full
def test_a_budget_that_is_gone_leaves_the_default_and_says_so(tmp_path: Path, home: Path) -> None:
    (tmp_path / "net.yaml").write_text(TREE)
    common = ["--data", "street:images=20,val=4,size=32x64", "--run", str(tmp_path / "r")]
    what = ["tune", str(tmp_path / "net.yaml"), *common, "--epochs", "3", "--batch", "4"]
    out = nas(home, *what, "--samples", "3", "--cpus-per-trial", "1", "--budget", "1s")
    assert "the budget was used" in out
    assert "no recipe was better than the default one" in out
    (folder,) = (tmp_path / "r" / "tuned").iterdir()
    rows = read(folder, "trainings.json")["trainings"]
    assert [r["state"] for r in rows] == ["complete", "cut", "cut", "cut"]


@pytest.mark.parametrize(
    ("more", "told", "code"),
    [
        (["--vary", "lrr=1..2"], "no such field", 2),
        (["--scheduler", "pbt", "--samples", "2"], "pbt takes at least 4 samples", 2),
        (["--address", "127.0.0.1:1"], "no Ray cluster can be joined", 1),
        (["--address", "ray://localhost:1"], "shares no files", 2),
        (["--budget", "10trials"], "a tuning takes a time", 2),
        (["--resume", "--overwrite"], "give one of them", 2),
    ],
)
def test_errors_come_before_any_training(
    tmp_path: Path, home: Path, more: list[str], told: str, code: int
) -> None:
    from click.testing import CliRunner

    from nas.cli.app import app

    (tmp_path / "net.yaml").write_text(TREE)
    common = ["--data", "street:images=20,val=4,size=32x64", "--run", str(tmp_path / "r")]
    done = CliRunner().invoke(app, ["tune", str(tmp_path / "net.yaml"), *common, *more])
    assert done.exit_code == code, done.output
    assert told in done.stderr


def test_without_ray_it_names_the_extra(tmp_path: Path, home: Path) -> None:
    (tmp_path / "net.yaml").write_text(TREE)
    code = "import sys; sys.modules['ray'] = None; from nas.cli import main; main(sys.argv[1:])"
    common = ["--data", "street:images=20,val=4,size=32x64", "--run", str(tmp_path / "r")]
    done = subprocess.run(
        [sys.executable, "-c", code, "tune", str(tmp_path / "net.yaml"), *common],
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=False,
    )
    assert done.returncode == 1
    assert "pip install 'nas-segmentation[ray]'" in done.stderr
    assert "Traceback" not in done.stderr


def test_the_reporting_split_is_refused(tmp_path: Path) -> None:
    from nas.errors import RunError

    for split in ("val", "train"):
        with pytest.raises(RunError, match="leave the split out"):
            again(tmp_path, split=split)
