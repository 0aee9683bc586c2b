"""What ranks run in tests: small trainings in double precision, where what is not equal shows."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nas.network import Output
from nas.parallel.launch import launch
from nas.parallel.ranks import ALONE, RankLostError, Ranks
from nas.recipe import Recipe
from nas.train import never, train
from tests.nas.toy import TASK, Toy

STEPS, BATCH = 3, 4
LOSSES: dict[str, Any] = {
    "cross_entropy": "cross_entropy",
    "ohem": {"ohem": {"threshold": 0.2, "least": 0.3}},
    "ohem_threshold": {"ohem": {"threshold": 0.9}},
    "focal": "focal",
    "dice": "dice",
    "lovasz": "lovasz",
    "sum": {"cross_entropy": {}, "lovasz": {"weight": 0.5}, "dice": {"weight": 0.5}},
}
SGD = Recipe(epochs=2, batch=BATCH, optimizer="sgd", lr=0.05, ema=0.9, precision="fp32", clip=0.05)


class Frozen(nn.BatchNorm2d):
    """Batch norm that keeps its statistics."""

    def train(self, _mode: bool = True) -> Frozen:
        return super().train(False)


class Sometimes(Toy):
    """A toy of which parts run for some images, on some steps, and never."""

    def __init__(self) -> None:
        super().__init__(dropout=0.0)
        self.extra, self.other = nn.Conv2d(8, 8, 1), nn.Conv2d(8, 8, 1)
        self.never = nn.Conv2d(8, 8, 1)
        self.step = 0

    def forward(self, image: Tensor) -> Any:
        x = self.norm(self.conv(image)).relu()
        marked = image[:, 0, 0, 0] > 1
        if marked.any():
            x = x.index_add(0, marked.nonzero()[:, 0], self.extra(x[marked]))
        self.step += 1
        x = self.other(x) if self.step % 2 else x
        return (
            Output(self.head(x), {"aux": self.aux(x)})
            if self.step == 2
            else Output(self.head(x), {})
        )


def network(kind: str) -> nn.Module:
    """Return a network in double precision; the same for the same kind."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        made = Sometimes() if kind == "sometimes" else Toy(0.3)
        made.norm = {
            "plain": nn.Identity(),
            "group": nn.GroupNorm(2, 8),
            "frozen": Frozen(8),
        }.get(kind, made.norm)
    return made.double()


