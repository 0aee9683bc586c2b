"""What may stand in each slot, for tests of combinations."""

from __future__ import annotations

from typing import Any

from examples import COMPOSITES, SURROUNDING, kinds


def firsts(slot: str) -> list[dict[str, Any]]:
    """Every kind that may stand there, with the fields of its first example."""
    found = [k for k in kinds() if slot in k.slots and k.name not in SURROUNDING]
    return [{k.name: COMPOSITES.get(k.name, [{}])[0]} for k in found]
