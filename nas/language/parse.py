"""From a read file to a tree with open nodes: the grammar of the five words. Kinds and fields are `validate`'s."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from nas.errors import suggest
from nas.language.document import Value
from nas.language.places import Places, Problems, brief
from nas.language.tree import EARLIER, Choice, Pick, Repeat, Use, Walk, branch_path, under

WORDS = {
    "choice": ("choice",),
    "repeat": ("repeat", "of"),
    "walk": ("walk", "from", "moves"),
    "pick": ("pick", "from", "of"),
    "use": ("use",),
}
EXAMPLES = {
    "choice": "{choice: [a, b]}",
    "repeat": "{repeat: 3, of: {...}}",
    "walk": "{walk: 12, from: 4, moves: {4: [4, 8], 8: [4, 8]}}",
    "pick": "{pick: 2, from: [prev, earlier], of: {...}}",
    "use": "{use: name} with let: {name: ...}",
}
RANGE = ("from", "to", "by")
MOST_OPTIONS = 10_000
MOST_ITEMS = 1_000
_NAME = re.compile(r"[^\s.\[\]:@*+]+")
_ITEM = re.compile(r"item\d+")


def expand_range(value: Value, path: str, problems: Problems) -> list[Any]:
    """Return the numbers of a `{from, to, by}`, both ends included."""
    given = {k: v.data for k, v in value.data.items()}
    numbers = all(isinstance(v, int | float) and not isinstance(v, bool) for v in given.values())
    if not numbers or not {"from", "to"} <= set(given) <= set(RANGE):
        problems.add(
            value.where,
            path,
            f"expected a range such as {{from: 24, to: 48, by: 8}}, got {brief(value)}",
        )
        return [0]
    start, end, step = (Decimal(str(given.get(k, 1))) for k in RANGE)
    if step <= 0 or end < start:
        problems.add(value.where, path, f"expected from <= to and by > 0, got {brief(value)}")
        return [0]
    if (end - start) / step >= MOST_OPTIONS:
        problems.add(value.where, path, f"more than {MOST_OPTIONS:,} options; use a larger step")
        return [0]
    last = start + (end - start) // step * step
    if last != end:
        problems.add(
            value.where,
            path,
            f"steps of {step} from {start} reach {last}, not {end}; write `to: {last}`",
        )
    return [whole(float(start + i * step)) for i in range(int((end - start) // step) + 1)]


def whole(value: Any) -> Any:
    """Return whole floats as whole numbers, anything else as it is."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def is_range(value: Value) -> bool:
    """Return whether what a `choice` holds is written as a range."""
    return isinstance(value.data, dict) and "from" in value.data and set(value.data) <= set(RANGE)


def word_of(value: Value) -> str | None:
    """Return which of the five words a mapping is written with, if any."""
    return (
        next((w for w in WORDS if w in value.data), None) if isinstance(value.data, dict) else None
    )


