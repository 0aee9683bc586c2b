"""A differentiable search in seconds: its space and settings, and a process of its own, to be killed."""

import sys
from pathlib import Path

from nas.search import search

SPACE = """
task: {semantic: {classes: 11}}
input: [3, 32, 64]
encoder:
  stages:
    stem: 8
    stages:
      - {width: 8, blocks: [{conv: {kernel: {choice: [1, 3]}}}]}
      - {width: 8, blocks: [{choice: {mbconv: {expand: {choice: [1, 2]}}, basic: {}}}]}
decoders: {semantic: {head: {choice: {fcn: {width: 8}, merge: {width: 8}}}}}
"""
DATA = "street:images=40,size=32x64"
RECIPE = {"epochs": 1, "batch": 4, "precision": "fp32"}
SUPERNET = {"epochs": 4, "snapshots": 2, "lr": 0.1}


def go(folder, **asked):
    """Search in `folder`, or go on there."""
    folder = Path(folder)
    if (folder / "run.yaml").exists():
        return search(resume=folder, progress=False, preflight=False)
    space = folder.parent / f"{folder.name}-space.yaml"
    space.write_text(SPACE)
    known = {
        "data": DATA,
        "strategy": "differentiable",
        "recipe": RECIPE,
        "supernet": SUPERNET,
        "budget": "100trials",
        "device": "cpu",
        "executor": "in_process",
        "preflight": False,
        "progress": False,
    }
    return search(space, run=folder, **known | asked)


if __name__ == "__main__":
    print(go(sys.argv[1], executor="local").ended)
