"""Search spaces for tests of the language: one with everything in it, and arbitrary small ones."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from nas.language.tree import Choice, Pick, Repeat, Use, Walk, uses
from nas.space import Space

MOVES = "{4: [4, 8], 8: [4, 8, 16], 16: [8, 16, 32], 32: [16, 32]}"
SPACE = f"""
let:
  k: {{choice: [3, 5]}}
  d: {{choice: [1, 2, 3]}}
  w: {{choice: [1, {{use: k}}]}}
  deep: {{repeat: {{use: d}}, of: {{choice: [1, 2]}}}}
encoder:
  choice:
    stages:
      stem: {{choice: [16, 24, 32]}}
      x: {{use: w}}
      y: {{choice: {{tied: {{use: deep}}, free: 0}}}}
      blocks:
        repeat: {{use: d}}
        of: {{choice: {{mbconv: {{kernel: {{use: k}}, expand: {{choice: [3, 6]}}}}, basic: {{}}}}}}
    trellis:
      path: {{walk: 3, from: 4, moves: {MOVES}}}
      cell:
        repeat: 2
        of: {{pick: 2, from: [prev, prev2, earlier], of: {{choice: {{zero: {{}}, sep: {{kernel: {{use: k}}}}}}}}}}
n: {{choice: {{from: 24, to: 48, by: 8}}}}
m: {{choice: [{{a: {{use: d}}}}, {{b: 1}}]}}
"""
WALK = Walk(2, 4, {4: (4, 8), 8: (4, 8, 16), 16: (8,)})
LETS = {
    "k": Choice((3, 5)),
    "d": Choice((2, 0, 1)),
    "both": {"first": Use("k"), "second": Choice((7, Use("k")))},
    "list": Repeat(Use("d"), Choice((1, 2))),
}


def _open(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Return open nodes whose parts come from `inner`; options are told apart by a name or a number of their own."""
    named = st.lists(inner, min_size=1, max_size=3).map(
        lambda o: Choice(tuple(o), ("a", "b", "c")[: len(o)])
    )
    numbered = st.lists(inner, min_size=1, max_size=3).map(
        lambda o: Choice(tuple([i, v] for i, v in enumerate(o)))
    )
    count = st.sampled_from([0, 1, 2, Choice((1, 2)), Choice((2, 0)), Use("d")])
    repeat = st.builds(Repeat, count, inner)
    pick = st.builds(Pick, st.integers(1, 2), st.just(("x", "y")), inner)
    cells = st.builds(
        Repeat,
        st.just(Choice((1, 2))),
        st.builds(Pick, st.just(1), st.just(("x", "earlier")), inner),
    )
    fields = st.dictionaries(st.sampled_from("fgh"), inner, max_size=3)
    return named | numbered | repeat | pick | cells | fields | st.lists(inner, max_size=2)


def trees() -> st.SearchStrategy[Space]:
    """Return small spaces with any of the five words anywhere, lets that use lets, and lets that count."""
    leaf = st.sampled_from([0, "text", Choice((1, 2)), Choice(("only",)), WALK, *map(Use, LETS)])
    tree = st.recursive(leaf, _open, max_leaves=6)
    return tree.map(lambda t: Space({"top": t}, _used({"top": t})))


def _used(tree: Any) -> dict[str, Any]:
    names = uses(tree)
    for _ in LETS:
        names |= {n for name in names for n in uses(LETS[name])}
    return {name: LETS[name] for name in LETS if name in names}
