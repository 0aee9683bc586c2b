"""One search in a process of its own: `go.py FOLDER STORAGE BUDGET [EVALUATOR]`; goes on where a run is there.

A STORAGE of "" keeps the study in the run's folder.
"""

import sys
from pathlib import Path

from nas.search import search

PLANTED = Path(__file__).parents[1] / "search" / "planted.py"


def main(folder, storage, budget, evaluator="planted_slow"):
    if (Path(folder) / "run.yaml").exists():
        run = search(resume=folder, budget=budget, storage=storage or None)
    else:
        run = search(
            "tiny",
            data="street:images=12,size=32x64",
            evaluator=evaluator,
            budget=budget,
            plugins=[PLANTED],
            preflight=False,
            device="cpu",
            run=folder,
            storage=storage or None,
        )
    print(run.ended)


if __name__ == "__main__":
    main(*sys.argv[1:])
