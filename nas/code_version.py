"""Which code a kind is: a digest of the sources that decide what its blocks are, so that no old figure is reused."""

from __future__ import annotations

import ast
import hashlib
import sys
from collections.abc import Callable
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch

from nas import registry

KNOWN = frozenset({"torch", "nas", *sys.stdlib_module_names})
"""Modules whose files are not looked at: torch by its version, of this package the files beside this one."""


def code_version(make: Callable[..., Any]) -> bytes | None:
    """Return a digest of the code that decides what a block is and how it is measured, None where nobody can tell.

    It covers the files of this package, of the domain, and of the module or package that the block is defined in with
    whatever it imports; of installed packages and torch the versions. Not to be told: a class made inside a
    function, whose arguments may matter; a class without a file; and files changed after they may have been loaded.
    """
    return None if "<locals>" in make.__qualname__ else versions(make.__module__.partition(".")[0])


@cache
def versions(root: str) -> bytes | None:
    """Return the digest for blocks of one top-level module, made once in a process."""
    try:
        if not _files(root):
            return None
        files, installed = _sources(root)
        files |= set(Path(__file__).parent.glob("*.py"))
        if any(file.stat().st_mtime >= registry.LOADED for file in files):
            return None
        digest = hashlib.sha256(repr((torch.__version__, sorted(installed))).encode())
        for file in sorted(files):
            digest.update(str(file).encode() + b"\0" + file.read_bytes())
    except OSError:
        return None
    return digest.digest()


def _sources(root: str) -> tuple[set[Path], set[str]]:
    """Return the files of a top-level module and of what it imports, and "name version" of what is installed."""
    files: set[Path] = set()
    installed: set[str] = set()
    seen = set(KNOWN)
    waiting = {root}
    while waiting:
        name = waiting.pop()
        seen.add(name)
        found = set(_files(name))
        if name not in {root, registry.DOMAIN} and any(map(_installed, found)):
            installed.add(f"{name} {_installed_version(name)}")
            continue
        files |= found
        waiting |= {registry.DOMAIN} if name != registry.DOMAIN else set()
        waiting |= {i for f in found if name != registry.DOMAIN for i in _imports(f)}
        waiting -= seen
    return files, installed


def _files(name: str) -> list[Path]:
    """Return the source files of a top-level module or package, none where there is no such thing."""
    loaded = sys.modules.get(name)
    if loaded is not None:
        folders, file = getattr(loaded, "__path__", None), loaded.__dict__.get("__file__")
    else:
        spec = find_spec(name)
        folders, file = (spec.submodule_search_locations, spec.origin) if spec else (None, None)
    if folders:
        return [source for folder in folders for source in Path(folder).rglob("*.py")]
    return [Path(file)] if file and Path(file).suffix == ".py" and Path(file).is_file() else []


def _imports(file: Path) -> list[str]:
    """Top-level names of all that a file imports, wherever in it."""
    names: list[str] = []
    try:
        tree = ast.parse(file.read_bytes())
    except (SyntaxError, ValueError):  # it cannot have been imported
        return []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and not node.level:
            names.append(node.module or "")
    return [name.partition(".")[0] for name in names]


def _installed(file: Path) -> bool:
    """Say whether a package manager put a file where it is; the interpreter's own paths leave some such places out."""
    return not {"site-packages", "dist-packages"}.isdisjoint(file.parts)


def _installed_version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return str(getattr(sys.modules.get(name), "__version__", ""))
