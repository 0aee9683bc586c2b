"""Counted memory equals what can be worked out by hand, and what torch's allocators hold."""

from __future__ import annotations

import resource
import statistics
import subprocess
import sys
from collections.abc import Mapping
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor

from nas.allocations import Allocations
from nas.architecture import load_architecture, published
from nas.cost import Counter, cost
from nas.errors import TrainingError
from nas.leaf_memory import Conditions
from nas.memory import bytes_by_step, peak_inference, peak_training
from nas.network import Network, Output
from nas.plan import Plan, Planner
from nas.recipe import Recipe
from nas.scratch import rules
from nas.train import train
from search_spaces.tasks import plain_task
from tests.nas.allocator import cpu_peak, cuda_peak, drawn, evaluation, image, training
from tests.nas.toy import TASK, tiny_tree
from tests.nas.wiring import MAP, SIZE, planned, wired

__all__ = ["wired"]

PROMISED, USUAL = 0.1, 0.01
"""How far a count may be from an allocator's, and how far the median of them may."""


CHAIN = {"a": ["relu", "x"], "b": ["relu", "a"], "c": ["relu", "b"]}
SKIP = {"a": ["relu", "x"], "b": ["relu", "a"], "c": ["sum", "a", "b"]}
BRANCHES = {"a": ["relu", "x"], "b": ["relu", "x"], "c": ["relu", "b"], "d": ["sum", "a", "c"]}
SAME = {"a": ["same", "x"], "b": ["relu", "a"], "c": ["same", "b"], "d": ["relu", "c"]}
VIEW = {"a": ["relu", "x"], "b": ["view", "a"], "c": ["relu", "a"], "d": ["sum", "b", "c"]}
CUT = {"a": ["cut", "x"], "b": ["relu", "a"]}
BUSY = {"a": ["relu", "x"], "b": ["busy", "a"], "c": ["relu", "b"]}


@pytest.mark.usefixtures("wired")
@pytest.mark.parametrize(
    ("wires", "maps"),
    [
        (CHAIN, [2, 3, 3]),  # the image stays, as whoever calls the network has it
        (SKIP, [2, 3, 4]),
        (BRANCHES, [2, 3, 4, 4]),
        (SAME, [1, 2, 2, 3]),
        (VIEW, [2, 2, 3, 4]),  # a view keeps what it looks at
        (CUT, [3, 4]),
        (BUSY, [2, 5, 3]),
    ],
)
def test_what_each_step_holds_can_be_counted_by_hand(
    wires: dict[str, list[str]], maps: list[int]
) -> None:
    plan = planned(**wires)
    by_step = bytes_by_step(plan)
    assert list(by_step) == [step.name for step in plan.steps()[0]]
    assert list(by_step.values()) == [MAP * n for n in maps]
    assert peak_inference(plan) == MAP * max(maps)
    assert list(bytes_by_step(plan, Conditions(batch=3)).values()) == [3 * MAP * n for n in maps]


def wirings() -> st.SearchStrategy[dict[str, list[str]]]:
    """Return networks of up to seven leaves, each of what was made before it; the last adds up what nobody took."""
    leaf = st.tuples(
        st.sampled_from(["relu", "same", "view", "cut", "busy", "sum"]),
        st.lists(st.integers(0, 20), min_size=1, max_size=3),
    )
    return st.lists(leaf, min_size=1, max_size=6).map(_wires)


def _wires(leaves: list[tuple[str, list[int]]]) -> dict[str, list[str]]:
    wires: dict[str, list[str]] = {}
    for what, inputs in leaves:
        made = ["x", *wires]
        sources = [made[i % len(made)] for i in (inputs if what == "sum" else inputs[:1])]
        wires[f"n{len(wires)}"] = [what, *sources]
    taken = {name for _, *inputs in wires.values() for name in inputs}
    return {**wires, "end": ["sum", *(name for name in wires if name not in taken)]}


@pytest.mark.usefixtures("wired")
@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(wirings())
def test_any_wiring_holds_what_running_it_holds(wires: dict[str, list[str]]) -> None:
    plan = planned(**wires)
    assert peak_inference(plan, Conditions(batch=2)) == whole(plan, channels_last=False)


class Total:
    """A task whose loss is the sum of the logits, and whose target is empty."""

    def blank(self, batch: int, size: tuple[int, int]) -> Tensor:
        return torch.empty(0)

    def loss(self, output: Output, target: Tensor, recipe: Recipe) -> Tensor:
        return output.logits.sum()


