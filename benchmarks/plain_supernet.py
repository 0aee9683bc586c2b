"""Auto-DeepLab's supernet written out by hand, edge by edge: the same equations as the relaxed plan, none of its code.

It borrows the modules of a `RelaxedNetwork` of the space `auto_deeplab` by their names, so that both have the same
weights: what it computes must be equal, and what it takes is what a straightforward implementation takes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

from nas.relax.network import RelaxedNetwork

Probabilities = Mapping[str, Tensor]
MOVES = {4: (4, 8), 8: (4, 8, 16), 16: (8, 16, 32), 32: (16, 32)}
ENCODER = "encoder.trellis"
KINDS = ("double_separable", "double_separable", "atrous", "atrous", "pool", "pool", "skip")


class PlainSupernet:
    """Logits of images for softmax weights: H^l_s = sum over s' of beta^(l-1)_(s'->s) Cell(H^(l-1)_s', H^(l-2); alpha).

    H^(l-2) is resized from where it may have come (`skip: resized`), weighted by the moves that lead to s'.
    """

    def __init__(self, network: RelaxedNetwork, layers: int = 12, blocks: int = 5) -> None:
        self._modules = dict(network.named_modules())
        self._layers, self._blocks = layers, blocks

    def __call__(self, image: Tensor, p: Probabilities) -> Tensor:
        half, x = self._stem(image)
        before, now = {2: half}, {4: x}
        came: dict[int, dict[int, Tensor | float]] = {4: {2: 1.0}}
        for layer in range(self._layers):
            after: dict[int, Tensor] = {}
            arrived: dict[int, dict[int, Tensor | float]] = {}
            for frm in sorted(now):
                beta = p[f"{ENCODER}.path[{layer}]@{frm}"]
                for share, to in zip(beta, MOVES[frm], strict=True):
                    y = share * self._cell(image, p, (layer, frm, to), (before, now, came[frm]))
                    after[to] = after[to] + y if to in after else y
                    arrived.setdefault(to, {})[frm] = share
            before, now, came = now, after, arrived
        return self._logits(image, now)

    def _stem(self, image: Tensor) -> tuple[Tensor, Tensor]:
        half = self._run(
            f"{ENCODER}.stem.second.conv", self._run(f"{ENCODER}.stem.first.conv", image)
        )
        return half, self._run(f"{ENCODER}.stem.third.relu_conv", half)

    def _cell(
        self,
        image: Tensor,
        p: Probabilities,
        move: tuple[int, int, int],
        states: tuple[dict[int, Tensor], dict[int, Tensor], dict[int, Tensor | float]],
    ) -> Tensor:
        layer, frm, to = move
        before, now, came = states
        name, base = f"{ENCODER}.cell{layer}.s{frm}_s{to}", min(frm, to)
        prev = self._run(f"{name}.prev.project.relu_conv", resized(now[frm], image, base))
        prev2: Tensor | None = None
        for r, share in came.items():
            fitted = self._run(
                f"{name}.prev2.s{r}.project.relu_conv", resized(before[r], image, base)
            )
            prev2 = share * fitted if prev2 is None else prev2 + share * fitted
        assert prev2 is not None
        found = {"prev2": prev2, "prev": prev}
        for i in range(self._blocks):
            total: Tensor | None = None
            for source, x in found.items():
                stride = to // base if source in ("prev", "prev2") else 1
                y = self._edge(
                    f"{name}.item{i}.{source}", x, stride, p[f"{ENCODER}.cell[{i}].{source}"]
                )
                total = y if total is None else total + y
            assert total is not None
            found[f"item{i}"] = total
        return torch.cat([found[f"item{i}"] for i in range(self._blocks)], 1)

    def _edge(self, name: str, x: Tensor, stride: int, alpha: Tensor) -> Tensor:
        """Return sum over operations of alpha * operation(x); the last one is `zero`."""
        total: Tensor | None = None
        for k, kind in enumerate(KINDS):
            y = alpha[k] * self._operation(f"{name}|{k}.{kind}", k, x, stride)
            total = y if total is None else total + y
        assert total is not None
        return total

    def _operation(self, name: str, k: int, x: Tensor, stride: int) -> Tensor:
        if KINDS[k] == "pool":
            pools: tuple[Callable[..., Tensor], ...] = (average, F.max_pool2d)
            return pools[k - KINDS.index("pool")](x, 3, stride, 1)
        if KINDS[k] == "skip" and stride == 1:
            return x
        return self._run(name, x)

    def _logits(self, image: Tensor, ends: dict[int, Tensor]) -> Tensor:
        total: Tensor | None = None
        for stride, state in ends.items():
            x, name = state.relu(), f"decoder|end{stride}.semantic"
            aspp = f"{name}.context.stride_aspp"
            branches = {
                "point": self._run(f"{aspp}.point.conv", x),
                "dilated": self._run(f"{aspp}.dilated.conv", x),
                "image": self._run(f"{aspp}.image.pooled_conv", x),
            }
            fused = self._modules[f"{aspp}.project.fuse"](branches)
            y = resized(self._run(f"{name}.head.fcn.s{stride}.classify", fused), image, 1)
            total = y if total is None else total + y
        assert total is not None
        return total

    def _run(self, name: str, x: Tensor) -> Tensor:
        y: Tensor = self._modules[name](x)
        return y


def average(x: Tensor, kernel: int, stride: int, padding: int) -> Tensor:
    """Return averages that do not count the padding."""
    return F.avg_pool2d(x, kernel, stride, padding, count_include_pad=False)


def resized(x: Tensor, image: Tensor, stride: int) -> Tensor:
    """Return x at ceil(image / stride), bilinear."""
    size = [-(-n // stride) for n in image.shape[-2:]]
    if list(x.shape[-2:]) == size:
        return x
    return F.interpolate(x, size=size, mode="bilinear", align_corners=False)
