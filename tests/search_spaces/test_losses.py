"""Losses against their definitions, written out pixel by pixel on tiny inputs."""

from __future__ import annotations

import inspect
import itertools
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from nas import losses as told
from nas.network import Output
from nas.recipe import Recipe
from search_spaces.losses import LOSSES, cross_entropy, dice, focal, lovasz, ohem
from search_spaces.tasks import Confusion
from tests.nas.toy import TASK

VOID = 255
CLASSES = 3
seeds = given(seed=st.integers(0, 10_000))
few = settings(deadline=None, max_examples=25)


def batch(seed: int, pixels: tuple[int, int] = (2, 3)) -> tuple[Tensor, Tensor]:
    """Logits (2, 3, H, W) and labels, some of them void; a class may be missing."""
    generator = torch.Generator().manual_seed(seed)
    logits = 3 * torch.randn(2, CLASSES, *pixels, generator=generator)
    target = torch.randint(0, CLASSES, (2, *pixels), generator=generator)
    target[torch.rand(target.shape, generator=generator) < 0.2] = VOID
    return logits, target


def labelled(logits: Tensor, target: Tensor) -> list[tuple[list[float], int]]:
    """Each labelled pixel's probabilities and class."""
    probabilities = logits.double().softmax(1)
    return [
        (probabilities[n, :, y, x].tolist(), int(target[n, y, x]))
        for n, y, x in itertools.product(*map(range, target.shape))
        if target[n, y, x] != VOID
    ]


def mean(values: list[float]) -> float:
    return math.fsum(values) / len(values) if values else 0.0


def close(loss: Tensor, expected: float) -> None:
    assert float(loss) == pytest.approx(expected, rel=1e-4, abs=1e-6)


@seeds
@few
def test_cross_entropy(seed: int) -> None:
    logits, target = batch(seed)
    close(
        cross_entropy(logits, target, VOID),
        mean([-math.log(p[c]) for p, c in labelled(logits, target)]),
    )


@given(seed=st.integers(0, 10_000), threshold=st.floats(0, 1), least=st.floats(0, 1))
@few
def test_ohem_is_the_hard_pixels_or_the_hardest(seed: int, threshold: float, least: float) -> None:
    logits, target = batch(seed)
    pixels = sorted((p[c] for p, c in labelled(logits, target)))
    if any(abs(p - threshold) < 1e-5 for p in pixels):
        return
    hard = [p for p in pixels if p < threshold]
    fewest = int(len(pixels) * least)
    taken = hard if len(hard) >= fewest else pixels[:fewest]
    loss = ohem(logits, target, VOID, threshold=threshold, least=least)
    close(loss, mean([-math.log(p) for p in taken]))


@given(seed=st.integers(0, 10_000), gamma=st.sampled_from([0, 0.5, 1, 2, 5]))
@few
def test_focal(seed: int, gamma: float) -> None:
    logits, target = batch(seed)
    expected = [-((1 - p[c]) ** gamma) * math.log(p[c]) for p, c in labelled(logits, target)]
    close(focal(logits, target, VOID, gamma=gamma), mean(expected))


@given(seed=st.integers(0, 10_000), smooth=st.sampled_from([1e-3, 1.0, 10.0]))
@few
def test_dice(seed: int, smooth: float) -> None:
    logits, target = batch(seed)
    pixels, by_class = labelled(logits, target), []
    for k in range(CLASSES):
        overlap = math.fsum(p[k] for p, c in pixels if c == k)
        sizes = math.fsum(p[k] ** 2 for p, _ in pixels) + sum(c == k for _, c in pixels)
        by_class.append(1 - (2 * overlap + smooth) / (sizes + smooth))
    close(dice(logits, target, VOID, smooth=smooth), mean(by_class))


def jaccard_loss(true: set[int], wrong: set[int]) -> float:
    """Equation 6: 1 - IoU of a class whose pixels are `true`, when the pixels `wrong` are told wrongly."""
    return len(wrong) / len(true | wrong)


