"""MSCAN, SegNeXt's encoder (Guo et al. 2022, section 3.1)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NotRequired, TypedDict

from nas.fields import Odd, Positive
from nas.plan import Feature, Net
from nas.registry import kind
from search_spaces.blocks.msca import MlpRatio
from search_spaces.encoders.hierarchy import hierarchy

EMBED = {"conv": {"bias": True, "act": "none"}}


class MscanStage(TypedDict):
    """`depth` blocks of one width; `mlp`: how much wider the feed-forward part is, 4 unless given."""

    width: Positive
    depth: Positive
    mlp: NotRequired[MlpRatio]


@kind("mscan", "encoder")
def mscan(
    net: Net,
    image: Feature,
    *,
    stages: Sequence[MscanStage],
    strips: Sequence[Odd] = (7, 11, 21),
) -> dict[str, Feature]:
    """Return s4, s8, ...; taps "stage1", "stage2", ...: `msca` blocks, layer norm at each stage's end.

    The stem is two 3x3 convolutions of stride 2, the way into every further stage one; all with bias and batch norm.
    What leaves a stage is normalised, for the next stage too (as in the official code). No stochastic depth.
    """

    def stage(name: str, x: Feature, fields: MscanStage) -> Feature:
        width = fields["width"]
        if x is image:
            stem = {"conv": {"bias": True, "act": "gelu"}}
            x = net.add(f"{name}.stem", stem, x, width=max(1, width // 2), stride=2)
        x = net.add(f"{name}.embed", EMBED, x, width=width, stride=2)
        block = {"msca": {"strips": list(strips), "mlp": fields.get("mlp", 4)}}
        for i in range(fields["depth"]):
            x = net.add(f"{name}.{i}", block, x, width=width)
        normed: Feature = net.add(f"{name}.norm", {"channel_norm": {"eps": 1e-5}}, x)
        return normed

    return hierarchy("mscan", image, stages, stage)
