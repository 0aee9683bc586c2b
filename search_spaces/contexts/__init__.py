"""Contexts: widen what the coarsest feature sees; strides stay as they are."""

from search_spaces.contexts import aspp, none, ppm

__all__ = ["aspp", "none", "ppm"]
