"""What a leaf does, operation by operation, in the numbers that time depends on: multiply-adds, traffic and calls."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

if TYPE_CHECKING:
    from nas.leaf import Leaf

CLASSES = (
    "dense", "pointwise", "depthwise", "grouped", "matmul",
    "folded", "elementwise", "resize", "pool", "reduce", "move", "other",
)  # fmt: skip
"""`folded` is what runtimes merge into the convolution before it: its batch norm, and one activation."""
MULTIPLYING = CLASSES[:5]

aten = torch.ops.aten
_ACTIVATIONS = {"relu", "hardtanh", "clamp", "clamp_min", "relu_", "hardtanh_", "sigmoid", "leaky_relu"}
_NORMS = {"native_batch_norm", "_native_batch_norm_legit_no_training", "cudnn_batch_norm"}
_NAMED = {
    "resize": ("upsample", "grid_sampler", "_upsample"),
    "pool": ("max_pool", "avg_pool", "_adaptive_avg_pool", "adaptive_"),
    "reduce": ("mean", "sum", "amax", "var", "_softmax", "softmax", "argmax", "topk", "norm", "native_layer_norm", "native_group_norm"),
    "move": ("cat", "clone", "copy", "_to_copy", "stack", "index", "gather", "constant_pad", "pixel_shuffle", "contiguous", "roll", "repeat"),
    "elementwise": ("add", "mul", "sub", "div", "silu", "gelu", "hardswish", "hardsigmoid", "exp", "sigmoid", "relu", "tanh", "neg", "sqrt", "rsqrt", "pow", "maximum", "minimum", "where", "hardtanh", "clamp", "leaky", "elu", "native_batch_norm", "_native_batch_norm"),
}  # fmt: skip


class Work:
    """Sums by class: `macs`, `bytes` read and written (fp32, batch 1), and `calls`."""

    __slots__ = ("bytes", "calls", "macs")

    def __init__(self) -> None:
        self.macs = dict.fromkeys(CLASSES, 0)
        self.bytes = dict.fromkeys(CLASSES, 0)
        self.calls = dict.fromkeys(CLASSES, 0)

    def add(self, name: str, macs: int, traffic: int) -> None:
        """Add one operation of class `name`."""
        self.macs[name] += macs
        self.bytes[name] += traffic
        self.calls[name] += 1


def work_of(leaf: Leaf) -> Work:
    """Run the leaf once on the meta device in eval mode, and return what it did."""
    with torch.device("meta"):
        module = leaf.make().eval()
        inputs = [torch.empty(1, *shape) for shape in leaf.inputs]
    with torch.no_grad(), _Trace() as trace:
        leaf.call(module, inputs)
    return trace.work


class _Trace(TorchDispatchMode):  # type: ignore[no-untyped-call]
    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.work = Work()
        self._open: dict[int, Tensor] = {}
        """Outputs of convolutions into which something may still be folded; kept, so that ids stay theirs."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        if not getattr(func, "is_view", False) and func.namespace == "aten":
            self._note(func, args, kwargs or {}, out)
        return out

    def _note(self, func: Any, args: Any, kwargs: Any, out: Any) -> None:
        name = func.overloadpacket.__name__
        outputs = [t for t in _flat(out) if isinstance(t, Tensor)]
        inputs = [t for t in _flat(args) if isinstance(t, Tensor)]
        if not outputs or name in {"empty", "zeros", "ones", "arange", "full", "detach"}:
            return
        of = self._class(name, args, inputs)
        count = flop_registry.get(func.overloadpacket) if of in MULTIPLYING else None
        macs = int(count(*args, **kwargs, out_val=out)) // 2 if count else 0
        self.work.add(of, macs, sum(_bytes(t) for t in (*inputs, outputs[0])))
        if of in MULTIPLYING or (of == "folded" and name in _NORMS):
            self._open[id(outputs[0])] = outputs[0]

    def _class(self, name: str, args: Any, inputs: list[Tensor]) -> str:
        if "convolution" in name:
            return _convolution(args)
        if name in {"mm", "bmm", "addmm", "baddbmm"} or "scaled_dot_product" in name:
            return "matmul"
        if (name in _ACTIVATIONS or name in _NORMS) and inputs and id(inputs[0]) in self._open:
            return "folded"
        starts = ((of, s) for of, names in _NAMED.items() for s in names)
        return next((of for of, s in starts if name.startswith(s)), "other")


def _convolution(args: Any) -> str:
    x, weight, groups = args[0], args[1], args[8]
    if groups > 1:
        return "depthwise" if groups == x.shape[1] else "grouped"
    return "pointwise" if math.prod(weight.shape[2:]) == 1 else "dense"


def _flat(value: Any) -> Iterable[Any]:
    if isinstance(value, list | tuple):
        for item in value:
            yield from _flat(item)
    else:
        yield value


def _bytes(tensor: Tensor) -> int:
    return tensor.numel() * 4
