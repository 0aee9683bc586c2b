"""Contexts: widen what the coarsest feature sees; strides stay as they are."""

from search_spaces.contexts import aspp, dappm, none, ppm, stride_aspp

__all__ = ["aspp", "dappm", "none", "ppm", "stride_aspp"]
