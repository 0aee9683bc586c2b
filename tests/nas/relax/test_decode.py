"""Decoding: one-hots give back their architecture, paths are the best of all, picks keep their two strongest."""

from __future__ import annotations

from itertools import pairwise
from math import prod

import pytest
import torch

from nas.language.tree import Walk, nodes
from nas.relax.decode import decode, viterbi
from nas.relax.gates import move_path, reach
from nas.relax.planner import opened
from nas.relax.weights import ArchitectureParameters, one_hot
from tests.nas.relax.spaces import TEXTS, relaxed

ZERO = '{"zero":{}}'


@pytest.mark.parametrize("name", TEXTS)
def test_a_one_hot_decodes_to_its_architecture(name: str) -> None:
    case = relaxed(name)
    for seed in range(20):
        architecture, decisions = case.draw(seed)
        found = decode(case.space, one_hot(case.asked, decisions))  # type: ignore[arg-type]
        if ZERO not in architecture.text:  # which is never kept
            assert found == architecture


def paths(walk: Walk) -> list[list[int]]:
    """Return every path, start included."""
    found = [[walk.start]]
    for _ in range(walk.steps):
        found = [[*path, to] for path in found for to in walk.moves[path[-1]]]
    return found


@pytest.mark.parametrize("seed", range(5))
def test_the_path_is_the_most_probable_of_all(seed: int) -> None:
    walk = Walk(6, 4, {4: (4, 8), 8: (4, 8, 16), 16: (8, 16, 32), 32: (16, 32)}, "walk")
    generator = torch.Generator().manual_seed(seed)
    chances = {
        move_path(walk, step, at): torch.rand(len(walk.moves[at]), generator=generator)
        .softmax(0)
        .tolist()
        for step, places in enumerate(reach(walk))
        for at in places
    }

    def chance(path: list[int]) -> float:
        moves = enumerate(pairwise(path))
        return prod(chances[move_path(walk, i, a)][walk.moves[a].index(b)] for i, (a, b) in moves)

    best, path = viterbi(walk, chances), [4]
    for step in range(walk.steps):
        path.append(walk.moves[path[-1]][best[move_path(walk, step, path[-1])]])
    assert path == max(paths(walk), key=chance)


def test_a_pick_keeps_its_strongest_sources_and_never_zero() -> None:
    case = relaxed("trellis")
    (walk,) = [node for _, node in nodes(opened(case.space)) if isinstance(node, Walk)]
    parameters = ArchitectureParameters(case.asked.values())
    chances = {path: p.tolist() for path, p in parameters.probabilities().items()}
    second = "encoder.trellis.cell[1]"
    chances |= {  # double_separable, average pool, skip, zero
        f"{second}.prev2": [0.1, 0.2, 0.1, 0.6],
        f"{second}.prev": [0.1, 0.1, 0.5, 0.3],
        f"{second}.item0": [0.3, 0.2, 0.2, 0.3],
    }
    cell = decode(case.space, chances).tree["encoder"]["trellis"]["cell"]
    assert cell[1] == [
        {"source": "prev", "op": {"skip": {}}},
        {"source": "item0", "op": {"double_separable": {}}},
    ]
    assert walk.steps == 3
