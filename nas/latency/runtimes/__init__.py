"""Runtimes that a network can be timed on: a plain dict, one file each. A runtime prepares, the caller times."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol, cast

from nas.latency.clock import Sample, cpu_clock

if TYPE_CHECKING:
    from torch import nn

    from nas.latency.target import Target

Clock = Callable[[Callable[[], object]], Sample]
Profile = Callable[[int], Mapping[str, float]]


@dataclass(frozen=True, kw_only=True)
class Session:
    """A network ready to run on one image batch that stays where the device wants it.

    `run` starts one evaluation, `clock` times it to its end; `profile(runs)` gives the milliseconds of every leaf by
    its name, the fastest of `runs` runs of the whole network; None where the runtime cannot say. `held` is let go
    by `close`.
    """

    run: Callable[[], object]
    clock: Clock = cpu_clock
    profile: Profile | None = None
    held: ExitStack = field(default_factory=ExitStack)

    def time(self) -> Sample:
        """Time one evaluation."""
        return self.clock(self.run)

    def close(self) -> None:
        """Let go of files and memory."""
        self.held.close()


class Runtime(Protocol):
    """Prepares a network for a target. Raises LatencyError where it is not installed, or cannot run it so."""

    def __call__(self, network: nn.Module, target: Target) -> Session:
        """Return a session of the network, which may be changed (moved, cast) for it."""
        ...


MODULES = {
    "eager": "eager",
    "compiled": "compiled",
    "onnxruntime": "onnx_runtime",
    "openvino": "open_vino",
    "tensorrt": "onnx_runtime",
}


def find(name: str) -> Runtime:
    """Return the runtime called `name`, one of `nas.latency.target.RUNTIMES`."""
    module = importlib.import_module(f"nas.latency.runtimes.{MODULES[name]}")
    return cast(Runtime, module.session)
