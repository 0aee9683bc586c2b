"""A differentiable search finds what is there: the best of a space, as known from training all of it, beats chance.

Random search has the same cost: as many trainings as fit the processor seconds of the whole differentiable search, the
best of them by its score. Its chance to have the best among them is exact.
"""

from __future__ import annotations

import math
import statistics
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from nas.run import Run
from nas.search import search

pytestmark = pytest.mark.slow

ASIDE = Path(__file__).with_name("looking_aside.py")
DILATIONS = ", ".join(
    f"{{conv: {{dilation: {d}}}}}" for d in (1, 2, 4, 6, 7, 8, 9, 10, 11, 12, 13, 14)
)
STAGE = "{width: 16, blocks: [{conv: {}}]}"
FINEST = "{width: 16, finest: {choice: [16, 8, 4]}}"
SEEDS = range(4)
SOLVED = 3
"""Of the seeds, at least."""
COST = 6
"""Trainings that a differentiable search may cost, its own included, of the twelve that it takes to know."""


@dataclass(frozen=True)
class Planted:
    """A space of twelve architectures, `good` of which are the best by far; epochs of a training and of supernets."""

    good: int
    text: str
    data: str
    epochs: int
    supernet: dict[str, int]
    recipe: dict[str, Any] = field(default_factory=dict)
    plugins: tuple[Path, ...] = ()


OPERATIONS = Planted(
    good=1,
    text=f"""
task: {{semantic: {{classes: 11}}}}
input: [3, 32, 64]
encoder:
  stages: {{stem: 8, stages: [{{width: 16, blocks: [{{conv: {{}}}}, {{choice: [{DILATIONS}]}}]}}]}}
decoders: {{semantic: {{head: {{fcn: {{finest: 4, convs: 0}}}}}}}}
""",
    data="aside:images=160,size=32x64",
    epochs=12,
    supernet={"softmax": 12, "gumbel": 40},
    recipe={"flip": 0.0, "scale": [1.0, 1.0]},
    plugins=(ASIDE,),
)
"""One dilation reaches what the labels are of."""
NETWORK = Planted(
    good=2,
    text=f"""
task: {{semantic: {{classes: 11}}}}
input: [3, 32, 64]
encoder:
  stages:
    stem: 8
    stages: [{STAGE}, {STAGE}, {STAGE}]
decoders:
  semantic:
    neck: {{choice: {{none: {{}}, fpn: {{width: 16}}}}}}
    head: {{choice: {{fcn: {FINEST}, merge: {FINEST}}}}}
""",
    data="street:images=160,size=32x64",
    epochs=20,
    supernet={"softmax": 20, "gumbel": 40},
)
"""Scores of every level, down to stride 4, are the best head for pictures so small; with the pyramid or without."""
KNOWN: dict[str, Any] = {
    "device": "cpu",
    "executor": "in_process",
    "preflight": False,
    "progress": False,
}


@dataclass(frozen=True)
class Trained:
    """All architectures of a space, trained: their scores, and processor seconds of one training."""

    planted: Planted
    folder: Path
    scores: dict[str, float]
    seconds: float

    def search(self, name: str, **asked: Any) -> tuple[Run, float]:
        """Search the space; also return the processor seconds that it took."""
        return timed(self.planted, self.folder, name, **asked)


def timed(planted: Planted, folder: Path, name: str, **asked: Any) -> tuple[Run, float]:
    file = folder / "space.yaml"
    file.write_text(planted.text)
    recipe = {"epochs": planted.epochs, "batch": 8, "precision": "fp32", **planted.recipe}
    began = time.process_time()
    run = search(
        file,
        data=planted.data,
        recipe=recipe,
        plugins=planted.plugins,
        run=folder / name,
        **KNOWN,
        **asked,
    )
    return run, time.process_time() - began


@pytest.fixture(scope="module", params=[OPERATIONS, NETWORK], ids=["operations", "network"])
def trained(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Trained:
    folder, planted = tmp_path_factory.mktemp("planted"), request.param
    run, seconds = timed(planted, folder, "all", strategy="random", budget="60trials")
    scores = {t.architecture: t.values["miou"] for t in run.trials() if t.outcome == "complete"}
    assert len(scores) == 12
    return Trained(planted, folder, scores, seconds / len(scores))


def test_the_best_are_the_best_by_far(trained: Trained) -> None:
    ranked = sorted(trained.scores.values(), reverse=True)
    good, others = ranked[: trained.planted.good], ranked[trained.planted.good :]
    assert good[-1] - others[0] > 2 * statistics.pstdev(others[1:])


@pytest.mark.parametrize("form", ["softmax", "gumbel"])
def test_it_is_found_more_often_than_by_random_search_of_the_same_cost(
    trained: Trained, form: str
) -> None:
    good = sorted(trained.scores, key=trained.scores.__getitem__)[-trained.planted.good :]
    supernet = {"epochs": trained.planted.supernet[form], "snapshots": 1, "form": form}
    found, costs = [], []
    for seed in SEEDS:
        run, seconds = trained.search(
            f"{form}-{seed}",
            strategy="differentiable",
            supernet=supernet,
            budget="1trials",
            seed=seed,
        )
        found.append(run.trials()[0].architecture in good)
        costs.append(seconds / trained.seconds)
    trainings = math.ceil(statistics.fmean(costs))
    chance = 1 - math.comb(12 - len(good), trainings) / math.comb(12, trainings)
    print(f"{form}: {found}, {statistics.fmean(costs):.1f} trainings, random {chance:.2f}")
    assert trainings <= COST
    assert sum(found) >= SOLVED
    assert sum(found) / len(found) > chance
