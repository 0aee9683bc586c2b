"""The gradient from comparing paths: its mean over all pairs of paths is the gradient of the expected loss."""

from __future__ import annotations

import itertools
import math
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor

from nas.errors import RecipeError
from nas.relax.compared import compared, log_chance
from nas.relax.mixing import Mixing
from nas.relax.network import RelaxedNetwork, Weights
from nas.relax.weights import ArchitectureParameters
from tests.nas.relax.spaces import relaxed
from tests.nas.relax.supernets import images, loss, supernet


@dataclass(frozen=True, eq=False)
class Known:
    """A space whose every path has a loss that follows from what runs."""

    network: RelaxedNetwork
    architecture: ArchitectureParameters

    @classmethod
    def of(cls, name: str) -> Known:
        case = relaxed(name)
        architecture = ArchitectureParameters(case.asked.values())
        with torch.no_grad():
            for logits in architecture.logits:
                logits.normal_(generator=torch.Generator().manual_seed(2))
        return cls(RelaxedNetwork(case.plan), architecture)

    def paths(self) -> Iterator[tuple[Weights, Tensor]]:
        """Every path, with its probability."""
        probabilities = self.architecture.probabilities()
        options = [range(len(p)) for p in probabilities.values()]
        for taken in itertools.product(*options):
            pairs = list(zip(probabilities.items(), taken, strict=True))
            weights = {path: [float(j == i) for j in range(len(p))] for ((path, p), i) in pairs}
            yield weights, math.prod(p[i] for (_, p), i in pairs)  # type: ignore[misc]

    def loss(self, path: Weights) -> Tensor:
        names = " ".join(step.name for step in self.network.chosen(path))
        return torch.tensor(zlib.crc32(names.encode()) / 2**32)


@pytest.mark.parametrize("name", ["context", "blocks"])
def test_its_mean_is_the_gradient_of_the_expected_loss(name: str) -> None:
    known = Known.of(name)
    learned = list(known.architecture.parameters())
    paths = list(known.paths())
    expected = torch.autograd.grad(sum(p * known.loss(path) for path, p in paths), learned)
    mean = [torch.zeros_like(logits) for logits in learned]
    for (one, p), (other, q) in itertools.product(paths, paths):
        turns = iter([one, other])
        ahead = compared(known.architecture, known.network, lambda t=turns: next(t), known.loss)
        torch.testing.assert_close(ahead.loss, (known.loss(one) + known.loss(other)) / 2)
        weight = (p * q).item()
        mean = [
            total if gradient is None else total + weight * gradient
            for total, gradient in zip(mean, ahead.gradients, strict=True)
        ]
    for found, right in zip(mean, expected, strict=True):
        torch.testing.assert_close(found, right, rtol=1e-4, atol=1e-6)


def test_chances_of_what_is_asked_sum_to_one_and_other_answers_do_not_count() -> None:
    """Several paths may be one network: their chance, of the questions that they were asked, is the same."""
    known = Known.of("context")
    chances: dict[str, list[float]] = {}
    for path, _ in known.paths():
        chance = log_chance(known.architecture, path, known.network.questions(path)).exp()
        chances.setdefault(known.loss(path).item(), []).append(chance.item())  # type: ignore[arg-type]
    assert {len(alike) for alike in chances.values()} == {1, 2}
    assert all(one == pytest.approx(alike[0]) for alike in chances.values() for one in alike)
    assert sum(alike[0] for alike in chances.values()) == pytest.approx(1)


def test_paths_that_are_the_same_teach_nothing_and_keep_nothing() -> None:
    net = supernet(form="gumbel").train()
    (path, *_) = (p for p, _ in Known.of("cells").paths())
    seen: list[bool] = []

    def value(given: Weights) -> Tensor:
        seen.append(torch.is_grad_enabled())
        return loss(net.network(next(images(0))[0], given), next(images(0))[1])

    ahead = compared(net.architecture, net.network, lambda: path, value)
    assert seen == [False, False]
    assert all(g is None or not g.any() for g in ahead.gradients)


def test_a_supernet_prefers_the_path_of_the_lower_loss() -> None:
    """Whatever the batch: the loss of an option is planted, and differs less than that of the batches."""
    net = supernet(form="gumbel", lr=0.1, weight_decay=0.0)
    path = next(q.path for q in net.asked if len(q.labels) == 3)

    def planted(weights: Weights) -> float:
        return float(sum(i * float(w) for i, w in enumerate(weights[path])))

    net.network.forward = lambda image, weights: image.mean() + planted(weights)  # type: ignore[method-assign]
    generator = torch.Generator().manual_seed(0)
    for _ in range(60):
        batch = 10 * torch.randn(1, generator=generator)
        net.teach(batch, torch.zeros(1), lambda value, _target: value)
    assert net.probabilities()[path].argmax() == 0
    assert net.probabilities()[path][0] > 0.9


@pytest.mark.parametrize(
    ("given", "compares"),
    [
        ({"form": "gumbel"}, True),
        ({"form": "gumbel", "gradient": "straight_through"}, False),
        ({"form": "gumbel", "order": 2}, False),
        ({"form": "gumbel", "edges": True}, False),
        ({}, False),
    ],
)
def test_when_paths_are_compared(given: dict[str, Any], compares: bool) -> None:
    assert Mixing(**given).compares is compares


@pytest.mark.parametrize(
    "given", [{}, {"form": "gumbel", "order": 2}, {"form": "gumbel", "edges": True}]
)
def test_what_cannot_be_compared_is_refused(given: dict[str, Any]) -> None:
    with pytest.raises(RecipeError, match="compared is for sampled paths"):
        Mixing(gradient="compared", **given)
