"""Before the budget starts: does everything fit together, what can never matter, how long will a trial take?"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from random import Random
from typing import Any, Literal

from nas import errors
from nas.alike import Alike, find_alike
from nas.choosers import cover
from nas.cost import Counter
from nas.descent import Descent, within_reach
from nas.draws import Drawer, Drawn, first, last
from nas.errors import TrainingError
from nas.executors import Executor, Job, Note, Result
from nas.problem import Budget, Limits, Problem, show_seconds
from nas.recipe import Recipe
from nas.space import Space
from nas.tightness import tightness
from nas.units import show_cost, show_count

DRAWS = 1000
RANDOM_PROBES = 3
REPAIRED = 0.1
"""Share of random architectures within the limits below which a search repairs what its strategy proposes."""


@dataclass(frozen=True, slots=True)
class Probe:
    """One network that took a training and a validation step in the worker; figures are None where it failed.

    `peak_bytes` is the most that the worker had held by then.
    """

    role: Literal["smallest", "largest", "random"]
    architecture_id: str
    macs: int
    params: int
    trial_seconds: float | None = None
    peak_bytes: int | None = None
    error: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Preflight:
    """What is known before the budget starts.

    `smallest` and `largest` are the least and most of each cost seen, `within` how many of `drawn` random
    architectures keep the limits, `networks` how many different networks were among them. `share` is the share of
    random architectures within the limits, and `rarity` says it in words where it had to be estimated. `workers` is
    how many trials run at once.
    """

    options: int
    alike: tuple[Alike, ...]
    drawn: int
    within: int
    networks: int
    broken: tuple[str, ...]
    smallest: Mapping[str, float]
    largest: Mapping[str, float]
    probes: tuple[Probe, ...]
    limits: Limits
    budget: Budget
    share: float = 1.0
    rarity: str = ""
    workers: int = 1

    @property
    def trial_seconds(self) -> float:
        """Seconds of a typical trial: the median over the random networks, over all if no random one ran."""
        timed = [p for p in self.probes if p.trial_seconds is not None]
        typical = [p for p in timed if p.role == "random"] or timed
        return statistics.median(p.trial_seconds or 0.0 for p in typical)

    @property
    def trials(self) -> int | None:
        """How many typical trials fit the budget; None where it has no end."""
        by_time = (
            None
            if self.budget.seconds is None
            else self.workers * int(self.budget.seconds / self.trial_seconds)
        )
        ends = [n for n in (by_time, self.budget.trials) if n is not None]
        return min(ends, default=None)

    def warnings(self) -> list[str]:
        """Return what a person should know before spending the budget."""
        found = [str(a) for a in self.alike]
        if self.broken:
            number = f"{len(self.broken)} of {self.drawn} random architectures do not fit together"
            found.append(f"{number} and will be refused, e.g. {self.broken[0]}")
        if self.rarity:
            kept = f"random architectures keeps the limits ({self._caps})"
            found.append(f"{self.rarity} {kept}: proposals are repaired")
        found += [
            f"the {p.role} network ({p.architecture_id}) failed: {p.error}"
            for p in self.probes
            if p.error
        ]
        if self.trials == 0:
            found.append(
                f"not even one trial of {show_seconds(self.trial_seconds)} fits the budget: give it more time"
            )
        return found

    def to_dict(self) -> dict[str, Any]:
        """Return plain data for JSON."""
        derived = {"trial_seconds": self.trial_seconds, "trials": self.trials}
        return asdict(self) | derived | {"warnings": self.warnings()}

    def report(self) -> str:
        """Return it as lines of text."""
        return "\n".join([*self._lines(), *(f"warning: {w}" for w in self.warnings())])

    @property
    def _caps(self) -> str:
        caps = self.limits.items()
        return ", ".join(f"{name} at most {show_cost(name, cap)}" for name, cap in caps)

    def _lines(self) -> Iterator[str]:
        yield f"{self.options} options planned; {self.networks} different networks in {self.drawn} random architectures"
        repaired = "; proposals are repaired" if self.share < REPAIRED else ""
        if not self._caps:
            yield "no limits on costs"
        elif not self.rarity:
            yield f"within the limits ({self._caps}): {self.share:.1%}{repaired}"
        for name, least in self.smallest.items():
            yield f"{name}: {show_cost(name, least)} to {show_cost(name, self.largest[name])} seen"
        for probe in self.probes:
            if probe.trial_seconds is not None:
                size = f"{show_count(probe.macs)} MACs, {show_count(probe.params)} params"
                yield f"{probe.role} network ({size}): about {_duration(probe.trial_seconds)} a trial"
        if peak := max((p.peak_bytes or 0 for p in self.probes), default=0):
            yield f"memory of the worker: {peak / 2**20:.0f} MiB at most"
        if self.trials is not None:
            total = show_seconds(math.ceil(self.trials / self.workers) * self.trial_seconds)
            at_once = "" if self.workers == 1 else f", {self.workers} at a time"
            each = f"{_duration(self.trial_seconds)}{at_once}"
            yield f"budget {self.budget}: about {self.trials} trials of {each} ({total})"


def preflight(
    space: Space,
    problem: Problem,
    job: Job,
    executor: Executor,
    *,
    counter: Counter | None = None,
    seed: int = 0,
    draws: int = DRAWS,
    say: Callable[[str], None] = lambda _: None,
) -> Preflight:
    """Check the space, the limits and the data, and time a few networks in the executor's worker.

    `job` is any job of the search, with its data, size, recipe and device; its architecture does not matter. `counter`
    counts costs, by default those that need no measurements. Raises
    PlanError for an option that fits nowhere, LimitError where no architecture is within the limits, DataError
    for broken data, and TrainingError where no network takes a step.
    """
    rng = Random(seed)
    drawer = Drawer(space, counter or Counter(job.size))
    say("planning every option of the space")
    covers = [d for c in cover(space) if (d := drawer.draw(c, first)) is not None]
    drawer.broken.clear()
    drawn = list(drawer.random(rng, draws))
    broken = tuple(drawer.broken)
    alike = find_alike(drawer, [*covers, *drawn], rng)
    ends = [d for o in (first, last) if (d := drawer.draw({}, o)) is not None]
    seen = [*covers, *drawn, *ends]
    seen += [_smallest(drawer, seen, name) for name in problem.costs]
    seen.append(within_reach(drawer, problem.limits, seen, rng))
    tight = tightness(drawer, problem.limits, drawn, rng, draws=draws)
    within = [d for d in (*seen, *tight.within) if d.excess(problem.limits) <= 0.0]
    chosen = _chosen(within, tight.within, rng)
    say(f"running a step of {len(chosen)} networks")
    return Preflight(
        options=sum(1 for _ in space.options()),
        alike=tuple(alike),
        drawn=draws,
        within=sum(1 for d in drawn if d.excess(problem.limits) <= 0.0),
        networks=len({d.counted.digest for d in drawn}),
        broken=broken,
        smallest={n: min(d.cost(n) for d in seen) for n in problem.costs},
        largest={n: max(d.cost(n) for d in seen) for n in problem.costs},
        probes=tuple(probe(executor, job, chosen, say)),
        limits=problem.limits,
        budget=problem.budget,
        share=tight.share,
        rarity=str(tight) if tight.is_estimated else "",
        workers=executor.capacity,
    )


def probe(
    executor: Executor, job: Job, chosen: Sequence[tuple[str, Drawn]], say: Callable[[str], None]
) -> Iterator[Probe]:
    """Yield what a step of each network says; raises what broke all of them."""
    failures: list[Result] = []
    for number, (role, drawn) in enumerate(chosen):
        result = run(executor, _job(job, number, drawn), say)
        if result.state != "complete":
            failures.append(result)
        if len(failures) == len(chosen) or _is_data(result):
            raise failure(result)
        yield _probe(role, drawn, result, Recipe.of(job.recipe).epochs)


def run(executor: Executor, job: Job, say: Callable[[str], None]) -> Result:
    """Return the result of a job, whose progress nobody watches; what is to be known of the workers is said."""
    executor.submit(job)
    while True:
        for event in executor.poll(1.0):
            if isinstance(event, Result):
                return event
            if isinstance(event, Note):
                say(event.text)


def _job(job: Job, number: int, drawn: Drawn) -> Job:
    text = drawn.architecture.text
    return replace(
        job, number=number, architecture=text, evaluator="one_step", seconds_left=None, folder=None
    )


def _probe(role: Any, drawn: Drawn, result: Result, epochs: int) -> Probe:
    known = (role, drawn.architecture.id, drawn.counted.macs, drawn.counted.params)
    if result.state != "complete":
        return Probe(*known, error=_said(result))
    m = result.metrics
    seconds = (
        m["build_seconds"]
        + epochs * m["steps"] * m["step_seconds"]
        + m["score_batches"] * m["score_seconds"]
    )
    return Probe(*known, trial_seconds=seconds, peak_bytes=int(m["peak_bytes"]))


def _chosen(within: Sequence[Drawn], fair: Sequence[Drawn], rng: Random) -> list[tuple[str, Drawn]]:
    """Return the smallest and the largest within the limits, and some of the `fair` ones, different networks all."""
    by_macs = sorted(within, key=lambda d: (d.counted.macs, d.counted.params))
    picked = [("smallest", by_macs[0]), ("largest", by_macs[-1])]
    picked += [("random", d) for d in rng.sample(fair, min(len(fair), 4 * RANDOM_PROBES))]
    different: dict[str, tuple[str, Drawn]] = {}
    for role, drawing in picked:
        different.setdefault(drawing.counted.digest, (role, drawing))
    return list(different.values())[: 2 + RANDOM_PROBES]


def _smallest(drawer: Drawer, seen: Sequence[Drawn], name: str) -> Drawn:
    """Return where a descent from the smallest seen ends, for one cost."""
    descent = Descent(drawer, lambda drawn: drawn.cost(name))
    return descent.settle(min(seen, key=descent.size))


def _duration(seconds: float) -> str:
    return f"{seconds:.1f}s" if seconds < 10 else show_seconds(seconds)


def _said(result: Result) -> str:
    error = result.error or {"type": result.state, "text": "it was stopped"}
    return f"{error['type']}: {error['text']}"


def _is_data(result: Result) -> bool:
    return result.error is not None and result.error["type"] == "DataError"


def failure(result: Result) -> errors.NasError:
    """Return an error of the kind that the worker raised, as far as it is one of ours."""
    error = result.error or {"type": "", "text": "the pre-flight was stopped"}
    kind = getattr(errors, error["type"], None)
    if isinstance(kind, type) and issubclass(kind, errors.NasError):
        return kind(error["text"])
    return TrainingError(
        f"no network takes a training step: {_said(result)}\n{error.get('traceback', '')}".rstrip()
    )
