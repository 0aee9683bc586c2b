"""Which leaf of the plan a kernel of ONNX Runtime works for, after the runtime has fused and renamed what it runs."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

SCOPES = "pkg.torch.onnx.name_scopes"
"""Where the exporter writes the modules, outermost first, that a node comes from."""
BLOCKED = "_nchwc"
"""Suffix of what the runtime moves to its blocked layout; what is before it is the value's old name."""


def owners(exported: Path, optimised: Path, leaves: Iterable[str]) -> Mapping[str, str]:
    """Return the leaf of every node of the optimised graph that has one, by the node's name.

    A node belongs to the leaf that made its output in the exported graph; what the runtime added, such as a change
    of layout, to the leaf whose output it takes.
    """
    import onnx

    made = _values(onnx.load(str(exported), load_external_data=False), set(leaves))
    found: dict[str, str] = {}
    known = dict(made)
    for node in onnx.load(str(optimised), load_external_data=False).graph.node:
        leaf = _owner(node, made, known)
        if leaf is not None:
            found[node.name] = leaf
            known.update(dict.fromkeys(node.output, leaf))
    return found


def _owner(node: Any, made: Mapping[str, str], known: Mapping[str, str]) -> str | None:
    own = [*node.output, node.name.partition(BLOCKED)[0]]
    candidates = [made.get(name) for name in own] + [known.get(name) for name in node.input]
    return next((leaf for leaf in candidates if leaf is not None), None)


def _values(model: Any, leaves: set[str]) -> dict[str, str]:
    """Return the leaf that makes each value of the exported graph."""
    made: dict[str, str] = {}
    for node in model.graph.node:
        scopes = next((p.value for p in node.metadata_props if p.key == SCOPES), "[]")
        leaf = next((s for s in ast.literal_eval(scopes) if s in leaves), None)
        if leaf is not None:
            made.update(dict.fromkeys(node.output, leaf))
    return made
