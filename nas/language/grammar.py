"""From a whole file to a template: its lets, its tree, and where the parts of both stand."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from nas.language.document import Value
from nas.language.parse import Parser
from nas.language.places import Places, Problems, brief
from nas.language.rules import check_rules, reached
from nas.language.tree import Template

NOT_FIELDS = ("let", "base")


def template_of(root: Value) -> tuple[Template, Places]:
    """Return the tree of a file and the lets that it uses; raises SpaceError with up to ten errors."""
    problems = Problems()
    if not isinstance(root.data, dict):
        problems.add(
            root.where, "", f"expected a mapping such as `encoder: ...`, got {brief(root)}"
        )
        problems.raise_any()
    parser = Parser(problems)
    lets = _read_lets(parser, root)
    parser.places.note("", root)
    body = replace(root, data={k: v for k, v in root.data.items() if k not in NOT_FIELDS})
    template = Template(parser.fields(body, ""), lets)
    problems.raise_any()
    check_rules(template, root, parser.places)
    used = reached(template)
    return Template(template.tree, {n: t for n, t in lets.items() if n in used}), parser.places


def _read_lets(parser: Parser, root: Value) -> dict[str, Any]:
    let = root.data.get("let")
    if let is None:
        return {}
    if not isinstance(let.data, dict):
        text = f"expected names and what they stand for, got {brief(let)}"
        parser.problems.add(let.where, "let", text)
        return {}
    parser.lets = tuple(str(k) for k in let.data)
    parser.places.note("let", let)
    return parser.fields(let, "let")
