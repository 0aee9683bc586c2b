"""EfficientFormerV2 as an encoder (Li et al. 2023, arXiv 2212.08059), as in CGRSeg's code (Ni et al. 2024)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, NamedTuple, NotRequired, TypedDict

from nas.fields import Positive, Range
from nas.plan import Feature, Net
from nas.registry import kind
from search_spaces.blocks.msca import MlpRatio
from search_spaces.encoders.hierarchy import hierarchy

Count = Annotated[int, Range(least=0)]


class EfficientFormerStage(TypedDict):
    """Blocks of one width, one for each ratio in `mlp`; the last `attention` of them attend, none unless given."""

    width: Positive
    mlp: list[MlpRatio]
    attention: NotRequired[Count]


class _Row(NamedTuple):
    """A stage and what its neighbours decide."""

    fields: EfficientFormerStage
    after_attention: bool
    last: bool


@kind("efficientformer", "encoder")
def efficientformer(
    net: Net,
    image: Feature,
    *,
    stages: Sequence[EfficientFormerStage],
    resolution: Positive = 512,
    heads: Positive = 8,
    key: Positive = 32,
) -> dict[str, Feature]:
    """Return s4, s8, ...; taps "stage1", "stage2", ...: `unified_ffn` blocks, then `grid_attention` ones.

    The stem is two 3x3 convolutions of stride 2, the way into every further stage one, all with bias and batch norm,
    joined by attention (`attention_down`, keys half as wide) after a stage that attends. Every stage but the last
    attends at half its resolution. `resolution` is the side of the images for which distances are learned: another
    size runs, with tables resized. What leaves a stage is not normalised. No stochastic depth.
    """

    def stage(name: str, x: Feature, row: _Row) -> Feature:
        fields = row.fields
        width, count, attending = fields["width"], len(fields["mlp"]), fields.get("attention", 0)
        if not attending <= count or not count:
            raise ValueError(
                f"efficientformer: {name} has {count} blocks, of which {attending} attend; `mlp` needs one ratio "
                "for each block, and `attention` is at most their number"
            )
        x = _enter(net, name, x, row, grid=-(-resolution // x.stride), heads=heads, key=key)
        grid = -(-resolution // (x.stride if row.last else 2 * x.stride))
        shared = {"heads": heads, "key": key, "grid": grid, "shrink": not row.last}
        for i, mlp in enumerate(fields["mlp"]):
            attends = i >= count - attending
            block = {"grid_attention": {**shared, "mlp": mlp}} if attends else _plain(mlp)
            x = net.add(f"{name}.{i}", block, x, width=width)
        return x

    rows = [
        _Row(s, i > 0 and stages[i - 1].get("attention", 0) > 0, s is stages[-1])
        for i, s in enumerate(stages)
    ]
    return hierarchy("efficientformer", image, rows, stage)


def _plain(mlp: float) -> dict[str, dict[str, float]]:
    return {"unified_ffn": {"mlp": mlp}}


def _enter(net: Net, name: str, x: Feature, row: _Row, **attention: int) -> Feature:
    """Return what enters a stage: at stride 4 of the image, else half as large as what left the stage before."""
    width, conv = row.fields["width"], {"bias": True, "act": "none"}
    if x.stride == 1:
        stem = {"conv": {"bias": True, "act": "gelu"}}
        x = net.add(f"{name}.stem", stem, x, width=max(1, width // 2), stride=2)
        entered: Feature = net.add(f"{name}.embed", stem, x, width=width, stride=2)
    elif row.after_attention:
        attention["key"] = max(1, attention["key"] // 2)
        down = {"attention_down": attention}
        entered = net.add(f"{name}.embed", down, x, width=width, stride=2)
    else:
        entered = net.add(f"{name}.embed", {"conv": conv}, x, width=width, stride=2)
    return entered
