"""A data set with a planted structure: street scenes with the labels of what is seen some columns to the left."""

from dataclasses import dataclass, replace

import numpy as np

from search_spaces.data.dataset import IGNORE, DataSet, Pair, Sample, reader
from search_spaces.data.scene import draw_scene
from search_spaces.data.street import open_street

COLUMNS = 16
"""How far: a 3x3 convolution at stride 4 reaches there with a dilation of 4, and no other whole number."""


@dataclass(frozen=True)
class Aside:
    """Draws a scene that is too wide, and shows its right side under the labels of its left side."""

    size: tuple[int, int]
    seed: int

    def __call__(self, sample: Sample) -> Pair:
        height, width = self.size
        rng = np.random.default_rng([self.seed, sample.number])
        image, mask = draw_scene(rng, (height, width + COLUMNS))
        seen = mask[:, :-COLUMNS].copy()
        seen[:, :COLUMNS] = IGNORE
        return np.ascontiguousarray(image[:, COLUMNS:]), seen


@reader("aside")
def open_aside(rest: str) -> DataSet:
    """Return scenes as `street` has them, for the same options."""
    street = open_street(rest)
    text = street.text.replace("street", "aside", 1)
    size, seed = street.load.size, street.load.seed  # type: ignore[attr-defined]
    return replace(street, name="aside", text=text, load=Aside(size, seed))
