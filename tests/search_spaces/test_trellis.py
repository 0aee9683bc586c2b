"""The trellis: wiring of closed paths against a network written by hand, counts of paths, and what is left open."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from nas.architecture import load_architecture
from nas.choosers import replay
from nas.errors import PlanError
from nas.language.decide import decide
from nas.network import Network
from nas.plan import Planner
from nas.relax.planner import RelaxedPlanner, opened
from nas.resolve import resolve
from nas.space import Space, load_space

SIZE = (65, 97)
PUBLISHED = load_architecture("auto_deeplab_s").tree["encoder"]["trellis"]["cell"]
HEAD = {"fcn": {"finest": 32, "convs": 0}}


def entry(source: str, op: str, **fields: Any) -> dict[str, Any]:
    return {"source": source, "op": {op: fields}}


def tree(path: list[int], head: Any = HEAD, **fields: Any) -> dict[str, Any]:
    if "cells" not in fields:
        fields = {"cell": PUBLISHED, **fields}
    return {
        "task": {"semantic": {"classes": 3}},
        "input": [3, *SIZE],
        "encoder": {"trellis": {"path": path, "filters": 4, **fields}},
        "decoders": {"semantic": {"head": head}},
    }


def names(tree: Any) -> list[str]:
    return [step.name for step in Planner(SIZE).plan(tree).steps()[0]]


def by_hand(network: Network, image: Tensor, path: list[int]) -> Tensor:
    """The encoder's last feature, in the words of the authors' code; blocks are taken from the network by name."""
    modules = {n.removeprefix("encoder.trellis."): m for n, m in network.named_modules()}

    def resized(x: Tensor, stride: int) -> Tensor:
        size = [-(-n // stride) for n in SIZE]
        same = list(x.shape[-2:]) == size
        return x if same else F.interpolate(x, size=size, mode="bilinear", align_corners=False)

    before = modules["stem.second.conv"](modules["stem.first.conv"](image))
    x, at, came = modules["stem.third.relu_conv"](before), 4, 2
    for layer, to in enumerate(path):
        cell, base = f"cell{layer}.s{at}_s{to}", min(at, to)
        prev = modules[f"{cell}.prev.project.relu_conv"](resized(x, base))
        prev2 = modules[f"{cell}.prev2.s{came}.project.relu_conv"](resized(before, base))
        states = {"prev": prev, "prev2": prev2}
        for i, entries in enumerate(PUBLISHED):
            ops = [(e["source"], next(iter(e["op"]))) for e in entries]
            terms = [modules[f"{cell}.item{i}.{s}.{op}"](states[s]) for s, op in ops]
            states[f"item{i}"] = terms[0] + terms[1]
        before, x, at, came = x, torch.cat([*states.values()][2:], 1), to, at
    return x.relu()


walks = st.lists(st.sampled_from([-1, 0, 1]), min_size=1, max_size=6)


@given(walks)
@settings(deadline=None, max_examples=12, derandomize=True)
def test_a_closed_path_is_the_network_written_by_hand(moves: list[int]) -> None:
    path, level = [], 2
    for move in moves:
        level = min(5, max(2, level + move))
        path.append(2**level)
    torch.manual_seed(0)
    network = Network(Planner(SIZE).plan(tree(path))).eval()
    seen: list[Tensor] = []
    end = network.get_submodule(f"encoder.trellis.end.s{path[-1]}.activate")
    end.register_forward_hook(lambda _m, _i, out: seen.append(out))
    image = torch.randn(1, 3, *SIZE)
    with torch.no_grad():
        network(image)
        torch.testing.assert_close(seen[0], by_hand(network, image, path))


def test_operations_on_earlier_blocks_have_no_stride() -> None:
    steps, _ = Planner(SIZE).plan(tree([8])).steps()
    drawn = {s.name.partition(".s4_s8.")[2]: s.leaf.fields for s in steps}
    strides = {n: f["stride"] for n, f in drawn.items() if n.startswith("item") and "stride" in f}
    assert strides == {
        f"item{i}.{e['source']}.{next(iter(e['op']))}": 1 + e["source"].startswith("prev")
        for i, entries in enumerate(PUBLISHED)
        for e in entries
    }


def test_features_are_the_last_ones_of_each_stride_on_the_way_to_the_end() -> None:
    """`deeplabv3plus` reads the one at stride 4: in the published network the third cell's."""
    head = {"deeplabv3plus": {"width": 8, "low_level": 4}}

    def low(path: list[int]) -> str:
        steps, _ = Planner(SIZE).plan(tree(path, head)).steps()
        made = {step.output: step.name for step in steps}
        (reader,) = (s for s in steps if s.name == "decoder.semantic.head.deeplabv3plus.low.conv")
        return made[reader.inputs[0]].removeprefix("encoder.trellis.")

    published = load_architecture("auto_deeplab_s").tree["encoder"]["trellis"]["path"]
    assert low(published) == "cell2.s4_s4.out.stack"
    assert low([4, 8, 4, 8, 16]) == "cell2.s8_s4.out.stack"
    assert low([8, 16]) == "stem.tap.relu_conv"
    assert low([8, 4]) == "end.s4.activate"


def test_what_no_block_reads_is_not_counted() -> None:
    cell = [[entry("prev", "skip")]]
    assert not [name for name in names(tree([4, 8], cell=cell)) if "prev2" in name]


def test_zero_is_no_connection() -> None:
    """The same network as without the entry, whatever stands beside it."""

    def digest(*blocks: list[Any]) -> str:
        return Planner(SIZE).plan(tree([4, 8, 4], cell=list(blocks))).digest

    skip, pool = entry("prev", "skip"), entry("item0", "pool", take="maximum")
    zero = entry("prev2", "zero")
    assert digest([skip, zero], [zero, pool]) == digest([skip], [pool])


