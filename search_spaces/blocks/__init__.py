"""Leaf blocks: ordinary `nn.Module` classes with their fields in the signature; importing registers them."""

from search_spaces.blocks import conv, convnext, joins, mbconv, msca, pooling, residual, separable

__all__ = ["conv", "convnext", "joins", "mbconv", "msca", "pooling", "residual", "separable"]
