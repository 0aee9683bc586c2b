"""Spaces small enough to list, which hold what a relaxation has to deal with; and what tests ask of one."""

from __future__ import annotations

import random
from dataclasses import dataclass
from functools import cache
from typing import Any

from nas import registry
from nas.architecture import Architecture
from nas.choosers import random_chooser, record
from nas.parts import Plan
from nas.relax.gates import Question, questions
from nas.relax.planner import RelaxedPlanner, opened
from nas.resolve import closed
from nas.space import Space, parse

SIZE = (64, 96)
PLAIN = "[{width: 8, blocks: [{conv: {}}]}, {width: 8, blocks: [{conv: {}}]}, {width: 8, blocks: [{conv: {}}]}]"
HEAD = "{head: {fcn: {width: 8}}}"
CELLS = """[{width: 8, blocks: [{choice: {mbconv: {kernel: {use: k}, expand: {choice: [1, 2]}}, basic: {}}}]},
  {width: 12, blocks: [{choice: {mbconv: {kernel: {use: k}}, conv: {}}}, {separable: {}}]},
  {width: 8, blocks: [{conv: {kernel: {choice: [1, 3, 5]}}}]}]"""
BLOCKS = """[{width: 8, blocks: [{conv: {}}]},
  {width: 8, blocks: [{conv: {}}, {choice: {mbconv: {expand: {choice: [1, 2]}}, basic: {}, separable: {}}}]},
  {width: 12, blocks: [{conv: {}}, {conv: {kernel: {choice: [1, 3]}}}]}]"""
CELL = """
      repeat: 2
      of:
        pick: 2
        from: [prev2, prev, earlier]
        of: {choice: [{double_separable: {kernel: 3}}, {pool: {take: average}}, {skip: {}}, {zero: {}}]}"""
BLOCK = "[[{source: prev2, op: {skip: {}}}, {source: prev, op: {conv: {}}}]]"
TRELLIS = """
  trellis:
    path: {walk: 3, from: 4, moves: {4: [4, 8], 8: [4, 8, 16], 16: [8, 16]}}
    cell: %s
    filters: 4
    stem: [4, 4, 8]
"""


def text(decoder: str, stages: str = PLAIN, let: str = "", encoder: str = "") -> str:
    """Return a space's file."""
    encoder = encoder or f"{{stages: {{stem: 8, stages: {stages}}}}}"
    return f"""
task: {{semantic: {{classes: 5}}}}
input: [3, {SIZE[0]}, {SIZE[1]}]
{let}
encoder: {encoder}
decoders: {{semantic: {decoder}}}
"""


NECKS = """{choice: {fpn: {top: {choice: [4, 5]}, width: 8},
  bifpn: {top: {choice: [4, 5]}, width: 8, repeats: {choice: [1, 2]}}}}"""
TEXTS = {
    "cells": text(HEAD, CELLS, "let: {k: {choice: [3, 5]}}"),
    "blocks": text(HEAD, BLOCKS),
    "context": text(
        "{context: {choice: {none: {}, aspp: {width: 8, rates: {choice: [[1, 2], [2, 3]]}}}}, "
        "neck: {fpn: {top: 4, width: 8}}, head: {merge: {width: 8}}}"
    ),
    "pyramid": text(
        f"{{neck: {NECKS}, head: {{choice: {{fcn: {{width: 8}}, merge: {{width: 8}}}}}}}}"
    ),
    "trellis": text(HEAD, encoder=TRELLIS % CELL),
    "path": text(HEAD, encoder=TRELLIS % BLOCK),
}


@dataclass(frozen=True)
class Relaxed:
    """A space with its relaxed plan and its questions by path."""

    space: Space
    plan: Plan
    asked: dict[str, Question]

    def draw(self, seed: int) -> tuple[Architecture, dict[str, int]]:
        """Return a random architecture that gives logits, and its decisions."""
        decisions: dict[str, int] = {}
        chooser: Any = record(random_chooser(random.Random(seed)), decisions)
        return closed(self.space, chooser), decisions


@cache
def relaxed(name: str) -> Relaxed:
    """Return one of `TEXTS`, relaxed."""
    registry.load()
    space = parse(TEXTS[name])
    tree = opened(space)
    plan = RelaxedPlanner(SIZE).plan(tree)
    return Relaxed(space, plan, {q.path: q for q in questions(tree)})
