"""PyTorch as it is; on a GPU the kernels are replayed from a CUDA graph, so that launching them takes no time."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from nas.errors import LatencyError
from nas.latency.clock import cuda_clock
from nas.latency.runtimes import Session
from nas.network import Network

if TYPE_CHECKING:
    from nas.latency.target import Target

WARM_UP = 3


def session(network: nn.Module, target: Target) -> Session:
    """Return a session of the network itself."""
    network, images = placed(network, target)
    profile = partial(_profile, network, images, target)
    run = evaluation(network, images)
    if target.is_cuda:
        return Session(run=_graph(run), clock=cuda_clock, profile=profile)
    return Session(run=run, profile=profile, held=set_threads(target.threads))


def placed(network: nn.Module, target: Target) -> tuple[nn.Module, Tensor]:
    """Return the network, for evaluation, and images, both where and as the target says."""
    if target.is_cuda and not torch.cuda.is_available():
        raise LatencyError(f"target {target}: this machine has no GPU that PyTorch can use")
    dtype: torch.dtype = getattr(torch, target.dtype)
    layout = (
        torch.channels_last if target.memory_format == "channels_last" else torch.contiguous_format
    )
    images = torch.randn(target.batch, 3, *target.size, generator=torch.Generator().manual_seed(0))
    network = network.eval().requires_grad_(False)
    network = network.to(target.device, dtype, memory_format=layout)  # type: ignore[call-overload]
    return network, images.to(target.device, dtype, memory_format=layout)


def evaluation(network: Callable[[Tensor], Any], images: Tensor) -> Callable[[], object]:
    """Return a function that evaluates the network once."""

    def run() -> object:
        with torch.inference_mode():
            return network(images)

    return run


def set_threads(number: int) -> ExitStack:
    """Set PyTorch's number of threads until the stack is closed."""
    held = ExitStack()
    held.callback(torch.set_num_threads, torch.get_num_threads())
    torch.set_num_threads(number)
    return held


def _graph(run: Callable[[], object]) -> Callable[[], object]:
    """Record the kernels of `run` once, after the warm-up that a capture needs; return what replays them."""
    side = torch.cuda.Stream()  # type: ignore[no-untyped-call]
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(WARM_UP):
            run()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        run()
    return graph.replay


def _profile(network: nn.Module, images: Tensor, target: Target, runs: int) -> Mapping[str, float]:
    """Time every leaf inside the running network, the fastest of its runs, between marks that hooks leave around it."""
    assert isinstance(network, Network)
    mark, between = _marks(target)
    marks: dict[str, list[Any]] = {name: [] for name in network.leaf_names}
    with set_threads(target.threads), ExitStack() as hooks:
        for name, into in marks.items():
            leaf = network.get_submodule(name)
            for register in (leaf.register_forward_pre_hook, leaf.register_forward_hook):
                hooks.callback(register(lambda *_, into=into: into.append(mark())).remove)
        run = evaluation(network, images)
        for _ in range(WARM_UP + runs):
            run()
    return {name: min(between(pairs)[WARM_UP:]) for name, pairs in marks.items()}


def _marks(target: Target) -> tuple[Callable[[], Any], Callable[[list[Any]], list[float]]]:
    """Return what marks a moment, and what gives the milliseconds between the marks of each pair."""
    if not target.is_cuda:
        return time.perf_counter, lambda m: [1000 * (b - a) for a, b in _pairs(m)]

    def mark() -> Any:
        event = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
        event.record()
        return event

    def between(marks: list[Any]) -> list[float]:
        torch.cuda.synchronize()
        return [a.elapsed_time(b) for a, b in _pairs(marks)]

    return mark, between


def _pairs(marks: list[Any]) -> zip[tuple[Any, Any]]:
    """Pair every first mark with the one behind it."""
    return zip(marks[::2], marks[1::2], strict=True)
