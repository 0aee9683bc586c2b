"""Latency predicted from a table: a sum over leaves, a regressor on top of it, and an interval that holds.

The sum is additive in the nodes, so its expectation over architectures can be differentiated; the regressor corrects
it by what whole networks showed (the sum, MACs, parameters, traffic and calls). Everything is fitted when a table is
loaded, in seconds: nothing but measurements is stored.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nas.architecture import Architecture
from nas.errors import LatencyError, PlanError
from nas.latency.node_model import FLOOR_MS, NodeModel, Works, fit_nodes, fit_totals
from nas.latency.table import Table
from nas.leaf import Leaf
from nas.parts import Plan, Step
from nas.plan import Planner

Array = NDArray[np.float64]
FOLDS = 8
LEAST = 10
"""Networks below which there is nothing to fit on."""
COVERAGE = 0.9
STRENGTHS = 10.0 ** np.arange(0, 6.5, 0.5)
"""Of the ridge; the last leaves nothing but a factor."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Prediction:
    """Milliseconds of a network, between `low` and `high` with 90 % certainty.

    `additive_ms` is the sum over its leaves and a constant; `measured` the share that leaves of the table have of it.
    """

    ms: float
    low: float
    high: float
    additive_ms: float
    measured: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Errors:
    """How far predictions were off on networks that had no part in the fit (cross-validated), as shares."""

    median: float
    p90: float
    kendall: float
    additive_median: float
    additive_kendall: float


@dataclass(frozen=True, slots=True)
class _Case:
    """One network of the table: its plan, its live leaves with their times where known, its total."""

    plan: Plan
    leaves: tuple[Leaf, ...]
    nodes: tuple[float, ...] | None
    ms: float

    @property
    def samples(self) -> Iterator[tuple[Leaf, float]]:
        """The leaves with their times, which sum up to the total."""
        assert self.nodes is not None
        scale = self.ms / max(sum(self.nodes), 1e-9)
        return ((leaf, ms * scale) for leaf, ms in zip(self.leaves, self.nodes, strict=True))


class Predictor:
    """Predicts the latency of any architecture on the target of a table. Raises LatencyError for too small a table."""

    def __init__(self, table: Table) -> None:
        if find_spec("sklearn") is None:
            raise LatencyError(
                'predicting needs scikit-learn: pip install -c constraints.txt -e ".[latency]"'
            )
        self.table = table
        self._works = Works()
        cases = _cases(table)
        held_out = np.array(_held_out(self._works, cases))
        self.constant_ms = _constant(np.array([case.ms for case in cases]), held_out)
        held_out = np.maximum(held_out + self.constant_ms, FLOOR_MS)
        self._nodes = _fit(self._works, cases)
        self._regressor, logs = _correct(self._works, cases, held_out)
        self.errors = _errors(cases, held_out, logs)
        self._width = _quantile(np.abs(logs), COVERAGE)

    def __call__(self, plan: Plan) -> float:
        """Return the predicted milliseconds of a plan: what `nas.cost.Counter` counts latency by."""
        steps, _ = plan.steps()
        return self._corrected(plan, steps, self._sum(steps))

    def predict(self, plan: Plan) -> Prediction:
        """Return the prediction with its interval, and how much of it was measured."""
        steps, _ = plan.steps()
        additive = self._sum(steps)
        ms = self._corrected(plan, steps, additive)
        known = sum(self._nodes(s.leaf) for s in steps if self._nodes.is_measured(s.leaf))
        return Prediction(
            ms=ms,
            low=ms * math.exp(-self._width),
            high=ms * math.exp(self._width),
            additive_ms=additive,
            measured=known / additive if additive else 0.0,
        )

    def node_ms(self, leaf: Leaf) -> float:
        """Return the milliseconds that one leaf adds to the additive form."""
        return self._nodes(leaf)

    def by_node(self, plan: Plan) -> dict[str, float]:
        """Return the milliseconds of every leaf of a plan by its name: with `constant_ms`, the additive form."""
        steps, _ = plan.steps()
        return {step.name: self._nodes(step.leaf) for step in steps}

    def _sum(self, steps: Sequence[Step]) -> float:
        self._nodes.learn([step.leaf for step in steps])
        ms = self.constant_ms + sum(self._nodes(step.leaf) for step in steps)
        return max(ms, FLOOR_MS)

    def _corrected(self, plan: Plan, steps: Sequence[Step], additive: float) -> float:
        row = _network_row(self._works, plan, [s.leaf for s in steps], additive)
        return additive * math.exp(float(self._regressor.predict(row[None])[0]))


