"""Counted costs equal independent counters, at any input size, without a tensor of that size."""

from __future__ import annotations

import random
import resource
import subprocess
import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

from nas.architecture import Architecture, load_architecture, published
from nas.choosers import random_chooser, replay
from nas.cost import Counter, cost
from nas.errors import PlanError
from nas.fvcore_cost import fvcore_cost
from nas.fvcore_handles import MULTIPLY_ADDS
from nas.language.cover import cover
from nas.meter import FORMULAS
from nas.network import build
from nas.plan import Planner
from nas.resolve import resolve
from nas.space import load_space, spaces

SIZE = (64, 64)
UNCOUNTED = {
    "aten._to_copy", "aten._unsafe_view", "aten.arange", "aten.cat", "aten.clone", "aten.constant_pad_nd", "aten.empty",
    "aten.expand", "aten.permute", "aten.select", "aten.slice", "aten.split_with_sizes", "aten.stack", "aten.t",
    "aten.transpose", "aten.unsqueeze", "aten.view", "aten.zeros_like",
    "aten.alias", "aten.detach", "aten.gather", "aten.index", "aten.index_select", "aten.ones_like",
    "aten.replication_pad2d", "aten.scatter_add", "aten.unbind", "aten.where", "aten.masked_fill",
    "aten.add", "aten.bitwise_and", "aten.div", "aten.floor_divide", "aten.ge", "aten.lt", "aten.mul", "aten.rsub",
    "aten.sub", "aten.abs", "aten.argmin", "aten.clamp", "aten.cos", "aten.eq", "aten.exp", "aten.gt", "aten.pow",
    "aten.remainder", "aten.sin",
    "aten.amax", "aten.avg_pool2d", "aten.grid_sampler_2d", "aten.mean", "aten.sum", "aten.max_pool2d_with_indices",
    "aten.upsample_bilinear2d",
    "aten.hardsigmoid", "aten.hardtanh",
    "aten._safe_softmax", "aten._softmax", "aten.gelu", "aten.relu", "aten.sigmoid", "aten.silu",
    "aten.native_batch_norm", "aten.native_group_norm", "aten.native_layer_norm",
}  # fmt: skip
"""Every operator that networks run and we do not count: views, arithmetic per element, pooling, activations, norms."""

UNCOUNTED_BY_FVCORE = {
    "aten::add", "aten::div", "aten::lt", "aten::mT", "aten::mul", "aten::numpy_T", "aten::pad", "aten::rsub",
    "aten::sub", "aten::abs", "aten::argmin", "aten::cos", "aten::exp", "aten::neg", "aten::sin", "aten::square",
    "aten::expand_as", "aten::feature_dropout", "aten::index_select", "aten::meshgrid", "aten::ones_like",
    "aten::scatter_add", "aten::where", "aten::hardsigmoid", "aten::hardtanh",
    "aten::amax", "aten::avg_pool2d", "aten::max_pool2d", "aten::mean", "aten::sum", "grid_sampler",
    "upsample_bilinear2d",
    "aten::gelu", "aten::sigmoid", "aten::silu", "aten::softmax",
    "batch_norm", "group_norm", "layer_norm",
}  # fmt: skip
"""The same in fvcore's words: what it knows no formula for, and what it counts that is no multiply-add of ours."""


SPACES = sorted(spaces().keys() - {"full"})
"""`full` has the blocks of the published architectures, which are all counted, in networks of any size."""


LARGER = {
    "auto_deeplab_m", "auto_deeplab_l", "cgrseg_b", "cgrseg_l", "eseg_m", "eseg_l", "eseg_lite_m", "eseg_lite_l",
    "ddrnet39", "hrnet_w48", "incepformer_s", "incepformer_b", "segnext_b", "segnext_l", "sfnet_resnet101",
}  # fmt: skip
"""More and wider blocks of those that a smaller one of the family has: counting one of them takes seconds."""


def drawn(space: str, seed: int) -> Architecture:
    return resolve(load_space(space), random_chooser(random.Random(seed)))


def covering() -> list[Architecture]:
    """Published architectures, and as many as it takes to have every block of every option of the spaces."""
    options = [resolve(load_space(s), replay(d)) for s in SPACES for d in cover(load_space(s))]
    seen: set[str] = set()
    found = []
    for architecture in [*map(load_architecture, published()), *options]:
        blocks = blocks_of(architecture)
        found += [architecture] if blocks - seen else []
        seen |= blocks
    return found


def blocks_of(architecture: Architecture) -> set[str]:
    """Return kinds with their fields, whatever the width; none where every operation is `zero`: no image arrives."""
    try:
        steps, _ = planner().plan(architecture).steps()
    except PlanError:
        return set()
    return {f"{step.leaf.kind.name} {dict(step.leaf.fields) | {'width': None}}" for step in steps}