@pytest.mark.usefixtures("wired")
@pytest.mark.parametrize(
    ("wires", "maps", "numbers"),
    [
        # at the weight's gradient: image, logits, the gradient of "w", its product with the image, and their sum
        ({"w": ["scale", "x"], "a": ["relu", "w"]}, 4, 3),
        # at the lower relu: image, what each relu kept, and the gradients on both sides
        ({"w": ["scale", "x"], "a": ["relu", "w"], "b": ["relu", "a"]}, 5, 2),
        ({"w": ["scale", "x"], "a": ["relu", "w"], "b": ["relu", "a"], "c": ["relu", "b"]}, 6, 2),
        # a sum keeps nothing; its two gradients are one, and are added up
        ({"w": ["scale", "x"], "a": ["sum", "w", "w"]}, 4, 3),
    ],
)
def test_what_backward_keeps_can_be_counted_by_hand(
    wires: dict[str, list[str]], maps: int, numbers: int
) -> None:
    """The numbers: the loss and its gradient, and the gradient of the weight where that is the peak."""
    recipe = Recipe(batch=1)
    counted = peak_training(planned(**wires), Total(), recipe)  # type: ignore[arg-type]
    network = Network(planned(**wires))
    seen = cpu_peak(training(network, SIZE, Total(), recipe))  # type: ignore[arg-type]
    target = 8 * SIZE[0] * SIZE[1]
    assert counted == seen - target == MAP * maps + 4 * numbers


@pytest.mark.usefixtures("wired")
@pytest.mark.parametrize("block", ["attend", "attendwritten", "upanddown"])
def test_kernels_that_no_space_has_yet_hold_what_was_counted(block: str) -> None:
    plan = planned(w=["scale", "x"], a=[block, "w"], b=["relu", "a"])
    network, recipe = Network(plan), Recipe(batch=2, channels_last=False)
    seen = cpu_peak(evaluation(network, SIZE, False))
    assert peak_inference(plan) == pytest.approx(seen, rel=PROMISED)
    seen = cpu_peak(training(network, SIZE, Total(), recipe)) - 2 * 8 * SIZE[0] * SIZE[1]  # type: ignore[arg-type]
    assert peak_training(plan, Total(), recipe) == pytest.approx(seen, rel=PROMISED)  # type: ignore[arg-type]


@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize("space", ["tiny", "real_time"])
def test_adding_up_leaves_is_running_the_whole_network(space: str, channels_last: bool) -> None:
    for size in ((64, 128), (49, 67)):
        for tree in drawn(space, 2, seed=1):
            plan = Planner(size).plan(tree)
            assert peak_inference(plan, Conditions(2, channels_last)) == whole(plan, channels_last)


def whole(plan: Plan, channels_last: bool) -> int:
    """The peak of an evaluation of two images in one run on the meta device."""
    with torch.device("meta"):
        network = Network(plan).eval()
        if channels_last:
            network = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    images = image(2, plan.size, channels_last, "meta")
    memory = Allocations(rules("cpu"))
    memory.hold(images)
    with torch.no_grad(), memory:
        network(images)
    return memory.most


def errors_of(tree: Mapping[str, Any], size: tuple[int, int]) -> list[float]:
    """Relative differences to the allocator, of evaluation and training, in both layouts."""
    found = []
    plan, task = Planner(size).plan(tree), plain_task(tree)
    network = Network(plan)
    for last in (False, True):
        counted = peak_inference(plan, Conditions(channels_last=last))
        found.append(counted / cpu_peak(evaluation(network, size, last)) - 1)
        recipe = Recipe(batch=2, channels_last=last)
        counted = peak_training(plan, task, recipe)
        network.zero_grad()
        found.append(counted / cpu_peak(training(network, size, task, recipe)) - 1)
    return found


def errors(space: str, count: int, size: tuple[int, int]) -> list[float]:
    """The differences of random networks."""
    return [error for tree in drawn(space, count, seed=2) for error in errors_of(tree, size)]


def check(found: list[float]) -> None:
    assert max(map(abs, found)) <= PROMISED
    assert statistics.median(map(abs, found)) <= USUAL


@pytest.mark.parametrize(
    ("space", "count", "size"), [("tiny", 2, (49, 67)), ("real_time", 2, (64, 96))]
)
def test_the_cpu_holds_what_was_counted(space: str, count: int, size: tuple[int, int]) -> None:
    check(errors(space, count, size))


@pytest.mark.slow
@pytest.mark.parametrize("size", [(128, 256), (97, 131)])
@pytest.mark.parametrize("name", sorted(published()))
def test_the_cpu_holds_what_was_counted_of_published_networks(
    name: str, size: tuple[int, int]
) -> None:
    assert max(map(abs, errors_of(dict(load_architecture(name).tree), size))) <= PROMISED


@pytest.mark.slow
@pytest.mark.parametrize("size", [(128, 256), (97, 131)])
@pytest.mark.parametrize(("space", "count"), [("tiny", 10), ("real_time", 24)])
def test_the_cpu_holds_what_was_counted_of_many(
    space: str, count: int, size: tuple[int, int]
) -> None:
    check(errors(space, count, size))


