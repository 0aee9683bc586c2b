"""`full`, the space of everything: which published architectures lie inside, and what of it does not fit together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from random import Random
from typing import Any

import optuna
import pytest

from nas import registry, strategies
from nas.architecture import Architecture, load_architecture
from nas.asked import Asked, new_settings, starting_points
from nas.choosers import replay
from nas.cost import Counter
from nas.errors import PlanError, SpaceError
from nas.language.decide import decide
from nas.language.tree import Choice, nodes
from nas.resolve import closed
from nas.space import Space, load_space, published
from search_spaces import without_auxiliary

SIZE = (64, 128)
OUTSIDE = {
    "bisenetv2": "auxiliary heads on its stages 2 to 5; most encoders have four stages",
    "ddrnet23": "an auxiliary head on high3, which only its encoder has",
    "ddrnet23_slim": "an auxiliary head on high3, which only its encoder has",
    "ddrnet39": "an auxiliary head on high3, which only its encoder has",
    "fast_scnn": "auxiliary heads on its stages 2 and 5; most encoders have four stages",
}
"""Published architectures that are no member of the space, each with its reason; all others are."""

STAGES = {"stage1", "stage2", "stage3", "stage4"}
TAPS: dict[str, set[str]] = {"trellis": set(), "bisenetv2": STAGES - {"stage1"}}
"""Which stages an encoder has for auxiliary heads; all of them where it is not named."""


@cache
def full() -> Space:
    return load_space("full")


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


@pytest.mark.parametrize("name", sorted(set(published()) - OUTSIDE.keys()))
def test_published_architectures_lie_inside(name: str) -> None:
    """What was decided gives the architecture again."""
    assert closed(full(), replay(decide(full(), fitting(name)))) == fitting(name)


@pytest.mark.parametrize("name", OUTSIDE)
def test_what_lies_outside_does_so_for_its_auxiliary_heads_alone(name: str) -> None:
    with pytest.raises(SpaceError, match=r"^decoders\.semantic\.auxiliary: .* outside the space"):
        decide(full(), fitting(name))
    inner = without_auxiliary(fitting(name))
    assert closed(full(), replay(decide(full(), inner))) == inner


def test_a_search_can_start_from_every_published_architecture() -> None:
    """Inside as they are, outside without auxiliary heads, for the classes and the size of the search's data."""
    data = "street:images=4,size=64x128"
    settings, space = new_settings(Asked(space=full(), data=data, size=SIZE))
    starts = starting_points(space, settings, tuple(published()))
    assert set(starts) == set(published())
    for name, params in starts.items():
        trial: Any = optuna.trial.FixedTrial(params)
        started = closed(space, strategies.chooser(trial))
        wanted = load_architecture(name).with_classes(len(settings.classes))
        wanted = wanted.with_input((3, *SIZE))
        assert started == (without_auxiliary(wanted) if name in OUTSIDE else wanted)


def test_a_search_does_not_start_outside_for_another_reason() -> None:
    settings, space = new_settings(Asked(space=load_space("real_time"), data="street:images=4"))
    with pytest.raises(SpaceError, match="--start-from ddrnet23: not in the space real_time: enc"):
        starting_points(space, settings, ("ddrnet23",))


@pytest.mark.parametrize("encoder", registry.names("encoder"))
def test_auxiliary_heads_fit_where_the_encoder_has_their_stages(encoder: str) -> None:
    """The smallest network of each encoder, with each way to have auxiliary heads."""
    found = {}
    for heads, more in ((0, 0), (0, 1), (1, 0)):
        taken = {"decoders.semantic.auxiliary": heads, "decoders.semantic.auxiliary:0": more}

        def choose(path: str, options: Sequence[Any], taken: Mapping[str, int] = taken) -> int:
            return options.index(encoder) if path == "encoder" else taken.get(path, 0)

        found[taps(closed(full(), choose))] = plans(closed(full(), choose))
    has = TAPS.get(encoder, STAGES)
    assert found == {heads: set(heads) <= has for heads in ((), ("stage3",), tuple(sorted(STAGES)))}


@pytest.mark.parametrize("seed", range(6))
def test_whatever_else_is_drawn_fits(seed: int) -> None:
    def choose(path: str, options: Sequence[Any]) -> int:
        return 1 if path == "decoders.semantic.auxiliary" else rng.randrange(len(options))

    rng = Random(seed)
    assert plans(closed(full(), choose))


@cache
def counter() -> Counter:
    return Counter(SIZE)


def plans(architecture: Architecture) -> bool:
    """Whether it fits together; what does not is an auxiliary head."""
    try:
        return counter().count(architecture).macs > 0
    except PlanError as error:
        if "the encoder has no feature 'stage" not in str(error):
            raise
        return False


def taps(architecture: Architecture) -> tuple[str, ...]:
    """What its auxiliary heads read."""
    return tuple(sorted(architecture.tree["decoders"]["semantic"].get("auxiliary", {})))
