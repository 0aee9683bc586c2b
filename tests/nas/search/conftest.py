from pathlib import Path

import pytest

import nas.search

PLANTED = Path(__file__).parent / "planted.py"
DATA = "street:images=12,size=32x64"


@pytest.fixture
def small(tmp_path):
    """A space of 48 networks."""
    file = tmp_path / "small.yaml"
    file.write_text(
        "base: tiny\nlet: {width: {choice: [8, 16]}}\ndecoders: {semantic: {head: {fcn: {width: 16}}}}\n"
    )
    return file


@pytest.fixture
def find(tmp_path, small):
    """A search without training: planted scores, in this process."""

    def find(space=None, folder="run", **asked):
        known = {
            "data": DATA,
            "budget": "8trials",
            "evaluator": "planted",
            "executor": "in_process",
            "plugins": [PLANTED],
            "preflight": False,
            "progress": False,
            "device": "cpu",
        }
        if "resume" in asked:
            known = {"preflight": False, "progress": False}
        else:
            known["run"] = tmp_path / folder
            space = space or small
        return nas.search.search(space, **known | asked)

    return find
