"""What kernels allocate while they run and free before they return: bytes beyond their inputs and outputs.

The meta device knows outputs only. The rest was read off torch's memory profiler, operator by operator (torch 2.13,
fp32, oneDNN on AVX-512). `EVERYWHERE` holds what follows from layouts on any device; `CPU` what its own kernels add,
above all oneDNN's copies of inputs and outputs with channels padded to blocks of 16, which it makes of contiguous (not
channels-last) tensors. Workspaces of cuDNN are not known beforehand and are not here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch._prims_common import suggest_memory_format

aten = torch.ops.aten
Rule = Callable[[Sequence[Any], Sequence[Tensor]], int]
"""From an operator's positional arguments and the tensors that it returned to bytes."""

BLOCK = 16
"""Channels of a block in oneDNN's own layouts on AVX-512."""
SMALL = 20480
"""Elements of a single image's feature map up to which the CPU convolves without oneDNN."""
NARROW, WIDE = 3, 13
"""Widest depthwise kernel that oneDNN's own weight gradient takes, and the widest that it then treats as grouped."""
PIXELS_EACH = 256
"""Pixels of a map for each thread from which oneDNN's threads share an image, rather than take one each."""
VECTORIZED = 128
"""Height plus width of an output up to which bilinear resizing on the CPU goes by way of channels last."""


def is_channels_last(tensor: Tensor) -> bool:
    """Say whether kernels take the strides of (N, C, H, W) for channels last."""
    return suggest_memory_format(tensor) == torch.channels_last


def _copied(tensor: Tensor, channels_last: bool) -> int:
    """Bytes of a copy in the layout asked for, 0 where the tensor is in it."""
    layout = torch.channels_last if channels_last else torch.contiguous_format
    return 0 if tensor.is_contiguous(memory_format=layout) else tensor.nbytes


def _inputs_made_contiguous(count: int) -> Rule:
    """Rule of an operator that copies its first `count` tensors where they are not contiguous."""
    return lambda args, _: sum(0 if t.is_contiguous() else t.nbytes for t in args[:count])


def _layout(x: Tensor, weight: Tensor) -> bool:
    """Say whether a convolution runs in channels last, and gives such an output."""
    return x.dim() == 4 and (is_channels_last(x) or is_channels_last(weight))


def laid_out(func: Any, args: Sequence[Any], out: Any) -> Any:
    """Return what an operator returned on the meta device with the strides that real kernels give it.

    The meta device leaves every convolution's output contiguous.
    """
    if func is aten.convolution.default and _layout(*args[:2]):
        return out.contiguous(memory_format=torch.channels_last)
    return out


def _convolution_copies(args: Sequence[Any], _: Sequence[Tensor]) -> int:
    x, weight = args[:2]
    return _copied(x, _layout(x, weight)) if x.dim() == 4 else 0


def _gradient_copies(args: Sequence[Any], _: Sequence[Tensor]) -> int:
    gradient, x, weight = args[:3]
    if x.dim() != 4:
        return 0
    channels_last = _layout(x, weight)
    return _copied(gradient, channels_last) + _copied(x, channels_last)


def _blocked(tensor: Tensor) -> int:
    """Bytes of (N, C, H, W) with channels padded to whole blocks."""
    channels = tensor.shape[1]
    return tensor.nbytes // channels * (-(-channels // BLOCK) * BLOCK)


def _blocked_input(x: Tensor, groups: int) -> int:
    """Bytes of the copy of a convolution's input; one of few channels is read as it is."""
    return 0 if groups == 1 and x.shape[1] < BLOCK else _blocked(x)


def _is_pointwise(weight: Tensor) -> bool:
    return weight.shape[2:].numel() == 1


def _convolution_on_cpu(args: Sequence[Any], outputs: Sequence[Tensor]) -> int:
    x: Tensor = args[0]
    weight: Tensor = args[1]
    y, groups = outputs[0], args[8]
    copies = _convolution_copies(args, outputs)
    if x.dim() != 4 or _is_pointwise(weight):
        return copies
    if _without_onednn(x, weight, groups):
        small = (
            x if args[6] else y
        )  # a transposed convolution unfolds what it reads, others what they write
        return copies + weight[0].numel() * small.nbytes // small.shape[1]
    if _layout(x, weight):
        return copies + weight.nbytes
    if (
        args[6] and groups == 1
    ):  # transposed: the gradient of a convolution, in oneDNN's layout and as it is
        return 2 * _blocked(y)
    return max(_blocked_input(x, groups) + _blocked(y) + weight.nbytes - y.nbytes, _blocked(y))


def _without_onednn(x: Tensor, weight: Tensor, groups: int) -> bool:
    """Say whether a convolution unfolds its input (im2col), as it does for one small image."""
    large_kernel = weight.shape[2] > 3 and weight.shape[3] > 3
    return x.shape[0] == 1 and groups == 1 and not large_kernel and x.numel() <= SMALL


