"""A differentiable search with every option of `Mixing` at once: it is found in the record, and gives architectures."""

from __future__ import annotations

from pathlib import Path

import pytest

from nas.relax.schedule import Schedule
from nas.run import Run
from nas.search import search

SPACE = """
task: {semantic: {classes: 11}}
input: [3, 32, 64]
encoder:
  trellis:
    path: {walk: 2, from: 4, moves: {4: [4, 8], 8: [4, 8]}}
    cell:
      repeat: 2
      of: {pick: 2, from: [prev2, prev, earlier], of: {choice: [{double_separable: {}}, {skip: {}}, {zero: {}}]}}
    filters: 4
    stem: [4, 4, 8]
decoders: {semantic: {head: {fcn: {width: 8}}}}
"""

SUPERNET = {"epochs": 4, "snapshots": 2, "lr": 0.1}
MIXING = {
    "order": 2,
    "entropy": [0.0, 0.01],
    "skip_dropout": 0.2,
    "edges": True,
    "partial": 2,
    "limits": {"macs": 4e5},
    "weights": {"params": 0.01},
}


@pytest.mark.full
@pytest.mark.parametrize("form", ["softmax", "gumbel"])
def test_a_search_with_all_of_mixing(form: str, tmp_path: Path) -> None:
    asked = {**SUPERNET, **MIXING, "form": form, "temperature": [2.0, 0.5]}
    (tmp_path / "space.yaml").write_text(SPACE)
    ran = search(
        tmp_path / "space.yaml",
        run=tmp_path / "run",
        data="street:images=40,size=32x64",
        strategy="differentiable",
        recipe={"epochs": 1, "batch": 4, "precision": "fp32"},
        supernet=asked,
        budget="100trials",
        device="cpu",
        executor="in_process",
        preflight=False,
        progress=False,
    )
    assert ran.ended == "used up"
    trials = Run.open(ran.folder).trials()
    assert [t.snapshot["epoch"] for t in trials] == [3, 4]
    assert all(t.outcome in {"complete", "duplicate"} for t in trials)
    mixing = Schedule.of(asked).mixing
    assert {**mixing.to_dict(), **MIXING} == mixing.to_dict()
