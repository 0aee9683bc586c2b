"""What the engine asks of a task: a loss, a metric, a decoding and a picture.

The engine itself knows nothing of pixels.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor

    from nas.recipe import Recipe


class Metric(Protocol):
    """Collects a whole split, then says how good the predictions were."""

    def update(self, output: Any, target: Tensor) -> None:
        """Add a batch: what the network returns in evaluation mode, and the target."""
        ...

    def compute(self) -> dict[str, Any]:
        """Return plain numbers for the record; semantic segmentation: miou, iou by class, pixel_accuracy."""
        ...


class Task(Protocol):
    """One task on one data set."""

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes, in the order of the network's channels."""
        ...

    @property
    def palette(self) -> NDArray[np.uint8]:
        """One colour for each class, (K, 3)."""
        ...

    def loss(self, output: Any, target: Tensor, recipe: Recipe) -> Tensor:
        """Return the scalar loss of `Output(logits, aux)`, auxiliary heads weighted with `recipe.aux_weight`."""
        ...

    def blank(self, batch: int, size: tuple[int, int]) -> Tensor:
        """Return a target as batches of images of this size have it, with nothing in it."""
        ...

    def metric(self) -> Metric:
        """Return an empty metric."""
        ...

    def decode(self, output: Any) -> Tensor:
        """Return the labels (N, H, W) of what the network returns in evaluation mode."""
        ...

    def picture(self, path: Path) -> NDArray[np.uint8]:
        """Return an image file as (H, W, 3); raises DataError with its name."""
        ...

    def frame(self, image: NDArray[np.uint8], size: tuple[int, int]) -> Tensor:
        """Return the network's input (1, 3, *size) for an image (H, W, 3), its aspect ratio kept."""
        ...

    def unframe(self, output: Any, size: tuple[int, int]) -> Tensor:
        """Return the labels (1, H, W) at an image's own `size`, of the network's output for its frame."""
        ...

    def overlay(self, image: NDArray[np.uint8], labels: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Return the image (H, W, 3) with the labels (H, W) painted over it in the palette's colours."""
        ...
