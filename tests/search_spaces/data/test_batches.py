from __future__ import annotations

import threading
import time
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from data_files import image, in_memory, mask
from numpy.typing import NDArray

from nas.errors import DataError
from search_spaces.data import MEAN, STD, Prepared, batches, prepare, validation
from search_spaces.data.augment import draw_light, draw_span, draw_view


@dataclass(frozen=True)
class Recipe:
    batch: int = 4
    crop: tuple[int, int] | None = None
    scale: tuple[float, float] = (0.5, 2.0)
    flip: float = 0.5
    photometric: float = 0.3


PLAIN = Recipe(scale=(1.0, 1.0), flip=0.0, photometric=0.0)


@pytest.fixture
def prepared(tmp_path: Path) -> Prepared:
    data = in_memory([(image(i), mask(i)) for i in range(10)])
    return prepare(data, data.split("train"), (12, 16), tmp_path)


def pixels(images: torch.Tensor) -> NDArray[np.int64]:
    """Return normalised images as (N, H, W, 3) from 0 to 255 again."""
    back = images * torch.tensor(STD)[:, None, None] + torch.tensor(MEAN)[:, None, None]
    return (back * 255).round().long().permute(0, 2, 3, 1).numpy()


def test_shapes_and_types(prepared: Prepared) -> None:
    found = list(batches(prepared, Recipe(crop=(7, 9)), seed=0, epoch=0, device="cpu"))
    assert len(found) == 2
    for images, masks in found:
        assert (images.shape, images.dtype) == ((4, 3, 7, 9), torch.float32)
        assert (masks.shape, masks.dtype) == ((4, 7, 9), torch.int64)
        assert images.is_contiguous(memory_format=torch.channels_last)


def test_batches_are_a_function_of_seed_and_epoch(prepared: Prepared) -> None:
    def drawn(seed: int, epoch: int) -> list[torch.Tensor]:
        return [
            t
            for pair in batches(prepared, Recipe(), seed=seed, epoch=epoch, device="cpu")
            for t in pair
        ]

    first = drawn(1, 2)
    for a, b in zip(first, drawn(1, 2), strict=True):
        assert torch.equal(a, b)
    assert not torch.equal(first[0], drawn(1, 3)[0])
    assert not torch.equal(first[0], drawn(2, 2)[0])


def test_an_epoch_takes_every_image_at_most_once(prepared: Prepared) -> None:
    seen = [
        p.tobytes()
        for x, _ in batches(prepared, PLAIN, seed=0, epoch=0, device="cpu")
        for p in pixels(x)
    ]
    known = {im.astype(np.int64).tobytes() for im in prepared.images}
    assert len(seen) == len(set(seen)) == 8
    assert set(seen) <= known


def test_without_augmentation_pixels_and_masks_are_unchanged(prepared: Prepared) -> None:
    by_image = {
        im.astype(np.int64).tobytes(): m
        for im, m in zip(prepared.images, prepared.masks, strict=True)
    }
    for images, masks in batches(prepared, PLAIN, seed=3, epoch=0, device="cpu"):
        for picture, label in zip(pixels(images), masks.numpy(), strict=True):
            np.testing.assert_array_equal(label, by_image[picture.tobytes()])


def test_always_flipped_is_mirrored(prepared: Prepared) -> None:
    straight = batches(prepared, PLAIN, seed=0, epoch=0, device="cpu")
    turned = batches(prepared, replace(PLAIN, flip=1.0), seed=0, epoch=0, device="cpu")
    for (a, x), (b, y) in zip(straight, turned, strict=True):
        assert torch.equal(a, b.flip(3))
        assert torch.equal(x, y.flip(2))


def test_too_few_images_for_a_batch(prepared: Prepared) -> None:
    with pytest.raises(DataError, match="a batch takes 11 images and there are 10"):
        batches(prepared, Recipe(batch=11), seed=0, epoch=0, device="cpu")


def test_validation_gives_everything_in_order(prepared: Prepared) -> None:
    found = list(validation(prepared, 4, "cpu"))
    assert [len(x) for x, _ in found] == [4, 4, 2]
    np.testing.assert_array_equal(np.concatenate([pixels(x) for x, _ in found]), prepared.images)
    np.testing.assert_array_equal(torch.cat([y for _, y in found]), prepared.masks)