def batches(epoch: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield batches of which the first half is mostly void, and only the last image is marked."""
    generator = torch.Generator().manual_seed(1000 + epoch)
    for _ in range(STEPS):
        labels = torch.randint(0, 3, (BATCH, 6, 8), generator=generator)
        images = torch.randn(BATCH, 3, 6, 8, generator=generator, dtype=torch.double).clamp(
            -0.9, 0.9
        )
        images[-1, 0, 0, 0] = 2.0
        labels[: BATCH // 2, 1:] = 255
        yield images, labels


def trained(
    kind: str, loss: Any = "cross_entropy", task: Any = TASK, ranks: Ranks = ALONE
) -> dict[str, Any]:
    """Train for a few steps; return losses, and what the network and its average hold."""
    made, states = network(kind), []
    recipe = Recipe.of(SGD.to_dict(), loss=loss)
    rows = train(
        made,
        task,
        lambda epoch: ((ranks.part(i), ranks.part(t)) for i, t in batches(epoch)),
        recipe,
        steps_per_epoch=STEPS,
        seed=1,
        device="cpu",
        keep=states.append,
        ranks=ranks,
    )
    losses = [row["loss"] for row in rows]
    return {"loss": losses, "network": states[-1].network, "ema": states[-1].ema}


class Whole:
    """A task that knows nothing of ranks, so that each of them gets all outputs."""

    loss = TASK.loss


CASES = {
    **{f"loss {name}": ("batch", loss, TASK) for name, loss in LOSSES.items()},
    **{f"whole loss {name}": ("batch", LOSSES[name], Whole()) for name in ("ohem", "sum")},
    **{
        f"network {kind}": (kind, "cross_entropy", TASK)
        for kind in ("plain", "group", "frozen", "sometimes")
    },
}


def all_cases(ranks: Ranks, _stop: Callable[[], bool], tell: Callable[[Any], None]) -> None:
    """Tell the result of every case, with whether all ranks hold the same bits."""
    for name, (kind, loss, task) in CASES.items():
        result = trained(kind, loss, task, ranks)
        flat = torch.cat([v.double().flatten() for v in result["network"].values()])
        tell((name, result, bool((ranks.all(flat) == flat).all())))


SHAPES = ((4, 3, 5, 7), (2, 6, 1, 1), (8, 4, 3, 2), (4, 5), (6, 2, 9))
Normed = tuple[Tensor, ...]


def normed(index: int, *, last: bool, affine: bool, dtype: torch.dtype, ranks: Ranks) -> Normed:
    """Return batch norm of one of SHAPES: its result, the gradients of all that it takes, its running statistics."""
    generator = torch.Generator().manual_seed(index)
    shape = SHAPES[index]
    x, slope = (torch.randn(shape, generator=generator, dtype=torch.double) + 1 for _ in "xs")
    if last and len(shape) == 4:
        x = x.contiguous(memory_format=torch.channels_last)
    own = ranks.part(x).to(dtype).requires_grad_()
    held = [torch.rand(shape[1], generator=generator, dtype=torch.double) for _ in range(4)]
    kept = torch.float32 if dtype == torch.bfloat16 else dtype
    mean, var, weight, bias = (h.to(kept) for h in held)
    learned = [weight.requires_grad_(), bias.requires_grad_()] if affine else []
    with ranks.as_one():
        y = F.batch_norm(own, mean, var, *(learned or (None, None)), True, 0.3, 1e-3)
    gradients = torch.autograd.grad(y, [own, *learned], ranks.part(slope).to(y.dtype))
    summed = ranks.summed(gradients[1:], learned)
    return y.detach(), gradients[0], *(g for g in summed if g is not None), mean, var


def norms(ranks: Ranks, _stop: Callable[[], bool], tell: Callable[[Any], None]) -> None:
    """Tell what batch norm is of all SHAPES, and what it says of too few values."""
    for key in NORMS:
        index, last, affine, dtype = key
        y, dx, *rest = normed(index, last=last, affine=affine, dtype=dtype, ranks=ranks)
        tell((key, [ranks.whole(y), ranks.whole(dx), *rest]))


NORMS = [
    (index, last, affine, dtype)
    for index in range(len(SHAPES))
    for last in (False, True)
    for affine in (False, True)
    for dtype in (torch.double, torch.float, torch.bfloat16)
]


def failing(ranks: Ranks, _stop: Callable[[], bool], tell: Callable[[Any], None]) -> None:
    """Fail on rank 1, while rank 0 waits for it."""
    tell("begun")
    if ranks.rank == 1:
        raise ValueError("a fault of its own")
    ranks.any(False)


def endless(ranks: Ranks, stop: Callable[[], bool], tell: Callable[[Any], None]) -> None:
    """Step until rank 0 is told to stop; then tell."""
    while not ranks.any(stop()):
        tell("step")
    tell("stopped")


def refused(ranks: Ranks, _stop: Callable[[], bool], tell: Callable[[Any], None]) -> None:
    """Tell what a rank hears when rank 0 refuses, and what it hears when not."""
    tell(ranks.first(lambda: {"answer": 42}))
    try:
        ranks.first(lambda: 1 // 0)
    except ZeroDivisionError:
        heard = ranks.all(torch.tensor([ord(c) for c in "rank 0 cannot go on: "]))
        tell(bytes(heard[1].tolist()).decode())
    except RankLostError as error:
        ranks.all(torch.tensor([ord(c) for c in str(error)[:21]]))


def told(function: str, number: int = 2, stop: Callable[[], bool] = never) -> Iterator[Any]:
    """Run one of these functions as ranks; yield what they tell."""
    return launch(f"tests.nas.parallel.parts:{function}", number=number, stop=stop)
