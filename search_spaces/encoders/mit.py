"""MiT, SegFormer's encoder (Xie et al. 2021, section 3.1)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NotRequired, TypedDict

from nas.fields import Positive
from nas.plan import Feature, Net
from nas.registry import kind
from search_spaces.blocks.msca import MlpRatio
from search_spaces.encoders.hierarchy import hierarchy


class MitStage(TypedDict):
    """`depth` blocks of one width, with `heads` and one token per `reduction`^2 pixels; `mlp` is 4 unless given."""

    width: Positive
    depth: Positive
    heads: Positive
    reduction: Positive
    mlp: NotRequired[MlpRatio]


@kind("mit", "encoder")
def mit(net: Net, image: Feature, *, stages: Sequence[MitStage]) -> dict[str, Feature]:
    """Return s4, s8, ...; taps "stage1", "stage2", ...: `mix_transformer` blocks, layer norm at each stage's end.

    Overlapping patches: 7x7 convolution of stride 4, then 3x3 of stride 2, each with layer norm. There is no positional
    encoding. No stochastic depth.
    """

    def stage(name: str, x: Feature, fields: MitStage) -> Feature:
        width = fields["width"]
        kernel, stride = (7, 4) if x is image else (3, 2)
        patches = {"conv": {"kernel": kernel, "bias": True, "norm": False, "act": "none"}}
        x = net.add(f"{name}.embed", patches, x, width=width, stride=stride)
        x = net.add(f"{name}.embed", {"channel_norm": {"eps": 1e-5}}, x)
        chosen = {"heads": fields["heads"], "reduction": fields["reduction"]}
        block = {"mix_transformer": {**chosen, "mlp": fields.get("mlp", 4)}}
        for i in range(fields["depth"]):
            x = net.add(f"{name}.{i}", block, x, width=width)
        normed: Feature = net.add(f"{name}.norm", {"channel_norm": {}}, x)
        return normed

    return hierarchy("mit", image, stages, stage)
