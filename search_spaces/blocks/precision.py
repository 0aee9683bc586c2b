"""What must not be computed in half precision although the network around it is."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor

HALF = (torch.float16, torch.bfloat16)
AUTOCAST = ("cpu", "cuda")


def at_least_single(x: Tensor) -> Tensor:
    """Return x in single precision if it is in half, else x itself."""
    return x.float() if x.dtype in HALF else x


def without_autocast(x: Tensor) -> AbstractContextManager[object]:
    """Switch autocast off on the device of `x`; nothing where it is off, so that an export does not see it."""
    device = x.device.type
    if device in AUTOCAST and torch.is_autocast_enabled(device):
        return torch.autocast(device, enabled=False)
    return nullcontext()
