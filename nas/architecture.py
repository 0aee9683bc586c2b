"""A closed tree with an identity: canonical text, a short id, and files that a person can read."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from nas.errors import PlanError, SpaceError
from nas.language import schema
from nas.language.canonical import shorten
from nas.language.closing import Closing
from nas.language.library import ARCHITECTURES, Source, published, read_template
from nas.language.notation import to_yaml
from nas.language.places import listed
from nas.language.tree import OPEN, OUTSIDE, plain

__all__ = ["Architecture", "load_architecture", "published", "save_architecture", "with_classes"]


@dataclass(frozen=True)
class Architecture:
    """`text` is canonical JSON: keys sorted, defaults left out, whole numbers whole; equal text, same architecture.

    Make one with `Architecture.of(tree)`; the constructor takes text that is canonical already (from a record).
    """

    text: str

    @classmethod
    def of(cls, tree: Any) -> Architecture:
        """Return the architecture of a closed tree; raises SpaceError where something is open or is no plain data."""
        return cls(
            json.dumps(
                shorten(tree),
                sort_keys=True,
                separators=(",", ":"),
                allow_nan=False,
                default=_refuse,
            )
        )

    @cached_property
    def id(self) -> str:
        """First 12 hexadecimal digits of the text's SHA-256."""
        return hashlib.sha256(self.text.encode()).hexdigest()[:12]

    @property
    def tree(self) -> Any:
        """A fresh copy as dicts and lists, defaults left out."""
        return json.loads(self.text)

    @property
    def input(self) -> tuple[int, int, int]:
        """(channels, height, width) of the images that it is meant for."""
        channels, height, width = self._root("input")
        return channels, height, width

    @property
    def classes(self) -> int:
        """Number of classes of its task."""
        ((kind, fields),) = self._root("task").items()
        entry = (schema.kind_entries(kind) or {}).get("classes")
        value = fields.get("classes", schema.REQUIRED if entry is None else entry.default)
        if value is schema.REQUIRED:
            raise SpaceError(
                f"task.{kind}: no `classes`; expected a whole number, e.g. {{{kind}: {{classes: 19}}}}"
            )
        return int(value)

    def with_classes(self, n: int) -> Architecture:
        """Return the same architecture for `n` classes."""
        return Architecture.of(with_classes(self.tree | {"task": self._root("task")}, n))

    def with_input(self, shape: tuple[int, int, int]) -> Architecture:
        """Return the same architecture for images of (channels, height, width)."""
        return Architecture.of(self.tree | {"input": list(shape)})

    def _root(self, name: str) -> Any:
        tree = self.tree
        if name in tree:
            return tree[name]
        entry = (schema.kind_entries(schema.ROOT) or {}).get(name)
        if entry is None or entry.default is schema.REQUIRED:
            raise SpaceError(
                f"architecture {self.id}: no `{name}` at its top; keys: {', '.join(tree)}"
            )
        return entry.default


def load_architecture(
    path_or_name: str | Path, root: str = schema.ROOT, *, fits: bool = True
) -> Architecture:
    """Return the architecture in a file or of a published name, checked.

    With `fits` it is also planned, for its own input size. Raises SpaceError with the place in the file where a choice
    is open, or where parts do not fit together.
    """
    source = read_template(path_or_name, ARCHITECTURES, root)

    def refuse(path: str, options: Sequence[Any]) -> int:
        text = (
            f"{path} is open (options: {listed(options)}), but an architecture has no open choice"
        )
        where = source.places.find(path) or source.name
        raise SpaceError(f"{where}: {text}; search it as a space, or keep one option")

    architecture = Architecture.of(
        Closing(refuse, source.template.lets).close(source.template.tree, "", OUTSIDE)
    )
    if fits and root == schema.ROOT:
        _check_fit(architecture, source)
    return architecture


def save_architecture(architecture: Architecture, path: str | Path, header: str = "") -> None:
    """Write a YAML file that loads back to the same id, with `header` as its comment, in place of any there."""
    file = Path(path)
    tree = architecture.tree
    first = [name for name in schema.kind_entries(schema.ROOT) or {} if name in tree]
    ordered = {name: tree[name] for name in [*first, *(k for k in tree if k not in first)]}
    comment = "".join(
        f"# {line}".rstrip() + "\n" for line in [*header.splitlines(), f"id: {architecture.id}"]
    )
    draft = file.with_name(f".{file.name}.{os.getpid()}")
    draft.write_text(comment + to_yaml(ordered), encoding="utf-8")
    draft.replace(file)


def with_classes(tree: dict[str, Any], n: int) -> dict[str, Any]:
    """Return a tree, open or closed, whose task has `n` classes; raises SpaceError if the task itself is open."""
    task = tree.get("task")
    if not isinstance(task, dict) or len(task) != 1:
        raise SpaceError(
            f"task: expected one {{kind: {{classes: ...}}}} to put {n} classes in, got {plain(task)!r}"
        )
    ((kind, fields),) = task.items()
    return tree | {"task": {kind: {**fields, "classes": n}}}


def _check_fit(architecture: Architecture, source: Source) -> None:
    """Raise SpaceError with the place in the file where an architecture cannot be planned."""
    from nas.plan import Planner

    try:
        Planner(architecture.input[1:]).plan(architecture)
    except PlanError as error:
        where = (source.places.find(error.path) if error.path else None) or source.name
        raise SpaceError(f"{where}: {error}") from error


def _refuse(value: Any) -> Any:
    if isinstance(value, OPEN):
        raise SpaceError(
            f"an open node is left: {plain(value)}; close it with nas.resolve.resolve first"
        )
    raise SpaceError(
        f"{value!r} is a {type(value).__name__}; an architecture holds plain data only"
    )
