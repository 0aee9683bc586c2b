"""One search in a process of its own, to be killed: `go.py FOLDER EVALUATOR BUDGET [NAME=VALUE...]`.

It goes on where a run is there, with the storage among what else `nas.search` takes.
"""

import sys
from pathlib import Path

from nas.search import search

PLANTED = Path(__file__).parent / "planted.py"


def main(folder, evaluator, budget, *more):
    asked = dict(pair.split("=", 1) for pair in more)
    if (Path(folder) / "run.yaml").exists():
        run = search(resume=folder, budget=budget, storage=asked.get("storage"))
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
            **asked,
        )
    print(run.ended)


if __name__ == "__main__":
    main(*sys.argv[1:])
