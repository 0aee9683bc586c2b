"""Architecture search for semantic segmentation: one call for everything that the command `nas` does.

    space = nas.load_space("tiny")
    run = nas.search(space, data="street", budget=["10trials"])

Names are imported on first use, so that `import nas` loads neither PyTorch nor Optuna.
"""

from __future__ import annotations

import importlib
import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nas.architecture import Architecture as Architecture
    from nas.architecture import load_architecture as load_architecture
    from nas.architecture import save_architecture as save_architecture
    from nas.cost import cost as cost
    from nas.errors import NasError as NasError
    from nas.evaluate import evaluate as evaluate
    from nas.export import export as export
    from nas.front import front as front
    from nas.latency import latency as latency
    from nas.network import Network as Network
    from nas.network import build as build
    from nas.predict import predict as predict
    from nas.recipe import Recipe as Recipe
    from nas.recipe_file import load_recipe as load_recipe
    from nas.registry import kind as kind
    from nas.retrain import retrain as retrain
    from nas.search import search as search
    from nas.space import Space as Space
    from nas.space import load_space as load_space
    from nas.tune import tune as tune

__version__ = "0.1.0"

EXPORTS = {
    "Architecture": "nas.architecture",
    "NasError": "nas.errors",
    "Network": "nas.network",
    "Recipe": "nas.recipe",
    "Space": "nas.space",
    "build": "nas.network",
    "cost": "nas.cost",
    "evaluate": "nas.evaluate",
    "export": "nas.export",
    "front": "nas.front",
    "latency": "nas.latency",
    "kind": "nas.registry",
    "load_architecture": "nas.architecture",
    "load_recipe": "nas.recipe_file",
    "load_space": "nas.space",
    "predict": "nas.predict",
    "retrain": "nas.retrain",
    "save_architecture": "nas.architecture",
    "search": "nas.search",
    "tune": "nas.tune",
}

__all__ = list(EXPORTS)


class _Call(ModuleType):
    """A module whose main function has its own name: `nas.cost(...)` is `nas.cost.cost(...)`."""

    def __call__(self, *arguments: Any, **named: Any) -> Any:
        main = self.__dict__[self.__name__.rpartition(".")[2]]
        return main(*arguments, **named)


class _Api(ModuleType):
    """This package: importing a submodule that shares its name with a function keeps both usable."""

    def __setattr__(self, name: str, value: object) -> None:
        if isinstance(value, ModuleType) and EXPORTS.get(name) == value.__name__:
            value.__class__ = _Call
        super().__setattr__(name, value)


def __getattr__(name: str) -> Any:
    if name not in EXPORTS:
        raise AttributeError(f"module 'nas' has no attribute {name!r}")
    module = importlib.import_module(EXPORTS[name])
    return module if isinstance(module, _Call) else getattr(module, name)


def __dir__() -> list[str]:
    return sorted({*globals(), *EXPORTS})


sys.modules[__name__].__class__ = _Api