@cache
def planner() -> Planner:
    return Planner(SIZE)


class Operators(TorchDispatchMode):
    """Writes down which operators run."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: set[object] = set()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
        self.seen.add(func.overloadpacket)
        return func(*args, **(kwargs or {}))


@dataclass(frozen=True)
class Independent:
    """Multiply-adds of a network by torch and by fvcore, its parameters, and the operators that nobody counted."""

    torch: int
    fvcore: int
    params: int
    uncounted: frozenset[str]
    uncounted_by_fvcore: frozenset[str]


@cache
def counted_by_others(architecture: Architecture) -> Independent:
    with torch.device("meta"):
        network = build(architecture, SIZE).eval()
        image = torch.empty(1, 3, *SIZE)
    with FlopCounterMode(display=False) as counter, torch.no_grad(), Operators() as operators:
        network(image)
    other = fvcore_cost(architecture, SIZE)
    not_ours = {name for name in other.by_operator if name not in MULTIPLY_ADDS}
    return Independent(
        torch=int(counter.get_total_flops()) // 2,
        fvcore=other.convolutions,
        params=sum(p.numel() for name, p in network.named_parameters() if ".aux." not in name),
        uncounted=frozenset(map(str, operators.seen - set(FORMULAS))),
        uncounted_by_fvcore=frozenset(not_ours | set(other.uncounted)),
    )


def assert_counts_agree(architecture: Architecture) -> None:
    ours, others = planner().plan(architecture), counted_by_others(architecture)
    assert ours.macs == others.torch == others.fvcore
    assert ours.params == others.params


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=[pytest.mark.slow] * (n in LARGER)) for n in sorted(published())]
)
def test_published_networks_cost_what_torch_and_fvcore_count(name: str) -> None:
    assert_counts_agree(load_architecture(name))


@pytest.mark.parametrize("space", SPACES)
@settings(max_examples=2, deadline=None)
@given(seed=st.integers(0, 2**32))
def test_random_networks_cost_what_torch_and_fvcore_count(space: str, seed: int) -> None:
    assert_counts_agree(drawn(space, seed))


@pytest.mark.full
def test_every_option_costs_what_torch_and_fvcore_count_and_the_rest_is_known() -> None:
    """An operator that multiplies and adds, and that no counter knows, would show in the sets."""
    uncounted: set[str] = set()
    uncounted_by_fvcore: set[str] = set()
    for architecture in covering():
        assert_counts_agree(architecture)
        uncounted |= counted_by_others(architecture).uncounted
        uncounted_by_fvcore |= counted_by_others(architecture).uncounted_by_fvcore
    assert uncounted == UNCOUNTED
    assert uncounted_by_fvcore == UNCOUNTED_BY_FVCORE


@pytest.mark.parametrize("name", ["deeplabv3plus_resnet18", "fpn_resnet18"])
def test_odd_sizes_cost_what_torch_counts(name: str) -> None:
    architecture = load_architecture(name)
    with torch.device("meta"):
        network = build(architecture, (97, 131)).eval()
        image = torch.empty(1, 3, 97, 131)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network(image)
    assert cost(architecture, (97, 131)).macs == counter.get_total_flops() // 2


def test_nodes_add_up() -> None:
    counted = cost(drawn("real_time", 3))
    planned = Planner(counted.size).plan(drawn("real_time", 3))
    assert (counted.macs, counted.params) == (planned.macs, planned.params)
    assert counted.macs == sum(node.macs for node in counted.nodes)
    assert counted.params == sum(node.params for node in counted.nodes)


def test_a_counter_gives_what_cost_gives_whatever_it_saw_before() -> None:
    counter = Counter((64, 128))
    for architecture in (drawn("real_time", seed) for seed in range(8)):
        alone = cost(architecture, (64, 128))
        together = counter.count(architecture)
        assert (together.macs, together.params) == (alone.macs, alone.params)


@pytest.mark.full
def test_a_huge_input_needs_no_memory() -> None:
    """At 16384x32768 the image alone would take 6 GiB."""
    command = [
        sys.executable,
        "-m",
        "nas",
        "cost",
        "deeplabv3plus_resnet50",
        "--input",
        "16384x32768",
        "--json",
    ]
    subprocess.run(command, check=True, capture_output=True)
    assert resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss < 3 * 1024 * 1024


@pytest.mark.full
def test_the_benchmark_runs_and_networks_of_hundreds_of_leaves_agree_too() -> None:
    """It compares MACs of a trellis with torch's and fvcore's, and fails where they differ."""
    script = Path(__file__).parents[2] / "benchmarks" / "counting.py"
    few = ["--known", "20", "--count", "20", "--turns", "1", "--size", "64x64"]
    done = subprocess.run(
        [sys.executable, str(script), *few], check=True, capture_output=True, text=True
    )
    assert done.stdout.count("times as fast as fvcore") == 3
