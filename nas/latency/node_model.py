"""The time of one leaf: as it was measured inside whole networks, or predicted from what the leaf does.

Fitted on timed leaves where the runtime told them apart, on whole networks elsewhere (a board that only gave totals).
"""

from __future__ import annotations

import math
import statistics
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nas.latency.work import TERMS, work_of
from nas.leaf import Leaf

Array = NDArray[np.float64]
Key = tuple[bytes, object]
FLOOR_MS = 1e-3
"""What is added before a logarithm is taken: a microsecond."""
PULL = 0.02
"""What it counts if a class's price is twice the average of all classes, as a share of a row's time, by sqrt(rows)."""
LEAST_SHARE = 0.05
"""Share of the time that multiply-adds, traffic and calls are each thought to take at least."""
STEADY = 0.3
"""Milliseconds below which a leaf's error counts in milliseconds rather than as a share of its time."""


def key_of(leaf: Leaf) -> Key:
    """Return what makes two leaves take the same time: block, fields and input shapes."""
    return leaf.key, leaf.inputs


class Works:
    """What leaves do, as numbers, each leaf looked at once."""

    def __init__(self) -> None:
        self._vectors: dict[Key, Array] = {}

    def of(self, leaf: Leaf) -> Array:
        """Return the vector of `Work` of a leaf."""
        key = key_of(leaf)
        if key not in self._vectors:
            self._vectors[key] = np.array(work_of(leaf).vector())
        return self._vectors[key]

    def features(self, leaf: Leaf) -> Array:
        """Return what a regressor of one leaf sees: logarithms of the work, and the shapes."""
        work, (channels, height, width) = self.of(leaf), leaf.inputs[0]
        out, out_height, out_width = leaf.shape
        shapes = [channels, out, height * width, out_height * out_width]
        fits = [channels % 16 == 0, out % 16 == 0, out % 8 == 0, len(leaf.inputs)]
        return np.concatenate([np.log(work + 1e-4), np.log(shapes), np.array(fits, dtype=float)])


@dataclass(frozen=True, slots=True)
class Linear:
    """Milliseconds as a sum over what a leaf does, no term negative: `weights` times the vector of its work."""

    weights: Array

    def __call__(self, work: Array) -> float:
        """Return the milliseconds of a leaf."""
        return float(work @ self.weights)


def fit_linear(works: Array, ms: Array, floor_ms: float = STEADY) -> Linear:
    """Fit non-negative weights to rows of work (rows, terms), each row's error taken as a share of its time.

    Terms are drawn to what a multiply-add, a byte or a call costs on average over all classes: a class that hardly
    occurs in the table must not explain noise, and then be believed where there is much of it.
    """
    from scipy.optimize import nnls

    by_row = 1 / (ms + floor_ms)
    rows, wanted = works * by_row[:, None], ms * by_row
    sums = np.stack([works[:, terms].sum(axis=1) for terms in TERMS], axis=1)
    average, _ = nnls(sums * by_row[:, None], wanted)
    usual = np.maximum(average, LEAST_SHARE * ms.mean() / sums.mean(axis=0))
    prior, scale = (
        np.concatenate([np.full(t.stop - t.start, x) for t, x in zip(TERMS, of, strict=True)])
        for of in (average, usual)
    )
    pull = PULL * math.sqrt(len(ms)) / scale
    found, _ = nnls(np.vstack([rows, np.diag(pull)]), np.concatenate([wanted, pull * prior]))
    return Linear(found)


class NodeModel:
    """Milliseconds of leaves: the measured ones' medians drawn to the model's, the model's own elsewhere."""

    def __init__(
        self, works: Works, linear: Linear, trees: Any, measured: Mapping[Key, list[float]]
    ) -> None:
        self._works = works
        self._linear = linear
        self._trees = trees
        self._measured = measured
        self._known: dict[Key, float] = {}

    def __call__(self, leaf: Leaf) -> float:
        """Return the milliseconds of a leaf."""
        key = key_of(leaf)
        if key not in self._known:
            self.learn([leaf])
        return self._known[key]

    def learn(self, leaves: Sequence[Leaf]) -> None:
        """Predict many leaves at once, which takes hardly longer than one."""
        new = {key_of(leaf): leaf for leaf in leaves if key_of(leaf) not in self._known}
        if not new:
            return
        guesses = self._guesses(list(new.values()))
        for key, guess in zip(new, guesses, strict=True):
            seen = self._measured.get(key, [])
            count = len(seen)
            self._known[key] = (
                (count * statistics.median(seen) + guess) / (count + 1) if seen else guess
            )

    def is_measured(self, leaf: Leaf) -> bool:
        """Whether the table holds this very leaf."""
        return key_of(leaf) in self._measured

    def _guesses(self, leaves: Sequence[Leaf]) -> list[float]:
        base = [self._linear(self._works.of(leaf)) for leaf in leaves]
        if self._trees is None:
            return base
        rows = [_row(self._works, leaf, ms) for leaf, ms in zip(leaves, base, strict=True)]
        factors = np.exp(self._trees.predict(np.array(rows)))
        return [float((b + FLOOR_MS) * f) for b, f in zip(base, factors, strict=True)]


def fit_nodes(works: Works, samples: Sequence[tuple[Leaf, float]]) -> NodeModel:
    """Fit on leaves that were timed inside networks: trees correct what the sum over their work misses."""
    from sklearn.ensemble import HistGradientBoostingRegressor

    matrix = np.array([works.of(leaf) for leaf, _ in samples])
    ms = np.array([ms for _, ms in samples])
    linear = fit_linear(matrix, ms)
    base = matrix @ linear.weights
    rows = np.array([_row(works, leaf, b) for (leaf, _), b in zip(samples, base, strict=True)])
    trees = HistGradientBoostingRegressor(
        max_iter=200, learning_rate=0.05, min_samples_leaf=5, random_state=0, early_stopping=False
    )
    wanted = np.log((ms + FLOOR_MS) / (base + FLOOR_MS))
    trees.fit(rows, wanted, sample_weight=np.sqrt(ms) + 0.05)  # long leaves matter more for a sum
    measured: dict[Key, list[float]] = defaultdict(list)
    for leaf, taken in samples:
        measured[key_of(leaf)].append(taken)
    return NodeModel(works, linear, trees, measured)


def fit_totals(works: Works, networks: Sequence[Sequence[Leaf]], ms: Sequence[float]) -> NodeModel:
    """Fit on whole networks: what their leaves do together explains the total."""
    sums = np.array([sum(works.of(leaf) for leaf in leaves) for leaves in networks])
    return NodeModel(works, fit_linear(sums, np.array(ms), 0.0), None, {})


def _row(works: Works, leaf: Leaf, ms: float) -> Array:
    return np.append(works.features(leaf), math.log(ms + FLOOR_MS))
