"""Auto-DeepLab's relaxation against the same equations written out by hand (`benchmarks/plain_supernet.py`)."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from nas import registry
from nas.language.tree import Repeat, Walk
from nas.relax.gates import questions
from nas.relax.network import RelaxedNetwork
from nas.relax.planner import RelaxedPlanner, opened
from nas.relax.weights import ArchitectureParameters
from nas.space import Space, load_space

sys.path.insert(0, str(Path(__file__).parents[3] / "benchmarks"))


def shortened(steps: int, blocks: int) -> Space:
    """Return Auto-DeepLab's space with fewer steps and blocks."""
    registry.load()
    space = load_space("auto_deeplab")
    fields = dict(space.tree["encoder"]["trellis"])
    walk, cell = fields["path"], fields["cell"]
    assert isinstance(walk, Walk)
    assert isinstance(cell, Repeat)
    fields |= {"path": replace(walk, steps=steps), "cell": replace(cell, count=blocks)}
    return replace(space, tree={**space.tree, "encoder": {"trellis": fields}})


@pytest.mark.parametrize("size", [(64, 64), (65, 97)])
def test_the_mixture_is_the_sum_over_edges_and_operations(size: tuple[int, int]) -> None:
    from plain_supernet import PlainSupernet

    tree = opened(shortened(4, 3))
    asked = {q.path: q for q in questions(tree)}
    torch.manual_seed(0)
    network = RelaxedNetwork(RelaxedPlanner(size).plan(tree)).train()
    parameters = ArchitectureParameters(asked.values(), seed=1)
    with torch.no_grad():
        for logits in parameters.logits:
            logits.normal_()
    plain, images = PlainSupernet(network, layers=4, blocks=3), torch.randn(2, 3, *size)
    found = _with_gradient(parameters, lambda: network(images, parameters.softmax()).logits)
    expected = _with_gradient(parameters, lambda: plain(images, parameters.probabilities()))
    torch.testing.assert_close(found[0], expected[0], rtol=1e-4, atol=1e-4)
    for mine, other in zip(found[1], expected[1], strict=True):
        torch.testing.assert_close(mine, other, rtol=1e-3, atol=1e-4)


def _with_gradient(parameters: ArchitectureParameters, run: Any) -> tuple[torch.Tensor, Any]:
    """Return logits, with the same dropout every time, and gradients of the architecture parameters."""
    torch.manual_seed(5)
    logits = run()
    return logits, torch.autograd.grad(logits.square().mean(), list(parameters.logits))


def test_paths_and_parameters_are_the_papers() -> None:
    """160 alphas on 20 edges; betas: 2, 2 + 3, 2 + 3 + 3, then 10 a layer."""
    registry.load()
    asked = list(questions(opened(load_space("auto_deeplab"))))
    assert sum(len(q.labels) for q in asked if q.kind == "choice") == 160
    assert sum(len(q.labels) for q in asked if q.kind == "move") == 2 + 5 + 8 + 9 * 10
