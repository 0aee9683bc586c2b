"""`full`, the space of everything: which published architectures lie inside, and whether all of it fits together."""

from __future__ import annotations

from functools import cache
from random import Random
from typing import Any

import optuna
import pytest

from nas import registry, strategies
from nas.architecture import Architecture, load_architecture
from nas.asked import Asked, new_settings, starting_points
from nas.choosers import random_chooser, replay
from nas.cost import Counter
from nas.errors import SpaceError
from nas.language.decide import decide
from nas.language.tree import Choice, nodes
from nas.resolve import closed
from nas.space import Space, load_space, published
from search_spaces.network import without_auxiliary

SIZE = (64, 128)
OUTSIDE: dict[str, str] = {}
"""Published architectures that no choice in the space gives, each with its reason; all others lie inside.

Auxiliary heads, which are for training, are left out of the comparison.
"""


@cache
def full() -> Space:
    return load_space("full")


@cache
def counter() -> Counter:
    return Counter(SIZE)


def fitting(name: str) -> Architecture:
    """A published architecture for the space's classes and input size."""
    task, shape = full().tree["task"], full().tree["input"]
    return load_architecture(name).with_classes(task["semantic"]["classes"]).with_input(shape)


@pytest.mark.parametrize("slot", ["encoder", "context", "neck", "head"])
def test_every_kind_of_a_slot_is_an_option(slot: str) -> None:
    path = slot if slot == "encoder" else f"decoders.semantic.{slot}"
    (choice,) = [node for place, node in nodes(full().tree) if place == path]
    assert isinstance(choice, Choice)
    assert sorted(choice.names or ()) == registry.names(slot)


@pytest.mark.parametrize("name", published())
def test_published_architectures_lie_inside(name: str) -> None:
    """What was decided gives the architecture again; what is said to lie outside does."""
    inner = without_auxiliary(fitting(name))
    if name in OUTSIDE:
        with pytest.raises(SpaceError, match="outside the space"):
            decide(full(), inner)
    else:
        assert closed(full(), replay(decide(full(), inner))) == inner


def has_heads(name: str) -> bool:
    return without_auxiliary(load_architecture(name)) != load_architecture(name)


@pytest.mark.parametrize("name", [name for name in published() if has_heads(name)])
def test_auxiliary_heads_are_no_choice(name: str) -> None:
    with pytest.raises(SpaceError, match=r"^decoders\.semantic\.auxiliary.* outside the space"):
        decide(full(), fitting(name))


def test_a_search_can_start_from_every_published_architecture() -> None:
    """Without auxiliary heads, for the classes and the size of the search's data."""
    data = "street:images=16,size=64x128"
    settings, space = new_settings(Asked(space=full(), data=data, size=SIZE))
    inside = tuple(published().keys() - OUTSIDE)
    starts = starting_points(space, settings, inside)
    assert set(starts) == set(inside)
    for name, params in starts.items():
        trial: Any = optuna.trial.FixedTrial(params)
        wanted = load_architecture(name).with_classes(len(settings.classes))
        assert closed(space, strategies.chooser(trial)) == without_auxiliary(
            wanted.with_input((3, *SIZE))
        )


def test_a_search_does_not_start_outside_for_another_reason() -> None:
    settings, space = new_settings(Asked(space=load_space("real_time"), data="street:images=16"))
    with pytest.raises(SpaceError, match="--start-from ddrnet23: not in the space real_time: enc"):
        starting_points(space, settings, ("ddrnet23",))


@pytest.mark.parametrize("seed", range(8))
def test_whatever_is_drawn_fits_together(seed: int) -> None:
    architecture = closed(full(), random_chooser(Random(seed)))
    assert counter().count(architecture).macs > 0
