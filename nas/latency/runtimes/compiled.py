"""`torch.compile` with autotuned kernels off: what a user gets without further settings; CUDA graphs on a GPU."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import nn

from nas.errors import LatencyError
from nas.latency.clock import cpu_clock, cuda_clock
from nas.latency.runtimes import Session
from nas.latency.runtimes.eager import evaluation, placed, set_threads

if TYPE_CHECKING:
    from nas.latency.target import Target


def session(network: nn.Module, target: Target) -> Session:
    """Return a session of the compiled network, which takes seconds to make; it fuses across leaves: no profile."""
    network, images = placed(network, target)
    held = set_threads(target.threads)
    mode = "reduce-overhead" if target.is_cuda else "default"
    run = evaluation(torch.compile(network, mode=mode, dynamic=False), images)
    try:
        run()
    except Exception as error:  # the compiler raises errors of its own, e.g. without a C++ compiler
        held.close()
        raise LatencyError(f"torch.compile failed: {type(error).__name__}: {error}") from error
    return Session(run=run, clock=cuda_clock if target.is_cuda else cpu_clock, held=held)
