"""One tuning in a process of its own, to be killed: FOLDER SCHEDULER SAMPLES; goes on where there is one.

The recipe that is given is a hopeless one, and better learning rates are in the range.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import nas
from nas.architecture import Architecture
from nas.pool import Pool
from nas.recipe import Recipe
from nas.registry import load
from nas.tuning import work
from tests.nas.toy import tiny_tree

load()
ARCHITECTURE = Architecture.of(tiny_tree())
DATA = "sealed:images=20,val=4,size=32x64"
PLUGIN = Path(__file__).with_name("sealed.py")
RECIPE = Recipe(epochs=9, batch=4, lr=1e-6, warmup=0.0, scale=(0.9, 1.1))
SEED = 1


def again(folder: Path, scheduler: str = "asha", samples: int = 5, **more: Any) -> Any:
    """Tune small; what is there already goes on."""
    given: dict[str, Any] = {
        "recipe": RECIPE,
        "vary": ["lr=3e-3..1e-1", "loss.dice"],
        "seed": SEED,
        "plugins": [PLUGIN],
        "pool": Pool(executor="ray", workers=2, cpus_per_trial=1),
        "resume": True,
    }
    return nas.tune(
        ARCHITECTURE, DATA, folder=folder, scheduler=scheduler, samples=samples, **given | more
    )


if __name__ == "__main__":
    work.KEPT_EVERY = 0.0
    done = again(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]))
    print(done.ended)
