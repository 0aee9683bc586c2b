"""Supernets that ranks train: batches of four images, of which two are mostly void, so that halves are not alike."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from nas.network import Output
from nas.optim import learning_rate
from nas.parallel.ranks import ALONE, Ranks
from nas.recipe import Recipe
from nas.relax.mixing import Mixing
from nas.relax.supernet import Supernet
from nas.train import train
from tests.nas.relax.spaces import relaxed

STEPS, VOID = 2, 255
RECIPE = Recipe(epochs=2, batch=4, optimizer="sgd", lr=0.02, precision="fp32")
CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "softmax": ("cells", {"warmup": 0.0}),
    "second order": ("blocks", {"warmup": 0.0, "order": 2}),
    "sampled": ("blocks", {"warmup": 0.0, "form": "gumbel"}),
    "straight through": (
        "path",
        {"warmup": 0.0, "form": "gumbel", "gradient": "straight_through"},
    ),
    "skips": ("trellis", {"warmup": 0.0, "skip_dropout": 0.5}),
}


class Task:
    """Cross entropy over what is not void."""

    def loss(self, output: Output, target: Tensor, _recipe: Recipe) -> Tensor:
        return F.cross_entropy(output.logits, target, ignore_index=VOID)


def images(seed: int) -> Iterator[tuple[Tensor, Tensor]]:
    generator = torch.Generator().manual_seed(seed)
    for _ in range(STEPS):
        labels = torch.randint(0, 5, (4, 64, 96), generator=generator)
        labels[:2, 5:] = VOID
        yield torch.randn(4, 3, 64, 96, generator=generator), labels


def trained(name: str, ranks: Ranks = ALONE) -> dict[str, Any]:
    """Train weights and architecture; return both, and the losses."""
    space, changes = CASES[name]
    case = relaxed(space)
    torch.manual_seed(0)
    net = Supernet(case.plan, case.asked.values(), Mixing(**changes), seed=1, ranks=ranks)

    def part(seed: int) -> Iterator[tuple[Tensor, Tensor]]:
        return ((ranks.part(i), ranks.part(t)) for i, t in images(seed))

    def loss(output: Output, target: Tensor) -> Tensor:
        return Task().loss(ranks.whole(output), ranks.whole(target), RECIPE)

    def batches(epoch: int) -> Any:
        def rate(step: int) -> float:
            return learning_rate(RECIPE, epoch * STEPS + step, RECIPE.epochs * STEPS)

        return net.between(part(epoch), part(100 + epoch), loss, epoch=epoch, epochs=2, rate=rate)

    rows = train(
        net,
        Task(),  # type: ignore[arg-type]
        batches,
        RECIPE,
        steps_per_epoch=STEPS,
        seed=0,
        device="cpu",
        ranks=ranks,
    )
    losses = [row["loss"] for row in rows]
    weights = {name: value.detach().clone() for name, value in net.network.state_dict().items()}
    return {
        "loss": losses,
        "weights": weights,
        "architecture": [p.detach().clone() for p in net.architecture.logits],
        "norms": list(net.gradient_norms),
    }


def all_cases(ranks: Ranks, _stop: Callable[[], bool], tell: Callable[[Any], None]) -> None:
    """Tell the result of every case, with whether all ranks hold the same bits."""
    for name in CASES:
        result = trained(name, ranks)
        parts = [*result["weights"].values(), *result["architecture"]]
        flat = torch.cat([value.double().flatten() for value in parts])
        tell((name, result, bool((ranks.all(flat) == flat).all())))