@seeds
@few
def test_lovasz_is_the_extension_of_the_jaccard_loss(seed: int) -> None:
    """Equation 8, by sets: errors largest first, each times what the set function grows by its pixel."""
    logits, target = batch(seed)
    pixels, by_class = labelled(logits, target), []
    for k in range(CLASSES):
        true = {i for i, (_, c) in enumerate(pixels) if c == k}
        if not true:
            continue
        errors = {i: abs((c == k) - p[k]) for i, (p, c) in enumerate(pixels)}
        order = sorted(errors, key=lambda i: -errors[i])
        grown = [jaccard_loss(true, set(order[:i])) for i in range(len(order) + 1)]
        by_class.append(
            math.fsum(errors[p] * (b - a) for p, a, b in zip(order, grown, grown[1:], strict=False))
        )
    close(lovasz(logits, target, VOID), mean(by_class))


@seeds
@few
def test_lovasz_of_sure_predictions_is_what_is_missing_of_mean_iou(seed: int) -> None:
    logits, target = batch(seed)
    target[0, 0, 0] = 0
    metric = Confusion(("a", "b", "c"), VOID)
    metric.update(logits, target)
    present = [i for i in range(CLASSES) if (target == i).any()]
    iou = [metric.compute()["iou"]["abc"[i]] for i in present]
    sure = 100 * (logits == logits.amax(1, keepdim=True)).float()
    close(lovasz(sure, target, VOID), 1 - mean(iou))


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("scale", [0.0, 1.0, 100.0, 1e4])
def test_gradients_are_finite_and_lower_the_loss(name: str, scale: float) -> None:
    """Where all classes are alike, where one is sure and where it is surely wrong."""
    logits, target = batch(3, (4, 5))
    logits = (scale * logits).requires_grad_()
    loss = LOSSES[name](logits, target, VOID)
    loss.backward()  # type: ignore[no-untyped-call]
    assert logits.grad is not None
    assert loss.isfinite()
    assert logits.grad.isfinite().all()
    assert not logits.grad.movedim(1, 3)[target == VOID].any()
    if scale <= 1:
        assert logits.grad.abs().max() > 0
        better = LOSSES[name]((logits - 0.1 * logits.grad).detach(), target, VOID)
        assert float(better) < float(loss.detach())


@pytest.mark.parametrize("name", LOSSES)
def test_true_and_sure_predictions_have_next_to_no_loss(name: str) -> None:
    _, target = batch(5, (4, 5))
    sure = 50.0 * (target.unsqueeze(1) == torch.arange(CLASSES).view(1, -1, 1, 1)).float()
    assert float(LOSSES[name](sure, target, VOID)) == pytest.approx(0, abs=1e-5)


@pytest.mark.parametrize("name", LOSSES)
def test_a_recipe_knows_the_fields_of_each_loss(name: str) -> None:
    parameters = inspect.signature(LOSSES[name]).parameters.values()
    fields = {p.name for p in parameters if p.kind is inspect.Parameter.KEYWORD_ONLY}
    assert set(told.LOSSES[name]) == fields
    assert set(told.LOSSES) == set(LOSSES)


def test_a_sum_is_weighed_and_every_auxiliary_head_has_its_own_weight() -> None:
    logits, target = batch(7)
    others = {f"aux.stage{i}": batch(i)[0] for i in (2, 3)}
    recipe = Recipe.of(
        {
            "loss": {"focal": {"gamma": 1, "weight": 0.5}, "dice": {}},
            "aux_weight": {"stage2": 0.25, "stage3": 2},
        }
    )

    def loss(x: Tensor) -> Tensor:
        return 0.5 * focal(x, target, VOID, gamma=1) + dice(x, target, VOID)

    expected = loss(logits) + 0.25 * loss(others["aux.stage2"]) + 2 * loss(others["aux.stage3"])
    torch.testing.assert_close(TASK.loss(Output(logits, others), target, recipe), expected)
