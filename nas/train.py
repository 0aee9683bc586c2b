"""The training loop: one for short trials, for retraining and for supernets."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from nas.batch_norm import enough_values
from nas.ema import Ema
from nas.errors import TrainingError
from nas.optim import learning_rate, make_optimizer, set_learning_rate
from nas.parallel.loss import loss_of
from nas.parallel.ranks import ALONE, Ranks
from nas.recipe import Recipe
from nas.task import Task

Batches = Iterable[tuple[Tensor, Tensor]]
Row = dict[str, Any]
CHECK_EVERY = 16  # steps between looks at the loss on an accelerator, where each look waits for it


class Stopped(Exception):  # noqa: N818 (an outcome, not an error)
    """Somebody asked training to stop; `epochs` holds what each finished epoch yielded."""

    def __init__(self, epochs: list[Row]) -> None:
        super().__init__(f"stopped after {len(epochs)} epochs")
        self.epochs = epochs


@dataclass(frozen=True, slots=True)
class State:
    """Everything that training needs to go on after `epoch` epochs as if it had never paused."""

    epoch: int
    network: dict[str, Any]
    optimizer: dict[str, Any]
    ema: dict[str, Any] | None
    rows: list[Row] = field(default_factory=list)


def never() -> bool:
    """Say no: the `stop` of a training that nobody ends early."""
    return False


def train(
    network: nn.Module,
    task: Task,
    epochs_of_batches: Callable[[int], Batches],
    recipe: Recipe,
    *,
    steps_per_epoch: int,
    seed: int,
    device: torch.device | str,
    start: State | None = None,
    stop: Callable[[], bool] = never,
    keep: Callable[[State], None] | None = None,
    ranks: Ranks = ALONE,
) -> Iterator[Row]:
    """Train `network` in place; yield {"epoch" (from 1), "loss", "lr", "seconds", "images"} after each epoch.

    `epochs_of_batches(epoch)`, epoch from 0, gives at least `steps_per_epoch` batches of images
    (N, 3, H, W) and targets. `keep` gets the state after each epoch, `start` is such a state: the
    resumed run equals the uninterrupted one bit by bit. When the last epoch is yielded the network
    holds its final weights: the averaged ones if `recipe.ema` is not 0.
    Where several `ranks` train together, all call this with the same, but for their slice of each batch, and get what
    one process would have got with the whole of it, within rounding.
    Raises TrainingError when the loss or its gradient is not finite. `stop` is asked before each
    step, and ends the training by Stopped.
    """
    loop = _Loop(network, task, recipe, steps_per_epoch, _Place(torch.device(device), ranks))
    rows = loop.load(start) if start is not None else []
    for epoch in range(len(rows), recipe.epochs):
        with _seeded(seed, epoch, loop.device):
            rows.append(
                loop.epoch(epoch, epochs_of_batches(epoch), lambda: _ask(ranks.any(stop()), rows))
            )
        if keep is not None:
            keep(loop.state(rows))
        if epoch + 1 < recipe.epochs:
            yield rows[-1]
    loop.finish()
    if start is None or start.epoch < recipe.epochs:
        yield rows[-1]


def score(network: nn.Module, task: Task, batches: Batches) -> dict[str, Any]:
    """Return the task's metric over all `batches`, in evaluation mode and fp32."""
    metric = task.metric()
    was_training = network.training
    device = next(network.parameters()).device
    network.eval()
    try:
        with torch.inference_mode():
            for images, target in batches:
                metric.update(network(images.to(device)), target.to(device))
    finally:
        network.train(was_training)
    return metric.compute()


