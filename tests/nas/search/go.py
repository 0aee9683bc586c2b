"""One search in a process of its own, to be killed: `go.py FOLDER EVALUATOR BUDGET`; goes on where a run is there."""

import sys
from pathlib import Path

from nas.search import search

PLANTED = Path(__file__).parent / "planted.py"


def main():
    folder, evaluator, budget = sys.argv[1:]
    if (Path(folder) / "run.yaml").exists():
        run = search(resume=folder, budget=budget)
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
        )
    print(run.ended)


if __name__ == "__main__":
    main()
