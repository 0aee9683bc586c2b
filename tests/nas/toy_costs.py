"""Costs that are known beforehand, for spaces of any sort: sums over the values of the architecture."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from nas.architecture import Architecture


@dataclass(frozen=True)
class ToyCounted:
    """What `nas.cost.Counted` tells, for two costs."""

    known: Mapping[str, float]
    digest: str

    def cost(self, name: str) -> float:
        return self.known[name]

    def costs(self, names: Iterable[str]) -> dict[str, float]:
        return {name: self.known[name] for name in names}


class SumOfNumbers:
    """MACs are the sum of all numbers in the architecture."""

    def count(self, architecture: Architecture) -> ToyCounted:
        numbers = (value for _, value in leaves(architecture.tree) if isinstance(value, int))
        return ToyCounted({"macs": sum(numbers)}, architecture.id)


@dataclass(frozen=True)
class Woven:
    """Each value has a size of its own, and costs the more the larger the value before it is, as layers do."""

    seed: int
    coupling: int

    def count(self, architecture: Architecture) -> ToyCounted:
        return ToyCounted(
            {n: self._cost(n, architecture) for n in ("macs", "params")}, architecture.id
        )

    def _cost(self, name: str, architecture: Architecture) -> int:
        texts = [f"{self.seed} {name} {path}={value}" for path, value in leaves(architecture.tree)]
        sizes = [1 + hashlib.sha256(text.encode()).digest()[0] for text in texts]
        return 256 * sum(sizes) + self.coupling * sum(a * b for a, b in pairwise(sizes))


def leaves(tree: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Yield (path, value) of everything in a closed tree, names of branches included."""
    if isinstance(tree, Mapping):
        for key, value in tree.items():
            yield f"{path}.{key}", ""
            yield from leaves(value, f"{path}.{key}")
    elif isinstance(tree, list | tuple):
        for i, value in enumerate(tree):
            yield from leaves(value, f"{path}[{i}]")
    else:
        yield path, tree
