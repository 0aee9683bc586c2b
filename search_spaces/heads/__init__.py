"""Heads: features of strictly increasing strides to logits at the image's size; any list will do."""

from search_spaces.heads import deeplabv3plus, fcn, merge, semantic_fpn

__all__ = ["deeplabv3plus", "fcn", "merge", "semantic_fpn"]