def uses_bf16(recipe: Recipe, device: torch.device) -> bool:
    """Say whether to run under bf16 autocast: "auto" does where the device has instructions for it.

    The answer depends on the machine alone, not on a measurement: a resumed run keeps its precision.
    """
    if recipe.precision != "auto":
        return recipe.precision == "bf16"
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    able = torch.cpu.get_capabilities() if device.type == "cpu" else {}
    return bool(able.get("amx_bf16") or able.get("avx512_bf16"))


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a training runs."""

    device: torch.device
    ranks: Ranks


class _Loop:
    """A network with its optimiser and average, one step at a time."""

    def __init__(
        self,
        network: nn.Module,
        task: Task,
        recipe: Recipe,
        steps_per_epoch: int,
        place: _Place,
    ) -> None:
        device, self.ranks = place.device, place.ranks
        if steps_per_epoch < 1:
            raise TrainingError(
                f"the training split has fewer images than one batch of {recipe.batch}; "
                "choose a smaller batch, or add images"
            )
        layout = torch.channels_last if recipe.channels_last else torch.contiguous_format
        self.network = network.to(device=device, memory_format=layout)  # type: ignore[call-overload]
        self.task, self.recipe, self.device, self.layout = task, recipe, device, layout
        self.per_epoch, self.steps = steps_per_epoch, steps_per_epoch * recipe.epochs
        self.optimizer = make_optimizer(network, recipe)
        self.learned = [p for group in self.optimizer.param_groups for p in group["params"]]
        self.ema = Ema(network, recipe.ema) if recipe.ema else None
        self.bf16 = uses_bf16(recipe, device)
        self.losses: list[float] = []
        self.pending: list[Tensor] = []

    def epoch(self, epoch: int, batches: Batches, ask: Callable[[], None]) -> Row:
        """Run one epoch and return its row."""
        began, images, step = time.perf_counter(), 0, epoch * self.per_epoch
        self.losses, self.pending = [], []
        self.network.train()
        with closing(_taken(batches, self.per_epoch, ask)) as taken:
            for batch, target in taken:
                with enough_values(), _explained(self.recipe):
                    self.step(step, batch, target)
                step, images = step + 1, images + len(batch) * self.ranks.number
        self.check(step - 1)
        if step != (epoch + 1) * self.per_epoch:
            got = step - epoch * self.per_epoch
            what = f"epoch {epoch + 1} gave {got} batches, expected {self.per_epoch}"
            raise TrainingError(f"{what}: the learning rate's schedule counts on them")
        rate = learning_rate(self.recipe, step - 1, self.steps)
        seconds = round(time.perf_counter() - began, 3)
        loss = math.fsum(self.losses) / len(self.losses)
        return {"epoch": epoch + 1, "loss": loss, "lr": rate, "seconds": seconds, "images": images}

    def step(self, step: int, images: Tensor, target: Tensor) -> None:
        """Take one step of the optimiser."""
        set_learning_rate(self.optimizer, learning_rate(self.recipe, step, self.steps))
        images = images.to(self.device, memory_format=self.layout)
        self.optimizer.zero_grad(
            set_to_none=True
        )  # before the forward pass, which then has their memory
        fast = torch.autocast(self.device.type, torch.bfloat16, enabled=self.bf16)
        with fast, self.ranks.as_one():
            output = self.network(images)
        target = target.to(self.device)
        loss = loss_of(self.task, output, target, self.recipe, ranks=self.ranks)
        loss.backward()  # type: ignore[no-untyped-call]
        self.ranks.sum_gradients(self.learned)
        norm = self.clip()
        self.optimizer.step()
        self.pending.append(torch.stack([loss.detach(), norm.to(loss.dtype)]))
        if self.device.type == "cpu" or len(self.pending) >= CHECK_EVERY:
            self.check(step)
        if self.ema is not None:
            self.ema.update(self.network, step)

    def clip(self) -> Tensor:
        """Clip the gradients' common norm; return what it was (0 if the recipe does not clip)."""
        if not self.recipe.clip:
            return torch.zeros((), device=self.device)
        return nn.utils.clip_grad_norm_(self.learned, self.recipe.clip)

    def check(self, last: int) -> None:
        """Read the pending losses, the last of step `last`; raises TrainingError if not finite."""
        if not self.pending:
            return
        values = torch.stack(self.pending).tolist()
        for step, (loss, norm) in enumerate(values, last + 1 - len(values)):
            if not math.isfinite(loss) or not math.isfinite(norm):
                what = (
                    f"the loss is {loss}"
                    if not math.isfinite(loss)
                    else f"the gradient's norm is {norm}"
                )
                place = f"step {step + 1} of {self.steps} (epoch {step // self.per_epoch + 1})"
                rate = learning_rate(self.recipe, step, self.steps)
                raise TrainingError(
                    f"{what} at {place}, learning rate {rate:.3g}; lower lr, or raise warmup"
                )
            self.losses.append(loss)
        self.pending.clear()

    def state(self, rows: list[Row]) -> State:
        """Return a copy of everything that changes while training."""
        ema = self.ema.values if self.ema is not None else None
        parts = copy.deepcopy((self.network.state_dict(), self.optimizer.state_dict(), ema))
        return State(len(rows), dict(parts[0]), parts[1], parts[2], list(rows))

    def load(self, state: State) -> list[Row]:
        """Go on from `state`; return the rows of its epochs."""
        self.network.load_state_dict(state.network)
        self.optimizer.load_state_dict(state.optimizer)
        if self.ema is not None and state.ema is not None:
            self.ema.load(state.ema)
        return list(state.rows)

    def finish(self) -> None:
        """Put the final weights into the network."""
        if self.ema is not None:
            self.network.load_state_dict(self.ema.values)


def _taken(
    batches: Batches, number: int, ask: Callable[[], None]
) -> Generator[tuple[Tensor, Tensor], None, None]:
    """Yield up to `number` batches, asking before each; close their source at the end, which may hold a thread."""
    source = iter(batches)
    try:
        for _ in range(number):
            ask()
            batch = next(source, None)
            if batch is None:
                return
            yield batch
    finally:
        if isinstance(source, Generator):
            source.close()


def _ask(stop: bool, rows: list[Row]) -> None:
    if stop:
        raise Stopped(list(rows))


@contextmanager
def _explained(recipe: Recipe) -> Iterator[None]:
    """Turn what PyTorch raises for a batch that does not fit the memory into TrainingError with what to do."""
    try:
        yield
    except RuntimeError as error:
        if not isinstance(error, torch.OutOfMemoryError) and "can't allocate memory" not in str(
            error
        ):
            raise
        raise TrainingError(
            f"out of memory with a batch of {recipe.batch}; choose a smaller batch or crop"
        ) from error


@contextmanager
def _seeded(seed: int, epoch: int, device: torch.device) -> Iterator[None]:
    """Seed the generators that dropout draws from by (seed, epoch), and put them back afterwards."""
    devices = [device] if device.type == "cuda" else []
    mixed = int(np.random.SeedSequence([seed, epoch]).generate_state(1, np.uint64)[0] >> 1)
    with torch.random.fork_rng(devices):
        torch.manual_seed(mixed)
        yield
