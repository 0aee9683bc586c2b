"""Evaluation and prediction with a network that was really trained, for a moment."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from nas.errors import DataError, RunError
from nas.evaluate import evaluate, restore
from nas.predict import Prediction, predict
from nas.registry import domain
from tests.nas.retraining import ARCHITECTURE, DATA, again

WEIGHTS = "weights.safetensors"


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("trained")
    again(folder)
    return folder


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for name, size in (("wide.jpg", (40, 120)), ("tall.png", (90, 50)), ("grey.png", (33, 65))):
        pixels = rng.integers(0, 256, (*size, 3), dtype=np.uint8)
        image = Image.fromarray(pixels)
        (image.convert("L") if name == "grey.png" else image).save(folder / name)
    (folder / "notes.txt").write_text("not an image")
    return folder


def test_the_score_of_the_training_comes_out_again(trained: Path) -> None:
    score = evaluate(ARCHITECTURE, trained / WEIGHTS, DATA)
    before = again(trained, resume=True)
    assert {k: score[k] for k in ("miou", "iou", "pixel_accuracy")} == {
        k: before[k] for k in ("miou", "iou", "pixel_accuracy")
    }
    assert (score["split"], score["images"], score["size"]) == ("val", 4, [32, 64])
    assert evaluate(None, trained / WEIGHTS, DATA, batch=3) == score


def test_another_split(trained: Path) -> None:
    score = evaluate(None, trained / WEIGHTS, DATA, "train")
    assert (score["split"], score["images"]) == ("train", 12)
    with pytest.raises(DataError, match="no split 'trian'; did you mean 'train'"):
        evaluate(None, trained / WEIGHTS, DATA, "trian")


def test_native_equals_fitted_where_nothing_is_resized(trained: Path) -> None:
    fitted, native = (evaluate(None, trained / WEIGHTS, DATA, native=n) for n in (False, True))
    assert native["native"]
    assert native["iou"] == fitted["iou"]


def test_native_scores_every_pixel_of_masks_of_another_size(trained: Path) -> None:
    data = domain().open_data("street:images=4,val=3,size=50x140")
    score = evaluate(None, trained / WEIGHTS, data, native=True)
    network, size = restore(None, trained / WEIGHTS)
    task = domain().make_task(data)
    metric = task.metric()
    for sample in data.split("val"):
        image, mask = data.read(sample)
        with torch.inference_mode():
            metric.update(
                task.unframe(network(task.frame(image, size)), mask.shape),
                torch.from_numpy(mask)[None],
            )
    assert int(metric.matrix.sum()) == sum(
        int((data.read(s)[1] != 255).sum()) for s in data.split("val")
    )
    assert score["iou"] == metric.compute()["iou"]


def test_other_classes_are_refused(trained: Path, tmp_path: Path) -> None:
    for part in ("train", "val"):
        for kind in ("images", "masks"):
            (tmp_path / part / kind).mkdir(parents=True)
            Image.fromarray(np.zeros((32, 64), np.uint8)).save(tmp_path / part / kind / "a.png")
    (tmp_path / "classes.txt").write_text("road\n")
    with pytest.raises(DataError, match="was trained for 11 classes"):
        evaluate(None, trained / WEIGHTS, f"folder:{tmp_path}")


def test_predictions_at_each_images_own_size(trained: Path, photos: Path, tmp_path: Path) -> None:
    seen: list[Prediction] = []
    done = predict(None, trained / WEIGHTS, None, [photos], tmp_path / "out", progress=seen.append)
    assert [p.image.name for p in done] == ["grey.png", "tall.png", "wide.jpg"]
    assert seen == done
    palette = domain().open_data(DATA).palette
    for prediction in done:
        size = Image.open(prediction.image).size
        labels, overlay = Image.open(prediction.labels), Image.open(prediction.overlay)
        assert (labels.mode, labels.size, overlay.mode, overlay.size) == ("P", size, "RGB", size)
        assert int(np.asarray(labels).max()) < 11
        assert (np.asarray(labels.convert("RGB")) == palette[np.asarray(labels)]).all()
    again_with_data = predict(
        ARCHITECTURE, trained / WEIGHTS, DATA, photos / "wide.jpg", tmp_path / "one"
    )
    assert again_with_data[0].labels.read_bytes() == done[2].labels.read_bytes()


def test_nothing_is_overwritten_unless_told(trained: Path, photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "tall_labels.png").write_bytes(b"mine")
    with pytest.raises(RunError, match=r"tall_labels\.png exists"):
        predict(None, trained / WEIGHTS, None, photos, out)
    assert [p.name for p in out.iterdir()] == ["tall_labels.png"]
    predict(None, trained / WEIGHTS, None, photos, out, overwrite=True)
    assert (out / "tall_labels.png").read_bytes() != b"mine"


def test_images_that_cannot_be_used(trained: Path, photos: Path, tmp_path: Path) -> None:
    weights, out = trained / WEIGHTS, tmp_path / "out"
    (photos / "broken.jpg").write_bytes((photos / "wide.jpg").read_bytes()[:200])
    with pytest.raises(DataError, match=r"broken\.jpg"):
        predict(None, weights, None, photos, out)
    with pytest.raises(DataError, match=r"gone\.jpg: no such image or folder"):
        predict(None, weights, None, photos / "gone.jpg", out)
    (photos / "wide.png").write_bytes((photos / "tall.png").read_bytes())
    with pytest.raises(RunError, match="under one name"):
        predict(None, weights, None, [photos / "wide.jpg", photos / "wide.png"], out)
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="no images in this folder"):
        predict(None, weights, None, tmp_path / "empty", out)
    with pytest.raises(DataError, match="no images given"):
        predict(None, weights, None, [], out)
