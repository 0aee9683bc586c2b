"""The supernet: a relaxed network with its architecture parameters, which learn between the steps of its weights.

`nas.train.train` trains its weights like any network's. The batches that it takes come through `Supernet.between`,
which takes a step of the architecture parameters before each step of the weights, on a batch of the other half of the
images: the alternation of Auto-DeepLab (section 4.2) and DARTS (algorithm 1), first order.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

from nas.errors import TrainingError
from nas.leaf import Leaf
from nas.parts import Plan
from nas.relax.expected import expected
from nas.relax.gates import Question
from nas.relax.mixing import Mixing
from nas.relax.network import RelaxedNetwork, Weights
from nas.relax.weights import ArchitectureParameters

Loss = Callable[[Any, Tensor], Tensor]
PRICES: dict[str, Callable[[Leaf], float]] = {
    "macs": lambda leaf: leaf.macs,
    "params": lambda leaf: leaf.params,
}
"""Costs that have a price per leaf, so that their expectation can be a target."""

TRIES = 100
"""Draws of a path until one reaches the logits: with many `zero`s some do not."""


class Supernet(nn.Module):
    """Images (N, 3, H, W) to what the mixture gives, an `Output` in training; its `parameters()` are the weights only.

    Its state holds all that a resumed search needs: architecture parameters, their optimiser, multipliers, and the
    generator of sampled paths.
    """

    def __init__(
        self, plan: Plan, asked: Iterable[Question], mixing: Mixing, seed: int = 0
    ) -> None:
        super().__init__()
        if unknown := set(mixing.targets) - set(PRICES):
            known = ", ".join(PRICES)
            raise TrainingError(
                f"no target can be set for {sorted(unknown)}; expected some of {known}"
            )
        self.network = RelaxedNetwork(plan)
        self.mixing, self.plan = mixing, plan
        architecture = ArchitectureParameters(asked, seed)
        self._held = (
            architecture,
        )  # in a tuple: no submodule, so that the weights' optimiser leaves it alone
        self._optimizer = torch.optim.Adam(
            architecture.parameters(), mixing.lr, weight_decay=mixing.weight_decay
        )
        self._generator = torch.Generator().manual_seed(seed)
        self.multipliers = dict.fromkeys(mixing.targets, 0.0)
        self.temperature = mixing.temperature_at(0, 1)

    @property
    def architecture(self) -> ArchitectureParameters:
        """The alphas and betas."""
        return self._held[0]

    def forward(self, image: Tensor) -> Any:
        with torch.no_grad():
            weights = self.draw()
        return self.network(image, weights)

    def draw(self) -> Weights:
        """Return the weights of one step: the softmax of everything, or a sampled path that reaches the logits."""
        if self.mixing.form == "softmax":
            return self.architecture.softmax()
        for _ in range(TRIES):
            weights = self.architecture.gumbel(self.temperature, self._generator)
            if self.network.reaches(weights):
                return weights
        raise TrainingError(
            f"none of {TRIES} sampled paths reaches the logits: too many of the operations are zero"
        )

    def begin(self, epoch: int, epochs: int) -> None:
        """Set what follows from the epoch (from 0): the temperature."""
        self.temperature = self.mixing.temperature_at(epoch, epochs)

    def between(
        self,
        batches: Iterable[tuple[Tensor, Tensor]],
        others: Iterable[tuple[Tensor, Tensor]],
        loss: Loss,
        *,
        epoch: int,
        epochs: int,
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield `batches` for the weights; before each of them, teach the architecture on the next of `others`.

        In the first `warmup` of the epochs it does not learn. `others` must be as long as `batches`.
        """
        self.begin(epoch, epochs)
        learns = self.mixing.learns(epoch, epochs)
        for batch, other in zip(batches, others, strict=False):
            if learns:
                self.teach(*other, loss)
            yield batch

    def teach(self, images: Tensor, target: Tensor, loss: Loss) -> float:
        """Take one step of the architecture parameters; return its loss. Raises TrainingError if it is not finite."""
        weights = self.draw()
        learned = list(self.architecture.parameters())
        value = loss(self.network(images, weights), target) + self._burden()
        grads = torch.autograd.grad(value, learned, allow_unused=True)
        if not math.isfinite(value.item()):
            raise TrainingError(
                f"the loss of the architecture step is {value.item()}; lower the learning rate"
            )
        for parameter, grad in zip(learned, grads, strict=True):
            parameter.grad = grad
        self._optimizer.step()
        self._optimizer.zero_grad()
        return float(value.item())

    def expected_costs(self) -> dict[str, Tensor]:
        """Return the expected cost of each target at the present probabilities."""
        names = list(self.mixing.targets)
        weights: Weights = self.architecture.softmax()
        costs = expected(self.plan, weights, lambda leaf: [PRICES[name](leaf) for name in names])
        return dict(zip(names, costs.unbind() if names else (), strict=True))

    def _burden(self) -> Tensor | float:
        """Return what costs off their targets add to the loss, and move the multipliers."""
        if not self.mixing.targets:
            return 0.0
        total: Tensor | float = 0.0
        for name, cost in self.expected_costs().items():
            excess = cost / self.mixing.targets[name] - 1
            self.multipliers[name] += self.mixing.pressure * float(excess.detach())
            total = total + self.multipliers[name] * excess + self.mixing.stiffness / 2 * excess**2
        return total

    def get_extra_state(self) -> dict[str, Any]:
        """Return what is no parameter of the weights."""
        return {
            "architecture": self.architecture.state_dict(),
            "optimizer": self._optimizer.state_dict(),
            "multipliers": dict(self.multipliers),
            "generator": self._generator.get_state(),
        }

    def set_extra_state(self, state: Any) -> None:
        """Go on from what `get_extra_state` returned."""
        self.architecture.load_state_dict(state["architecture"])
        self._optimizer.load_state_dict(state["optimizer"])
        self.multipliers = dict(state["multipliers"])
        self._generator.set_state(state["generator"])
