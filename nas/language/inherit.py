"""Building one file on another: `base:` names a file or a published space or architecture, the rest overrides it.

Mappings merge key by key. An open node replaces the whole node, except that `{choice: {keep: [a, b]}}` narrows the
choice that it stands on, and a part of a `repeat` or `pick` (`{of: ...}`, `{repeat: ...}`) changes that part. A single
`{name: fields}` on a choice takes the option of that name and changes its fields; a kind in place of another kind of
its slot replaces it. Lists and scalars replace.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

from nas import registry
from nas.errors import SpaceError, suggest
from nas.language.document import Value, read_file
from nas.language.parse import WORDS, expand_range, is_range, word_of
from nas.language.places import Problems, brief, listed, refuse

Locate = Callable[[str, Path], Path]


def read_merged(file: Path, locate: Locate, above: tuple[Path, ...] = ()) -> Value:
    """Return a file merged onto its bases; `locate(name, folder)` finds a base. Raises SpaceError, also for a cycle."""
    root = read_file(file)
    if not isinstance(root.data, dict) or "base" not in root.data:
        return root
    base = root.data["base"]
    if not isinstance(base.data, str):
        raise refuse(
            base,
            "base",
            f"expected the name of a published space or architecture, or a file, got {brief(base)}",
        )
    chain = (*above, file.resolve())
    try:
        found = locate(base.data, file.parent)
    except SpaceError as error:
        raise refuse(base, "base", str(error)) from error
    if found.resolve() in chain:
        names = " -> ".join(p.name for p in (*chain, found))
        raise refuse(base, "base", f"files that build on each other in a circle: {names}")
    inherited = read_merged(found, locate, chain)
    own = replace(root, data={k: v for k, v in root.data.items() if k != "base"})
    merged = merge(inherited, own, "")
    return replace(merged, where=root.where)


def merge(old: Value, new: Value, path: str) -> Value:
    """Return `old` overridden by `new`."""
    if isinstance(new.data, dict) and _is_keep(new):
        return _kept(old, new, path)
    if not isinstance(old.data, dict) or not isinstance(new.data, dict):
        return new
    old_word, new_word = word_of(old), word_of(new)
    if old_word in ("repeat", "pick") and set(new.data) < set(WORDS[old_word]):
        return _merged_keys(old, new, path)
    if new_word:
        return new
    if old_word == "choice":
        return _taken(old, new, path)
    if old_word or _is_other_kind(old, new):
        return new
    return _merged_keys(old, new, path)


def _merged_keys(old: Value, new: Value, path: str) -> Value:
    data = dict(old.data)
    for key, value in new.data.items():
        below = f"{path}.{key}" if path else str(key)
        data[key] = replace(merge(data[key], value, below), key=value.key) if key in data else value
    return replace(old, data=data)


def _is_keep(value: Value) -> bool:
    inner = value.data.get("choice")
    return inner is not None and isinstance(inner.data, dict) and set(inner.data) == {"keep"}


def _is_other_kind(old: Value, new: Value) -> bool:
    """Return whether both name one kind each, of a common slot, and not the same."""
    if len(old.data) != 1 or len(new.data) != 1 or old.data.keys() == new.data.keys():
        return False
    kinds = [registry.KINDS.get(str(next(iter(v.data)))) for v in (old, new)]
    return all(kinds) and bool(set(kinds[0].slots) & set(kinds[1].slots))  # type: ignore[union-attr]


def _taken(old: Value, new: Value, path: str) -> Value:
    """Return the option that `new` names, overridden by it; `new` itself where the choice has no such option."""
    options = old.data["choice"].data
    if len(new.data) != 1 or not isinstance(options, dict) or is_range(old.data["choice"]):
        return new
    ((name, fields),) = new.data.items()
    if name not in options:
        return new
    option = replace(merge(options[name], fields, f"{path}.{name}"), key=fields.key)
    return replace(new, data={name: option})


def _kept(old: Value, new: Value, path: str) -> Value:
    """Return the choice `old` with the options that `new` keeps."""
    keep: Value = new.data["choice"].data["keep"]
    wanted = keep.data if isinstance(keep.data, list) else [keep]
    if word_of(old) != "choice":
        raise refuse(
            keep, path, f"`keep` narrows an inherited choice, but the base has {brief(old)} here"
        )
    inner: Value = old.data["choice"]
    if not wanted:
        names = inner.plain() if isinstance(inner.data, list) else list(inner.data)
        raise refuse(
            keep, path, f"`keep` of nothing; expected at least one option of {listed(names)}"
        )
    if isinstance(inner.data, dict) and not is_range(inner):
        return _with_options(old, new, _kept_names(inner, wanted, path))
    options = inner.data if isinstance(inner.data, list) else _ranged(inner, path)
    known = [o.plain() for o in options]
    for value in wanted:
        _check_kept(value, known, path)
    chosen = [w.plain() for w in wanted]
    return _with_options(old, new, [o for o in options if o.plain() in chosen])


def _with_options(old: Value, new: Value, options: Any) -> Value:
    inner = new.data["choice"]
    return replace(old, data={"choice": replace(inner, data=options)}, where=new.where)


def _kept_names(inner: Value, wanted: list[Value], path: str) -> dict[Any, Value]:
    for value in wanted:
        _check_kept(value, list(inner.data), path)
    chosen = [value.plain() for value in wanted]
    return {name: option for name, option in inner.data.items() if name in chosen}


def _ranged(inner: Value, path: str) -> list[Value]:
    problems = Problems()
    numbers = expand_range(inner, path, problems)
    problems.raise_any()
    return [Value(n, inner.where) for n in numbers]


def _check_kept(value: Value, known: list[Any], path: str) -> None:
    """Raise SpaceError, with the nearest option, if the inherited choice has no such option."""
    wanted = value.plain()
    if wanted not in known:
        raise refuse(
            value,
            path,
            f"keep: the inherited choice has no option {wanted!r}; {_nearest(wanted, known)}",
        )


def _nearest(wanted: Any, known: Iterable[Any]) -> str:
    numbers = [k for k in known if isinstance(k, int | float)]
    if isinstance(wanted, int | float) and numbers:
        near = min(numbers, key=lambda n: abs(n - wanted))
        return f"nearest: {near}; known: {', '.join(map(str, known))}"
    return suggest(wanted, known)