@dataclass(slots=True)
class Parser:
    """Turns values into trees, noting where they stand."""

    problems: Problems
    lets: tuple[str, ...] = ()
    places: Places = field(default_factory=Places)

    def node(self, value: Value, path: str, in_repeat: bool = False) -> Any:
        """Return the tree of `value`; after an error, something harmless in its place."""
        self.places.note(path, value)
        if isinstance(value.data, list):
            return [self.node(v, f"{path}[{i}]", in_repeat) for i, v in enumerate(value.data)]
        if not isinstance(value.data, dict):
            return whole(value.data)
        word = word_of(value)
        if word is None:
            return self.fields(value, path, in_repeat)
        if not self._complete(value, word, path):
            return None
        parse = {
            "choice": self._choice,
            "repeat": self._repeat,
            "walk": self._walk,
            "pick": self._pick,
            "use": self._use,
        }
        return parse[word](value, path, in_repeat)

    def fields(self, value: Value, path: str, in_repeat: bool = False) -> dict[str, Any]:
        """Return an ordinary mapping."""
        out = {}
        for key, inner in value.data.items():
            self.check_name(inner, key, path)
            out[str(key)] = self.node(inner, under(path, str(key)), in_repeat)
        return out

    def check_name(self, inner: Value, key: Any, path: str) -> None:
        """Report a key that cannot be part of a path."""
        if not isinstance(key, str) or not _NAME.fullmatch(key):
            text = f"{key!r} as a name; expected letters, digits, _ or - (quote a number that is meant as a name)"
            self.problems.add(inner.key, path, text)

    def _fail(self, value: Value, path: str, text: str) -> None:
        self.problems.add(value.where, path, text)

    def _complete(self, value: Value, word: str, path: str) -> bool:
        wanted = WORDS[word]
        missing = [w for w in wanted if w not in value.data]
        extra = [str(k) for k in value.data if k not in wanted]
        for key in missing:
            self._fail(value, path, f"`{word}` without `{key}`; expected {EXAMPLES[word]}")
        if extra:
            text = f"`{word}` beside {', '.join(extra)}; an open node has no other keys: expected {EXAMPLES[word]}"
            self._fail(value, path, text)
        return not missing and not extra

    def _choice(self, value: Value, path: str, in_repeat: bool) -> Any:
        inner: Value = value.data["choice"]
        if not isinstance(inner.data, dict | list) or not inner.data:
            got = "nothing" if inner.data in (None, [], {}) else brief(inner)
            self._fail(
                inner,
                path,
                f"`choice` of {got}; expected at least one option: a list, kinds with fields, or a range",
            )
            return None
        if is_range(inner):
            return Choice(tuple(expand_range(inner, path, self.problems)))
        if isinstance(inner.data, list):
            return Choice(
                tuple(self.node(v, f"{path}:{i}", in_repeat) for i, v in enumerate(inner.data))
            )
        if set(inner.data) == {"keep"}:
            self._fail(
                inner,
                path,
                "`keep` narrows a choice of the file named by `base:`; there is none here to narrow",
            )
            return None
        named = Choice((None,) * len(inner.data), tuple(str(k) for k in inner.data))
        options = []
        for i, (key, option) in enumerate(inner.data.items()):
            self.check_name(option, key, path)
            options.append(self.node(option, branch_path(named, path, i), in_repeat))
        return Choice(tuple(options), named.names)

    def _repeat(self, value: Value, path: str, _in_repeat: bool) -> Any:
        count = self.node(value.data["repeat"], f"{path}.repeat")
        if not isinstance(count, int | Choice | Use) or isinstance(count, bool):
            text = f"expected a whole number, a choice of them or a use of one, got {brief(value.data['repeat'])}"
            self._fail(value.data["repeat"], f"{path}.repeat", text)
            count = 0
        return Repeat(count, self.node(value.data["of"], f"{path}[]", True))

    def _walk(self, value: Value, path: str, _in_repeat: bool) -> Any:
        steps = self._number(value.data["walk"], f"{path}", "walk")
        start = self._number(value.data["from"], f"{path}", "from")
        given: Value = value.data["moves"]
        if not isinstance(given.data, dict) or not given.data:
            self._fail(
                given,
                path,
                f"moves: expected {{stride: [strides]}}, got {brief(given)}; e.g. {EXAMPLES['walk']}",
            )
            return None
        wrong = [at for at in given.data if not isinstance(at, int) or at < 1]
        if wrong:
            self._fail(
                given,
                path,
                f"moves: expected strides, whole numbers from 1, as keys, got {brief(wrong)}",
            )
        moves = {at: self._targets(to, given, path) for at, to in given.data.items()}
        if start not in moves:
            self._fail(
                value.data["from"],
                path,
                f"from: no moves from stride {start}; {suggest(start, moves)}",
            )
        return Walk(steps, start, moves)

    def _number(self, value: Value, path: str, word: str) -> int:
        number = whole(value.data)
        if isinstance(number, int) and not isinstance(number, bool) and 1 <= number <= MOST_ITEMS:
            return number
        self._fail(
            value,
            path,
            f"{word}: expected a whole number from 1 to {MOST_ITEMS:,}, got {brief(value)}",
        )
        return 1

    def _targets(self, to: Value, moves: Value, path: str) -> tuple[int, ...]:
        strides = to.plain() if isinstance(to.data, list) else None
        if not strides:
            self._fail(to, path, f"moves: expected a list of strides to go to, got {brief(to)}")
            return (1,)
        for value in to.data:
            if value.plain() not in list(moves.data):
                text = f"moves: to stride {brief(value)}, which has no moves of its own"
                self._fail(value, path, f"{text}; {suggest(value.plain(), moves.data)}")
        if len(set(map(str, strides))) < len(strides):
            self._fail(to, path, f"moves: the same stride twice in {strides}")
        return tuple(strides)

    def _pick(self, value: Value, path: str, in_repeat: bool) -> Any:
        self.places.note(f"{path}.pick", value.data["pick"])
        count = self._number(value.data["pick"], path, "pick")
        given: Value = value.data["from"]
        sources = given.plain()
        if not isinstance(sources, list) or not all(
            isinstance(s, str) and _NAME.fullmatch(s) for s in sources
        ):
            self._fail(
                given, path, f"from: expected a list of names of sources, got {brief(given)}"
            )
            return None
        self._check_sources(given, sources, count, path, in_repeat)
        return Pick(count, tuple(sources), self.node(value.data["of"], f"{path}.*", in_repeat))

    def _check_sources(
        self, given: Value, sources: list[str], count: int, path: str, in_repeat: bool
    ) -> None:
        fixed = [s for s in sources if s != EARLIER]
        if len(set(sources)) < len(sources) or "pick" in sources:
            self._fail(
                given, path, f"from: expected different names, none of them 'pick', got {sources}"
            )
        if EARLIER in sources and not in_repeat:
            self._fail(
                given,
                path,
                "from: `earlier` means the items before this one in a repeat; there is no repeat around this",
            )
        if EARLIER in sources and any(_ITEM.fullmatch(s) for s in sources):
            self._fail(
                given,
                path,
                "from: names such as item0 belong to the items that `earlier` stands for; rename the source",
            )
        if len(fixed) < count:
            first = " for the first item, which has none earlier" if EARLIER in sources else ""
            self._fail(
                given,
                path,
                f"pick {count} from {len(fixed)} sources{first}; expected at most {len(fixed)}",
            )

    def _use(self, value: Value, path: str, _in_repeat: bool) -> Any:
        name = value.data["use"].data
        if name in self.lets:
            return Use(str(name))
        self._fail(
            value.data["use"],
            path,
            f"use: no `let` is called {brief(value.data['use'])}; {suggest(name, self.lets)}",
        )
        return None
