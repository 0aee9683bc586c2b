"""Checking every field of every option of a space against the kinds' own signatures, before anything runs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from nas import registry
from nas.errors import SpaceError, suggest
from nas.language import schema
from nas.language.complete import complete, item_rule, op_rule
from nas.language.grammar import NOT_FIELDS
from nas.language.legal import expected, wrong_kind, wrong_scalar
from nas.language.places import Places, Problems, brief
from nas.language.rules import check_overlaps
from nas.language.schema import (
    Anything,
    Either,
    Entry,
    Items,
    Named,
    OneOf,
    Record,
    Row,
    Scalar,
    Schema,
    Spec,
)
from nas.language.tree import (
    OPEN,
    Choice,
    Pick,
    Repeat,
    Template,
    Use,
    Walk,
    branch_path,
    counts,
    under,
)


def validate(template: Template, places: Places, root: str = schema.ROOT) -> None:
    """Check a whole file, whose top-level keys are the fields of the kind `root`.

    Raises SpaceError with up to ten errors: file, line, column, path in the tree, what was expected, what came, and the
    closest legal name or value. Options that would be equal once defaults are written in are errors too.
    """
    entries = schema.kind_entries(root)
    if entries is None:
        what = f"no kind is registered as {root!r}, whose fields are a file's top-level keys"
        raise SpaceError(f"{what}; {suggest(root, registry.names())}")
    problems = Problems()
    checking = _Checking(template.lets, places, problems)
    checking.fields(f"top-level key of a {root}", entries, template.tree, "")
    problems.raise_any()
    check_overlaps(complete(template, root), places, problems, " once defaults are written in")
    problems.raise_any()


@dataclass(slots=True)
class _Checking:
    """One pass over all options; `seen` keeps lets from being checked twice against one rule."""

    lets: Mapping[str, Any]
    places: Places
    problems: Problems
    seen: set[tuple[str, Schema]] = field(default_factory=set)

    def fail(self, path: str, text: str) -> None:
        """Report what is wrong with the value at a path."""
        self.problems.add(self.places.find(path), path, text)

    def check(self, rule: Schema, tree: Any, path: str) -> None:
        """Check `tree`, whose place is a field with `rule`."""
        if isinstance(tree, OPEN):
            self._open(rule, tree, path)
            return
        match rule:
            case Scalar() | OneOf():
                if wrong := wrong_scalar(rule, tree):
                    self.fail(path, wrong)
            case Items() | Row():
                self._list(rule, tree, path)
            case Spec(slot):
                self._spec(slot, tree, path)
            case Either(options):
                self._either(rule, options, tree, path)
            case Record() | Named():
                self._mapping(rule, tree, path)

    def fields(
        self, what: str, entries: Mapping[str, Entry], tree: dict[str, Any], path: str
    ) -> None:
        """Check a mapping with known keys; `what` a key of it is called."""
        for name, value in tree.items():
            if name in entries:
                self.check(entries[name].schema, value, under(path, name))
            else:
                known = entries if path else [*entries, *NOT_FIELDS]
                text = f"{name!r} is no {what}; {suggest(name, known)}"
                self.problems.add(self.places.key(under(path, name)), under(path, name), text)
        for name, entry in entries.items():
            if name not in tree and entry.is_required:
                self.problems.add(
                    self.places.key(path),
                    under(path, name),
                    f"missing; expected {expected(entry.schema)}",
                )

    def _open(self, rule: Schema, node: Any, path: str) -> None:
        match node:
            case Use(name):
                if (name, rule) not in self.seen:
                    self.seen.add((name, rule))
                    self.check(rule, self.lets[name], f"let.{name}")
            case Choice(options, None):
                for i, option in enumerate(options):
                    self.check(rule, option, f"{path}:{i}")
            case Choice():
                self._kinds(rule, node, path)
            case Repeat():
                self._repeat(rule, node, path)
            case Walk():
                if self._takes_list(rule, path, (node.steps,), "a walk"):
                    self._strides(item_rule(rule), node, path)
            case Pick():
                if self._takes_list(rule, path, (node.count,), "a pick"):
                    self.check(op_rule(rule), node.of, f"{path}.*")

    def _kinds(self, rule: Schema, node: Choice, path: str) -> None:
        """Check options with names: kinds of a slot, or else mappings with that one key."""
        spec = _first(rule, Spec)
        for i, (name, option) in enumerate(zip(node.names or (), node.options, strict=True)):
            if isinstance(spec, Spec):
                self._kind(spec.slot, name, option, branch_path(node, path, i))
            elif mapping := _first(rule, Record, Named, Anything):
                self.check(mapping, {name: option}, path)
        if spec is None and _first(rule, Record, Named, Anything) is None:
            self.fail(
                path,
                f"expected {expected(rule)}, got a choice of kinds: {', '.join(node.names or ())}",
            )

    def _repeat(self, rule: Schema, node: Repeat, path: str) -> None:
        if not self._takes_list(rule, path, counts(node, self.lets), "a repeat"):
            return
        row = _first(rule, Row)
        for item in row.items if isinstance(row, Row) else (item_rule(rule),):
            self.check(item, node.item, f"{path}[]")

    def _takes_list(self, rule: Schema, path: str, sizes: tuple[int, ...], what: str) -> bool:
        """Return whether lists of all these sizes may stand here; report it if not."""
        fitting = _first(rule, Items, Row, Anything)
        if fitting is None:
            self.fail(path, f"expected {expected(rule)}, got {what}, which makes a list")
        elif isinstance(fitting, Row) and set(sizes) != {len(fitting.items)}:
            self.fail(
                path,
                f"expected {expected(rule)}, got {what} of {' or '.join(map(str, sizes))} items",
            )
            return False
        return fitting is not None

    def _strides(self, rule: Schema, node: Walk, path: str) -> None:
        if isinstance(rule, Scalar | OneOf):
            for stride in node.moves:
                if wrong := wrong_scalar(rule, stride):
                    self.fail(path, f"stride {stride}: {wrong}")

    def _list(self, rule: Items | Row, tree: Any, path: str) -> None:
        if not isinstance(tree, list):
            self.fail(path, f"expected {expected(rule)}, got {brief(tree)}")
            return
        if isinstance(rule, Row) and len(tree) != len(rule.items):
            self.fail(path, f"expected {expected(rule)}, got {len(tree)} items: {brief(tree)}")
            return
        for i, value in enumerate(tree):
            self.check(item_rule(rule, i), value, f"{path}[{i}]")

    def _spec(self, slot: str, tree: Any, path: str) -> None:
        if isinstance(tree, dict) and len(tree) == 1:
            ((name, fields),) = tree.items()
            self._kind(slot, name, fields, under(path, name))
        elif isinstance(tree, dict) and tree:
            got = f"{len(tree)} keys: {', '.join(tree)}"
            self.fail(
                path,
                f"expected {expected(Spec(slot))}, got {got}; to search, write {{choice: ...}}",
            )
        else:
            hint = f"; write {{{tree}: {{}}}}" if isinstance(tree, str) else ""
            self.fail(
                path,
                f"expected {expected(Spec(slot))}, got {brief(tree)}{hint}; {suggest(tree, registry.names(slot))}",
            )

    def _kind(self, slot: str, name: str, fields: Any, path: str) -> None:
        """Check one kind and its fields, at the path of its fields."""
        if wrong := wrong_kind(slot, name):
            self.problems.add(self.places.key(path), path, wrong)
            return
        if not isinstance(fields, dict):
            text = f"write {name}: {{}} for no fields" if fields is None else f"got {brief(fields)}"
            self.fail(path, f"expected the fields of {name!r} as a mapping; {text}")
            return
        place = registry.KINDS[name].place
        for given in [f for f in fields if f in place]:
            text = f"{given!r} is decided by the surrounding block, not in the file; remove it"
            self.problems.add(self.places.key(under(path, given)), under(path, given), text)
        own = {k: v for k, v in fields.items() if k not in place}
        self.fields(f"field of {name!r}", schema.kind_entries(name) or {}, own, path)

    def _mapping(self, rule: Record | Named, tree: Any, path: str) -> None:
        if not isinstance(tree, dict):
            self.fail(path, f"expected {expected(rule)}, got {brief(tree)}")
        elif isinstance(rule, Record):
            self.fields("key here", schema.record_entries(rule.of), tree, path)
        else:
            for name, value in tree.items():
                self.check(rule.value, value, under(path, name))

    def _either(self, rule: Schema, options: tuple[Schema, ...], tree: Any, path: str) -> None:
        """Check against several rules; report the errors of the one that fits best, or that none of them fits."""
        found: list[Problems] = []
        for option in options:
            trial = _Checking(self.lets, self.places, Problems())
            trial.check(option, tree, path)
            if not trial.problems.lines:
                return
            if isinstance(option, _CONTAINERS.get(type(tree), ())):
                found.append(trial.problems)
        if not found:
            self.fail(path, f"expected {expected(rule)}, got {brief(tree)}")
            return
        best = min(found, key=lambda problems: len(problems.lines))
        self.problems.lines += [line for line in best.lines if line not in self.problems.lines]


_CONTAINERS: dict[type, tuple[type, ...]] = {dict: (Spec, Record, Named), list: (Items, Row)}


def _first(rule: Schema, *kinds: type) -> Schema | None:
    """Return `rule`, or the first of its alternatives, that is one of `kinds`."""
    options = rule.options if isinstance(rule, Either) else (rule,)
    return next((o for o in options if isinstance(o, kinds)), None)
