"""What a leaf does, operation by operation, in the numbers that time depends on: multiply-adds, traffic and calls."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from nas.node_cache import remembered

if TYPE_CHECKING:
    from nas.leaf import Leaf

CLASSES = (
    *("dense", "pointwise", "depthwise", "grouped", "matmul"),
    *("folded", "elementwise", "resize", "pool", "reduce", "move"),
)
"""`folded` is what runtimes merge into the convolution before it: its batch norm, and one activation."""
MULTIPLYING = CLASSES[:5]
TERMS = (
    slice(0, len(MULTIPLYING)),
    slice(len(MULTIPLYING), len(MULTIPLYING) + len(CLASSES)),
    slice(len(MULTIPLYING) + len(CLASSES), len(MULTIPLYING) + 2 * len(CLASSES)),
)
"""Where multiply-adds, traffic and calls stand in `Work.vector`."""

aten = torch.ops.aten
_NORMS = {"native_batch_norm", "_native_batch_norm_legit_no_training", "cudnn_batch_norm"}
_FOLDING = _NORMS | {"relu", "relu_", "hardtanh", "clamp", "clamp_min", "sigmoid", "leaky_relu"}
_PREFIXES = {
    "resize": ("upsample", "_upsample", "grid_sampler"),
    "pool": ("max_pool", "avg_pool", "_adaptive", "adaptive"),
    "reduce": ("mean", "sum", "amax", "var", "_softmax", "topk", "native_layer", "native_group"),
    "move": ("cat", "clone", "copy", "stack", "index", "gather", "constant_pad", "roll", "repeat"),
}
"""Operations by the beginning of their name; whatever else makes a tensor of its own is elementwise."""
_FREE = ("empty", "zeros", "ones", "arange", "full", "detach", "_to_copy")


def _nothing() -> dict[str, int]:
    return dict.fromkeys(CLASSES, 0)


@dataclass(frozen=True, slots=True)
class Work:
    """Sums by class: multiply-adds, bytes read and written (fp32, one image), and calls."""

    macs: dict[str, int] = field(default_factory=_nothing)
    bytes: dict[str, int] = field(default_factory=_nothing)
    calls: dict[str, int] = field(default_factory=_nothing)

    def numbers(self) -> tuple[int, ...]:
        """Return everything in order of `CLASSES`: multiply-adds, bytes, calls."""
        return (*self.macs.values(), *self.bytes.values(), *self.calls.values())

    def vector(self) -> list[float]:
        """Return what time may grow with: GMACs, traffic in units of 100 MB, and tens of calls, by class."""
        macs = [self.macs[name] / 1e9 for name in MULTIPLYING]
        traffic = [self.bytes[name] / 1e8 for name in CLASSES]
        return [*macs, *traffic, *(self.calls[name] / 10 for name in CLASSES)]

    def add(self, name: str, macs: int, traffic: int) -> None:
        """Add one operation of class `name`."""
        self.macs[name] += macs
        self.bytes[name] += traffic
        self.calls[name] += 1


def work_of(leaf: Leaf) -> Work:
    """Return what the leaf does, from a run on the meta device in eval mode, kept on disk."""
    identity = (sorted(leaf.fields.items()), leaf.inputs, leaf.names)
    numbers = iter(remembered(leaf.kind, identity, "work", lambda: _measure(leaf).numbers()))
    return Work(*({name: next(numbers) for name in CLASSES} for _ in range(3)))


def _measure(leaf: Leaf) -> Work:
    with torch.device("meta"):
        module = leaf.make().eval()
        inputs = [torch.empty(1, *shape) for shape in leaf.inputs]
    with torch.no_grad(), _Trace() as trace:
        leaf.call(module, inputs)
    work: Work = trace.work
    return work


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
        if not outputs or not inputs or name.startswith(_FREE):
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
        if name in _FOLDING and id(inputs[0]) in self._open:
            return "folded"
        return next(
            (of for of, begins in _PREFIXES.items() if name.startswith(begins)), "elementwise"
        )


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