def test_a_block_without_inputs_gives_zeros_and_a_cell_of_such_blocks_nothing() -> None:
    zero, skip = entry("prev2", "zero"), entry("prev", "skip")
    steps, _ = Planner(SIZE).plan(tree([4, 4], cell=[[zero], [skip], [zero]])).steps()
    stacks = [s.leaf for s in steps if s.name.endswith("stack")]
    assert [leaf.fields for leaf in stacks] == [{"missing": [0, 2]}] * 2
    assert [leaf.shape[0] for leaf in stacks] == [12, 12]
    assert [leaf.inputs for leaf in stacks] == [((4, 17, 25),)] * 2
    with pytest.raises(PlanError, match="'zero' only"):
        Planner(SIZE).plan(tree([4, 4], cell=[[zero], [entry("item0", "skip")]]))


def test_cells_take_turns() -> None:
    first, second = [[entry("prev", "skip")]], [[entry("prev", "atrous")]]
    alternate = names(tree([4, 4, 8], cells=[first, second]))
    operations = [name.rpartition(".")[2] for name in alternate if ".item0.prev." in name]
    assert operations == ["skip", "atrous", "skip"]
    assert names(tree([4, 4, 8], cells=[first])) == names(tree([4, 4, 8], cell=first))


def test_errors_say_what_to_write() -> None:
    with pytest.raises(PlanError, match="either `cell`, for all steps, or `cells`"):
        Planner(SIZE).plan(tree([4], cell=PUBLISHED, cells=[PUBLISHED]))
    with pytest.raises(PlanError, match="either `cell`"):
        Planner(SIZE).plan(tree([4], cell=[]))
    later = [[entry("item1", "skip")], [entry("prev", "skip")]]
    with pytest.raises(PlanError, match=r"item0 has no source 'item1'; it may read prev, prev2 "):
        Planner(SIZE).plan(tree([4], cell=later))


def space(folder: Path, text: str) -> Space:
    """The published space with what `text` overrides."""
    file = folder / "space.yaml"
    file.write_text("base: auto_deeplab\n" + text)
    return load_space(file)


MOVES = "from: 4, moves: {4: [4, 8], 8: [4, 8, 16], 16: [8, 16, 32], 32: [16, 32]}"
CELL = "[[{source: prev2, op: {skip: {}}}, {source: prev, op: {skip: {}}}]]"


@pytest.mark.parametrize(("steps", "paths"), [(12, 75_025), (11, 28_657)])
def test_paths_are_as_many_as_published(tmp_path: Path, steps: int, paths: int) -> None:
    """Twelve moves from the stem; eleven, with the first cell held at stride 4: the paper's 2.9e4."""
    text = f"encoder: {{trellis: {{path: {{walk: {steps}, {MOVES}}}, cell: {CELL}}}}}"
    assert space(tmp_path, text).size() == paths


def test_cells_are_as_many_as_pairs_of_different_inputs_allow() -> None:
    pairs = 1 * 3 * 6 * 10 * 15
    assert load_space("auto_deeplab").size() == pairs * 64**5 * 75_025


@pytest.mark.parametrize("name", ["auto_deeplab_s", "auto_deeplab_m", "auto_deeplab_l"])
def test_published_networks_lie_in_the_space_once_widened(tmp_path: Path, name: str) -> None:
    published = load_architecture(name)
    given = published.tree
    text = f"""
task: {given["task"]}
input: {given["input"]}
encoder: {{trellis: {{filters: {given["encoder"]["trellis"]["filters"]}}}}}
decoders: {{semantic: {{context: {{aspp: {{rates: [12, 24, 36]}}}}, head: {{deeplabv3plus: {{low_level: 48}}}}}}}}
"""
    widened = space(tmp_path, text)
    decisions = decide(widened, published)
    assert len(decisions) == 12 + 5 + 10 - 1  # the first block's inputs are no question
    assert resolve(widened, replay(decisions)) == published


def open_names(folder: Path, skip: str) -> set[str]:
    text = f"""
encoder: {{trellis: {{path: {{walk: 4, {MOVES}}}, cell: {CELL}, filters: 4, skip: {skip}}}}}
"""
    plan = RelaxedPlanner((64, 64)).plan(opened(space(folder, text)))
    return {step.name.removeprefix("encoder.trellis.") for step in plan.steps()[0]}


def cells(names: set[str]) -> set[tuple[int, ...]]:
    found = (re.match(r"cell(\d+)\.s(\d+)_s(\d+)\.out", name) for name in names)
    return {tuple(map(int, match.groups())) for match in found if match}


def test_an_open_path_has_a_cell_for_every_move(tmp_path: Path) -> None:
    """Twelve layers have 2 + 5 + 8 + 9 * 10 = 105 of them."""
    drawn = cells(open_names(tmp_path, "resized"))
    assert [sum(layer == i for layer, _, _ in drawn) for i in range(4)] == [2, 5, 8, 10]


def test_an_open_path_reads_the_one_before_from_all_strides_or_from_its_own(tmp_path: Path) -> None:
    def read(skip: str, cell: str) -> set[int]:
        found = (
            re.match(rf"{cell}\.prev2\.s(\d+)\.project", n) for n in open_names(tmp_path, skip)
        )
        return {int(match[1]) for match in found if match}

    assert read("resized", "cell3.s8_s16") == {4, 8, 16}
    assert read("same", "cell3.s8_s16") == {16}
    assert read("same", "cell2.s8_s16") == {4, 8}
    assert read("same", "cell0.s4_s8") == {2}
    assert names(tree([4, 8, 16], skip="same")) == names(tree([4, 8, 16]))
