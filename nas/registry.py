"""The kinds that a space may name: leaves (an `nn.Module` class) and composites (a function on a plan)."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Annotated, Any, TypeVar, get_args, get_origin, get_type_hints

from nas.errors import NasError, SpaceError, suggest
from nas.fields import PLACE

C = TypeVar("C", bound=Callable[..., Any])
REQUIRED: Any = inspect.Parameter.empty


@dataclass(frozen=True, slots=True)
class Field:
    """One field: its annotation (with `nas.fields` markers kept) and its default, or REQUIRED."""

    name: str
    annotation: Any
    default: Any = REQUIRED


@dataclass(frozen=True, slots=True)
class Kind:
    """A block or composite by name, the slots it may stand in, and the fields that its signature declares."""

    name: str
    slots: tuple[str, ...]
    make: Callable[..., Any]
    is_leaf: bool
    fields: Mapping[str, Field]
    place: Mapping[str, Field]

    @property
    def summary(self) -> str:
        """First line of the kind's docstring."""
        return (inspect.getdoc(self.make) or "").partition("\n")[0]


KINDS: dict[str, Kind] = {}
USED: list[str] = []
"""The user's own files, in the order in which they were imported: another process needs the same."""
DOMAIN = "search_spaces"
LOADED = time.time()
"""When this process began to load kinds: a file that is newer may not be what was loaded."""


def kind(name: str, *slots: str) -> Callable[[C], C]:
    """Register a class (leaf) or a function (composite) as `name`, allowed in `slots`.

    Raises NasError where the name is taken.
    """

    def register(make: C) -> C:
        if name in KINDS:
            raise NasError(
                f"kind {name!r} is registered twice: by {KINDS[name].make!r} and by {make!r}; rename one"
            )
        fields, place = _signature(make)
        KINDS[name] = Kind(name, slots, make, inspect.isclass(make), fields, place)
        return make

    return register


def find(name: str, slot: str | None = None) -> Kind:
    """Return the kind called `name`; raises SpaceError with the closest known name of the slot."""
    known = KINDS.get(name)
    if known is None or (slot is not None and slot not in known.slots):
        what = f"no {slot or 'kind'} is called {name!r}"
        raise SpaceError(f"{what}; {suggest(name, names(slot))}")
    return known


def names(slot: str | None = None) -> list[str]:
    """Return the names of all kinds, or of those that may stand in `slot`, sorted."""
    return sorted(k.name for k in KINDS.values() if slot is None or slot in k.slots)


def load(package: str = DOMAIN) -> ModuleType:
    """Import a domain package, which registers its kinds; the engine knows it by this name only."""
    return importlib.import_module(package)


def domain() -> Any:
    """Return the domain package: the engine asks it for data sets and tasks, never for a block by import."""
    return load(DOMAIN)


def use_file(path: str | Path) -> None:
    """Import one Python file of the user's own, for the kinds and data sets that it registers.

    Once, however often asked.
    """
    file = Path(path).resolve()
    if not file.is_file():
        raise NasError(f"no such file: {file} (expected a Python file with @kind-decorated blocks)")
    name = f"user_{file.stem}"
    if (known := sys.modules.get(name)) is not None and known.__file__ == str(file):
        return
    spec = importlib.util.spec_from_file_location(name, file)
    if spec is None or spec.loader is None:
        raise NasError(f"{file} is not a Python file; expected a name that ends in .py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # before it runs: a dataclass looks its own module up
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    USED.append(str(file))


def _signature(make: Callable[..., Any]) -> tuple[dict[str, Field], dict[str, Field]]:
    """Return (fields of the language, fields that the surrounding composite decides): the keyword-only parameters."""
    target = make.__init__ if inspect.isclass(make) else make
    hints = get_type_hints(target, include_extras=True)
    fields: dict[str, Field] = {}
    place: dict[str, Field] = {}
    for p in inspect.signature(target).parameters.values():
        if p.kind is not inspect.Parameter.KEYWORD_ONLY:
            continue
        annotation, placed = _unplace(hints.get(p.name, Any))
        (place if placed else fields)[p.name] = Field(p.name, annotation, p.default)
    return fields, place


def _unplace(annotation: Any) -> tuple[Any, bool]:
    """Strip the `Place` marker; return the rest and whether it was there."""
    if get_origin(annotation) is not Annotated:
        return annotation, False
    inner, *marks = get_args(annotation)
    rest = [m for m in marks if m is not PLACE]
    stripped = Annotated[inner, *rest] if rest else inner
    return stripped, len(rest) != len(marks)
