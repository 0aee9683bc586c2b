"""What torch's allocators say of a run: the independent judge of counted memory."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.profiler import ProfilerActivity, profile

from nas.choosers import random_chooser
from nas.network import Network
from nas.recipe import Recipe
from nas.resolve import resolve
from nas.space import load_space
from nas.task import Task


def drawn(space: str, count: int, seed: int) -> list[dict[str, Any]]:
    """Return the trees of random architectures."""
    rng = random.Random(seed)
    return [dict(resolve(load_space(space), random_chooser(rng)).tree) for _ in range(count)]


def cpu_peak(run: Callable[[], object]) -> int:
    """Return the bytes that the CPU's allocator held at most during `run`, over what it held before."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiled:
        run()
    events = profiled.profiler.kineto_results.events()  # type: ignore[union-attr]
    held = most = 0
    for event in sorted((e for e in events if e.name() == "[memory]"), key=lambda e: e.start_ns()):
        held += event.nbytes()
        most = max(most, held)
    return most


def cuda_peak(run: Callable[[], object]) -> int:
    """Return the bytes that the GPU's allocator held at most during `run`, over what it held before."""
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    run()
    torch.cuda.synchronize()
    return torch.cuda.max_memory_allocated() - before


def layout_of(channels_last: bool) -> torch.memory_format:
    return torch.channels_last if channels_last else torch.contiguous_format


def image(batch: int, size: tuple[int, int], channels_last: bool, device: str = "cpu") -> Tensor:
    layout = layout_of(channels_last)
    return torch.empty(batch, 3, *size, memory_format=layout, device=device).normal_()


def evaluation(
    network: Network, size: tuple[int, int], channels_last: bool, device: str = "cpu"
) -> Callable[[], object]:
    """Return one evaluation of one image, the image included."""
    network.eval().to(memory_format=layout_of(channels_last))  # type: ignore[call-overload]

    @torch.no_grad()
    def run() -> None:
        network(image(1, size, channels_last, device))

    return run


def training(
    network: Network, size: tuple[int, int], task: Task, recipe: Recipe, device: str = "cpu"
) -> Callable[[], object]:
    """Return one training step without the optimiser's, images and target included."""
    network.train().to(memory_format=layout_of(recipe.channels_last))  # type: ignore[call-overload]

    def run() -> None:
        images = image(recipe.batch, size, recipe.channels_last, device)
        target = torch.zeros(recipe.batch, *size, dtype=torch.int64, device=device)
        output = network(images)
        loss = task.loss(output, target, recipe)
        loss.backward()  # type: ignore[no-untyped-call]

    return run
