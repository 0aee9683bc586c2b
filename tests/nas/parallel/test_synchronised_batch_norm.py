"""Batch norm over two ranks is batch norm over the batch: results, gradients and running statistics."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from nas.parallel.ranks import ALONE
from tests.nas.parallel.parts import NORMS, normed, told

pytestmark = pytest.mark.full
TOLERANCE = {torch.double: 1e-11, torch.float: 1e-4, torch.bfloat16: 3e-2}


@pytest.fixture(scope="module")
def results() -> dict[Any, Any]:
    return dict(told("norms"))


@pytest.mark.parametrize("key", NORMS, ids=str)
def test_two_halves_are_the_batch(key: Any, results: dict[Any, Any]) -> None:
    index, last, affine, dtype = key
    alone = normed(index, last=last, affine=affine, dtype=dtype, ranks=ALONE)
    assert len(results[key]) == len(alone)
    for got, expected in zip(results[key], alone, strict=True):
        assert got.dtype == expected.dtype
        apart = (got.double() - expected.double()).norm() / expected.double().norm().clamp(min=0.1)
        assert float(apart) < TOLERANCE[dtype]
