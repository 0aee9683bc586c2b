"""Every published system, at a quarter of its width, learns eight images by heart: it trains, good or not."""

from __future__ import annotations

import re
from typing import Any

import pytest
import torch

from nas.architecture import load_architecture
from nas.cost import cost
from nas.language.library import published
from nas.network import Network
from nas.plan import Planner
from nas.recipe import Recipe
from nas.train import score, train
from search_spaces.data import open_data, prepare, validation
from search_spaces.tasks import make_task
from tests.search_spaces.narrowed import narrowed

IMAGES, STEPS = 8, 300
SIZE = (64, 128)
RECIPE = Recipe(epochs=1, batch=IMAGES, lr=4e-3, weight_decay=0.0, precision="fp32")
VARIANT = re.compile(r"(_(resnet\d+m?|mobilenetv2|paper|slim|[stmlb]\d?|w\d+))+$|(?<=net)\d+$")
LEARNED = 0.85
"""Share of pixels told right. One class for all would be 0.34; logits at stride 8 blur edges of pictures so small."""


def systems() -> dict[str, list[str]]:
    """The variants of each published system by what their names share."""
    found: dict[str, list[str]] = {}
    for name in sorted(published()):
        system = VARIANT.sub("", VARIANT.sub("", name))
        found.setdefault(system, []).append(name)
    return found


def smallest(names: list[str]) -> dict[str, Any]:
    """The tree of the variant with the fewest parameters."""
    trees = [dict(load_architecture(name).tree) for name in names]
    return trees[0] if len(trees) == 1 else min(trees, key=lambda t: cost(t, SIZE).params)


def test_variants_are_told_from_systems() -> None:
    found = systems()
    assert found["ddrnet"] == ["ddrnet23", "ddrnet23_slim", "ddrnet39"]
    assert found["segnext"] == ["segnext_b", "segnext_l", "segnext_s", "segnext_t"]
    assert "deeplabv3plus" in found
    assert sorted(name for names in found.values() for name in names) == sorted(published())


@pytest.mark.full
@pytest.mark.parametrize("system", systems())
def test_a_quarter_of_the_width_is_some_sixteenth_of_the_parameters(system: str) -> None:
    """The same nodes; where two widths become one, a projection falls away.

    What has a fixed size (the image's three channels, classes, windows) shrinks less.
    """
    tree = smallest(systems()[system])
    whole, part = (cost(t, SIZE) for t in (tree, narrowed(tree, 4)))
    names = [n.name for n in whole.nodes]
    assert [name for name in names if name in {n.name for n in part.nodes}] == [
        n.name for n in part.nodes
    ]
    assert len(part.nodes) > 0.95 * len(names)
    assert 1 / 20 < part.params / whole.params < 1 / 6


@pytest.mark.slow
@pytest.mark.parametrize("system", systems())
def test_eight_images_are_learned_by_heart(system: str, tmp_path: Any) -> None:
    data = open_data(f"street:images={IMAGES},val=1,size={SIZE[0]}x{SIZE[1]}")
    prepared = prepare(data, data.splits["train"], SIZE, tmp_path)
    (batch,) = validation(prepared, IMAGES, torch.device("cpu"))
    tree = narrowed(smallest(systems()[system]), 4)
    tree |= {"task": {"semantic": {"classes": len(data.classes)}}, "input": [3, *SIZE]}
    torch.manual_seed(0)
    network, task = Network(Planner(SIZE).plan(tree)), make_task(data)
    learned = train(
        network,
        task,
        lambda _: [batch] * STEPS,
        RECIPE,
        steps_per_epoch=STEPS,
        seed=0,
        device="cpu",
    )
    (row,) = learned
    reached = score(network, task, [batch])["pixel_accuracy"]
    assert reached > LEARNED, f"{reached:.3f} after {STEPS} steps, mean loss {row['loss']:.3f}"
