"""How much memory the training of a supernet takes, told from a step on a small crop, and what would fit."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from nas.errors import TrainingError
from nas.recipe import Recipe
from nas.relax.supernet import Supernet
from nas.task import Task

SMALL = 4
"""The step that is looked at has 1/4 of the crop's height and width."""
LEAST = 32
"""Pixels that it has at least each way: coarser strides are to have something left."""
DRAWS = 3
"""Paths that are drawn where they are sampled; the one that keeps most counts."""
COPIES = {"sgd": 7, "adamw": 10}
"""Copies of the weights: themselves, gradients, the optimiser's state, and both twice while a checkpoint is written."""
MARGIN = 1.2
"""What allocators and kernels take on top of what is kept."""


@dataclass(frozen=True, slots=True)
class Room:
    """Bytes that a training holds: whatever the batch, and for each of its images."""

    weights: int
    image: int

    def total(self, batch: int) -> int:
        """Return the bytes with a batch of this size."""
        return self.weights + batch * self.image

    def fits(self, free: int) -> int:
        """Return the largest batch for so many free bytes; 0 where even one image is too much."""
        return max(0, (free - self.weights) // max(1, self.image))


def room(supernet: Supernet, task: Task, recipe: Recipe, size: tuple[int, int]) -> Room:
    """Return what a training of the supernet takes with crops of `size` (H, W).

    A step's activations are counted as autograd keeps them, each storage once, on two images of a small crop; they grow
    with the number of pixels.
    """
    small = (max(LEAST, size[0] // SMALL), max(LEAST, size[1] // SMALL))
    draws = DRAWS if supernet.mixing.form == "gumbel" else 1
    own = {p.untyped_storage().data_ptr() for p in supernet.parameters()}
    kept = max(_kept(lambda: _loss(supernet, task, recipe, small), own) for _ in range(draws))
    pixels = (size[0] * size[1]) / (small[0] * small[1])
    copies = COPIES[recipe.optimizer]
    weights = copies * sum(p.numel() * p.element_size() for p in supernet.parameters())
    return Room(weights, int(MARGIN * kept * pixels / 2))


def check_room(found: Room, recipe: Recipe, form: str, free: int) -> None:
    """Raise TrainingError where the training does not fit, with what would."""
    if found.total(recipe.batch) <= free:
        return
    fits = found.fits(free)
    ways = []
    if fits >= 2:
        ways.append(f"a batch of {fits} (--batch {fits})")
    ways += [] if form == "gumbel" else ["sampled paths, one at a time (--form gumbel)"]
    ways.append("smaller crops (--crop), or fewer open choices (--fix)")
    raise TrainingError(
        f"the supernet takes about {_gib(found.total(recipe.batch))} with a batch of {recipe.batch} "
        f"({_gib(found.weights)} for weights, gradients and checkpoints, {_gib(found.image)} for each image), and "
        f"{_gib(free)} are free; what would fit: {'; '.join(ways)}"
    )


def free_bytes(device: str) -> int:
    """Return the memory that is free: the accelerator's, or the machine's as far as this process may have it."""
    if device.startswith("cuda"):
        return torch.cuda.mem_get_info(device)[0]
    found = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")]
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        found += [int(x.split()[1]) * 1024 for x in lines if x.startswith("MemAvailable:")]
        group = Path("/sys/fs/cgroup")
        cap = (group / "memory.max").read_text(encoding="ascii").strip()
        used = int((group / "memory.current").read_text(encoding="ascii"))
        found += [int(cap) - used] if cap.isdigit() else []
    except (OSError, ValueError):
        pass  # other systems do not say; then all of it counts as free
    return min(found)


def _loss(supernet: Supernet, task: Task, recipe: Recipe, size: tuple[int, int]) -> Any:
    device = next(supernet.parameters()).device
    images = torch.zeros(2, 3, *size, device=device)
    target = task.blank(2, size).to(device)
    weights = supernet.draw()
    return task.loss(supernet.network(images, weights), target, replace(recipe, batch=2))


def _kept(run: Callable[[], Any], own: Collection[int]) -> int:
    """Return the bytes that autograd keeps of what `run` computes, each storage once; `own` are those of weights."""
    storages: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            storages[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        result = run()
    del result
    return sum(storages.values())


def _gib(size: float) -> str:
    return f"{size / 2**30:.1f} GiB"
