"""What is told of an operator without running it is what torch tells."""

from __future__ import annotations

from collections.abc import Callable
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
            assert list(map(described, listed(ours))) == list(map(described, listed(theirs)))
            self.seen.add(func)
        return theirs


def listed(outputs: Tensor | tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    return (outputs,) if isinstance(outputs, Tensor) else outputs


def described(x: Tensor) -> tuple[Any, ...]:
    return x.shape, x.stride(), x.dtype, x.device


def sample(x: Tensor) -> Tensor:
    grid = torch.empty(x.shape[0], 4, 9, 2, dtype=x.dtype, device=x.device)
    return F.grid_sample(x, grid, "bilinear", "border", align_corners=False)


def resize(x: Tensor) -> Tensor:
    return F.interpolate(x, size=(7, 5), mode="bilinear", align_corners=False)


def enlarge(x: Tensor) -> Tensor:
    return F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=True)


def normalise(x: Tensor) -> Tensor:
    mean, scale = x.new_empty((2, x.shape[1]), dtype=torch.float32)
    return F.batch_norm(x, mean, scale, scale, mean)


def normalise_in_training(x: Tensor) -> Tensor:
    mean, scale = x.new_empty((2, x.shape[1]), dtype=torch.float32)
    return torch.native_batch_norm(x, scale, mean, mean, scale, True, 0.1, 1e-5)[0]


FUNCTIONS = [sample, resize, enlarge, normalise, normalise_in_training]
ELEMENTWISE: dict[str, Callable[[Tensor], Tensor]] = {
    "relu": torch.relu,
    "relu6": F.relu6,
    "hard_swish": F.hardswish,
    "gelu": F.gelu,
    "gelu by tanh": lambda x: F.gelu(x, approximate="tanh"),
    "silu": F.silu,
    "sigmoid": torch.sigmoid,
    "clamp": lambda x: x.clamp(0, 1.5),
    "clamp from below": lambda x: x.clamp(min=1),
    "square": torch.square,
    "power": lambda x: x**0.5,
    "sum": lambda x: x + x,
    "weighed sum": lambda x: x.add(x, alpha=2),
    "broadcast": lambda x: x + x[:, :, :1, :1],
    "other type": lambda x: x + x.double(),
    "other layout": lambda x: x + x.contiguous(),
    "constant": lambda x: x - 1,
    "product": lambda x: 2.5 * x,
    "product with a gap": lambda x: x[:, :, ::2] * x[:, :, ::2],
    "rows": lambda x: torch.arange(x.shape[2], device=x.device) // 2,
    "whole numbers": lambda x: torch.arange(x.shape[2], device=x.device).clamp(0, 3) * 2 + 1,
    "whole numbers made fractions": lambda x: torch.arange(x.shape[2], device=x.device) * 0.5,
    "truth": lambda x: (x > 0) * 3,
}


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("layout", LAYOUTS, ids=str)
@pytest.mark.parametrize("function", FUNCTIONS)
def test_outputs_on_the_meta_device_are_torchs(function: Any, layout: Any, dtype: Any) -> None:
    for shape in (
        (2, 3, 6, 8),
        (1, 1, 1, 2),
        (2, 20, 1, 8),
    ):  # training's norm takes more than a pixel
        x = torch.empty(shape, device="meta", dtype=dtype).to(memory_format=layout)
        with Compared() as modes:
            function(x)
        assert len(modes.seen) == 1


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("layout", LAYOUTS, ids=str)
@pytest.mark.parametrize("name", ELEMENTWISE)
def test_elementwise_outputs_are_torchs(name: str, layout: Any, dtype: Any) -> None:
    for shape in ((2, 3, 6, 8), (1, 1, 1, 1), (2, 20, 1, 8)):
        x = torch.empty(shape, device="meta", dtype=dtype).to(memory_format=layout)
        with Compared() as modes:
            ELEMENTWISE[name](x)
        assert modes.seen


def test_what_torch_refuses_is_refused() -> None:
    x = torch.empty(2, 3, 6, 8, device="meta")
    with Meter():
        with pytest.raises(RuntimeError):
            x + torch.empty(2, 4, 6, 8, device="meta")
        with pytest.raises(RuntimeError):
            F.batch_norm(x, *torch.empty((2, 4), device="meta"))


def test_values_are_torchs_elsewhere() -> None:
    x = torch.randn(2, 3, 6, 8)
    with Meter():
        resized = resize(x)
    assert torch.equal(resized, resize(x))
