"""How many bytes tensors hold while something runs on the meta device, as an allocator would count them."""

from __future__ import annotations

import weakref
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Self

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from nas.outputs import run
from nas.scratch import Rule, laid_out

aten = torch.ops.aten


class Allocations(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Follows storages from the operator that makes them until nothing uses them any more; `most` is the peak in bytes.

    `scratch` says what kernels hold beside (see `nas.scratch`). What existed before is not counted; `hold` adds it.

    Under any such mode autograd adds gradients that meet into a new tensor. It otherwise adds into the first where
    nobody else holds that, so a sum made by `backward` counts beside its terms only if the first outlives it.
    Attention runs in one kernel, as on CPUs and GPUs; the meta device would write down all of its scores.
    """

    def __init__(self, scratch: Mapping[Any, Rule]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.held = 0
        self.most = 0
        self._scratch = scratch
        self._alive: dict[int, Any] = {}
        self._sum: tuple[Any, int] | None = None
        self._attention = _FusedAttention()

    def __enter__(self) -> Self:
        self._attention.__enter__()  # type: ignore[no-untyped-call]
        super().__enter__()  # type: ignore[no-untyped-call]
        return self

    def __exit__(self, *raised: Any) -> None:
        super().__exit__(*raised)  # type: ignore[no-untyped-call]
        self._attention.__exit__(*raised)  # type: ignore[no-untyped-call]

    def hold(self, tensor: Tensor) -> None:
        """Count a tensor that was made outside, until its storage goes."""
        self._follow(tensor)
        self.most = max(self.most, self.held)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self._settle()
        kwargs = kwargs or {}
        out = laid_out(func, args, run(func, args, kwargs))
        made = list(_tensors((out,)))
        given = {storage_key(t) for t in _tensors((args, *kwargs.values()))}
        for tensor in made:
            if storage_key(tensor) not in given:
                self._follow(tensor)
        rule = self._scratch.get(func)
        peak = self.held + (rule(args, made) if rule is not None else 0)
        if func is aten.add.Tensor and _in_backward():
            self._sum = (weakref.ref(args[0].untyped_storage()), peak)
        else:
            self.most = max(self.most, peak)
        return out

    def _settle(self) -> None:
        """Count the last sum of gradients if its first term is still there."""
        if self._sum is not None:
            first, peak = self._sum
            self.most = max(self.most, peak if first() is not None else 0)
            self._sum = None

    def _follow(self, tensor: Tensor) -> None:
        storage = tensor.untyped_storage()
        key, size = storage_key(tensor), storage.nbytes()
        if key in self._alive:
            return

        def forget(_: Any) -> None:
            del self._alive[key]
            self.held -= size

        self._alive[key] = weakref.ref(storage, forget)
        self.held += size


class _FusedAttention(TorchFunctionMode):
    """Takes scaled dot-product attention to a kernel of its own wherever a CPU would."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func is F.scaled_dot_product_attention and len(args) == 3 and _fuses(*args, **kwargs):
            known = {name: kwargs.get(name) for name in ("attn_mask", "scale")}
            causal = kwargs.get("is_causal", False)
            return aten._scaled_dot_product_flash_attention_for_cpu(*args, 0.0, causal, **known)[0]  # noqa: SLF001
        return func(*args, **kwargs)


def _fuses(query: Tensor, key: Tensor, value: Tensor, **options: Any) -> bool:
    """Say whether attention has a kernel: for (N, heads, length, depth) of one depth, that innermost in memory.

    It has none for dropout, nor for heads that share keys.
    """
    inputs = (query, key, value)
    fits = all(t.dim() == 4 and t.stride(3) == 1 for t in inputs)
    alike = fits and len({(t.shape[1], t.shape[3]) for t in inputs}) == 1
    return alike and not options.get("dropout_p") and not options.get("enable_gqa")


def storage_key(tensor: Tensor) -> int:
    """Return what tells storages that live at the same time apart."""
    return id(tensor.untyped_storage())  # one Python object for as long as the storage lives


def _in_backward() -> bool:
    task: int = torch._C._current_graph_task_id()  # noqa: SLF001 - torch has no public way to tell
    return task >= 0


def _tensors(values: Iterable[Any]) -> Iterator[Tensor]:
    """Yield the tensors among arguments or results, those in lists too."""
    for value in values:
        if isinstance(value, Tensor):
            yield value
        elif isinstance(value, list | tuple):
            yield from _tensors(value)
