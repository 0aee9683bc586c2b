"""Encoders: image to features by name; "s4", "s8", ... are the pyramid, other names are taps for auxiliary heads."""

from search_spaces.encoders import (
    bisenetv2,
    dual_resolution,
    efficientformer,
    efficientnet,
    hrnet,
    incepformer,
    mit,
    mobilenet,
    mscan,
    resnet,
    stages,
    trellis,
)

__all__ = [
    "bisenetv2",
    "dual_resolution",
    "efficientformer",
    "efficientnet",
    "hrnet",
    "incepformer",
    "mit",
    "mobilenet",
    "mscan",
    "resnet",
    "stages",
    "trellis",
]
