"""Counted costs equal independent counters, at any input size, without a tensor of that size."""

from __future__ import annotations

import math
import random
import resource
import subprocess
import sys
from typing import Any

import pytest
import torch
from fvcore.nn import FlopCountAnalysis
from torch.utils.flop_counter import FlopCounterMode

from nas.architecture import Architecture, load_architecture, published
from nas.choosers import random_chooser
from nas.cost import Counter, cost
from nas.network import build
from nas.resolve import resolve
from nas.space import load_space

COUNTED = ("conv", "linear", "addmm", "matmul", "bmm", "einsum")
"""fvcore's operators that multiply and add; it counts normalisation and resampling beside them."""


def drawn(space: str, count: int) -> list[Architecture]:
    rng = random.Random(3)
    return [resolve(load_space(space), random_chooser(rng)) for _ in range(count)]


def torch_macs(architecture: Architecture, size: tuple[int, int]) -> int:
    network = build(architecture, size).to("meta").eval()
    with FlopCounterMode(display=False) as counter:
        network(torch.empty(1, 3, *size, device="meta"))
    return int(counter.get_total_flops()) // 2


def fvcore_macs(architecture: Architecture, size: tuple[int, int]) -> int:
    analysis = FlopCountAnalysis(build(architecture, size).eval(), torch.zeros(1, 3, *size))
    analysis.set_op_handle("aten::matmul", matmul_macs)
    counts = analysis.unsupported_ops_warnings(False).uncalled_modules_warnings(False).by_operator()
    return int(sum(counts[name] for name in COUNTED))


def matmul_macs(inputs: list[Any], outputs: list[Any]) -> int:
    """Multiply-adds of a matrix product; fvcore's own handle misses those of a 4-D by a 2-D tensor."""
    return math.prod(outputs[0].type().sizes()) * inputs[0].type().sizes()[-1]  # type: ignore[no-any-return]


@pytest.mark.parametrize("name", sorted(published()))
def test_published_networks_cost_what_torch_counts(name: str) -> None:
    architecture = load_architecture(name)
    counted = cost(architecture, (97, 131))
    assert counted.macs == torch_macs(architecture, (97, 131))
    network = build(architecture, (97, 131))
    assert counted.params == sum(
        p.numel() for name, p in network.named_parameters() if ".aux." not in name
    )


@pytest.mark.parametrize("space", ["tiny", "real_time"])
def test_random_networks_cost_what_torch_and_fvcore_count(space: str) -> None:
    for architecture in drawn(space, 4):
        counted = cost(architecture, (64, 64))
        assert (
            counted.macs
            == torch_macs(architecture, (64, 64))
            == fvcore_macs(architecture, (64, 64))
        )


def test_nodes_add_up() -> None:
    counted = cost(drawn("real_time", 1)[0])
    assert counted.macs == sum(node.macs for node in counted.nodes)
    assert counted.params == sum(node.params for node in counted.nodes)


def test_a_counter_gives_what_cost_gives_whatever_it_saw_before() -> None:
    counter = Counter((64, 128))
    for architecture in drawn("real_time", 20):
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