def _convolution_backward_on_cpu(args: Sequence[Any], outputs: Sequence[Tensor]) -> int:
    gradient: Tensor = args[0]
    x: Tensor = args[1]
    weight: Tensor = args[2]
    dilation, groups, wanted = args[6], args[9], args[10][0]
    copies = _gradient_copies(args, outputs)
    if x.dim() != 4 or _is_pointwise(weight):
        return copies
    made = sum(t.nbytes for t in outputs)
    data = x.nbytes if wanted else 0
    if groups == 1 and dilation[0] > 1 and dilation[0] * (weight.shape[2] - 1) >= x.shape[2]:
        return max(copies, data + weight.nbytes + _unfolded(x, weight, gradient) - made)
    if _layout(x, weight):
        blocks = BLOCK**2 if _is_padded_twice(x, weight, dilation, groups) else 1
        return copies + (1 + blocks) * weight.nbytes
    both = _blocked_input(x, groups) + _blocked(gradient)
    of_data = data + _blocked(x) if wanted else 0
    return max(of_data, data + both + 2 * weight.nbytes) - made


def _unfolded(x: Tensor, weight: Tensor, gradient: Tensor) -> int:
    """Bytes with which oneDNN makes a weight gradient of a dilated kernel that reaches over the whole height.

    Four of its own gradients, and one image unfolded, in its other layout too; of small maps every thread takes one.
    """
    pixels = gradient[0, 0].numel()
    unfolded = weight[0].numel() * pixels * gradient.element_size()
    image = x[0].nbytes if _layout(x, weight) else 0
    threads = torch.get_num_threads()
    at_once = threads if pixels < PIXELS_EACH * threads else 1
    return at_once * (4 * weight.nbytes + unfolded + image)


def _is_padded_twice(x: Tensor, weight: Tensor, dilation: Sequence[int], groups: int) -> bool:
    """Say whether oneDNN takes a depthwise weight gradient for a grouped one, with blocks of 16 x 16 per channel."""
    if groups == 1 or weight.shape[1] != 1:
        return False
    height, width = x.shape[2:]
    rows, columns = weight.shape[2:]
    if max(dilation) > 1:
        reach: int = columns // 2 * dilation[-1]
        return reach < max(height, width)
    return NARROW < columns <= WIDE or height < rows


def _resize_on_cpu(args: Sequence[Any], outputs: Sequence[Tensor]) -> int:
    (y,) = outputs
    if y.is_contiguous(memory_format=torch.channels_last) or y.shape[2] + y.shape[3] > VECTORIZED:
        return 0
    return int(y.nbytes + args[0].nbytes)


def _attention_on_cpu(args: Sequence[Any], _: Sequence[Tensor]) -> int:
    rows, columns = _scores_at_once(args[0], args[1])
    depth: int = args[0].shape[3]
    return 4 * rows * (columns + depth + 2)


def _attention_backward_on_cpu(args: Sequence[Any], _: Sequence[Tensor]) -> int:
    query: Tensor = args[1]
    rows, columns = _scores_at_once(query, args[2])
    return 2 * 4 * rows * columns + query.nbytes


def _scores_at_once(query: Tensor, key: Tensor) -> tuple[int, int]:
    """Return how many queries and keys the flash kernel takes in one block."""
    length = query.shape[2]
    rows = 256 if length >= 768 else 64 if length >= 192 else 32
    return min(rows, length), min(512, key.shape[2])


EVERYWHERE: Mapping[Any, Rule] = {
    aten.convolution.default: _convolution_copies,
    aten.convolution_backward.default: _gradient_copies,
    aten._log_softmax.default: _inputs_made_contiguous(1),  # noqa: SLF001 - the name of the operator
    aten._softmax.default: _inputs_made_contiguous(1),  # noqa: SLF001
    aten._safe_softmax.default: lambda args, _: args[0].numel(),  # noqa: SLF001 - which scores are minus infinity
    aten.native_layer_norm.default: _inputs_made_contiguous(1),
    aten.native_layer_norm_backward.default: _inputs_made_contiguous(2),
}
CPU: Mapping[Any, Rule] = {
    aten.convolution.default: _convolution_on_cpu,
    aten.convolution_backward.default: _convolution_backward_on_cpu,
    aten.native_batch_norm_backward.default: lambda args, _: (
        args[1].nbytes
    ),  # makes its output twice
    aten.upsample_bilinear2d.default: _resize_on_cpu,
    aten._scaled_dot_product_flash_attention_for_cpu.default: _attention_on_cpu,  # noqa: SLF001
    aten._scaled_dot_product_flash_attention_for_cpu_backward.default: _attention_backward_on_cpu,  # noqa: SLF001
}


def rules(device: str) -> Mapping[Any, Rule]:
    """Return what the kernels of a device ("cpu", "cuda", ...) allocate, by operator."""
    return {**EVERYWHERE, **CPU} if device == "cpu" else EVERYWHERE
