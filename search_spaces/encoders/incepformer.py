"""IncepFormer's encoder (Fu et al. 2022, arXiv 2212.03035)."""

from __future__ import annotations

from collections.abc import Sequence

from nas.plan import Feature, Net
from nas.registry import kind
from search_spaces.encoders.hierarchy import hierarchy
from search_spaces.encoders.mit import MitStage

NORM = {"activate": {"act": "none", "norm": True}}


@kind("incepformer", "encoder")
def incepformer(net: Net, image: Feature, *, stages: Sequence[MitStage]) -> dict[str, Feature]:
    """Return s4, s8, ...; taps "stage1", "stage2", ...: `inception_transformer` blocks, batch norm at a stage's end.

    Overlapping patches as in `mit`, with batch norm: 7x7 of stride 4, then 3x3 of stride 2. No stochastic depth.
    """

    def stage(name: str, x: Feature, fields: MitStage) -> Feature:
        width = fields["width"]
        kernel, stride = (7, 4) if x is image else (3, 2)
        patches = {"conv": {"kernel": kernel, "bias": True, "act": "none"}}
        x = net.add(f"{name}.embed", patches, x, width=width, stride=stride)
        chosen = {"heads": fields["heads"], "reduction": fields["reduction"]}
        block = {"inception_transformer": {**chosen, "mlp": fields.get("mlp", 4)}}
        for i in range(fields["depth"]):
            x = net.add(f"{name}.{i}", block, x, width=width)
        normed: Feature = net.add(f"{name}.norm", NORM, x)
        return normed

    return hierarchy("incepformer", image, stages, stage)
