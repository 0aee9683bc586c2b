"""Published recipes: one for each published architecture, nothing in it left to a default, and a step by each."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from nas.architecture import load_architecture
from nas.language.document import read_file
from nas.language.library import published, recipes
from nas.network import Network
from nas.plan import Planner
from nas.recipe import Recipe
from nas.recipe_file import OWN, load_recipe, recipe_of
from nas.train import train
from search_spaces.data import batches, open_data, prepare
from search_spaces.tasks import make_task
from tests.search_spaces.narrowed import narrowed

SIZE, BATCH = (64, 128), 2
DATA = open_data(f"street:images=8,val=1,size={SIZE[0]}x{SIZE[1]}")
SAID = {
    *("batch", "crop", "optimizer", "lr", "weight_decay", "schedule", "warmup", "loss"),
    *("clip", "scale", "flip", "photometric"),
}
"""What every recipe has to say; a default in its place would be ours, not the paper's."""
STAND_INS = {"nas_fpn", "panet", "rsp"}
"""What nothing is published of, so that the common recipe stands in."""


@cache
def tree(name: str) -> dict[str, Any]:
    """A published architecture at a quarter of its width, for the data here."""
    task = {"semantic": {"classes": len(DATA.classes)}}
    whole = load_architecture(name).tree
    return dict(narrowed(whole, 4)) | {"task": task, "input": [3, *SIZE]}


def heads(name: str) -> bool:
    return "auxiliary" in tree(name)["decoders"]["semantic"]


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return prepare(DATA, DATA.split("train"), SIZE, tmp_path_factory.mktemp("cache"))


def test_every_architecture_has_one_recipe() -> None:
    trained = [name for recipe in recipes() for name in load_recipe(recipe).architectures]
    assert sorted(trained) == sorted(published())


def test_an_architecture_called_like_a_recipe_is_trained_by_it() -> None:
    assert {n: recipe_of(n) for n in recipes() if n in published()} == {
        n: n for n in recipes() if n in published()
    }


@pytest.mark.parametrize("name", recipes())
def test_a_recipe_leaves_nothing_to_a_default(name: str) -> None:
    file, said = load_recipe(name), set(read_file(recipes()[name]).plain())
    assert file.source
    if name in STAND_INS:
        assert file.recipe == Recipe()
        assert said == {"source", "architectures"}
        return
    needed = set(SAID)
    needed |= {"momentum"} if file.recipe.optimizer == "sgd" else set()
    needed |= {"power"} if file.recipe.schedule == "poly" else set()
    needed |= {"aux_weight"} if any(map(heads, file.architectures)) else set()
    assert needed <= said
    assert len(said & {"steps", "epochs"}) == 1
    assert said - needed - set(OWN) <= {"epochs", "head_lr", "ema"}


@pytest.mark.full
@pytest.mark.parametrize("name", published())
def test_one_step_is_the_recipes(name: str, prepared: Any) -> None:
    """After one step every weight is where the recipe's optimiser, rates and decay put it, by formula."""
    file = load_recipe(recipe_of(name) or "")
    fitted = file.fitted(len(prepared), SIZE)
    assert fitted.crop in (None, SIZE)
    recipe = replace(fitted, epochs=1, batch=BATCH, precision="fp32", ema=0.0)
    torch.manual_seed(0)
    network, task = Network(Planner(SIZE).plan(tree(name))), make_task(DATA)
    before = {n: p.detach().clone() for n, p in network.named_parameters()}

    def first(epoch: int) -> Any:
        return batches(prepared, recipe, seed=0, epoch=epoch, device="cpu", among=[0, 1])

    (row,) = train(network, task, first, recipe, steps_per_epoch=1, seed=0, device="cpu")
    assert 0 < row["loss"] < 100
    for place, parameter in network.named_parameters():
        assert parameter.grad is not None, place
        expected = _stepped(before[place], parameter, place, recipe)
        torch.testing.assert_close(parameter.detach(), expected, msg=lambda m, p=place: f"{p}: {m}")


def _stepped(before: Tensor, parameter: nn.Parameter, name: str, recipe: Recipe) -> Tensor:
    """Where the first step takes a weight: plain SGD, or AdamW, whose averages are the gradient itself."""
    gradient = parameter.grad
    assert gradient is not None
    rate = recipe.lr * (1.0 if name.startswith("encoder.") else recipe.head_lr)
    is_free = before.ndim < 2 or name.endswith("bias")
    decay = 0.0 if is_free else recipe.weight_decay
    if recipe.optimizer == "sgd":
        return before - rate * (gradient + decay * before)
    return before * (1 - rate * decay) - rate * gradient / (gradient.abs() + 1e-8)


def test_recipes_travel_beside_the_architectures() -> None:
    folders = {Path(file).parent.parent for file in (*recipes().values(), *published().values())}
    assert len(folders) == 1
