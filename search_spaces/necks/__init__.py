"""Necks: fuse a pyramid, and build it upward to the level `top` (P5 is stride 32, P9 stride 512)."""

from search_spaces.necks import (
    attention_pyramid,
    bifpn,
    deep_sum,
    dual_flow,
    dual_sampling,
    feature_fusion,
    flow_alignment,
    fpn,
    guided_aggregation,
    merging,
    panet,
    rsp,
)

__all__ = [
    "attention_pyramid",
    "bifpn",
    "deep_sum",
    "dual_flow",
    "dual_sampling",
    "feature_fusion",
    "flow_alignment",
    "fpn",
    "guided_aggregation",
    "merging",
    "panet",
    "rsp",
]
