"""Semantic segmentation: cross entropy per pixel, mIoU from one confusion matrix, colours of a palette."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import reduce
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from nas.errors import DataError
from nas.losses import terms, weight_of
from nas.parallel.ranks import ALONE, Ranks
from search_spaces.data.colour import normalise
from search_spaces.data.fit import fit_image, fitted_size
from search_spaces.data.pictures import read_image
from search_spaces.losses import LOSSES

if TYPE_CHECKING:
    from pathlib import Path

    from nas.network import Output
    from nas.recipe import Recipe

PAINT = 0.55  # how much of an overlay is colour
Picture = NDArray[np.uint8]


class Classes(Protocol):
    """What a task needs to know of a data set."""

    @property
    def classes(self) -> tuple[str, ...]: ...
    @property
    def palette(self) -> Picture: ...
    @property
    def ignore(self) -> int: ...


@dataclass(frozen=True, eq=False, slots=True)
class Semantic:
    """Segmentation into `classes`, coloured by `palette` (K, 3); pixels labelled `ignore` count nowhere."""

    classes: tuple[str, ...]
    palette: Picture
    ignore: int = 255

    def loss(self, output: Output, target: Tensor, recipe: Recipe) -> Tensor:
        """Return the recipe's loss of the logits, plus that of each auxiliary head times its weight.

        Raises RecipeError where the recipe's weights are by head and one of the network's has none.
        """
        return self.loss_of_parts(output, target, recipe, ALONE)

    def loss_of_parts(self, output: Output, target: Tensor, recipe: Recipe, ranks: Ranks) -> Tensor:
        """Return the loss of the whole batch, of which output and target are this rank's slice."""

        def loss(logits: Tensor) -> Tensor:
            parts = (
                term.weight
                * LOSSES[term.name](logits, target, self.ignore, ranks, **dict(term.fields))
                for term in terms(recipe.loss)
            )
            return reduce(torch.add, parts)

        total = loss(output.logits)
        for head, logits in output.aux.items():
            total = total + weight_of(recipe.aux_weight, head) * loss(logits)
        return total

    def blank(self, batch: int, size: tuple[int, int]) -> Tensor:
        """Return labels (N, H, W), int64, of images without a labelled pixel."""
        return torch.full((batch, *size), self.ignore)

    def metric(self) -> Confusion:
        """Return an empty confusion matrix."""
        return Confusion(self.classes, self.ignore)

    def decode(self, output: Tensor) -> Tensor:
        """Return the likeliest class (N, H, W), uint8, of logits (N, K, H, W)."""
        return output.argmax(1).to(torch.uint8)

    def picture(self, path: Path) -> Picture:
        """Return an image file as (H, W, 3); raises DataError with its name."""
        return read_image(path)

    def frame(self, image: Picture, size: tuple[int, int]) -> Tensor:
        """Return the normalised network input (1, 3, *size) of an image (H, W, 3): fitted into the top left corner."""
        return normalise(fit_image(image, size))

    def unframe(self, output: Tensor, size: tuple[int, int]) -> Tensor:
        """Return labels (1, *size), uint8, from logits (1, K, h, w): of the part that the image fills, resized.

        One class at a time, so that a large photograph never needs all its logits at full size.
        """
        height, width = fitted_size(size, (output.shape[2], output.shape[3]))
        inside = output[:, :, :height, :width].float()
        best = torch.full((1, *size), -torch.inf, device=output.device)
        labels = torch.zeros(1, *size, dtype=torch.uint8, device=output.device)
        for index in range(inside.shape[1]):
            scores = F.interpolate(
                inside[:, index : index + 1], size, mode="bilinear", align_corners=False
            )[:, 0]
            higher = scores > best
            labels[higher] = index
            best = torch.where(higher, scores, best)
        return labels

    def colours(self, labels: Picture) -> Picture:
        """Return labels (H, W) as colours (H, W, 3); `ignore` is black."""
        table = np.zeros((256, 3), np.uint8)
        table[: len(self.palette)] = self.palette
        return table[labels]

    def overlay(self, image: Picture, labels: Picture) -> Picture:
        """Return the image (H, W, 3) with the labels (H, W) painted over it; ignored pixels keep the image."""
        mixed = (1 - PAINT) * image.astype(np.float32) + PAINT * self.colours(labels)
        painted = np.rint(mixed).astype(np.uint8)
        return np.where((labels == self.ignore)[..., None], image, painted)


class Confusion:
    """Counts pixels by (true class, predicted class) over a whole split."""

    def __init__(self, classes: tuple[str, ...], ignore: int) -> None:
        self.classes = classes
        self.ignore = ignore
        self.matrix = torch.zeros(len(classes), len(classes), dtype=torch.int64)

    def update(self, output: Tensor, target: Tensor) -> None:
        """Add logits (N, K, H, W), or labels (N, H, W), and the true labels (N, H, W).

        Raises DataError on a label that is neither a class nor `ignore`.
        """
        k = len(self.classes)
        labels = output.argmax(1) if output.ndim == target.ndim + 1 else output
        valid = target != self.ignore
        true = target[valid].long()
        if true.numel() and int(true.max()) >= k:
            raise DataError(
                f"a mask holds class {int(true.max())}; the data set has {k} classes (0 to {k - 1})"
            )
        counts = torch.bincount(true * k + labels[valid].long(), minlength=k * k)
        self.matrix += counts.reshape(k, k).cpu()

    def compute(self) -> dict[str, Any]:
        """Return miou, iou by class and pixel_accuracy, all in 0..1.

        A class that occurs neither in the truth nor in a prediction has iou None and is left out of the mean.
        """
        hit = self.matrix.diagonal().double()
        union = self.matrix.sum(0) + self.matrix.sum(1) - self.matrix.diagonal()
        total = int(self.matrix.sum())
        if not total:
            raise DataError("nothing to score: the split has no labelled pixel")
        present = union > 0
        iou = hit / union.clamp(min=1)
        by_class = {c: float(iou[i]) if present[i] else None for i, c in enumerate(self.classes)}
        return {
            "miou": float(iou[present].mean()),
            "iou": by_class,
            "pixel_accuracy": float(hit.sum()) / total,
        }


def make_task(data: Classes) -> Semantic:
    """Return the task of a data set: its classes, palette and ignore label."""
    return Semantic(tuple(data.classes), np.asarray(data.palette, np.uint8), data.ignore)


def plain_task(tree: Mapping[str, Any]) -> Semantic:
    """Return the task that an architecture's tree names, without a data set: numbered classes, all of them black."""
    count = int(tree["task"]["semantic"]["classes"])
    return Semantic(tuple(str(index) for index in range(count)), np.zeros((count, 3), np.uint8))
