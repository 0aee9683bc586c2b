"""How fast Auto-DeepLab's relaxed supernet learns, and what it keeps, beside the same equations edge by edge.

    python benchmarks/supernet.py [--crops 64 129] [--rounds 3] [--threads 1] [--batch 2] [--classes 19]

A step is one of the architecture and one of the weights, first order: forward and back to alphas and betas, the weights
being constants, or where paths are sampled two of them forward; then forward and back to the weights. What optimisers
take is left out. Three take turns, in another order each round: the relaxed network with softmax weights;
`plain_supernet.py`, which has the same modules and must have the same loss (or the run ends with code 1); and the
relaxed network with sampled paths. Each step but the first is timed. Ratios are taken in each round, of processor
seconds, or with more than one thread of seconds on the clock; with several counts of threads, each round also compares
them. Activations are what autograd keeps for the gradient of the weights: bytes of all storages but the network's own,
each once.
"""

from __future__ import annotations

import argparse
import random
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from plain_supernet import PlainSupernet
from torch import Tensor

from nas import registry
from nas.relax.compared import compared
from nas.relax.constants import constant
from nas.relax.gates import questions
from nas.relax.network import RelaxedNetwork, Weights
from nas.relax.planner import RelaxedPlanner, opened
from nas.relax.weights import ArchitectureParameters
from nas.space import load_space

OURS, PLAIN, PATHS = "relaxed, softmax", "edge by edge, softmax", "relaxed, sampled paths"


@dataclass(frozen=True, eq=False)
class Case:
    """A supernet with its two forms, and a batch."""

    network: RelaxedNetwork
    parameters: ArchitectureParameters
    images: Tensor
    target: Tensor
    runs: dict[str, Callable[[], Tensor]]
    path: Callable[[], Weights]

    def loss(self, name: str) -> Tensor:
        """Return the loss of one of the runs, with the same dropout each time."""
        torch.manual_seed(5)
        return F.cross_entropy(self.runs[name](), self.target)

    def value(self, weights: Weights) -> Tensor:
        """Return the loss with these weights."""
        return F.cross_entropy(self.network(self.images, weights).logits, self.target)

    def step(self, name: str) -> None:
        """Take the gradient by the architecture, and then the gradient by the weights."""
        if name == PATHS:
            compared(self.parameters, self.network, self.path, self.value)
        else:
            with constant(self.network.parameters()):
                loss = self.loss(name)
            torch.autograd.grad(loss, list(self.parameters.logits), allow_unused=True)
        torch.autograd.grad(self.loss(name), list(self.network.parameters()), allow_unused=True)


def case_of(crop: int, asked: argparse.Namespace) -> Case:
    """Return the case of one size of crops. SystemExit where the two forms differ."""
    registry.load()
    tree = {**opened(load_space("auto_deeplab")), "task": {"semantic": {"classes": asked.classes}}}
    torch.manual_seed(asked.seed)
    network = RelaxedNetwork(RelaxedPlanner((crop, crop)).plan(tree)).train()
    known = {question.path: question for question in questions(tree)}
    parameters = ArchitectureParameters(known.values(), seed=asked.seed)
    plain, generator = PlainSupernet(network), torch.Generator().manual_seed(asked.seed)
    images = torch.randn(asked.batch, 3, crop, crop)
    target = torch.randint(0, asked.classes, (asked.batch, crop, crop))

    def path() -> Weights:
        while not network.reaches(weights := parameters.gumbel(1.0, generator)):
            pass
        return weights

    runs: dict[str, Callable[[], Tensor]] = {
        OURS: lambda: network(images, parameters.softmax()).logits,
        PLAIN: lambda: plain(images, parameters.probabilities()),
        PATHS: lambda: network(images, path()).logits,
    }
    case = Case(network, parameters, images, target, runs, path)
    with torch.no_grad():
        ours, other = case.loss(OURS).item(), case.loss(PLAIN).item()
    if abs(ours - other) > 1e-4 * abs(other):
        raise SystemExit(f"losses differ: {ours} (relaxed), {other} (edge by edge)")
    return case


def seconds(work: Callable[[], Any], threads: int) -> float:
    """Return how long `work` takes: processor seconds with one thread, seconds on the clock with more."""
    clock = time.process_time if threads == 1 else time.perf_counter
    started = clock()
    work()
    return clock() - started


def rounds(case: Case, asked: argparse.Namespace) -> Iterator[dict[tuple[str, int], float]]:
    """Yield the seconds of every form with every number of threads, round by round."""
    order = [(name, threads) for name in case.runs for threads in asked.threads]
    shuffled = random.Random(asked.seed)
    for number in range(asked.rounds + 1):
        shuffled.shuffle(order)
        found = {}
        for name, threads in order:
            torch.set_num_threads(threads)
            clock = max(asked.threads)
            found[name, threads] = seconds(lambda n=name: case.step(n), clock)  # type: ignore[misc]
        if number:
            yield found


def kept(case: Case, name: str) -> float:
    """Return the MiB of activations."""
    own = {t.untyped_storage().data_ptr() for t in case.network.state_dict().values()}
    storages: dict[int, tuple[int, Tensor]] = {}

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            storages[storage.data_ptr()] = storage.nbytes(), tensor
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        result = case.loss(name)
    del result
    return sum(size for size, _ in storages.values()) / 2**20


def spread(values: list[float], unit: str = "") -> str:
    """Return the median of some values, and their range."""
    return f"{statistics.median(values):.2f}{unit} ({min(values):.2f} to {max(values):.2f})"


def report(crop: int, asked: argparse.Namespace) -> None:
    """Print what was found for crops of one size."""
    case = case_of(crop, asked)
    print(f"crop {crop}, batch {asked.batch}, {asked.rounds} rounds")
    memory = {name: kept(case, name) for name in case.runs}
    found = list(rounds(case, asked))
    for threads in asked.threads:
        print(f"  {threads} thread{'s' * (threads > 1)}")
        for name in case.runs:
            print(f"    {name}: {spread([turn[name, threads] for turn in found], ' s')} a step")
        for name in (OURS, PATHS):
            ratios = [turn[PLAIN, threads] / turn[name, threads] for turn in found]
            print(f"    {name}: {spread(ratios)} times as fast as {PLAIN}")
    first, *others = asked.threads
    for threads in others:
        ratios = [turn[OURS, first] / turn[OURS, threads] for turn in found]
        print(f"  {OURS}: {spread(ratios)} times as fast with {threads} threads as with {first}")
    for name, size in memory.items():
        print(f"  {name}: {size:.1f} MiB of activations, {size / memory[PLAIN]:.2f} of {PLAIN}")


def main() -> None:
    """Read the command line and report on each size of crops."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--crops", type=int, nargs="+", default=[64, 129], help="pixels (64 129)")
    parser.add_argument("--rounds", type=int, default=3, help="after one to warm up (3)")
    parser.add_argument("--threads", type=int, nargs="+", default=[1], help="one count or more (1)")
    parser.add_argument("--batch", type=int, default=2, help="images in a batch (2)")
    parser.add_argument("--classes", type=int, default=19)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    for crop in asked.crops:
        report(crop, asked)


if __name__ == "__main__":
    sys.exit(main())
