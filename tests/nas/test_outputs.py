"""What is told of an operator without running it is what torch tells."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from nas.meter import Meter
from nas.outputs import OUTPUTS, run

LAYOUTS = [torch.contiguous_format, torch.channels_last]


class Compared(TorchDispatchMode):
    """Runs every operator that has an output of ours both ways."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: set[object] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        theirs = func(*args, **(kwargs or {}))
        if func in OUTPUTS:
            ours = run(func, args, kwargs or {})
            assert (ours.shape, ours.stride()) == (theirs.shape, theirs.stride())
            assert (ours.dtype, ours.device) == (theirs.dtype, theirs.device)
            self.seen.add(func)
        return theirs


def sample(x: Tensor) -> Tensor:
    grid = torch.empty(x.shape[0], 4, 9, 2, dtype=x.dtype, device=x.device)
    return F.grid_sample(x, grid, "bilinear", "border", align_corners=False)


def resize(x: Tensor) -> Tensor:
    return F.interpolate(x, size=(7, 5), mode="bilinear", align_corners=False)


def enlarge(x: Tensor) -> Tensor:
    return F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=True)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("layout", LAYOUTS, ids=str)
@pytest.mark.parametrize("function", [sample, resize, enlarge])
def test_outputs_on_the_meta_device_are_torchs(function: Any, layout: Any, dtype: Any) -> None:
    for shape in ((2, 3, 6, 8), (1, 1, 1, 1), (2, 20, 1, 8)):
        x = torch.empty(shape, device="meta", dtype=dtype).to(memory_format=layout)
        with Compared() as modes:
            function(x)
        assert len(modes.seen) == 1


def test_values_are_torchs_elsewhere() -> None:
    x = torch.randn(2, 3, 6, 8)
    with Meter():
        resized = resize(x)
    assert torch.equal(resized, resize(x))
