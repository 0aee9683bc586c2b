"""The whole way with real commands: search, front, retrain, evaluate, predict, export, and what is missing on it."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from PIL import Image

from nas.cli.app import app

pytestmark = pytest.mark.full
DATA = "street:images=24,val=6,size=64x128"


def nas(*arguments: str, code: int = 0) -> Result:
    done = CliRunner().invoke(app, list(arguments))
    assert done.exit_code == code, done.output
    return done


def as_json(*arguments: str) -> Any:
    return json.loads(nas(*arguments, "--json").stdout)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A finished search of two trials."""
    folder = str(tmp_path_factory.mktemp("results") / "small")
    command = f"search tiny --data {DATA} --epochs 1 --batch 4 --budget 2trials --max-macs 1G --run {folder}"
    done = nas(*shlex.split(command))
    assert f"nas front {folder}" in done.stdout
    return folder


@pytest.fixture(scope="module")
def retrained(run: str) -> str:
    """The same run with its knee retrained."""
    done = nas("retrain", run, "knee", "--epochs", "1")
    assert "weights.safetensors" in done.stdout
    return run


def test_front_writes_and_prints_the_same(run: str) -> None:
    found = as_json("front", run)
    assert found == json.loads((Path(run) / "front.json").read_text())
    assert 1 <= len(found["front"]) <= 2
    text = nas("front", run, "--plot", str(Path(run) / "f.svg")).stdout
    assert all(row["id"] in text for row in found["front"])
    assert (Path(run) / "f.svg").read_text().lstrip().startswith("<?xml")
    assert (Path(run) / "front.png").read_bytes().startswith(b"\x89PNG")


def test_a_run_is_not_overwritten(run: str) -> None:
    done = nas("search", "tiny", "--data", DATA, "--budget", "1trials", "--run", run, code=2)
    assert "--resume" in done.stderr


def test_what_was_not_retrained_names_the_command_that_does_it(run: str) -> None:
    row = as_json("front", run)["front"][0]
    done = nas("evaluate", run, row["id"], "--seed", "77", code=2)
    command = shlex.split(done.stderr.splitlines()[-1])
    assert command == ["nas", "retrain", run, row["id"], "--seed", "77"]


def test_evaluate_scores_what_retrain_scored(retrained: str) -> None:
    score = as_json("evaluate", retrained, "knee")
    weights = Path(score["weights"])
    written = json.loads((weights.parent / "score.json").read_text())
    assert score["miou"] == pytest.approx(written["miou"], abs=1e-6)
    assert score["split"] == "val"
    assert set(score["iou"]) == set(written["iou"])
    assert as_json("evaluate", str(weights))["miou"] == score["miou"]
    assert as_json("evaluate", retrained, score["id"][:6])["id"] == score["id"]
    assert "mIoU" in nas("evaluate", retrained, "knee").stdout


def test_the_front_shows_the_retrained_score(retrained: str) -> None:
    knee = next(row for row in as_json("front", retrained)["front"] if row["knee"])
    assert knee["retrained"]["seeds"] == [0]
    assert "retrained" in nas("front", retrained).stdout


def test_a_finished_training_is_kept_and_resumed_at_once(retrained: str) -> None:
    assert "holds a training" in nas("retrain", retrained, "knee", "--epochs", "1", code=2).stderr
    nas("retrain", retrained, "knee", "--epochs", "1", "--resume")


def test_predict_writes_pictures_of_the_images_own_size(retrained: str, tmp_path: Path) -> None:
    image = tmp_path / "street.png"
    Image.new("RGB", (150, 70), (90, 120, 150)).save(image)
    done = nas("predict", retrained, "knee", str(image), "--out", str(tmp_path / "out"))
    overlay, labels = (Path(name) for name in done.stdout.split())
    assert Image.open(overlay).size == Image.open(labels).size == (150, 70)
    assert Image.open(labels).mode == "P"
    nas("predict", retrained, "knee", str(image), "--out", str(tmp_path / "out"), code=2)
    nas("predict", retrained, "knee", str(image), "--out", str(tmp_path / "out"), "--overwrite")


def test_export_prints_the_comparison_and_both_latencies(retrained: str, tmp_path: Path) -> None:
    out = str(tmp_path / "net.onnx")
    done = nas("export", retrained, "knee", "--out", out, "--runs", "2")
    assert "any height and width" in done.stdout
    assert "ONNX Runtime" in done.stdout
    assert done.stdout.count("equal to PyTorch") == 2
    assert Path(out).is_file()
    nas("export", retrained, "knee", "--out", out, code=1)
    found = as_json(
        "export", retrained, "knee", "--out", out, "--overwrite", "--runs", "2", "--fixed-size"
    )
    assert found["fixed"] == "asked for"
    assert found["latency"]["PyTorch"]["median_ms"] > 0


def test_a_published_architecture_is_retrained_and_scored_by_its_folder(tmp_path: Path) -> None:
    closed = tmp_path / "small.yaml"
    closed.write_text(
        "task: {semantic: {classes: 3}}\n"
        "input: [3, 64, 128]\n"
        "encoder: {stages: {stem: 8, stages: [{width: 16, blocks: [{basic: {}}]}]}}\n"
        "decoders: {semantic: {head: {fcn: {width: 8}}}}\n"
    )
    folder = str(tmp_path / "baseline")
    nas("retrain", str(closed), "--data", DATA, "--epochs", "1", "--batch", "4", "--run", folder)
    assert as_json("evaluate", folder)["images"] == 6


def test_a_search_goes_on_with_more_trials(run: str) -> None:
    before = len(as_json("front", run)["front"])
    nas("search", "--resume", run, "--budget", "3trials")
    found = as_json("front", run)
    assert found["trials"]["complete"] == 3
    assert len(found["front"]) >= min(before, 1)


def test_a_dry_run_leaves_nothing(tmp_path: Path) -> None:
    folder = tmp_path / "dry"
    done = nas(
        "search",
        "tiny",
        "--data",
        DATA,
        "--epochs",
        "1",
        "--budget",
        "1h",
        "--run",
        str(folder),
        "--dry-run",
    )
    assert "a trial" in done.stderr
    assert not folder.exists()


def test_limits_that_nothing_meets_end_before_training(tmp_path: Path) -> None:
    done = nas(
        "search",
        "tiny",
        "--data",
        DATA,
        "--max-macs",
        "1k",
        "--run",
        str(tmp_path / "none"),
        code=3,
    )
    assert "smallest" in done.stderr


def test_a_budget_without_a_network_has_its_own_code(tmp_path: Path) -> None:
    folder = str(tmp_path / "short")
    done = nas(
        "search",
        "tiny",
        "--data",
        DATA,
        "--epochs",
        "500",
        "--budget",
        "1s",
        "--run",
        folder,
        code=4,
    )
    assert "no network was trained" in done.stderr
    assert f"nas search --resume {folder}" in nas("front", folder).stdout


def test_the_demo_ends_with_all_that_it_promises(tmp_path: Path) -> None:
    folder = tmp_path / "demo"
    done = nas("demo", "--trials", "2", "--epochs", "1", "--run", str(folder))
    assert (folder / "front.png").is_file()
    assert len(list(folder.glob("pictures/*_overlay.png"))) == 6
    (exported,) = folder.glob("export/*.onnx")
    assert str(exported) in done.stdout
    assert as_json("evaluate", str(folder), "knee")["miou"] > 0
