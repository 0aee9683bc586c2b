"""The processes that train one network together, and what they say to each other."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any, TypeVar, cast

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor

from nas.errors import TrainingError

T = TypeVar("T")
Gradients = list[Tensor | None]


class RankLostError(TrainingError):
    """Another process of the training is gone, or cannot go on; why, it has said itself."""


@dataclass(frozen=True)
class Ranks:
    """Process `rank` of `number`; alone by default, when all of this is free and changes nothing.

    Each holds the whole network, and every `number`-th part of a batch: images i * n to (i + 1) * n are rank i's, in
    the order of the batch. Loss and score are of the whole batch, so that whatever a loss does with its pixels (means
    over those that are labelled, the hardest of all, sorting) is what one process does. Every call is one of all ranks:
    they must come in the same order. Raises RankLostError where another rank is gone.
    """

    rank: int = 0
    number: int = 1
    local_rank: int = 0
    group: Any = None
    """For tensors on the device."""
    words: Any = None
    """For what the processes tell each other: tensors on the CPU, so that no accelerator waits."""

    @property
    def leads(self) -> bool:
        """Whether this is the rank that writes files, shows progress and scores."""
        return self.rank == 0

    def any(self, said: bool) -> bool:
        """Return whether any rank says so."""
        if self.number == 1:
            return said
        flag = torch.tensor([said], dtype=torch.uint8)
        with noticed():
            dist.all_reduce(flag, dist.ReduceOp.MAX, self.words)
        return bool(flag)

    def first(self, make: Callable[[], T]) -> T:
        """Return what `make` gives on rank 0, plain data; what it raises there ends the other ranks, too."""
        if self.number == 1:
            return make()
        if not self.leads:
            heard: Mapping[str, Any] = json.loads(self.first_bytes(bytes))
            if "error" in heard:
                raise RankLostError(f"rank 0 cannot go on: {heard['error']}")
            return cast(T, heard["value"])
        try:
            value = make()
        except Exception as error:
            self.first_bytes(json.dumps({"error": str(error)}).encode)
            raise
        self.first_bytes(json.dumps({"value": value}).encode)
        return value

    def first_bytes(self, make: Callable[[], bytes]) -> bytes:
        """Return the bytes that `make` gives on rank 0, where alone it is called."""
        if self.number == 1:
            return make()
        said = torch.from_numpy(np.frombuffer(make(), np.uint8).copy()) if self.leads else None
        size = torch.tensor([0 if said is None else len(said)])
        with noticed():
            dist.broadcast(size, 0, self.words)
            heard = torch.empty(int(size), dtype=torch.uint8) if said is None else said
            dist.broadcast(heard, 0, self.words)
        return heard.numpy().tobytes()

    def part(self, whole: Tensor) -> Tensor:
        """Return this rank's slice of a batch."""
        return whole if self.number == 1 else whole.chunk(self.number)[self.rank]

    def whole(self, parts: Any) -> Any:
        """Return the batch of which each rank has its slice: a tensor, or tensors in mappings and tuples.

        Gradients flow into this rank's slice only: what all ranks' parameters get is the sum (`summed`).
        """
        if self.number == 1:
            return parts
        match parts:
            case Tensor():
                return _Whole.apply(parts, self)  # type: ignore[no-untyped-call]
            case Mapping():
                return {name: self.whole(part) for name, part in parts.items()}
            case tuple():
                made = [self.whole(part) for part in parts]
                return type(parts)(*made) if hasattr(parts, "_fields") else tuple(made)
        raise TrainingError(
            f"a batch is split over ranks if it is made of tensors, got {type(parts).__name__}"
        )

    def sum(self, parts: Tensor) -> Tensor:
        """Return the sum over all ranks; gradients flow into this rank's part of it."""
        if self.number == 1:
            return parts
        total: Tensor = _Sum.apply(parts, self)  # type: ignore[no-untyped-call]
        return total

    def all(self, part: Tensor) -> Tensor:
        """Return every rank's tensor, all of one shape, as (number, ...); no gradient flows."""
        mine = part.detach().contiguous()
        made = mine.new_empty((self.number, *mine.shape))
        with noticed():
            # as bytes: every type travels then, on every backend
            dist.all_gather_single(_bytes(made), _bytes(mine), self.group)
        return made

    def add(self, tensor: Tensor) -> None:
        """Sum a contiguous tensor over all ranks, in place; every rank gets the same bits."""
        with noticed():
            dist.all_reduce(tensor, group=self.group)

    def summed(self, gradients: Sequence[Tensor | None], of: Sequence[Tensor]) -> Gradients:
        """Return the gradients `of` tensors, each summed over all ranks; None where no rank has one."""
        if self.number == 1:
            return list(gradients)
        flags = torch.tensor([g is not None for g in gradients], dtype=torch.uint8)
        with noticed():
            dist.all_reduce(flags, dist.ReduceOp.MAX, self.words)
        # of what some rank has; laid out like the tensors, which fused optimisers count on
        made = [torch.empty_like(t) if f else None for t, f in zip(of, flags.tolist(), strict=True)]
        pairs = [(m, g) for m, g in zip(made, gradients, strict=True) if m is not None]
        if pairs:
            flat = torch.cat(
                [(torch.zeros_like(m) if g is None else g).reshape(-1) for m, g in pairs]
            )
            self.add(flat)
            sums = flat.split_with_sizes([m.numel() for m, _ in pairs])
            for (m, _), total in zip(pairs, sums, strict=True):
                m.copy_(total.view(m.shape))
        return made

    def sum_gradients(self, parameters: Sequence[Tensor]) -> None:
        """Sum the parameters' gradients over all ranks."""
        if self.number > 1:
            summed = self.summed([p.grad for p in parameters], parameters)
            for parameter, gradient in zip(parameters, summed, strict=True):
                parameter.grad = gradient

    def as_one(self) -> AbstractContextManager[Any]:
        """Run what a forward pass does across the images of a batch as if it had them all."""
        if self.number == 1:
            return nullcontext()
        from nas.parallel.as_one import AsOne

        return AsOne(self)


ALONE = Ranks()


@contextmanager
def noticed() -> Iterator[None]:
    """Turn what PyTorch raises when another process is gone into RankLostError."""
    try:
        yield
    except RuntimeError as error:
        reason = str(error).strip().partition("\n")[0]
        raise RankLostError(f"another rank of the training is gone ({reason})") from error


class _Whole(torch.autograd.Function):
    """(n, ...) on each rank to the batch (number * n, ...) on all."""

    @staticmethod
    def forward(ctx: Any, part: Tensor, ranks: Ranks) -> Tensor:
        ctx.ranks = ranks
        return ranks.all(part).flatten(0, 1)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        return ctx.ranks.part(gradients[0]), None


class _Sum(torch.autograd.Function):
    """A tensor of each rank to the sum on all."""

    @staticmethod
    def forward(ctx: Any, part: Tensor, ranks: Ranks) -> Tensor:  # noqa: ARG004
        total = part.clone(memory_format=torch.contiguous_format)
        ranks.add(total)
        return total

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:  # noqa: ARG004
        return gradients[0], None


def _bytes(tensor: Tensor) -> Tensor:
    return tensor.view(-1).view(torch.uint8)
