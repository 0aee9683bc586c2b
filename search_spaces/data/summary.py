"""What there is to know about a data set before training on it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

from search_spaces.data.cache import Prepared
from search_spaces.data.dataset import DataSet


def describe(data: DataSet, prepared: Mapping[str, Prepared] | None = None) -> dict[str, Any]:
    """Return classes, size and images per split; of the `prepared` splits also sizes and each class's share of pixels.

    `shares` are of the pixels that have a class, `void` of all pixels, padding included. `unseen` are the classes
    without a pixel in the prepared split "train" (in all prepared ones where none has that name).
    """
    told: dict[str, Any] = {
        "data": data.text,
        "classes": list(data.classes),
        "images": {name: len(samples) for name, samples in data.splits.items()},
        "size": list(data.size),
    }
    if prepared:
        told["sizes"] = {name: _sizes(p) for name, p in prepared.items()}
        told["shares"] = {name: _shares(data, p) for name, p in prepared.items()}
        told["void"] = {name: _void(p) for name, p in prepared.items()}
        told["unseen"] = _unseen(data, prepared)
    return told


def _sizes(prepared: Prepared) -> dict[str, int]:
    """Return {"360x480": images}, the most common size first."""
    sizes = Counter(f"{height}x{width}" for height, width in prepared.sizes)
    return dict(sizes.most_common())


def _shares(data: DataSet, prepared: Prepared) -> dict[str, float]:
    counts = prepared.counts[:, :-1].sum(0)
    return {
        name: float(n / max(counts.sum(), 1)) for name, n in zip(data.classes, counts, strict=True)
    }


def _void(prepared: Prepared) -> float:
    return float(prepared.counts[:, -1].sum() / prepared.counts.sum())


def _unseen(data: DataSet, prepared: Mapping[str, Prepared]) -> list[str]:
    chosen = [prepared["train"]] if "train" in prepared else list(prepared.values())
    counts = sum(p.counts[:, :-1].sum(0) for p in chosen)
    return [name for name, n in zip(data.classes, counts, strict=True) if n == 0]
