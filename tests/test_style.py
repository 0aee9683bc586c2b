"""House style that no linter checks."""

from __future__ import annotations

import ast
import statistics
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("nas", "search_spaces")
FILES = sorted(f for package in PACKAGES for f in (ROOT / package).rglob("*.py"))
ALL = sorted([*FILES, *(ROOT / "tests").rglob("*.py"), *(ROOT / "benchmarks").rglob("*.py")])
VAGUE = {"utils", "util", "helpers", "helper", "common", "misc", "base"}
LONGEST_FILE, LONGEST_FUNCTION, USUAL_FUNCTION = 400, 60, 30


def test_no_file_is_too_long() -> None:
    assert not {str(f): n for f in ALL if (n := len(f.read_text().splitlines())) > LONGEST_FILE}


def test_no_file_has_a_name_that_says_nothing() -> None:
    assert not [f for f in ALL if f.stem in VAGUE]


def test_functions_are_short() -> None:
    lengths = {
        f"{file.relative_to(ROOT)}:{node.lineno} {node.name}": body_length(node)
        for file in FILES
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    }
    assert not {name: n for name, n in lengths.items() if n > LONGEST_FUNCTION}
    assert statistics.quantiles(lengths.values(), n=10)[-1] <= USUAL_FUNCTION


def body_length(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Lines of code: without the signature and the docstring."""
    body = function.body[1:] if ast.get_docstring(function) else function.body
    return (body[-1].end_lineno or body[-1].lineno) - body[0].lineno + 1 if body else 0


@pytest.mark.parametrize("package", PACKAGES)
def test_every_module_says_what_it_is(package: str) -> None:
    silent = [
        f for f in (ROOT / package).rglob("*.py") if not ast.get_docstring(ast.parse(f.read_text()))
    ]
    assert not silent


def test_types_and_data_files_travel_in_the_packages() -> None:
    for package in PACKAGES:
        assert (ROOT / package / "py.typed").is_file()
