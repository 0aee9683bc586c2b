"""MOSAIC's context encoder (Wang and Howard 2021, arXiv 2112.11623)."""

from __future__ import annotations

from collections.abc import Sequence

from nas.fields import Odd, Positive
from nas.plan import Feature, Net
from nas.registry import kind


@kind("multi_kernel", "context")
def multi_kernel(
    net: Net,
    features: list[Feature],
    *,
    bins: Sequence[Positive] = (1, 4, 8, 16),
    width: Positive = 128,
    kernels: Sequence[Odd] = (3, 5),
) -> list[Feature]:
    """Put on the coarsest feature: `multi_kernel_pool` of `width` channels, which the kernels share evenly.

    Dropout behind it (0.1 in the code, 0 in the authors' best configuration) is left out.
    """
    fields = {"bins": list(bins), "kernels": list(kernels)}
    y = net.add("pool", {"multi_kernel_pool": fields}, features[-1], width=width)
    return [*features[:-1], y]
