"""Finding and reading space and architecture files: the user's own by path, the published ones by name."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from pathlib import Path

from nas import registry
from nas.errors import SpaceError, suggest
from nas.language.grammar import template_of
from nas.language.inherit import read_merged
from nas.language.places import Places
from nas.language.tree import Template
from nas.language.validate import validate

DOMAIN = "search_spaces"
SPACES, ARCHITECTURES, RECIPES = "spaces", "architectures", "recipes"


@dataclass(frozen=True, slots=True)
class Source:
    """A file that was read and checked."""

    name: str
    template: Template
    places: Places


def spaces() -> dict[str, Path]:
    """Return the published search spaces by name."""
    return _files(SPACES)


def published() -> dict[str, Path]:
    """Return the published architectures by name."""
    return _files(ARCHITECTURES)


def recipes() -> dict[str, Path]:
    """Return the published recipes by name."""
    return _files(RECIPES)


def read_template(path_or_name: str | Path, folder: str, root: str) -> Source:
    """Return a file, merged onto its bases and checked against the registered kinds (which this loads).

    `folder` says where a name is looked up first, `root` which kind's fields a file's top-level keys are.
    """
    registry.load(DOMAIN)
    path = locate(str(path_or_name), Path(), folder)
    template, places = template_of(read_merged(path, _locate_base))
    validate(template, places, root)
    return Source(path.stem, template, places)


def locate(path_or_name: str, folder: Path, kind: str) -> Path:
    """Return the file that is meant: a path from `folder`, or a published name, those of `kind` before others."""
    path = folder / path_or_name
    if path.is_file():
        return path
    first, second = (spaces(), published()) if kind == SPACES else (published(), spaces())
    known = {**second, **first}
    if path_or_name in known:
        return known[path_or_name]
    looks_like_file = path.suffix in (".yaml", ".yml") or "/" in path_or_name
    what = (
        f"no such file: {path}"
        if looks_like_file
        else f"no file and no published name {path_or_name!r}"
    )
    raise SpaceError(f"{what}; {suggest(Path(path_or_name).stem, known)}")


def _locate_base(name: str, folder: Path) -> Path:
    return locate(name, folder, SPACES)


def _files(folder: str) -> dict[str, Path]:
    spec = importlib.util.find_spec(DOMAIN)
    roots = (spec.submodule_search_locations or []) if spec else []
    files = [f for root in roots for f in (Path(root) / folder).glob("*.yaml")]
    return {f.stem: f for f in sorted(files)}
