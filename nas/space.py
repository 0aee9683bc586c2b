"""A search space: a tree with open nodes, read from a file."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from nas.architecture import Architecture, with_classes
from nas.errors import Where
from nas.language.counting import Counting
from nas.language.document import read_text
from nas.language.grammar import template_of
from nas.language.library import SPACES, published, read_template, spaces
from nas.language.notation import to_yaml
from nas.language.places import Places
from nas.language.questions import questions
from nas.language.schema import ROOT
from nas.language.tree import Choice, Pick, Repeat, Template, once, plain
from nas.resolve import architectures

__all__ = ["Space", "load_space", "parse", "published", "spaces"]


@dataclass(frozen=True)
class Space(Template):
    """Plain data with open nodes (`nas.language.tree`), and the trees that `use` names.

    `places` says where its parts stand.
    """

    name: str = ""
    places: Places = field(default_factory=Places, repr=False, compare=False)

    @cached_property
    def text(self) -> str:
        """The whole space as one YAML file, bases merged in."""
        let = {"let": plain(self.lets)} if self.lets else {}
        return to_yaml(let | plain(self.tree))

    @cached_property
    def digest(self) -> str:
        """12 hexadecimal digits that change with the space; the order of options counts, that of fields does not."""
        text = json.dumps(_ordered([self.tree, dict(self.lets)]), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:12]

    def size(self) -> int:
        """Return the exact number of distinct closed trees."""
        return once(self, Counting).size()

    def enumerate(self) -> Iterator[Architecture]:
        """Yield all architectures, each once, in the order of `nas.choosers.at`."""
        return architectures(self)

    def options(self) -> list[tuple[str, Any]]:
        """Return (path, label) of every option that some architecture takes; questions with one option are none."""
        return [(q.path, label) for q in questions(self) for label in q.labels]

    def where(self, path: str) -> Where | None:
        """Return where the node at a decision's path stands, or the nearest node above it that has a place."""
        return self.places.find(path)

    def with_classes(self, n: int) -> Space:
        """Return the same space for `n` classes."""
        return replace(self, tree=with_classes(self.tree, n))

    def with_input(self, shape: tuple[int, int, int]) -> Space:
        """Return the same space for images of (channels, height, width)."""
        return replace(self, tree=self.tree | {"input": list(shape)})


def parse(text: str, name: str = "<text>") -> Space:
    """Return the space that YAML text describes, checked for grammar but not against any kind."""
    template, places = template_of(read_text(text, name))
    return Space(template.tree, template.lets, name, places)


def load_space(path_or_name: str | Path, root: str = ROOT) -> Space:
    """Return a search space from a file or a published name, every field of every option checked.

    Raises SpaceError with file, line, path, what was expected and the closest legal name (up to ten errors at once).
    """
    source = read_template(path_or_name, SPACES, root)
    return Space(source.template.tree, source.template.lets, source.name, source.places)


def _ordered(tree: Any) -> Any:
    """Return `tree` as JSON data that keeps the order of named options although keys are sorted."""
    match tree:
        case Choice(options, names):
            return {"choice": [list(names or ()), [_ordered(o) for o in options]]}
        case Repeat(count, item):
            return {"repeat": _ordered(count), "of": _ordered(item)}
        case Pick():
            return {"pick": tree.count, "from": tree.sources, "of": _ordered(tree.of)}
        case dict():
            return {k: _ordered(v) for k, v in tree.items()}
        case list():
            return [_ordered(v) for v in tree]
    return plain(tree)
