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
        f"{f.relative_to(ROOT)}:{node.lineno} {node.name}": (node.end_lineno or node.lineno)
        - node.lineno
        + 1
        for f in FILES
        for node in ast.walk(ast.parse(f.read_text()))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    }
    assert not {name: n for name, n in lengths.items() if n > LONGEST_FUNCTION}
    assert statistics.quantiles(lengths.values(), n=10)[-1] <= USUAL_FUNCTION


@pytest.mark.parametrize("package", PACKAGES)
def test_every_module_says_what_it_is(package: str) -> None:
    silent = [
        f for f in (ROOT / package).rglob("*.py") if not ast.get_docstring(ast.parse(f.read_text()))
    ]
    assert not silent


def test_types_and_data_files_travel_in_the_packages() -> None:
    for package in PACKAGES:
        assert (ROOT / package / "py.typed").is_file()
