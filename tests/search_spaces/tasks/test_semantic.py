"""The semantic task: losses, one confusion matrix, frames and colours."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch.nn import functional
from torchmetrics.classification import MulticlassAccuracy, MulticlassJaccardIndex

from nas.errors import DataError
from nas.recipe import Recipe
from search_spaces.losses import LOSSES, cross_entropy, ohem
from search_spaces.losses.cross_entropy import THRESHOLD
from search_spaces.tasks import Confusion, Semantic, make_task
from tests.nas.toy import CLASSES, TASK


def scores(labels: torch.Tensor, k: int = 3) -> torch.Tensor:
    return functional.one_hot(labels, k).permute(0, 3, 1, 2).float()


def test_miou_by_hand() -> None:
    metric = Confusion(CLASSES, 255)
    truth = torch.tensor([[[0, 0, 1, 255]]])
    metric.update(scores(torch.tensor([[[0, 1, 1, 2]]])), truth)
    result = metric.compute()
    assert result["iou"] == {"road": 0.5, "sky": 0.5, "car": None}
    assert result["miou"] == 0.5
    assert result["pixel_accuracy"] == pytest.approx(2 / 3)


def test_a_class_that_is_only_predicted_counts_as_zero() -> None:
    metric = Confusion(CLASSES, 255)
    metric.update(scores(torch.tensor([[[0, 2]]])), torch.tensor([[[0, 0]]]))
    assert metric.compute()["iou"] == {"road": 0.5, "sky": None, "car": 0.0}
    assert metric.compute()["miou"] == 0.25


def test_miou_is_torchmetrics_own_over_many_batches() -> None:
    generator = torch.Generator().manual_seed(0)
    k = 7
    metric = Confusion(tuple("abcdefg"), 255)
    oracle = MulticlassJaccardIndex(k, ignore_index=255)
    accuracy = MulticlassAccuracy(k, average="micro", ignore_index=255)
    for _ in range(5):
        logits = torch.randn(2, k, 9, 11, generator=generator)
        target = torch.randint(0, k, (2, 9, 11), generator=generator)
        target[torch.rand(target.shape, generator=generator) < 0.2] = 255
        metric.update(logits, target)
        oracle.update(logits, target)
        accuracy.update(logits, target)
    assert metric.compute()["miou"] == pytest.approx(float(oracle.compute()), abs=1e-6)
    assert metric.compute()["pixel_accuracy"] == pytest.approx(float(accuracy.compute()), abs=1e-6)


def test_uint8_masks_do_not_overflow_the_matrix() -> None:
    metric = Confusion(tuple(f"c{i}" for i in range(20)), 255)
    truth = torch.full((1, 2, 2), 19, dtype=torch.uint8)
    metric.update(truth.clone(), truth)
    assert int(metric.matrix[19, 19]) == 4


def test_void_only_and_foreign_labels_are_errors() -> None:
    metric = Confusion(CLASSES, 255)
    metric.update(scores(torch.zeros(1, 2, 2, dtype=torch.long)), torch.full((1, 2, 2), 255))
    with pytest.raises(DataError, match="no labelled pixel"):
        metric.compute()
    with pytest.raises(DataError, match="class 3; the data set has 3 classes"):
        metric.update(scores(torch.zeros(1, 1, 1, dtype=torch.long)), torch.full((1, 1, 1), 3))


@pytest.mark.parametrize("name", LOSSES)
def test_void_pixels_change_no_loss(name: str) -> None:
    generator = torch.Generator().manual_seed(1)
    logits = torch.randn(2, 3, 4, 4, generator=generator)
    target = torch.randint(0, 3, (2, 4, 4), generator=generator)
    target[:, :2] = 255
    changed = logits.clone()
    changed[:, :, :2] += 100 * torch.randn(2, 3, 2, 4, generator=generator)
    assert LOSSES[name](logits, target, 255) == LOSSES[name](changed, target, 255)


@pytest.mark.parametrize("name", LOSSES)
def test_a_batch_of_void_has_no_loss_and_no_gradient(name: str) -> None:
    logits = torch.randn(1, 3, 4, 4, requires_grad=True)
    loss = LOSSES[name](logits, torch.full((1, 4, 4), 255), 255)
    loss.backward()  # type: ignore[no-untyped-call]
    assert float(loss.detach()) == 0
    assert logits.grad is not None
    assert not logits.grad.any()


def test_cross_entropy_is_torchs_mean() -> None:
    logits = torch.randn(2, 3, 5, 5)
    target = torch.randint(0, 3, (2, 5, 5))
    target[0, 0] = 255
    torch.testing.assert_close(
        cross_entropy(logits, target, 255),
        functional.cross_entropy(logits, target, ignore_index=255),
    )


def test_ohem_takes_the_hard_pixels_or_the_hardest() -> None:
    target = torch.zeros(1, 4, 8, dtype=torch.long)
    logits = torch.zeros(1, 2, 4, 8)
    logits[:, 0] = 10.0
    logits[0, 0, 0, :4] = 0.0  # probability 1/2
    assert THRESHOLD > 0.5
    assert float(ohem(logits, target, 255)) == pytest.approx(math.log(2))
    logits[:, 0] = 10.0
    logits[0, 0, 0, 0] = 5.0  # no hard pixel at all: the 2 hardest of 32
    easy, easier = math.log1p(math.exp(-5)), math.log1p(math.exp(-10))
    assert float(ohem(logits, target, 255)) == pytest.approx((easy + easier) / 2, rel=1e-4)


def test_decode_and_colours() -> None:
    labels = torch.tensor([[[0, 1], [2, 0]]])
    assert torch.equal(TASK.decode(scores(labels)), labels.to(torch.uint8))
    coloured = TASK.colours(np.array([[0, 2, 255]], np.uint8))
    assert coloured.tolist() == [[[128, 64, 128], [0, 0, 142], [0, 0, 0]]]


def test_overlay_mixes_colours_and_leaves_void_alone() -> None:
    image = np.full((1, 2, 3), 100, np.uint8)
    painted = TASK.overlay(image, np.array([[0, 255]], np.uint8))
    assert painted.dtype == np.uint8
    assert painted[0, 1].tolist() == [100, 100, 100]
    assert painted[0, 0].tolist() == [round(0.45 * 100 + 0.55 * c) for c in (128, 64, 128)]


@pytest.mark.parametrize("size", [(40, 80), (80, 40), (33, 47), (16, 32), (7, 300)])
def test_frame_and_unframe_are_inverse_up_to_resizing(size: tuple[int, int]) -> None:
    frame = (32, 64)
    left = np.zeros((*size, 3), np.uint8)
    left[:, : size[1] // 2] = 255
    framed = TASK.frame(left, frame)
    assert framed.shape == (1, 3, *frame)
    bright = (framed.mean(1, keepdim=True) > 0).float()
    labels = TASK.unframe(torch.cat([bright, 1 - bright], 1), size)
    assert labels.shape == (1, *size)
    wrong = (labels[0].numpy() == 0) != (left[..., 0] == 255)
    assert wrong.mean() < 0.05


def test_unframe_is_the_argmax_of_resized_logits() -> None:
    logits = torch.randn(1, 3, 8, 16)
    expected = functional.interpolate(
        logits, (24, 48), mode="bilinear", align_corners=False
    ).argmax(1)
    assert torch.equal(TASK.unframe(logits, (24, 48)), expected.to(torch.uint8))


def test_make_task_takes_what_it_needs_of_the_data() -> None:
    task = make_task(TASK)
    assert isinstance(task, Semantic)
    assert task.classes == CLASSES
    assert task.metric().compute is not None
    assert Recipe().loss in LOSSES
