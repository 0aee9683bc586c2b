"""Leaf blocks: ordinary `nn.Module` classes with their fields in the signature; importing registers them."""

from search_spaces.blocks import (
    activate,
    auto_deeplab,
    average_pool,
    concat_filled,
    conv,
    convnext,
    joins,
    mbconv,
    msca,
    nmf,
    norms,
    pooling,
    pre_activation,
    residual,
    separable,
)

__all__ = [
    "activate",
    "auto_deeplab",
    "average_pool",
    "concat_filled",
    "conv",
    "convnext",
    "joins",
    "mbconv",
    "msca",
    "nmf",
    "norms",
    "pooling",
    "pre_activation",
    "residual",
    "separable",
]
