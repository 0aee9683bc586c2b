"""The accelerators of this machine, and which of them a worker gets."""

from __future__ import annotations

import os
from collections.abc import Sequence


def visible() -> list[str]:
    """Return the names of the GPUs that this process may use, as CUDA_VISIBLE_DEVICES takes them."""
    import torch

    named = [name.strip() for name in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if name]
    count = torch.cuda.device_count()
    return named[:count] if named else [str(i) for i in range(count)]


def share_of(gpus: Sequence[str], worker: int, share: float) -> list[str]:
    """Return the GPUs of a worker, of which each gets `share`: a fraction of one, or a whole number of them.

    Workers beyond the last GPU start again from the first: what is asked for may be more than there is.
    """
    per_gpu = max(1, int(1 / share + 1e-9)) if share < 1 else 1
    if share <= 1:
        return [gpus[(worker // per_gpu) % len(gpus)]]
    number = min(int(share), len(gpus))
    first = worker * number
    return [gpus[(first + i) % len(gpus)] for i in range(number)]
