"""Skips: options that pass their input on, without parameters and without work of their own."""

from __future__ import annotations

from collections.abc import Iterable

from nas.registry import KINDS
from nas.relax.gates import Question


def skips(asked: Iterable[Question]) -> dict[str, tuple[int, ...]]:
    """Return, by path, the options of each choice that are skips; choices that offer none are left out.

    A kind is a skip where its class says `passes_on`; pools do work, and `zero` passes nothing on.
    """
    found = {q.path: tuple(i for i, kind in enumerate(q.kinds) if _passes_on(kind)) for q in asked}
    return {path: options for path, options in found.items() if options}


def _passes_on(name: str) -> bool:
    return name in KINDS and bool(getattr(KINDS[name].make, "passes_on", False))
