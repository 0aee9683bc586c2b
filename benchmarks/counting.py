"""How fast architectures are counted: distinct ones a second, and the ratio to fvcore and to torch's `FlopCounterMode`.

    python benchmarks/counting.py [--known 5000] [--count 5000] [--turns 5] [--size 128x256]

Spaces: `real_time`; `auto_deeplab`, whose networks have some 200 leaves, a cell being drawn anew for each of them;
and the same with every one of the twelve cells drawn on its own. Of each, `--known` architectures are counted first, so
that blocks are known; then `--count` others, none of them seen before: closed tree to MACs and parameters, on one
core. Cold is one architecture in a new `Counter`: with an empty cache on disk, and with a full one. Then in turns: ours
counts 50 new architectures, `FlopCounterMode` the first of them on the meta device, fvcore the same on real tensors
(networks are built before the clock starts). Their MACs are compared: a difference ends the run with code 1.
Times are processor seconds of one thread: other programs on the same core slow the caches down, and no more.
"""

from __future__ import annotations

import argparse
import gc
import os
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from nas.architecture import Architecture
from nas.choosers import random_chooser
from nas.cost import Counter
from nas.errors import PlanError
from nas.fvcore_cost import count as fvcore_count
from nas.language.tree import Repeat
from nas.network import build
from nas.node_cache import folder, node_cache
from nas.plan import Planner
from nas.resolve import closed
from nas.space import Space, load_space

Size = tuple[int, int]
CHUNKS, TURN = 20, 50
SMALL = (64, 64)


@dataclass(frozen=True, slots=True)
class Rates:
    """Architectures per second: over all, and in the fastest of `CHUNKS` chunks, which was disturbed least."""

    overall: float
    best: float


def timed(work: Callable[[], Any]) -> tuple[float, Any]:
    """Return the processor seconds that `work` took, and what it gave."""
    started = time.process_time()
    result = work()
    return time.process_time() - started, result


def draw(space: Space, number: int, seed: int) -> list[Architecture]:
    """Return random architectures of a space that are networks (not all `zero`), different ones."""
    chooser, planner = random_chooser(random.Random(seed)), Planner(SMALL)
    found: dict[str, Architecture] = {}
    while len(found) < number:
        architecture = closed(space, chooser)
        try:
            planner.plan(architecture)
        except PlanError:
            continue
        found.setdefault(architecture.text, architecture)
    return list(found.values())


def untied(space: Space) -> Space:
    """Return Auto-DeepLab's space with a cell of its own at each step of the path."""
    encoder = dict(space.tree["encoder"]["trellis"])
    encoder["cells"] = Repeat(encoder["path"].steps, encoder.pop("cell"))
    return replace(space, tree={**space.tree, "encoder": {"trellis": encoder}})


def count_all(counter: Counter, trees: Sequence[dict[str, Any]]) -> int:
    """Count every tree; return the sum of MACs and parameters, so that both are asked for."""
    total = 0
    for tree in trees:
        counted = counter.count(tree)
        total += counted.macs + counted.params
    return total


def warm(counter: Counter, trees: Sequence[dict[str, Any]]) -> Rates:
    """Return how fast trees that were not seen before are counted."""
    size = -(-len(trees) // CHUNKS)
    chunks = [trees[i : i + size] for i in range(0, len(trees), size)]
    gc.collect()  # the trees themselves are thousands of objects that were made just now
    seconds = [timed(partial(count_all, counter, chunk))[0] for chunk in chunks]
    best = max(len(chunk) / s for chunk, s in zip(chunks, seconds, strict=True))
    return Rates(len(trees) / sum(seconds), best)


def cold(architecture: Architecture, size: Size) -> tuple[float, float]:
    """Return seconds of the first count in a new `Counter`: without and with its blocks in the cache on disk."""
    store = node_cache(folder())
    with tempfile.TemporaryDirectory() as empty:
        before, os.environ["NAS_CACHE"] = os.environ["NAS_CACHE"], empty
        nothing, _ = timed(lambda: count_all(Counter(size), [architecture.tree]))
        os.environ["NAS_CACHE"] = before
    if store is not None:
        store.flush()
    return nothing, timed(lambda: count_all(Counter(size), [architecture.tree]))[0]


def turn(counter: Counter, new: Sequence[Architecture], size: Size) -> tuple[float, float]:
    """Return how many times as long `FlopCounterMode` and fvcore take as ours. SystemExit where MACs differ."""
    trees = [a.tree for a in new]
    network = build(new[0], size).eval().requires_grad_(False)
    image = torch.zeros(1, 3, *size)
    ours, _ = timed(lambda: count_all(counter, trees))
    fvcore, second = timed(lambda: fvcore_count(network, image))
    network, image = network.to("meta"), image.to("meta")
    mode, flops = timed(partial(torch_flops, network, image))
    macs = counter.count(trees[0]).macs
    if not macs == second.convolutions == flops // 2:
        found = f"{macs} (ours), {second.convolutions} (fvcore), {flops // 2} (torch)"
        raise SystemExit(f"{new[0].id}: MACs differ: {found}")
    return mode / ours * len(new), fvcore / ours * len(new)


def torch_flops(network: torch.nn.Module, image: torch.Tensor) -> int:
    """Return torch's own count of one forward pass."""
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        network(image)
    return int(counter.get_total_flops())


def report(name: str, space: Space, asked: argparse.Namespace) -> None:
    """Print the rates of one space."""
    size, at = asked.size, asked.known + asked.count
    drawn = draw(space, at + asked.turns * TURN, asked.seed)
    known, fresh, rest = drawn[: asked.known], drawn[asked.known : at], drawn[at:]
    counter = Counter(size)
    first, _ = timed(lambda: count_all(counter, [a.tree for a in known]))
    rates = warm(counter, [a.tree for a in fresh])
    leaves = statistics.mean(len(counter.count(a).plan.steps()[0]) for a in fresh[:50])
    nothing, disk = cold(fresh[0], size)
    print(
        f"{name}: {leaves:.0f} leaves an architecture; {len(known)} counted before in {first:.1f} s"
    )
    print(
        f"  warm {rates.overall:7.0f} a second ({rates.best:.0f} in the fastest of {CHUNKS} chunks)"
    )
    print(f"  cold {nothing * 1e3:7.0f} ms for one ({disk * 1e3:.0f} ms from the cache on disk)")
    turns = [turn(counter, rest[i : i + TURN], size) for i in range(0, len(rest), TURN)]
    for other, ratios in zip(("FlopCounterMode", "fvcore"), zip(*turns, strict=True), strict=False):
        spread = f"{min(ratios):,.0f} to {max(ratios):,.0f}"
        print(f"  {statistics.median(ratios):,.0f} times as fast as {other} (turns: {spread})")


def size_of(text: str) -> Size:
    """Return (height, width) of "HEIGHTxWIDTH"."""
    height, width = map(int, text.split("x"))
    return height, width


def main() -> None:
    """Read the command line and report on each space."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--known", type=int, default=5000, help="counted before (5000)")
    parser.add_argument("--count", type=int, default=5000, help="counted against the clock (5000)")
    parser.add_argument("--turns", type=int, default=5, help="with fvcore and torch (5)")
    parser.add_argument("--size", type=size_of, default=(128, 256), help="of the image (128x256)")
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as cache:
        os.environ["NAS_CACHE"] = cache
        report("real_time", load_space("real_time"), asked)
        trellis = load_space("auto_deeplab")
        report("auto_deeplab", trellis, asked)
        report("auto_deeplab, every cell its own", untied(trellis), asked)


if __name__ == "__main__":
    sys.exit(main())
