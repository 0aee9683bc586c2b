"""The kind that leaves a slot out."""

from __future__ import annotations

from nas.plan import Feature, Net
from nas.registry import kind


@kind("none", "context", "neck")
def none(net: Net, features: list[Feature]) -> list[Feature]:  # noqa: ARG001
    """Leave the slot out: features pass unchanged."""
    return features
