"""Latency tables: whole networks that were timed, and each leaf inside them, in one file with all conditions."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any

from nas.architecture import Architecture
from nas.atomic import write_atomic
from nas.errors import LatencyError
from nas.latency.target import Conditions, Target

SCHEMA = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Timed:
    """One network that was timed: its canonical text, milliseconds, and those of each leaf by name where known.

    `spread` is the measurement's own repeat error, as a share; None where nobody repeated it.
    """

    architecture: str
    ms: float
    spread: float | None = None
    nodes: Mapping[str, float] | None = None


@dataclass(frozen=True, kw_only=True)
class Table:
    """Networks of one space timed under one set of conditions; `planned` are the texts of all that are to be timed.

    `reference` is the network that was timed beside each of them, `reference_ms` its median.
    """

    space: str
    space_digest: str
    conditions: Conditions
    planned: tuple[str, ...]
    networks: tuple[Timed, ...] = ()
    reference: str = ""
    reference_ms: float = 0.0
    made: str = ""

    @property
    def target(self) -> Target:
        """What was measured on."""
        return self.conditions.target

    @property
    def is_complete(self) -> bool:
        """Whether everything that was planned is timed."""
        return len(self.networks) >= len(self.planned)

    @cached_property
    def left(self) -> tuple[Architecture, ...]:
        """The planned networks that are not timed yet, in order."""
        done = {timed.architecture for timed in self.networks}
        return tuple(Architecture(text) for text in self.planned if text not in done)

    def with_networks(self, *timed: Timed) -> Table:
        """Return the table with more networks in it."""
        now = datetime.now(UTC).isoformat(timespec="seconds")
        return replace(self, networks=(*self.networks, *timed), made=now)

    def save(self, path: Path | str) -> None:
        """Write the file, whole or not at all."""
        head = {"schema": SCHEMA, "space": self.space, "space_digest": self.space_digest}
        content = {
            **head,
            "made": self.made,
            "conditions": self.conditions.to_dict(),
            "reference": {"architecture": self.reference, "ms": self.reference_ms},
            "planned": list(self.planned),
            "networks": [asdict(timed) for timed in self.networks],
        }
        write_atomic(Path(path), (json.dumps(content, indent=1) + "\n").encode())

    def check(self, wanted: Conditions, path: Path | str) -> None:
        """Raise LatencyError with everything in which the table's conditions differ from those wanted."""
        differences = self.conditions.differences(wanted)
        if differences:
            raise LatencyError(
                f"{path} was made under other conditions:\n  " + "\n  ".join(differences) + "\n"
                "make one for these: nas latency --make-table SPACE --target TARGET"
            )


def load_table(path: Path | str) -> Table:
    """Return the table in a file; raises LatencyError where there is none, or it is damaged or of another schema."""
    file = Path(path)
    if not file.is_file():
        raise LatencyError(f"no latency table at {file}; nas latency --make-table SPACE makes one")
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        if content["schema"] != SCHEMA:
            raise LatencyError(
                f"{file} has schema {content['schema']!r}, this version reads {SCHEMA}"
            )
        return _table(content)
    except (KeyError, TypeError, ValueError) as error:
        raise LatencyError(
            f"{file} is no latency table, or damaged: {type(error).__name__}: {error}"
        ) from None


def _table(content: Mapping[str, Any]) -> Table:
    return Table(
        space=content["space"],
        space_digest=content["space_digest"],
        conditions=Conditions.from_dict(content["conditions"]),
        planned=tuple(content["planned"]),
        networks=tuple(Timed(**timed) for timed in content["networks"]),
        reference=content["reference"]["architecture"],
        reference_ms=float(content["reference"]["ms"]),
        made=content["made"],
    )
