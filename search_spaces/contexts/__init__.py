"""Contexts: widen what the coarsest feature sees; strides stay as they are."""

from search_spaces.contexts import (
    aspp,
    context_embedding,
    dappm,
    li_aspp,
    msp,
    multi_kernel,
    none,
    ppm,
    rectangular_pyramid,
    spatial_selection,
    stride_aspp,
)

__all__ = [
    "aspp",
    "context_embedding",
    "dappm",
    "li_aspp",
    "msp",
    "multi_kernel",
    "none",
    "ppm",
    "rectangular_pyramid",
    "spatial_selection",
    "stride_aspp",
]
