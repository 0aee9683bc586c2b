"""The supernet: a relaxed network with its architecture parameters, which learn between the steps of its weights.

`nas.train.train` trains its weights like any network's. The batches that it takes come through `Supernet.between`,
which takes a step of the architecture parameters before each step of the weights, on a batch of the other half of the
images: the alternation of Auto-DeepLab (section 4.2) and DARTS (algorithm 1), first or second order.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from nas.errors import TrainingError
from nas.parallel.ranks import ALONE, Ranks
from nas.parts import Plan
from nas.relax.compared import compared
from nas.relax.constants import constant
from nas.relax.gates import Question
from nas.relax.likely import Likely
from nas.relax.mixing import Mixing
from nas.relax.network import RelaxedNetwork, Weights
from nas.relax.penalty import Penalty
from nas.relax.prices import PRICES, Prices, expected_costs
from nas.relax.second_order import Ahead, Gradients, gradients_of, kept, look_ahead
from nas.relax.skips import skips
from nas.relax.weights import ArchitectureParameters

Batch = tuple[Tensor, Tensor]
Loss = Callable[[Any, Tensor], Tensor]

MANY = 10_000
"""Steps of the architecture, where nobody says how many there will be."""
TRIES = 100
"""Draws of a path until one reaches the logits: with many `zero`s some do not."""


class Supernet(nn.Module):
    """Images (N, 3, H, W) to what the mixture gives, an `Output` in training; its `parameters()` are the weights only.

    Costs are expected at the input size of `priced`, the same space planned for where the network will run, and by
    default at that of `plan`; they are `PRICES` and `prices`. `steps` is how often the architecture will learn, from
    which its learning rate follows where none is given. Where several `ranks` train it, each step of the architecture
    is one of all of them, each with its slice of the images, and a `loss` that it is taught by is of the whole batch.
    Its state holds all that a resumed search needs: architecture parameters, their optimiser, multipliers, and the
    generator of what is sampled.
    """

    def __init__(
        self,
        plan: Plan,
        asked: Iterable[Question],
        mixing: Mixing,
        seed: int = 0,
        *,
        prices: Prices | None = None,
        priced: Plan | None = None,
        likely: Likely | None = None,
        steps: int = MANY,
        ranks: Ranks = ALONE,
    ) -> None:
        super().__init__()
        self.asked = asked = tuple(asked)
        self.network = RelaxedNetwork(plan)
        self.mixing, self.plan, self.priced = mixing, plan, priced or plan
        self.prices = {**PRICES, **(prices or {})}
        self.penalty = Penalty(mixing, self.prices)
        self._likely = likely
        self._ranks = ranks
        architecture = ArchitectureParameters(asked, seed, edges=mixing.edges)
        # in a tuple: no submodule, so that the weights' optimiser leaves it alone
        self._held = (architecture,)
        self._skips = skips(asked)
        self._optimizer = torch.optim.Adam(
            architecture.parameters(), mixing.rate(steps), weight_decay=mixing.weight_decay
        )
        self._generator = torch.Generator().manual_seed(seed)
        self.gradient_norms: list[float] = []
        """Of the architecture parameters, at each of their steps since the epoch began."""
        self.begin(0, 1)

    @property
    def architecture(self) -> ArchitectureParameters:
        """The alphas and betas."""
        return self._held[0]

    @property
    def multipliers(self) -> dict[str, float]:
        """What a cost that is off its target or above its limit counts, by name."""
        return self.penalty.multipliers

    def begin(self, epoch: int, epochs: int) -> None:
        """Set what follows from the epoch (from 0): temperature, weight of the entropies, chance to drop skips."""
        self.temperature = self.mixing.temperature_at(epoch, epochs)
        self.entropy_weight = self.mixing.entropy_at(epoch, epochs)
        self.skip_dropout = self.mixing.skip_dropout_at(epoch, epochs)
        self.gradient_norms = []

    def forward(self, image: Tensor) -> Any:
        with torch.no_grad():
            weights = self.draw()
        return self.network(image, weights)

    def probabilities(self) -> dict[str, Tensor]:
        """Return how likely each option is: as it is mixed, or how often its path is sampled (at any temperature)."""
        return self.architecture.probabilities(self._softness)

    @property
    def _softness(self) -> float:
        return self.temperature if self.mixing.form == "softmax" else 1.0

    def draw(self) -> Weights:
        """Return the weights of one step: the softmax of everything, or a sampled path that reaches the logits."""
        if self.mixing.form == "softmax":
            return self._dropped(self.architecture.softmax(self.temperature))
        return self._dropped(self._path())

    def _path(self) -> Weights:
        """Return a sampled path that reaches the logits."""
        for _ in range(TRIES):
            weights = self.architecture.gumbel(self.temperature, self._generator)
            if self.network.reaches(weights):
                return weights
        raise TrainingError(
            f"none of {TRIES} sampled paths reaches the logits: too many of the operations are zero"
        )

    def _dropped(self, weights: Weights) -> Weights:
        """In training, leave out some skips, and scale up the others so that the mean stays.

        P-DARTS (Chen et al. 2019) has dropout on what a skip gives; here a skip is left out whole, wherever its
        question is asked. Its weight is a tensor of 0 then: it runs, so that the steps to run are the same each time.
        """
        if not self.training or not self.skip_dropout:
            return weights
        left = dict(weights)
        for path, indices in self._skips.items():
            options = list(weights[path])
            for i in indices:
                stays = torch.rand((), generator=self._generator) >= self.skip_dropout
                if isinstance(options[i], Tensor):
                    options[i] = options[i] * (float(stays) / (1 - self.skip_dropout))
            left[path] = options
        return left

    def between(
        self,
        batches: Iterable[Batch],
        others: Iterable[Batch],
        loss: Loss,
        *,
        epoch: int,
        epochs: int,
        rate: Callable[[int], float] | None = None,
    ) -> Iterator[Batch]:
        """Yield `batches` for the weights; before each of them, teach the architecture on the next of `others`.

        In the first `warmup` of the epochs it does not learn. `others` must be as long as `batches`. `rate(step)` is
        the learning rate that the weights are about to have at a step of this epoch (from 0): second order needs it.
        """
        self.begin(epoch, epochs)
        learns = self.mixing.learns(epoch, epochs)
        for step, (batch, other) in enumerate(zip(batches, others, strict=False)):
            if learns:
                try:
                    self.teach(*other, loss, batch=batch, lr=rate and rate(step))
                except TrainingError as error:
                    raise TrainingError(f"epoch {epoch + 1}, step {step + 1}: {error}") from error
            yield batch

    def teach(
        self,
        images: Tensor,
        target: Tensor,
        loss: Loss,
        *,
        batch: Batch | None = None,
        lr: float | None = None,
    ) -> float:
        """Take one step of the architecture parameters; return the loss of the images.

        Sampled paths are compared (`nas.relax.compared`), unless the mixing asks for the straight-through gradient.
        Second order looks ahead by a step of the weights on `batch` at the learning rate `lr`; weights and buffers
        are left as they were. Raises TrainingError where loss or gradient are not finite.
        """
        learned = list(self.architecture.parameters())
        if self.mixing.compares:
            ahead = self._compared(images, target, loss)
        elif self.mixing.order == 1:
            with constant(self.network.parameters()):
                value = self._loss(images, target, loss)
            ahead = Ahead(value.detach(), self._gradients(value, learned))
        elif batch is None or lr is None:
            raise TrainingError(
                "second order needs the weights' batch and learning rate: give `rate` to Supernet.between"
            )
        else:
            ahead = self._ahead((images, target), batch, loss, lr)
        self._step(learned, ahead, _gradients(self._burden(), learned))
        return float(ahead.loss)

    def _loss(self, images: Tensor, target: Tensor, loss: Loss) -> Tensor:
        return loss(self._run(images, self.draw()), target)

    def _run(self, images: Tensor, weights: Weights) -> Any:
        with self._ranks.as_one():
            return self.network(images, weights)

    def _gradients(self, loss: Tensor, of: Sequence[Tensor]) -> Gradients:
        """Return the gradients of a loss of all ranks' images."""
        return self._ranks.summed(_gradients(loss, of), of)

    def _compared(self, images: Tensor, target: Tensor, loss: Loss) -> Ahead:
        """Compare paths on one batch, each with the same dropout."""
        seed = int(torch.randint(2**62, (), generator=self._generator))

        def value(path: Weights) -> Tensor:
            with self._seeded(seed):
                return loss(self._run(images, path), target)

        return compared(self.architecture, self.network, self._path, value)

    @contextmanager
    def _seeded(self, seed: int) -> Iterator[None]:
        """Draw dropout from a seed, and leave the generators as they were."""
        devices = {p.device.index for p in self.network.parameters() if p.device.type == "cuda"}
        with torch.random.fork_rng(sorted(devices)):
            torch.manual_seed(seed)
            yield

    def _ahead(self, other: Batch, batch: Batch, loss: Loss, lr: float) -> Ahead:
        """Look ahead by a step of the weights: on the same path, with the same dropout, each time that they are run."""
        weights = [p for p in self.network.parameters() if p.requires_grad]
        seed = int(torch.randint(2**62, (), generator=self._generator))
        drawn = self._generator.get_state()

        def same(images: Tensor, target: Tensor) -> Tensor:
            self._generator.set_state(drawn)
            with self._seeded(seed):
                return self._loss(images, target, loss)

        with kept(self.network.buffers()):
            return look_ahead(
                weights,
                list(self.architecture.parameters()),
                lambda: same(*batch),
                lambda: same(*other),
                xi=lr,
                gradients=self._gradients,
            )

    def _burden(self) -> Tensor | float:
        """Return what costs and entropies add to the loss of the architecture."""
        total: Tensor | float = 0.0
        if self.mixing.costs:
            total = total + self.penalty(self.expected_costs(self.mixing.costs))
        if self.entropy_weight:
            entropies = self.architecture.entropies(self._softness)
            total = total + self.entropy_weight * torch.stack(list(entropies.values())).sum()
        return total

    def _step(self, learned: list[nn.Parameter], ahead: Ahead, more: Gradients) -> None:
        pairs = zip(ahead.gradients, more, strict=True)
        gradients = [a if b is None else b if a is None else a + b for a, b in pairs]
        there = [g for g in gradients if g is not None]
        norm = float(torch.nn.utils.get_total_norm(there)) if there else 0.0
        if not math.isfinite(float(ahead.loss)) or not math.isfinite(norm):
            raise TrainingError(
                f"the loss of the architecture step is {float(ahead.loss)}, its gradient's norm {norm}; "
                "lower the learning rate"
            )
        self.gradient_norms.append(norm)
        for parameter, gradient in zip(learned, gradients, strict=True):
            parameter.grad = gradient
        self._optimizer.step()
        self._optimizer.zero_grad()

    def expected_costs(self, names: Iterable[str] | None = None) -> dict[str, Tensor]:
        """Return expected costs by name, all that have prices by default, at the present probabilities.

        They are those of what decoding would keep where the supernet was given `likely`; without it all sources of a
        pick count, as while searching.
        """
        softmax = self.architecture.softmax(self._softness)
        weights: Weights = {**softmax, **self.architecture.every}
        if self._likely is not None:
            weights = self._likely(softmax)
        prices = {name: self.prices[name] for name in (self.prices if names is None else names)}
        return expected_costs(self.priced, weights, prices)

    def get_extra_state(self) -> dict[str, Any]:
        """Return what is no parameter of the weights."""
        return {
            "architecture": self.architecture.state_dict(),
            "optimizer": self._optimizer.state_dict(),
            "multipliers": dict(self.multipliers),
            "generator": self._generator.get_state(),
            "temperature": self.temperature,
        }

    def set_extra_state(self, state: Any) -> None:
        """Go on from what `get_extra_state` returned."""
        self.architecture.load_state_dict(state["architecture"])
        self._optimizer.load_state_dict(state["optimizer"])
        self.multipliers.update(state["multipliers"])
        self._generator.set_state(state["generator"])
        self.temperature = state["temperature"]


def _gradients(value: Tensor | float, learned: Sequence[Tensor]) -> Gradients:
    """Return the gradient of each parameter; None for what has no part in the value."""
    if not isinstance(value, Tensor) or not value.requires_grad:
        return [None] * len(learned)
    return gradients_of(value, learned)
