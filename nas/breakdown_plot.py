"""The picture of where costs go: one panel of bars for each cost, one bar for each part of the network."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from nas.breakdown import Part
from nas.units import show_bytes, show_count, show_time

PANELS = (
    ("macs", "MACs", show_count),
    ("params", "params", show_count),
    ("memory_bytes", "memory while it runs", show_bytes),
    ("time_ms", "time", show_time),
)
ROW, LEAST = 0.22, 2.5
"""Inches of height for a bar, and of the whole picture at least."""


def plot(parts: Sequence[Part], title: str, path: Path | str) -> Path:
    """Draw the parts from top to bottom in running order; the file's suffix says its format."""
    from matplotlib.figure import Figure

    panels = [p for p in PANELS if parts[0].time_ms is not None or p[0] != "time_ms"]
    height = max(LEAST, ROW * len(parts) + 1)
    figure = Figure(figsize=(4 + 2.2 * len(panels), height), layout="constrained")
    rows = range(len(parts))
    for axes, (field, label, show) in zip(
        figure.subplots(1, len(panels), sharey=True), panels, strict=True
    ):
        values = [getattr(part, field) or 0 for part in parts]
        bars = axes.barh(rows, values, color="tab:blue")
        axes.bar_label(bars, [show(v) if v else "" for v in values], fontsize="x-small", padding=2)
        axes.set(title=label, yticks=rows, yticklabels=[part.name for part in parts])
        axes.tick_params(axis="y", labelsize="x-small")
        axes.set_xticks([])
        axes.margins(x=0.25)
        axes.spines[["top", "right", "bottom"]].set_visible(False)
    figure.axes[0].invert_yaxis()
    figure.suptitle(title, fontsize="medium")
    file = Path(path)
    file.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(file, dpi=150)
    return file
