"""What encoders of stages share that halve the resolution from stage to stage: the loop, and the features' names."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

from nas.plan import Feature

S = TypeVar("S")


def hierarchy(
    kind: str, image: Feature, stages: Sequence[S], draw: Callable[[str, Feature, S], Feature]
) -> dict[str, Feature]:
    """Return what `draw(name, x, stage)` gives stage by stage, as taps "stage1", ... and by stride as s4, s8, ..."""
    if not stages:
        raise ValueError(f"{kind}: at least one stage is needed, got none")
    x, taps = image, {}
    for number, stage in enumerate(stages, start=1):
        x = taps[f"stage{number}"] = draw(f"stage{number}", x, stage)
    return {**taps, **{f"s{f.stride}": f for f in taps.values()}}
