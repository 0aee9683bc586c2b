"""Who may import whom, read from the source; and how light `import nas` is."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
HEAVY = ("torch", "ray", "optuna", "matplotlib", "numpy", "scipy", "onnx", "search_spaces")
WITHOUT_TORCH = (
    "nas",
    "nas.architecture",
    "nas.choosers",
    "nas.cli",
    "nas.cli.app",
    "nas.language.document",
    "nas.errors",
    "nas.formats",
    "nas.job",
    "nas.language.document",
    "nas.language.library",
    "nas.language.validate",
    "nas.pareto",
    "nas.problem",
    "nas.recipe",
    "nas.recipe_file",
    "nas.registry",
    "nas.resolve",
    "nas.run",
    "nas.space",
    "nas.language.validate",
)
APART = ("nas/strategies", "nas/evaluators", "nas/executors", "nas/formats")


def imported(file: Path, top_level: bool = False) -> Iterator[str]:
    """Yield the absolute names of modules that a file imports; `top_level`: when it is itself imported."""
    for node in (
        _run_at_import(ast.parse(file.read_text()))
        if top_level
        else ast.walk(ast.parse(file.read_text()))
    ):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}: relative import"
            yield node.module or ""


def _run_at_import(node: ast.AST) -> Iterator[ast.AST]:
    for child in ast.iter_child_nodes(node):
        typing_only = isinstance(child, ast.If) and "TYPE_CHECKING" in ast.dump(child.test)
        if typing_only or isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        yield child
        yield from _run_at_import(child)


def sources(folder: str) -> list[Path]:
    return sorted((ROOT / folder).rglob("*.py"))


def test_the_engine_never_imports_the_domain() -> None:
    wrong = [
        f for f in sources("nas") if any(m.split(".")[0] == "search_spaces" for m in imported(f))
    ]
    assert not wrong, "reach it through nas.registry.load()"


def test_the_domain_does_not_import_what_drives_it() -> None:
    drivers = (
        "nas.cli",
        "nas.search",
        "nas.strategies",
        "nas.executors",
        "nas.evaluators",
        "nas.record",
    )
    wrong = [(f, m) for f in sources("search_spaces") for m in imported(f) if m.startswith(drivers)]
    assert not wrong


@pytest.mark.parametrize("folder", APART)
def test_implementations_of_one_protocol_do_not_import_each_other(folder: str) -> None:
    package = folder.replace("/", ".")
    register = (ROOT / folder / "__init__.py").read_text()
    modules = {f"{package}.{f.stem}": f for f in (ROOT / folder).glob("*.py")}
    implementations = {
        name: file
        for name, file in modules.items()
        if name in register or f'"{file.stem}"' in register
    }
    assert implementations
    for file in implementations.values():
        assert not set(imported(file)) & set(implementations), file


def test_nothing_but_the_command_line_imports_it() -> None:
    wrong = [
        f
        for f in sources("nas")
        if "cli" not in f.parts and any(m.startswith("nas.cli") for m in imported(f))
    ]
    assert [f.name for f in wrong] == ["__main__.py"]


def test_commands_import_nothing_heavy_before_they_run() -> None:
    for file in sources("nas/cli"):
        heavy = [m for m in imported(file, top_level=True) if m.split(".")[0] in HEAVY]
        assert not heavy, file


@pytest.mark.parametrize("module", WITHOUT_TORCH)
def test_modules_that_load_without_torch_and_optuna(module: str) -> None:
    code = (
        f"import sys, {module}; print([m for m in ('torch', 'ray', 'optuna') if m in sys.modules])"
    )
    assert _python(code) == "[]"


def test_import_nas_is_quick() -> None:
    code = "import time; t = time.perf_counter(); import nas; print(time.perf_counter() - t)"
    assert min(float(_python(code)) for _ in range(3)) < 0.3


def test_importing_a_module_does_not_hide_the_function_of_the_same_name() -> None:
    code = "import nas, nas.cost; from nas.cost import cost; print(callable(nas.cost), nas.cost.cost is cost)"
    assert _python(code) == "True True"


def test_every_public_name_is_there() -> None:
    code = "import nas; print([n for n in nas.__all__ if not callable(getattr(nas, n))])"
    assert _python(code) == "[]"


def _python(code: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT
    )
    return done.stdout.strip()
