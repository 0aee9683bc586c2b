"""Street scenes whose reporting split cannot be read: a recipe is chosen without it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from search_spaces.data.dataset import DataSet, Pair, Sample, reader
from search_spaces.data.street import open_street


@dataclass(frozen=True)
class Sealed:
    """Draws scenes of the training split only."""

    load: Any

    def __call__(self, sample: Sample) -> Pair:
        if sample.name.startswith("val"):
            raise AssertionError(f"{sample} is of the reporting split")
        pair: Pair = self.load(sample)
        return pair


@reader("sealed")
def open_sealed(rest: str) -> DataSet:
    """Return scenes as `street` has them, for the same options."""
    street = open_street(rest)
    text = street.text.replace("street", "sealed", 1)
    return replace(street, name="sealed", text=text, load=Sealed(street.load))
