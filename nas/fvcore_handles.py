"""Formulas for what fvcore skips or miscounts: a handle per operator of the traced graph.

A handle gets the inputs and outputs of a node of the graph and returns its multiply-adds. What fvcore
0.1.5.post20221221 does by itself with torch 2.13: `padding="same"` and "valid" convolutions, attention, `baddbmm`,
`addbmm`, `tensordot`, `inner` and products with a vector have no handle; `matmul` is wrong where the second tensor
has more dimensions than the first, and raises where it is a vector; `einsum` counts products that sum nothing, and
takes another order of three tensors than torch does. Grouped, dilated and transposed convolutions are right.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from math import prod
from typing import Any

Handle = Callable[[Sequence[Any], Sequence[Any]], int]
"""(inputs, outputs) of a node, `torch._C.Value`s each."""


def shape(value: Any) -> list[int]:
    """Sizes of a tensor of the graph."""
    return value.type().sizes()  # type: ignore[no-any-return]


def convolution(inputs: Sequence[Any], outputs: Sequence[Any]) -> int:
    """Convolution with `padding` as a word: the weight's elements for each output position; (N, C, ...) or (C, ...)."""
    weight, out = shape(inputs[1]), shape(outputs[0])
    spatial = len(weight) - 2
    return prod(weight) * prod(out[-spatial:]) * prod(out[: -spatial - 1])


def matmul(inputs: Sequence[Any], outputs: Sequence[Any]) -> int:
    """`a @ b` of any dimensions: one product of length K, a's last extent, per element of the output."""
    return prod(shape(outputs[0])) * shape(inputs[0])[-1]


def added_product(inputs: Sequence[Any], outputs: Sequence[Any]) -> int:  # noqa: ARG001
    """`baddbmm`, `addbmm`, `addmv`: something, plus the product of (..., M, K) by (..., K, N) or (K,)."""
    left, right = shape(inputs[1]), shape(inputs[2])
    return prod(left) * (right[-1] if len(right) > 1 else 1)


def product_with_vector(inputs: Sequence[Any], outputs: Sequence[Any]) -> int:  # noqa: ARG001
    """`mv`, `dot`: each element of the first is used once."""
    return prod(shape(inputs[0]))


def tensordot(inputs: Sequence[Any], outputs: Sequence[Any]) -> int:
    """Every element of the output sums over the dimensions of the first tensor that `dims` names."""
    summed = [shape(inputs[0])[int(dim.toIValue())] for dim in inputs[2].node().inputs()]
    return prod(shape(outputs[0])) * prod(summed)


def einsum(inputs: Sequence[Any], outputs: Sequence[Any]) -> int:  # noqa: ARG001
    """Pairs from left to right, as torch does; a pair without an index to sum over is no matrix product: 0."""
    equation = inputs[0].toIValue().replace(" ", "")
    return einsum_macs(equation, [shape(v) for v in inputs[1].node().inputs()])


def einsum_macs(equation: str, shapes: Sequence[Sequence[int]]) -> int:
    """Return the multiply-adds of `torch.einsum(equation, ...)` on tensors of these shapes."""
    terms, out, sizes = _indices(equation, shapes)
    macs = 0
    left = terms[0]
    for number, term in enumerate(terms[1:], start=2):
        needed = out.union(*terms[number:])
        shared = left & term
        both = shared | ((left | term) & needed)  # what stands in one of them only is summed before
        macs += prod(sizes[i] for i in both) if shared - needed else 0
        left = both & needed
    return macs


def _indices(
    equation: str, shapes: Sequence[Sequence[int]]
) -> tuple[list[set[str]], set[str], dict[str, int]]:
    """Return the indices of each operand that are longer than one, those of the result, and all extents.

    The dimensions of an ellipsis are called 0, 1, ... from the right, as they are aligned.
    """
    operands, arrow, result = equation.partition("->")
    terms: list[set[str]] = []
    sizes: dict[str, int] = {}
    letters = operands.replace("...", "").replace(",", "")
    for term, extents in zip(operands.split(","), shapes, strict=True):
        before, dots, after = term.partition("...")
        hidden = range(len(extents) - len(before) - len(after) - 1, -1, -1) if dots else ()
        named = dict(zip([*before, *map(str, hidden), *after], extents, strict=True))
        terms.append({index for index, extent in named.items() if extent > 1})
        sizes |= {index: max(extent, sizes.get(index, 1)) for index, extent in named.items()}
    dotted = {index for index in sizes if index.isdigit()}
    if not arrow:
        return terms, {i for i in letters if letters.count(i) == 1} | dotted, sizes
    return terms, set(result.replace("...", "")) | (dotted if "..." in result else set()), sizes


def attention(inputs: Sequence[Any], outputs: Sequence[Any]) -> int:
    """Scaled dot-product attention: scores of each query (..., L, E) with S keys, and their sum of values (..., S, V).

    A causal mask saves nothing, as in torch's own count; heads that share keys count for each query head.
    """
    query, key, value = (shape(v) for v in inputs[:3])
    return prod(shape(outputs[0])[:-1]) * key[-2] * (query[-1] + value[-1])


def multi_head_attention(inputs: Sequence[Any], outputs: Sequence[Any]) -> int:  # noqa: ARG001
    """What `nn.MultiheadAttention` (batch first) is in evaluation: four projections, and the attention between."""
    (batch, queries, width), keys = shape(inputs[0]), shape(inputs[1])[1]
    return batch * width * (2 * (queries + keys) * width + 2 * queries * keys)


HANDLES: Mapping[str, Handle] = {
    "aten::_convolution_mode": convolution,
    "aten::matmul": matmul,
    "aten::baddbmm": added_product,
    "aten::addbmm": added_product,
    "aten::addmv": added_product,
    "aten::mv": product_with_vector,
    "aten::dot": product_with_vector,
    "aten::inner": matmul,
    "aten::tensordot": tensordot,
    "aten::einsum": einsum,
    "aten::scaled_dot_product_attention": attention,
    "aten::_native_multi_head_attention": multi_head_attention,
}
"""Handles by operator, for `FlopCountAnalysis.set_op_handle`."""

OWN = frozenset({"conv", "linear", "addmm", "mm", "bmm", "matmul", "einsum"})
"""Names, in fvcore's report, of the multiply-adds that it has a formula for by itself."""

ADDED = frozenset(name.removeprefix("aten::") for name in HANDLES) - OWN
"""Names of those that it has none for."""

MULTIPLY_ADDS = OWN | ADDED
"""The operators of a report that convolve, or multiply matrices; the others normalise, resample and pool."""
