from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nas.errors import DataError
from search_spaces.data import open_data
from search_spaces.data.scene import draw_scene


def test_the_same_seed_draws_the_same_scenes() -> None:
    a, b = (
        open_data("street:images=3,size=32x64,seed=5"),
        open_data("street:images=3,size=32x64,seed=5"),
    )
    other = open_data("street:images=3,size=32x64,seed=6")
    for x, y, z in zip(a.split("train"), b.split("train"), other.split("train"), strict=True):
        for first, second in zip(a.read(x), b.read(y), strict=True):
            np.testing.assert_array_equal(first, second)
        assert (a.read(x)[0] != other.read(z)[0]).any()


def test_no_scene_is_in_two_splits() -> None:
    data = open_data("street:images=30,val=20,size=16x32")
    scenes = [data.read(s)[0].tobytes() for split in ("train", "val") for s in data.split(split)]
    assert len(set(scenes)) == 50


def test_defaults_and_text() -> None:
    data = open_data("street")
    assert data.text == "street:images=400,val=100,size=128x256,seed=0"
    assert {k: len(v) for k, v in data.splits.items()} == {"train": 400, "val": 100}
    assert data.size == (128, 256)
    assert open_data(data.text).splits == data.splits


def test_every_class_occurs() -> None:
    rng = np.random.default_rng(0)
    masks = [draw_scene(rng, (64, 128))[1] for _ in range(40)]
    shares = np.bincount(np.concatenate([m.ravel() for m in masks]), minlength=256) / (
        40 * 64 * 128
    )
    assert (shares[:11] > 0.002).all(), shares[:11]
    assert 0 < shares[255] < 0.02
    assert shares.max() < 0.5


@settings(deadline=None, max_examples=30)
@given(st.integers(16, 90), st.integers(16, 150), st.integers(0, 2**32 - 1))
def test_any_size_is_drawn(height: int, width: int, seed: int) -> None:
    image, mask = draw_scene(np.random.default_rng(seed), (height, width))
    assert (image.shape, image.dtype) == ((height, width, 3), np.uint8)
    assert (mask.shape, mask.dtype) == ((height, width), np.uint8)
    assert set(np.unique(mask).tolist()) <= {*range(11), 255}


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("street:imges=3", "did you mean 'images'"),
        ("street:images", "expected street or street:images=400"),
        ("street:images=0", "a whole number N from 1"),
        ("street:images=-3", "a whole number N from 1"),
        ("street:size=64", "expected size=HEIGHTxWIDTH"),
        ("street:size=8x64", "from 16x16"),
        ("street:seed=x", "a whole number N from 0"),
    ],
)
def test_wrong_options(text: str, told: str) -> None:
    with pytest.raises(DataError, match=told):
        open_data(text)
