"""Heads: features of strictly increasing strides to logits at the image's size; any list will do."""

from search_spaces.heads import (
    ddrnet,
    deeplabv3plus,
    dynamic_prototype,
    fcn,
    fused_levels,
    hamburger,
    hybrid_decoder,
    implicit,
    merge,
    mlp,
    pointwise,
    semantic_fpn,
    upernet,
)

__all__ = [
    "ddrnet",
    "deeplabv3plus",
    "dynamic_prototype",
    "fcn",
    "fused_levels",
    "hamburger",
    "hybrid_decoder",
    "implicit",
    "merge",
    "mlp",
    "pointwise",
    "semantic_fpn",
    "upernet",
]
