"""The picture of a differentiable search over its epochs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from nas.relax.watch import Row


def plot_watch(rows: Sequence[Row], path: Path | str) -> Path:
    """Draw how decided the questions are, skips, gradients and expected costs; the file's suffix says its format."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 6.5), layout="constrained")
    (decided, skipped), (slopes, costs) = figure.subplots(2, 2, sharex=True)
    epochs = [r["epoch"] for r in rows]
    _entropies(decided, epochs, rows)
    _lines(skipped, epochs, rows, ["skip_chance", "skip_share"])
    skipped.set(title="skips", ylim=(-0.02, 1.02))
    _lines(slopes, epochs, rows, ["gradient"])
    slopes.set(title="norm of the architecture's gradient", xlabel="epoch")
    _costs(costs, epochs, rows)
    for axes in figure.axes:
        axes.grid(alpha=0.3)
        if axes.get_legend_handles_labels()[0]:
            axes.legend(fontsize="small")
    file = Path(path)
    file.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(file, dpi=150)
    return file


def _entropies(axes: Any, epochs: Sequence[int], rows: Sequence[Row]) -> None:
    """Draw each question's entropy thin, and what is undecided on average thick, on an axis of its own."""
    for path in rows[0]["entropy"] if rows else ():
        axes.plot(epochs, [r["entropy"][path] for r in rows], color="0.75", linewidth=0.6)
    axes.set(title="entropy of each question, nats (grey)")
    mean = axes.twinx()
    mean.plot(epochs, [r["undecided"] for r in rows], color="tab:blue", label="undecided")
    mean.set(ylim=(-0.02, 1.02))


def _lines(axes: Any, epochs: Sequence[int], rows: Sequence[Row], names: Sequence[str]) -> None:
    """Draw fields that may be None in some rows, or in all."""
    for name in names:
        points = [(e, r[name]) for e, r in zip(epochs, rows, strict=True) if r[name] is not None]
        if points:
            axes.plot(*zip(*points, strict=True), "-o", markersize=3, label=name.replace("_", " "))


def _costs(axes: Any, epochs: Sequence[int], rows: Sequence[Row]) -> None:
    """Draw expected costs as shares of the first row's, and multipliers dashed."""
    for name in rows[0]["costs"] if rows else ():
        values = [r["costs"][name] / rows[0]["costs"][name] for r in rows]
        axes.plot(epochs, values, label=name)
    for name in rows[0]["multipliers"] if rows else ():
        values = [r["multipliers"][name] for r in rows]
        axes.plot(epochs, values, "--", label=f"multiplier of {name}")
    axes.set(title="expected costs, first epoch = 1", xlabel="epoch")
