"""The picture of a run: front, dominated and refused networks, limits, and what retraining made of the front."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from nas.front import Front
from nas.units import COSTS, show_cost

WIDE = 8.0
"""Ratio of the largest to the smallest cost from which the axis is logarithmic."""


def plot(front: Front, path: Path | str | None = None) -> Path:
    """Draw mIoU over the first cost among the objectives (or MACs); return the file: `front.png` by default."""
    from matplotlib.figure import Figure

    cost = next((n for n in (o.name for o in front.run.problem.objectives) if n in COSTS), "macs")
    figure = Figure(figsize=(7.5, 5), layout="constrained")
    axes = figure.subplots()
    _points(axes, front, cost)
    _retrained(axes, front, cost)
    _axes(axes, front, cost)
    file = Path(path or front.run.folder / "front.png")
    file.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(file, dpi=150)
    return file


def _points(axes: Any, front: Front, cost: str) -> None:
    """Draw every network that was trained, and under the axis those that were refused."""
    on_front = {row.trial for row in front.rows}
    hidden = [t for t in front.trials if t.outcome == "complete" and t.number not in on_front]
    x, y = [getattr(t, cost) for t in hidden], [t.values["miou"] for t in hidden]
    axes.scatter(x, y, s=18, c="0.7", label="dominated")
    rows = sorted(front.rows, key=lambda r: getattr(r, cost))
    x, y = [getattr(r, cost) for r in rows], [r.score for r in rows]
    axes.plot(
        x,
        y,
        "-o",
        color="tab:blue",
        drawstyle="steps-post",
        markersize=6,
        label="front (search score)",
    )
    if (knee := front.knee) is not None:
        axes.plot(
            getattr(knee, cost),
            knee.score,
            "*",
            color="tab:red",
            markersize=15,
            label=f"knee {knee.id}",
        )
    refused = [
        c for t in front.trials if t.outcome == "refused" and (c := getattr(t, cost)) is not None
    ]
    if refused:
        low = axes.get_ylim()[0]
        label = f"refused ({len(refused)})"
        axes.plot(
            refused, [low] * len(refused), "|", color="tab:orange", markersize=12, label=label
        )


def _retrained(axes: Any, front: Front, cost: str) -> None:
    rows = [(getattr(r, cost), r.retrained) for r in front.rows]
    points = [(x, score) for x, found in rows if found for score in found.scores]
    if points:
        x, y = zip(*points, strict=True)
        axes.plot(
            x, y, "D", color="tab:green", fillstyle="none", label="retrained (reporting split)"
        )


def _axes(axes: Any, front: Front, cost: str) -> None:
    cap = dict(front.run.problem.limits.items()).get(cost)
    if cap is not None:
        axes.axvline(cap, color="tab:orange", linestyle="--", label=f"limit {show_cost(cost, cap)}")
    known = [v for t in front.trials if (v := getattr(t, cost))]
    if known and max(known) > WIDE * min(known):
        axes.set_xscale("log")
    axes.xaxis.set_major_formatter(lambda value, _: show_cost(cost, value))
    axes.xaxis.set_minor_formatter(lambda *_: "")
    axes.set(xlabel=COSTS[cost].title, ylabel="mIoU", title=front.run.folder.name)
    axes.grid(alpha=0.3)
    axes.legend(fontsize="small")
