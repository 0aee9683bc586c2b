"""A supernet that two processes train: weights and architecture are those of one."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from nas.parallel.launch import launch
from nas.train import never
from tests.nas.parallel.supernet_parts import CASES, trained

pytestmark = pytest.mark.full


@pytest.fixture(scope="module")
def results() -> dict[str, tuple[dict[str, Any], bool]]:
    told = launch("tests.nas.parallel.supernet_parts:all_cases", number=2, stop=never)
    return {name: (result, alike) for name, result, alike in told}


@pytest.mark.parametrize("name", CASES)
def test_weights_and_architecture_are_those_of_one(name: str, results: dict[str, Any]) -> None:
    got, alike = results[name]
    alone = trained(name)
    assert alike
    assert got["loss"] == pytest.approx(alone["loss"], rel=1e-5)
    assert got["norms"] == pytest.approx(alone["norms"], rel=1e-3)
    torch.testing.assert_close(got["weights"], alone["weights"], rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(got["architecture"], alone["architecture"], rtol=1e-4, atol=1e-5)