def _cases(table: Table) -> list[_Case]:
    """Plan the networks of a table; raises LatencyError where they cannot be planned any more, or are too few."""
    if len(table.networks) < LEAST:
        raise LatencyError(
            f"a table of {len(table.networks)} networks: at least {LEAST} are needed to predict from; time more"
        )
    planner, cases = Planner(table.target.size), []
    for timed in table.networks:
        try:
            plan = planner.plan(Architecture(timed.architecture))
        except PlanError as error:
            raise LatencyError(
                f"the table holds a network that does not fit together: {error}"
            ) from error
        steps, _ = plan.steps()
        nodes = _in_order(timed.nodes, steps)
        cases.append(_Case(plan, tuple(s.leaf for s in steps), nodes, timed.ms))
    return cases


def _in_order(nodes: Mapping[str, float] | None, steps: Sequence[Step]) -> tuple[float, ...] | None:
    if nodes is None or any(step.name not in nodes for step in steps):
        return None
    return tuple(nodes[step.name] for step in steps)


def _fit(works: Works, cases: Sequence[_Case]) -> NodeModel:
    """Fit the model of leaves on what is known: leaves of all networks, or totals only."""
    profiled = [case for case in cases if case.nodes is not None]
    if 2 * len(profiled) > len(cases):
        return fit_nodes(works, [sample for case in profiled for sample in case.samples])
    return fit_totals(works, [case.leaves for case in cases], [case.ms for case in cases])


def _held_out(works: Works, cases: Sequence[_Case]) -> list[float]:
    """Return the sum over its leaves of each network, by a model that never saw the network."""
    sums = [0.0] * len(cases)
    folds = min(FOLDS, len(cases))
    for fold in range(folds):
        model = _fit(works, [case for i, case in enumerate(cases) if i % folds != fold])
        for i in range(fold, len(cases), folds):
            model.learn(cases[i].leaves)
            sums[i] = sum(model(leaf) for leaf in cases[i].leaves)
    return sums


def _constant(ms: Array, sums: Array) -> float:
    """Return what is best added to every sum, errors taken as shares, or nothing where that would be negative.

    It is what a runtime takes beside its kernels.
    """
    weights = ms**-2
    return max(0.0, float(((ms - sums) * weights).sum() / weights.sum()))


def _correct(works: Works, cases: Sequence[_Case], sums: Array) -> tuple[Any, Array]:
    """Fit a ridge from whole-network features to log(total / sum); return it and its leave-one-out residuals.

    It is the strongest ridge whose leave-one-out error is within one standard error of the best: the sum is
    corrected only where the table clearly asks for it.
    """
    from sklearn.linear_model import Ridge, RidgeCV
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    rows = np.array(
        [_network_row(works, c.plan, c.leaves, s) for c, s in zip(cases, sums, strict=True)]
    )
    wanted = np.log(np.array([case.ms for case in cases]) / sums)
    tried = RidgeCV(STRENGTHS, store_cv_results=True).fit(
        StandardScaler().fit_transform(rows), wanted
    )
    squares = np.asarray(tried.cv_results_)
    errors, best = squares.mean(axis=0), int(squares.mean(axis=0).argmin())
    bound = errors[best] + squares[:, best].std() / math.sqrt(len(squares))
    strongest = max(i for i, error in enumerate(errors) if error <= bound)
    regressor = make_pipeline(StandardScaler(), Ridge(STRENGTHS[strongest])).fit(rows, wanted)
    return regressor, np.sqrt(squares[:, strongest]) * _signs(regressor, rows, wanted)


def _signs(regressor: Any, rows: Array, wanted: Array) -> Array:
    """Signs of the residuals: leaving one out makes a residual larger, and never turns it over."""
    return np.asarray(np.where(wanted >= regressor.predict(rows), 1.0, -1.0))


def _network_row(works: Works, plan: Plan, leaves: Sequence[Leaf], additive: float) -> Array:
    work = np.asarray(sum(works.of(leaf) for leaf in leaves))
    whole = np.log([additive + 1e-6, plan.macs + 1, plan.params + 1, len(leaves)])
    return np.concatenate([whole, np.log(work + 1e-3)])


def _errors(cases: Sequence[_Case], sums: Array, logs: Array) -> Errors:
    from scipy.stats import kendalltau

    ms = np.array([case.ms for case in cases])
    predicted = ms * np.exp(-logs)
    off, plain = np.abs(predicted / ms - 1), np.abs(sums / ms - 1)
    return Errors(
        median=float(np.median(off)),
        p90=float(np.quantile(off, 0.9)),
        kendall=float(kendalltau(predicted, ms).statistic),
        additive_median=float(np.median(plain)),
        additive_kendall=float(kendalltau(sums, ms).statistic),
    )


def _quantile(residuals: Array, coverage: float) -> float:
    """Return the conformal quantile: the ceil((n + 1) * coverage)-th smallest, the largest where there are too few."""
    ranked = np.sort(residuals)
    return float(ranked[min(len(ranked), math.ceil((len(ranked) + 1) * coverage)) - 1])
