from __future__ import annotations

import numpy as np
import pytest
import torch
from data_files import image, mask
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from search_spaces.data import MEAN, STD, fit_image, fit_mask, fitted_size, normalise
from search_spaces.data.fit import mirrored, nearest, resize_image, resize_mask

SIDES = st.integers(1, 400)


@given(SIDES, SIDES, SIDES, SIDES)
def test_fitted_size_fills_one_side_of_the_frame(
    height: int, width: int, high: int, wide: int
) -> None:
    fitted = fitted_size((height, width), (high, wide))
    assert 1 <= fitted[0] <= high
    assert 1 <= fitted[1] <= wide
    assert fitted[0] == high or fitted[1] == wide


@pytest.mark.parametrize(
    ("size", "frame", "fitted"),
    [
        ((360, 480), (180, 240), (180, 240)),
        ((360, 480), (181, 241), (181, 241)),
        ((1024, 2048), (100, 201), (100, 201)),
        ((360, 480), (128, 256), (128, 171)),
        ((480, 360), (128, 256), (128, 96)),
        ((100, 400), (128, 256), (64, 256)),
    ],
)
def test_frames_of_the_same_ratio_are_filled(
    size: tuple[int, int], frame: tuple[int, int], fitted: tuple[int, int]
) -> None:
    assert fitted_size(size, frame) == fitted


def test_what_is_not_filled_is_mean_colour_and_void() -> None:
    picture = fit_image(image(0, (20, 20)), (20, 40))
    label = fit_mask(mask(0, 3, (20, 20)), (20, 40))
    np.testing.assert_array_equal(picture[:, :20], image(0, (20, 20)))
    np.testing.assert_array_equal(label[:, :20], mask(0, 3, (20, 20)))
    assert (label[:, 20:] == 255).all()
    assert normalise(picture)[0, :, :, 20:].abs().max() < 0.01


def test_shrinking_averages_as_pillow_does() -> None:
    picture = image(1, (64, 96))
    expected = np.asarray(Image.fromarray(picture).resize((24, 16), Image.Resampling.BILINEAR))
    difference = np.abs(resize_image(picture, (16, 24)).astype(int) - expected)
    assert difference.max() <= 1


def test_image_and_mask_meet_at_the_same_centres() -> None:
    ramp = np.repeat(np.arange(8, dtype=np.uint8) * 30, 16)[None].repeat(8, 0)
    picture = resize_image(np.stack([ramp] * 3, 2), (8, 64))
    label = resize_mask(ramp, (8, 64))
    middles = np.arange(4, 64, 8)
    np.testing.assert_array_equal(picture[0, middles, 0], label[0, middles])


@given(st.integers(1, 300), st.integers(1, 300))
def test_nearest_is_the_pixel_under_the_centre(old: int, new: int) -> None:
    found = nearest(old, new)
    assert found.min() >= 0
    assert found.max() < old
    np.testing.assert_array_equal(found, [(2 * i + 1) * old // (2 * new) for i in range(new)])


def test_mirrored_is_numpy_reversed() -> None:
    np.testing.assert_array_equal(mirrored(image(3)), image(3)[:, ::-1])


def test_normalise_is_the_formula_for_arrays_and_tensors() -> None:
    picture = image(2)
    expected = ((picture / 255 - np.array(MEAN)) / np.array(STD)).transpose(2, 0, 1)
    np.testing.assert_allclose(normalise(picture)[0].numpy(), expected, atol=1e-5)
    planes = torch.from_numpy(picture).permute(2, 0, 1)[None].contiguous()
    torch.testing.assert_close(normalise(planes), normalise(picture))
    assert normalise(np.stack([picture] * 2)).shape == (2, 3, 12, 16)


def test_normalise_with_light_is_the_formula() -> None:
    pictures = np.stack([image(0), image(1)])
    contrast, brightness = torch.rand(2, 3) + 0.5, torch.rand(2, 3) - 0.5
    lit = pictures.transpose(0, 3, 1, 2) / 255 * contrast[:, :, None, None].numpy()
    lit += brightness[:, :, None, None].numpy()
    expected = (lit - np.array(MEAN)[:, None, None]) / np.array(STD)[:, None, None]
    planes = torch.from_numpy(pictures).permute(0, 3, 1, 2)
    np.testing.assert_allclose(normalise(planes, contrast, brightness).numpy(), expected, atol=1e-5)


def test_normalise_refuses_floats() -> None:
    with pytest.raises(ValueError, match="expects uint8"):
        normalise(torch.zeros(1, 3, 4, 4))
