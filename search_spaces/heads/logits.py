"""What heads share: which levels they read, and the way from a feature to logits at the image's size."""

from __future__ import annotations

from nas.plan import Feature, Net


def logits(net: Net, x: Feature, classes: int, dropout: float) -> Feature:
    """Dropout, 1x1 convolution to one score per class, bilinear to the image's size."""
    scores = net.add("classify", {"classify": {"dropout": dropout}}, x, classes=classes)
    return net.resize("logits", scores, to=1)


def from_stride(features: list[Feature], stride: int) -> list[Feature]:
    """Return the levels at `stride` or coarser; the coarsest of all if every one is finer."""
    return [f for f in features if f.stride >= stride] or features[-1:]


def up_to_stride(features: list[Feature], stride: int) -> list[Feature]:
    """Return the levels at `stride` or finer; the finest of all if every one is coarser."""
    return [f for f in features if f.stride <= stride] or features[:1]
