"""One retraining as a process of its own: FOLDER, and whether to resume. Small, but real data, network and files."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

from nas.architecture import Architecture
from nas.recipe import Recipe
from nas.registry import load
from nas.retrain import retrain
from tests.nas.toy import tiny_tree

load()
ARCHITECTURE = Architecture.of(tiny_tree())
DATA = "street:images=12,val=4,size=32x64"
RECIPE = Recipe(epochs=4, batch=4, ema=0.9, lr=0.01)


def again(folder: Path, resume: bool = False, **more: Any) -> dict[str, Any]:
    settings: dict[str, Any] = {"folder": folder, "recipe": RECIPE, "seed": 3, "resume": resume}
    return retrain(ARCHITECTURE, DATA, **(settings | more))


if __name__ == "__main__":
    again(Path(sys.argv[1]), resume=True, progress=lambda _: time.sleep(0.5))
