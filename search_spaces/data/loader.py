"""Batches of a prepared data set, made by threads ahead of the training that takes them."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from nas.errors import DataError
from search_spaces.data.augment import Augmentation, draw_light, draw_view
from search_spaces.data.cache import Prepared
from search_spaces.data.colour import PADDING, normalise
from search_spaces.data.dataset import IGNORE

Batch = tuple[torch.Tensor, torch.Tensor]
AHEAD = 3


class BatchRecipe(Augmentation, Protocol):
    """The fields of a training recipe that `batches` reads."""

    @property
    def batch(self) -> int: ...


@dataclass(frozen=True, slots=True)
class Raw:
    """A batch as uint8 (N, 3, H, W) and (N, H, W), with the light (N, 3) that its images are to stand in."""

    images: torch.Tensor
    masks: torch.Tensor
    contrast: torch.Tensor | None = None
    brightness: torch.Tensor | None = None

    def pinned(self) -> Raw:
        """Return a copy in memory that a GPU can fetch by itself."""
        parts = (self.images, self.masks, self.contrast, self.brightness)
        return Raw(*(p if p is None else p.pin_memory() for p in parts))  # type: ignore[arg-type]

    def on(self, device: torch.device) -> Batch:
        """Return normalised images and masks of class indices on `device`."""
        parts = (self.images, self.masks, self.contrast, self.brightness)
        images, masks, contrast, brightness = (
            p if p is None else p.to(device, non_blocking=True) for p in parts
        )
        assert images is not None
        assert masks is not None
        return normalise(images, contrast, brightness), masks.long()


def batches(
    prepared: Prepared,
    recipe: BatchRecipe,
    *,
    seed: int,
    epoch: int,
    device: torch.device | str,
    among: Sequence[int] | None = None,
    part: tuple[int, int] = (0, 1),
) -> Iterator[Batch]:
    """Yield one epoch for training: images (N, 3, h, w), normalised, and masks (N, h, w), shuffled and augmented.

    The last incomplete batch is left out. `among` are the numbers of the images to take, by default all. The same seed
    and epoch give the same batches, on any number of cores. `part` (i, n) gives the i-th of n slices of each batch, as
    it is in the whole one. Raises DataError where there are fewer images than one batch takes.
    """
    numbers = np.arange(len(prepared)) if among is None else np.asarray(among)
    count = len(numbers) // recipe.batch
    if count < 1:
        raise DataError(
            f"a batch takes {recipe.batch} images and there are {len(numbers)}; choose a smaller batch"
        )
    order = np.random.default_rng([seed, epoch]).permutation(numbers)[: count * recipe.batch]

    def make(number: int) -> Raw:
        chosen = order[number * recipe.batch : (number + 1) * recipe.batch]
        rng = np.random.default_rng([seed, epoch, number + 1])
        return _augmented(prepared, recipe, chosen, rng, own)

    size = recipe.batch // part[1]
    own = slice(part[0] * size, (part[0] + 1) * size)
    return _ahead(make, count, torch.device(device))


def validation(prepared: Prepared, batch: int, device: torch.device | str) -> Iterator[Batch]:
    """Yield all images (N, 3, H, W), normalised, and masks (N, H, W) in order; the last batch may be smaller."""

    def make(number: int) -> Raw:
        part = slice(number * batch, (number + 1) * batch)
        images, masks = np.array(prepared.images[part]), np.array(prepared.masks[part])
        return Raw(torch.from_numpy(images).permute(0, 3, 1, 2), torch.from_numpy(masks))

    return _ahead(make, -(-len(prepared) // batch), torch.device(device))


def _augmented(
    prepared: Prepared,
    recipe: BatchRecipe,
    chosen: NDArray[np.intp],
    rng: np.random.Generator,
    own: slice,
) -> Raw:
    """Return the slice `own` of a batch; what is drawn at random is drawn for all of it."""
    crop = recipe.crop or prepared.size
    views = [draw_view(rng, recipe, prepared.size, crop) for _ in chosen]
    light = draw_light(rng, len(chosen), recipe.photometric)
    samples = chosen[own]
    images = np.empty((len(samples), *crop, 3), np.uint8)
    images[:] = np.full((crop[1], 3), PADDING, np.uint8)
    masks = np.full((len(samples), *crop), IGNORE, np.uint8)
    for i, (sample, seen) in enumerate(zip(samples, views[own], strict=True)):
        seen.fill((prepared.images[sample], prepared.masks[sample]), (images[i], masks[i]))
    pixels = torch.from_numpy(images).permute(0, 3, 1, 2)
    return Raw(
        pixels, torch.from_numpy(masks), *(torch.from_numpy(values[own]) for values in light)
    )


def _ahead(make: Callable[[int], Raw], count: int, device: torch.device) -> Iterator[Batch]:
    """Yield `make(0)`, `make(1)`, ... on the device, up to `AHEAD` per thread ready before they are asked for.

    One thread where training needs the cores itself. uint8 to float is left to the taker's thread and device.
    """
    gpu = device.type == "cuda"
    workers = max(1, min(8, (os.cpu_count() or 1) - 1)) if gpu else 1
    pool = ThreadPoolExecutor(workers, thread_name_prefix="batches")

    def work(number: int) -> Raw:
        raw = make(number)
        return raw.pinned() if gpu else raw

    try:
        numbers = iter(range(count))
        waiting: deque[Future[Raw]] = deque(
            pool.submit(work, n) for n in islice(numbers, AHEAD * workers)
        )
        while waiting:
            raw = waiting.popleft().result()
            waiting.extend(pool.submit(work, n) for n in islice(numbers, 1))
            yield raw.on(device)
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