def test_a_device_without_copies_of_its_own_holds_no_more() -> None:
    for tree in drawn("tiny", 3, seed=6):
        plan, task, recipe = Planner((49, 67)).plan(tree), plain_task(tree), Recipe(batch=2)
        assert peak_inference(plan, Conditions(device="cuda")) <= peak_inference(plan)
        assert peak_training(plan, task, recipe, "cuda") <= peak_training(plan, task, recipe)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("space", ["tiny", "real_time"])
def test_a_gpu_holds_what_was_counted(space: str) -> None:
    """In channels last, batch 4 in training, without the workspaces that cuDNN would look for."""
    size = (128, 256)
    for tree in drawn(space, 20, seed=3):
        plan, task = Planner(size).plan(tree), plain_task(tree)
        network = Network(plan).cuda()
        run = evaluation(network, size, True, "cuda")
        run()
        counted = peak_inference(plan, Conditions(channels_last=True, device="cuda"))
        assert counted == pytest.approx(cuda_peak(run), rel=PROMISED)
        recipe = Recipe(batch=4)
        run = training(network, size, task, recipe, "cuda")
        run()
        network.zero_grad()
        counted = peak_training(plan, task, recipe, "cuda")
        assert counted == pytest.approx(cuda_peak(run), rel=PROMISED)


def test_a_real_training_step_holds_what_was_counted() -> None:
    """Two steps with an optimiser that has no state; the loop keeps the state of the random generator beside them.

    Gradients that waited for the second step's forward pass would make it a quarter more.
    """
    size, tree = (32, 64), tiny_tree(size=(32, 64))
    tree["encoder"]["stages"]["stages"][1] = {"width": 32, "blocks": [{"basic": {}}] * 4}
    recipe = Recipe(batch=2, optimizer="sgd", momentum=0, epochs=1, precision="fp32")
    plan = Planner(size).plan(tree)
    network = Network(plan).to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def run() -> None:
        batch = image(2, size, True), torch.zeros(2, *size, dtype=torch.int64)
        rows = train(
            network, TASK, lambda _: [batch] * 2, recipe, steps_per_epoch=2, seed=0, device="cpu"
        )
        list(rows)

    generator = torch.random.get_rng_state().nbytes
    assert peak_training(plan, TASK, recipe) + generator == cpu_peak(run)


def test_the_recipe_decides_the_training_step() -> None:
    tree = tiny_tree()
    plan = Planner((32, 64)).plan(tree)
    one = peak_training(plan, TASK, Recipe(batch=4))
    assert peak_training(plan, TASK, Recipe(batch=8)) > 1.9 * one
    assert peak_training(plan, TASK, Recipe(batch=4, crop=(64, 64))) > 1.9 * one
    assert peak_training(Planner((64, 64)).plan(tree), TASK, Recipe(batch=4)) == peak_training(
        plan, TASK, Recipe(batch=4, crop=(64, 64))
    )


def test_what_cannot_be_told_is_said() -> None:
    plan = Planner((32, 64)).plan(tiny_tree())
    with pytest.raises(TrainingError, match=r"'ohem'.*'cross_entropy'"):
        peak_training(plan, TASK, Recipe(loss="ohem"))
    tree = tiny_tree()
    tree["decoders"]["semantic"]["context"] = {"ppm": {"width": 8}}
    with pytest.raises(TrainingError, match="batch of at least 2"):
        peak_training(Planner((32, 64)).plan(tree), TASK, Recipe(batch=1))


def test_counting_asks_for_no_memory_and_memory_for_no_random_number() -> None:
    counter, tree = Counter((48, 80)), drawn("tiny", 1, seed=4)[0]
    counted = counter.count(tree)
    steps, _ = counted.plan.steps()
    assert counted.macs > 0
    assert not any(step.leaf.memory for step in steps)
    before = torch.random.get_rng_state()
    assert counted.cost("memory") == peak_inference(counted.plan)
    assert all(step.leaf.memory for step in steps)
    peak_training(counted.plan, plain_task(tree), Recipe(batch=2))
    assert torch.equal(before, torch.random.get_rng_state())


def test_a_cost_holds_memory_and_on_request_that_of_training() -> None:
    tree = drawn("tiny", 1, seed=5)[0]
    plan = Planner((32, 64)).plan(tree)
    asked = cost(tree, (32, 64), training=Recipe(batch=3))
    assert asked.memory_bytes == peak_inference(plan)
    assert asked.training_bytes == peak_training(plan, plain_task(tree), Recipe(batch=3))
    assert cost(tree, (32, 64)).training_bytes is None


@pytest.mark.full
def test_the_memory_of_large_images_is_told_in_that_of_small_ones() -> None:
    """A step on 8 images of 1024x2048 holds tens of GiB; counting it takes what counting 64x64 takes."""
    code = "import sys; from nas.cli import main; main(['cost', 'fcn_resnet18', '--json', '--input', sys.argv[1]])"
    grown = []
    for size in ("64x64", "1024x2048"):
        subprocess.run([sys.executable, "-c", code, size], check=True, capture_output=True)
        grown.append(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
    assert grown[1] - grown[0] < 50 * 1024
