"""One search on a cluster in a process of its own, to be killed: `ray_search.py FOLDER ADDRESS BUDGET`; goes on."""

import sys
from pathlib import Path

from nas.search import search

PLANTED = Path(__file__).parents[1] / "search" / "planted.py"


def main():
    folder, address, budget = sys.argv[1:]
    if (Path(folder) / "run.yaml").exists():
        run = search(resume=folder, budget=budget)
    else:
        run = search(
            "tiny",
            data="street:images=12,size=32x64",
            evaluator="planted_slow",
            strategy="random",
            budget=budget,
            plugins=[PLANTED],
            preflight=False,
            device="cpu",
            executor="ray",
            address=address,
            run=folder,
        )
    print(run.ended)


if __name__ == "__main__":
    main()
