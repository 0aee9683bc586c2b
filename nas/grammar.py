"""From a whole file to a template: its lets, and the rules that hold between parts of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from math import comb
from typing import Any

from nas.document import Value
from nas.overlap import overlapping
from nas.parse import MOST_ITEMS, MOST_OPTIONS, Parser
from nas.places import Places, Problems, brief
from nas.tree import EARLIER, Choice, Pick, Repeat, Template, Use, Walk, counts, followed, nodes, plain, uses

MOST_CLOSED = 100_000
MOST_DEEP = 100
NOT_FIELDS = ("let", "base")


def template_of(root: Value) -> tuple[Template, Places]:
    """Return the tree and lets of a file, and where their parts stand; raises SpaceError with up to ten errors."""
    problems = Problems()
    if not isinstance(root.data, dict):
        problems.add(root.where, "", f"expected a mapping such as `encoder: ...`, got {brief(root)}")
        problems.raise_any()
    parser = Parser(problems)
    lets = _read_lets(parser, root)
    body = replace(root, data={k: v for k, v in root.data.items() if k not in NOT_FIELDS})
    parser.places.note("", root)
    template = Template(parser.fields(body, ""), lets)
    problems.raise_any()
    for check in (_check_lets, _check_counts, _check_picks, _check_size, _check_options):
        check(template, root, parser.places, problems)
        problems.raise_any()
    used = _reached(template)
    return Template(template.tree, {n: t for n, t in lets.items() if n in used}), parser.places


def all_nodes(template: Template) -> list[tuple[str, Any]]:
    """Return every open node of the tree and of the lets, with its template path."""
    found = list(nodes(template.tree))
    for name, tree in template.lets.items():
        found += nodes(tree, f"let.{name}")
    return found


def check_overlaps(template: Template, places: Places, problems: Problems, why: str = "") -> None:
    """Report choices two of whose options can close to the same data."""
    for path, node in all_nodes(template):
        if isinstance(node, Choice) and (pair := overlapping(node, template.lets)):
            i, j = pair
            text = f"options {i + 1} and {j + 1} can both become {brief(plain(node.options[j]))}{why}; remove one"
            problems.add(places.find(f"{path}:{j}"), path, text)


def _read_lets(parser: Parser, root: Value) -> dict[str, Any]:
    let = root.data.get("let")
    if let is None:
        return {}
    if not isinstance(let.data, dict):
        parser.problems.add(let.where, "let", f"expected names and what they stand for, got {brief(let)}")
        return {}
    parser.lets = tuple(str(k) for k in let.data)
    parser.places.note("let", let)
    return parser.fields(let, "let")


def _reached(template: Template) -> set[str]:
    """Return the lets that the tree uses, itself or by way of other lets."""
    reached: set[str] = set()
    fresh = uses(template.tree)
    while fresh:
        reached |= fresh
        fresh = {n for name in fresh for n in uses(template.lets[name])} - reached
    return reached


def _check_lets(template: Template, root: Value, places: Places, problems: Problems) -> None:
    for name in template.lets:
        if cycle := _cycle(name, template.lets, ()):
            problems.add(places.find(f"let.{name}"), f"let.{name}", f"a let that uses itself: {' -> '.join(cycle)}")
            return
    reached = _reached(template)
    for name in template.lets:
        value = root.data["let"].data[name]
        own_file = value.key.file == root.where.file
        if name not in reached and own_file:
            problems.add(value.key, f"let.{name}", f"{name!r} is never used; write {{use: {name}}} somewhere, or remove it")


def _cycle(name: str, lets: Mapping[str, Any], above: tuple[str, ...]) -> tuple[str, ...]:
    """Return a chain of lets that ends where it began, or ()."""
    if name in above:
        return (*above[above.index(name) :], name)
    return next((c for n in sorted(uses(lets[name])) if (c := _cycle(n, lets, (*above, name)))), ())


def _check_counts(template: Template, root: Value, places: Places, problems: Problems) -> None:
    for path, node in all_nodes(template):
        if not isinstance(node, Repeat):
            continue
        count = followed(node.count, template.lets)
        options = count.options if isinstance(count, Choice) else (count,)
        wrong = [n for n in options if not isinstance(n, int) or isinstance(n, bool) or not 0 <= n <= MOST_ITEMS]
        if wrong or (isinstance(count, Choice) and count.names):
            text = f"expected whole numbers from 0 to {MOST_ITEMS:,}, got {brief(plain(count))}"
            problems.add(places.find(f"{path}.repeat"), f"{path}.repeat", text)


def _check_picks(template: Template, root: Value, places: Places, problems: Problems) -> None:
    for path, node in all_nodes(template):
        last = max(counts(node, template.lets)) - 1 if isinstance(node, Repeat) else 0
        for below, pick in nodes(node.item, f"{path}[]") if isinstance(node, Repeat) else [(path, node)]:
            if isinstance(pick, Pick):
                sources = len(pick.sources) + (last - 1 if EARLIER in pick.sources else 0)
                if comb(max(sources, 0), pick.count) > MOST_OPTIONS:
                    text = f"more than {MOST_OPTIONS:,} ways to pick {pick.count} from {sources} sources; expected fewer"
                    problems.add(places.find(below), below, text)


def _check_size(template: Template, root: Value, places: Places, problems: Problems) -> None:
    values, levels = _extent(template.tree, template.lets, {})
    if values > MOST_CLOSED:
        text = f"one architecture of this space may hold {values:,} values; at most {MOST_CLOSED:,}: repeat less"
        problems.add(root.where, "", text)
    if levels > MOST_DEEP:
        problems.add(root.where, "", f"lets inside lets nest {levels} levels deep; at most {MOST_DEEP}")


def _check_options(template: Template, root: Value, places: Places, problems: Problems) -> None:
    check_overlaps(template, places, problems)


def _extent(tree: Any, lets: Mapping[str, Any], known: dict[str, tuple[int, int]]) -> tuple[int, int]:
    """Return (values, levels) of the largest and of the deepest data that `tree` can close to."""
    match tree:
        case Use(name):
            if name not in known:
                known[name] = _extent(lets[name], lets, known)
            return known[name]
        case dict() | list():
            inner = [_extent(v, lets, known) for v in (tree.values() if isinstance(tree, dict) else tree)]
            return 1 + sum(v for v, _ in inner), 1 + max((d for _, d in inner), default=0)
        case Choice(options):
            inner = [_extent(o, lets, known) for o in options]
            return 1 + max(v for v, _ in inner), 1 + max(d for _, d in inner)
        case Repeat(_, item):
            values, levels = _extent(item, lets, known)
            return 1 + max(counts(tree, lets)) * values, 1 + levels
        case Walk(steps):
            return 1 + steps, 2
        case Pick():
            values, levels = _extent(tree.of, lets, known)
            return 1 + tree.count * (2 + values), 2 + levels
    return 1, 1
