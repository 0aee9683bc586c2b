"""Two processes with half of each batch hold what one with all of it does, in real processes and double precision."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from nas.network import Output
from nas.recipe import Recipe
from tests.nas.parallel.parts import CASES, LOSSES, SGD, batches, network, told, trained
from tests.nas.toy import TASK

pytestmark = pytest.mark.full


@pytest.fixture(scope="module")
def pairs() -> dict[str, tuple[dict[str, Any], bool]]:
    return {name: (result, alike) for name, result, alike in told("all_cases")}


@pytest.mark.parametrize("name", CASES)
def test_two_processes_are_one(name: str, pairs: dict[str, Any]) -> None:
    got, alike = pairs[name]
    alone = trained(*CASES[name])
    assert alike
    torch.testing.assert_close(got["loss"], alone["loss"], rtol=1e-6, atol=0)
    for part in ("network", "ema"):
        torch.testing.assert_close(got[part], alone[part], rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("kind", ["batch", "plain", "sometimes"])
def test_what_is_compared_has_learned(kind: str) -> None:
    a, b = trained(kind), trained(kind, "dice")
    with pytest.raises(AssertionError):
        torch.testing.assert_close(a["network"], b["network"], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("name", LOSSES)
def test_means_over_ranks_would_be_another_loss(name: str) -> None:
    images, target = next(batches(0))
    recipe = Recipe.of(SGD.to_dict(), loss=LOSSES[name])
    output = network("plain")(images)
    parts = zip(output.logits.chunk(2), output.aux["aux"].chunk(2), target.chunk(2), strict=True)
    halves = [TASK.loss(Output(logits, {"aux": aux}), t, recipe) for logits, aux, t in parts]
    whole = TASK.loss(output, target, recipe)
    assert abs(torch.stack(halves).mean() - whole).item() > 1e-3
