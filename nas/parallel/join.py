"""How a process finds the others of its training: from `launch`, from torchrun, or from whoever has joined them."""

from __future__ import annotations

import os
from dataclasses import replace
from datetime import timedelta

import torch
import torch.distributed as dist

from nas.errors import TrainingError
from nas.parallel.ranks import ALONE, Ranks

TIMEOUT = timedelta(hours=2)
"""How long ranks wait for one that is alive but silent: rank 0 may be scoring, or another decode its images. That one
is gone is noticed at once, by its connections."""
TORCHRUN = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
"""What torchrun tells each process in its environment."""


def found() -> Ranks:
    """Return the ranks that this process belongs to: of torchrun, or of a process group that is there; else ALONE."""
    if dist.is_available() and dist.is_initialized():
        return joined(int(os.environ.get("LOCAL_RANK", dist.get_rank())))
    if not all(name in os.environ for name in TORCHRUN) or os.environ["WORLD_SIZE"] == "1":
        return ALONE
    dist.init_process_group("gloo", timeout=TIMEOUT)
    return joined(int(os.environ["LOCAL_RANK"]))


def joined(local_rank: int) -> Ranks:
    """Return the ranks of the process group that this process is in."""
    number = dist.get_world_size()
    if number == 1:
        return ALONE
    words = dist.new_group(backend="gloo", timeout=TIMEOUT)
    return Ranks(dist.get_rank(), number, local_rank, words, words)


def placed(ranks: Ranks, device: torch.device) -> tuple[Ranks, torch.device]:
    """Return the ranks as they talk of tensors on their devices, and this rank's device: on GPUs one for each.

    Raises TrainingError where there are too few, or the kind of device has no way to talk.
    """
    if ranks.number == 1 or device.type == "cpu":
        return ranks, device
    there = torch.cuda.device_count() if device.type == "cuda" else 0
    check_device(device, ranks.local_rank + 1, there)
    own = torch.device("cuda", ranks.local_rank)
    torch.cuda.set_device(own)
    return replace(ranks, group=dist.new_group(backend="nccl", timeout=TIMEOUT)), own


def check_device(device: torch.device, needed: int, there: int) -> None:
    """Raise TrainingError unless `needed` processes of one machine can each have a device of this kind."""
    if device.type == "cpu":
        return
    if device.type != "cuda":
        raise TrainingError(
            f"data-parallel training runs on CPUs and CUDA devices, not on {device.type}; leave --workers out"
        )
    if ":" in str(device):
        raise TrainingError(
            f"each worker takes a GPU of its own, and {device} is one; choose among them with CUDA_VISIBLE_DEVICES"
        )
    if needed > there:
        raise TrainingError(
            f"each worker takes a GPU of its own: {needed} are needed, this machine has {there}"
        )


def check_parts(batch: int, workers: int, ranks: Ranks, device: torch.device) -> None:
    """Raise TrainingError unless the batch can be split over `workers` processes, or over the ranks that are there."""
    if workers < 1:
        raise TrainingError(f"workers: expected a number of processes from 1, got {workers}")
    if ranks.number > 1 and workers not in {1, ranks.number}:
        what = f"this process is one of {ranks.number} that were started together"
        raise TrainingError(f"{what}, and {workers} workers are asked for; leave --workers out")
    number = max(workers, ranks.number)
    if batch % number:
        below, above = batch // number * number, (batch // number + 1) * number
        nearest = f"{below} or {above}" if below else str(above)
        raise TrainingError(
            f"a batch of {batch} images cannot be split over {number} workers; the nearest that can: {nearest}"
        )
    if workers > 1 and ranks.number == 1 and device.type != "cpu":
        check_device(device, workers, torch.cuda.device_count())


def follows() -> bool:
    """Return whether torchrun has started this process as another than the first, which alone shows anything."""
    return os.environ.get("RANK", "0") != "0" and all(name in os.environ for name in TORCHRUN)
