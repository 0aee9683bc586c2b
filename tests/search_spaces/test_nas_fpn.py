"""NAS-FPN: the counts of its published graph, and that any graph of merging cells computes what its code would.

Counts are those of the official code (tensorflow/models, `nasfpn.py`): a convolution with bias and batch norm per cell.
The paper detects objects, so there is no published count of this whole network: it is the sum of trunk, neck and head,
and has no auxiliary head.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from nas.architecture import load_architecture
from nas.cost import Cost, cost
from nas.errors import PlanError
from nas.language.decide import decide
from nas.language.notation import to_yaml
from nas.network import Network
from nas.plan import Planner
from nas.relax.planner import RelaxedPlanner, opened
from nas.space import load_space, parse
from search_spaces.blocks.max_gate import MaxGate

NECK = "decoder.semantic.neck.merging"
STRIDES = (8, 16, 32, 64, 128)
STACK = 7 * (9 * 256 * 256 + 256 + 2 * 256)
"""One pass over the seven cells, 256 channels."""


def part(costs: Cost, name: str) -> tuple[int, int]:
    """Parameters and MACs of the nodes below `name`."""
    nodes = [n for n in costs.nodes if n.name.startswith(name)]
    return sum(n.params for n in nodes), sum(n.macs for n in nodes)


def test_counts() -> None:
    costs = cost(load_architecture("nas_fpn_resnet50"))
    without_bias = 4_132_352  # counted by others on a stack without bias
    assert without_bias + 7 * 256 == STACK
    params, macs = part(costs, f"{NECK}.stack0")
    assert params == STACK
    assert macs / 1e9 == pytest.approx(8.85, abs=0.006)  # the same
    laterals = sum(c * 256 + 256 + 2 * 256 for c in (512, 1024, 2048))
    assert part(costs, NECK)[0] == laterals + 7 * STACK
    trunk = 25_557_032 - 2_049_000  # torchvision's ResNet-50 without its classifier
    raised = 1 + 1 + 2 + 3 + 4  # 3x3s of semantic FPN's head, one at least and one per doubling
    head = 5 * 9 * 256 * 128 + (raised - 5) * 9 * 128 * 128 + raised * 2 * 128 + 128 * 19 + 19
    assert costs.params == trunk + laterals + 7 * STACK + head == 55_731_411


def small(cells: Any, encoder: Any = None, size: tuple[int, int] = (97, 131), **fields: Any) -> Any:
    stages = [{"width": 8, "blocks": [{"conv": {}}]} for _ in range(4)]
    neck = {"merging": {"cells": cells, "width": 8, "repeats": 1, **fields}}
    return {
        "task": {"semantic": {"classes": 5}},
        "input": [3, *size],
        "encoder": encoder or {"stages": {"stem": 8, "stages": stages}},
        "decoders": {"semantic": {"neck": neck, "head": {"merge": {"finest": 8, "width": 8}}}},
    }


def entry(source: str, op: str = "sum") -> dict[str, str]:
    return {"source": source, "op": op}


@st.composite
def graphs(draw: st.DrawFn) -> list[dict[str, Any]]:
    """Any graph of up to six cells over P3 to P7."""
    cells: list[dict[str, Any]] = []
    for i in range(draw(st.integers(1, 6))):
        sources = [*(f"s{s}" for s in STRIDES), *(f"item{j}" for j in range(i))]
        names = draw(st.lists(st.sampled_from(sources), min_size=1, max_size=3, unique=True))
        ops = [draw(st.sampled_from(["sum", "attention"])) for _ in names]
        cells.append(
            {
                "stride": draw(st.sampled_from(STRIDES)),
                "inputs": [entry(n, op) for n, op in zip(names, ops, strict=True)],
            }
        )
    return cells


def brought(x: Tensor, stride: int, to: int, sizes: dict[int, Any]) -> Tensor:
    while stride < to:
        x, stride = F.max_pool2d(x, 3, 2, 1), 2 * stride
    return F.interpolate(x, size=sizes[to], mode="bilinear") if stride > to else x


def by_the_code(
    cells: list[dict[str, Any]], levels: dict[int, Tensor], convs: list[nn.Module]
) -> dict[int, Tensor]:
    """The official algorithm on tensors: nodes in a list, how often each was read, leftovers at output nodes."""
    nodes = [(f"s{s}", s, x) for s, x in levels.items()]
    sizes = {s: x.shape[-2:] for s, x in levels.items()}
    reads = dict.fromkeys([name for name, _, _ in nodes], 0)
    for i, cell in enumerate(cells):
        to, at = cell["stride"], {}
        for e in cell["inputs"]:
            (found,) = [(s, x) for name, s, x in nodes if name == e["source"]]
            at[e["source"]] = brought(found[1], found[0], to, sizes)
            reads[e["source"]] += 1
        total = torch.zeros_like(levels[to])
        for source, x in at.items():
            gates = [e["source"] for e in cell["inputs"] if e["op"] == "attention"]
            for gate in gates:
                if gate != source:
                    x = x * at[gate].amax((2, 3), keepdim=True).sigmoid()  # noqa: PLW2901
            total = total + x
        if to not in [c["stride"] for c in cells[i + 1 :]]:
            for name, s, x in nodes:
                if s == to and not reads[name]:
                    total, reads[name] = total + x, 1
        nodes.append((f"item{i}", to, convs[i](total.relu())))
        reads[f"item{i}"] = 0
    return {s: x for _, s, x in nodes}


@given(cells=graphs())
@settings(deadline=None, max_examples=30)
@torch.no_grad()
def test_any_graph_computes_what_the_official_algorithm_does(cells: list[dict[str, Any]]) -> None:
    torch.manual_seed(0)
    network = Network(Planner((97, 131)).plan(small(cells))).eval()
    seen: dict[str, Any] = {}
    for name, module in network.named_modules():
        module.register_forward_hook(lambda _m, i, y, name=name: seen.update({name: (i, y)}))
    network(torch.randn(1, 3, 97, 131))
    lateral = {s: seen[f"encoder.stages.stage{n}.0.conv"][1] for n, s in ((2, 8), (3, 16), (4, 32))}
    for stride in (64, 128):
        lateral[stride] = F.max_pool2d(lateral[stride // 2], 3, 2, 1)
    convs = [
        network.get_submodule(f"{NECK}.stack0.item{i}.s{cell['stride']}.out.conv")
        for i, cell in enumerate(cells)
    ]
    expected = by_the_code(cells, lateral, convs)
    (merged,) = seen["decoder.semantic.head.merge.levels.weighted_sum"][0]
    for stride in STRIDES:
        got = merged[f"s{stride}"]
        raised = F.interpolate(expected[stride], size=got.shape[-2:], mode="bilinear")
        torch.testing.assert_close(got, raised if stride > 8 else expected[8], rtol=1e-4, atol=1e-5)


def test_in_the_published_graph_two_levels_are_left_over() -> None:
    """P5 and P7 are read by no cell: they are added where their levels end."""
    steps, _ = Planner((512, 1024)).plan(load_architecture("nas_fpn_resnet50")).steps()
    terms = {s.name: len(s.inputs) for s in steps if s.name.startswith(f"{NECK}.stack3")}
    sums = {n.split(".")[5]: count for n, count in terms.items() if n.endswith("total.sum")}
    assert sums == {f"item{i}": 3 if i in (4, 5) else 2 for i in range(7)}


def test_global_pooling_is_its_formula() -> None:
    """Section 3.1, figure 3: h + l * sigmoid(the maximum of each channel of h)."""
    low, high = torch.randn(2, 3, 6, 7), torch.randn(2, 3, 6, 7)
    strongest = high.flatten(2).max(2).values[:, :, None, None]
    torch.testing.assert_close(MaxGate((3, 3))(low, high), low * strongest.sigmoid())
    with pytest.raises(ValueError, match=r"of equal channels, got \[3, 4\]; project"):
        MaxGate((3, 4))


@pytest.mark.parametrize(
    ("encoder", "finest", "strides"),
    [
        ({"resnet": {"depth": 18, "width": 0.125, "output_stride": 8}}, 8, [4, 8, 16, 32]),
        ({"resnet": {"depth": 18, "width": 0.125}}, 2, [2, 4, 8, 16, 32]),
        ({"resnet": {"depth": 18, "width": 0.125}}, 64, [4, 8, 16, 32, 64]),
    ],
)
def test_levels_that_are_missing_are_made(encoder: Any, finest: int, strides: list[int]) -> None:
    """From the next finer level, or where there is none from the next coarser one; finer ones pass by."""
    cells = [{"stride": finest, "inputs": [entry(f"s{finest}")]}]
    tree = small(cells, encoder, finest=finest, top=5)
    tree["decoders"]["semantic"]["head"] = {"fused_levels": {"finest": 1}}
    steps, _ = Planner((97, 131)).plan(tree).steps()
    (fuse,) = [s for s in steps if s.name.endswith("head.fused_levels.fuse.fuse")]
    assert fuse.leaf.names == tuple(f"s{s}" for s in strides)


@pytest.mark.parametrize(
    ("cell", "match"),
    [
        ({"stride": 8, "inputs": [entry("s256")]}, "got s256. A coarser level needs a higher"),
        ({"stride": 8, "inputs": [entry("item0")]}, "item0: inputs must be different ones of s8"),
        ({"stride": 8, "inputs": [entry("s8"), entry("s8", "attention")]}, "got s8, s8"),
        ({"stride": 8, "inputs": []}, "got none"),
        ({"stride": 256, "inputs": [entry("s8")]}, "no level has stride 256; it may be one of"),
    ],
)
def test_cells_that_cannot_stand_are_refused(cell: Any, match: str) -> None:
    with pytest.raises(PlanError, match=match):
        Planner((97, 131)).plan(small([cell]))


def test_the_space_holds_the_published_graph() -> None:
    assert decide(load_space("nas_fpn"), load_architecture("nas_fpn_resnet50"))


def test_relaxing_the_graph_is_refused_and_it_is_said_what_to_do() -> None:
    entries = "{pick: 2, from: [s8, s16, s32, earlier], of: sum}"
    text = to_yaml(small("CELLS")).replace(
        "CELLS", f"{{repeat: 2, of: {{stride: 8, inputs: {entries}}}}}"
    )
    with pytest.raises(PlanError, match="open inputs cannot be mixed; close them, or search"):
        RelaxedPlanner((64, 128)).plan(opened(parse(text)))