def test_void_stays_void(tmp_path: Path) -> None:
    labels = [np.where(mask(i) == 2, 255, mask(i)).astype(np.uint8) for i in range(4)]
    data = in_memory([(image(i), m) for i, m in enumerate(labels)], classes=2)
    kept = prepare(data, data.split("train"), (12, 16), tmp_path)
    for _, masks in batches(kept, Recipe(), seed=0, epoch=0, device="cpu"):
        assert set(masks.unique().tolist()) <= {0, 1, 255}
    (_, masks), *_ = validation(kept, 4, "cpu")
    np.testing.assert_array_equal(masks, np.stack(labels))


def coloured(
    size: tuple[int, int] = (96, 128), block: int = 16
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Return a picture of blocks whose red is 20 times their class, with the mask."""
    small = mask(5, 11, (size[0] // block, size[1] // block))
    label = small.repeat(block, 0).repeat(block, 1)
    return np.stack([label * 20, 255 - label * 20, label], 2).astype(np.uint8), label


@pytest.mark.parametrize("crop", [(96, 128), (64, 64), (120, 200)])
def test_augmented_masks_stay_on_their_pictures(crop: tuple[int, int]) -> None:
    source, compared = coloured(), 0
    for seed in range(40):
        rng = np.random.default_rng(seed)
        picture = np.full((*crop, 3), (124, 116, 104), np.uint8)
        label = np.full(crop, 255, np.uint8)
        draw_view(rng, Recipe(crop=crop), source[1].shape, crop).fill(source, (picture, label))
        seen = label != 255
        assert seen.any()
        assert (picture[~seen] == (124, 116, 104)).all()
        inner = seen & uniform(label)
        assert np.abs(picture[inner][:, 0].astype(int) - 20 * label[inner].astype(int)).max() <= 1
        compared += int(inner.sum())
    assert compared > 5 * crop[0] * crop[1]


def uniform(label: NDArray[np.uint8], radius: int = 3) -> NDArray[np.bool_]:
    """Return where all pixels within `radius` have one class, so that interpolation mixes nothing."""
    around = np.lib.stride_tricks.sliding_window_view(
        np.pad(label, radius, mode="edge"), (2 * radius + 1,) * 2
    )
    return (around == label[..., None, None]).all((2, 3))


def test_spans_lie_inside_source_and_target() -> None:
    rng = np.random.default_rng(0)
    for _ in range(2000):
        source, target = (int(v) for v in rng.integers(1, 60, 2))
        span = draw_span(rng, source, target, float(rng.uniform(0.2, 4)))
        assert 0 <= span.start < span.stop <= source
        assert 0 <= span.at < span.until <= target


def test_a_crop_of_half_scale_holds_the_whole_image() -> None:
    span = draw_span(np.random.default_rng(0), 100, 100, 0.5)
    assert (span.start, span.stop, span.until - span.at) == (0, 100, 50)


def test_a_crop_of_double_scale_holds_half_the_image() -> None:
    span = draw_span(np.random.default_rng(0), 100, 100, 2.0)
    assert (span.stop - span.start, span.at, span.until) == (50, 0, 100)


def test_light_varies_as_far_as_it_says() -> None:
    contrast, brightness = draw_light(np.random.default_rng(0), 2000, 0.3)
    assert contrast.shape == brightness.shape == (2000, 3)
    middle = contrast * 0.5 + brightness
    assert 0.7 * 0.94 <= contrast.min() < 0.72
    assert 1.28 < contrast.max() <= 1.3 * 1.06
    assert np.abs(middle - 0.5).max() < 0.12 + 0.5 * 1.3 * 0.06 + 1e-6
    plain = draw_light(np.random.default_rng(0), 3, 0.0)
    np.testing.assert_array_equal(plain[0], 1)
    np.testing.assert_array_equal(plain[1], 0)


def test_the_thread_ends_with_its_taker(prepared: Prepared) -> None:
    taken = batches(prepared, Recipe(batch=1), seed=0, epoch=0, device="cpu")
    next(taken)
    assert [t for t in threading.enumerate() if t.name.startswith("batches")]
    del taken
    for _ in range(100):
        if not [t for t in threading.enumerate() if t.name.startswith("batches")]:
            break
        time.sleep(0.05)
    assert not [t for t in threading.enumerate() if t.name.startswith("batches")]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_batches_on_a_gpu_are_those_on_the_cpu(prepared: Prepared) -> None:
    there = batches(prepared, Recipe(), seed=0, epoch=0, device="cuda")
    for (a, x), (b, y) in zip(
        there, batches(prepared, Recipe(), seed=0, epoch=0, device="cpu"), strict=True
    ):
        assert a.device.type == x.device.type == "cuda"
        torch.testing.assert_close(a.cpu(), b)
        assert torch.equal(x.cpu(), y)
