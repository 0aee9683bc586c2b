"""A supernet that two processes train: weights and architecture are those of one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from nas.parallel.launch import launch
from nas.run import Run
from nas.train import never
from tests.nas.parallel.supernet_parts import CASES, trained
from tests.nas.search.differentiable import RECIPE, SUPERNET, go

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
    torch.testing.assert_close(got["architecture"], alone["architecture"], rtol=1e-4, atol=1e-4)


def test_a_search_with_it_tries_the_same(tmp_path: Path) -> None:
    recipe = {**RECIPE, "optimizer": "sgd", "lr": 0.01}
    runs = [
        go(tmp_path / str(workers), supernet={**SUPERNET, "workers": workers}, recipe=recipe)
        for workers in (1, 2)
    ]
    assert [run.ended for run in runs] == ["used up"] * 2
    one, two = (Run.open(run.folder).trials() for run in runs)
    assert [t.architecture for t in one] == [t.architecture for t in two]
    for a, b in zip(one, two, strict=True):
        assert a.snapshot["supernet_miou"] == pytest.approx(b.snapshot["supernet_miou"], abs=1e-3)
    files = [run.folder / "supernet" / "branch-0-epochs.json" for run in runs]
    losses = [[row["loss"] for row in json.loads(file.read_text())] for file in files]
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)
