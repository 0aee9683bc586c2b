"""Encoder x context x neck x head: whatever is combined, it plans, trains and exports, odd sizes included."""

from __future__ import annotations

import itertools
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from nas.architecture import load_architecture
from nas.errors import PlanError, SpaceError
from nas.formats import find
from nas.language.notation import to_yaml
from nas.network import Network
from nas.plan import Planner
from nas.registry import find as find_kind
from nas.registry import load, names

load()
SIZES = [(64, 96), (97, 131)]
ENCODERS: dict[str, Any] = {
    "resnet8": {"resnet": {"depth": 18, "width": 0.125, "output_stride": 8}},
    "resnet16": {
        "resnet": {"depth": 18, "width": 0.125, "output_stride": 16, "multi_grid": [1, 2, 4]}
    },
    "resnet32": {"resnet": {"depth": 18, "width": 0.125, "stem": "deep"}},
    "stages": {
        "stages": {
            "stem": 8,
            "stages": [
                {"width": 8, "blocks": [{"separable": {}}]},
                {"width": 8, "blocks": [{"mbconv": {"expand": 2}}]},
                {"width": 12, "blocks": [{"msca": {"mlp": 1}}]},
                {"width": 16, "blocks": [{"convnext": {"mlp": 1}}]},
            ],
        }
    },
    "two_stages": {
        "stages": {"stem": 8, "stages": [{"width": w, "blocks": [{"basic": {}}]} for w in (8, 12)]}
    },
    "one_stage": {
        "stages": {"stem": 4, "stages": [{"width": 8, "stride": 1, "blocks": [{"conv": {}}]}]}
    },
}
CONTEXTS: dict[str, Any] = {
    "none": {"none": {}},
    "aspp": {"aspp": {"width": 8}},
    "ppm": {"ppm": {"width": 8}},
}
NECKS: dict[str, Any] = {"none": {"none": {}}} | {
    f"{kind}{top}": {kind: {"top": top, "width": 8, **({"repeats": 2} if kind == "bifpn" else {})}}
    for kind in ("fpn", "bifpn")
    for top in range(5, 10)
}
HEADS: dict[str, Any] = {
    "fcn": {"fcn": {"width": 8}},
    "deeplabv3plus": {"deeplabv3plus": {"width": 8, "low_level": 4}},
    "semantic_fpn": {"semantic_fpn": {"width": 8}},
    "merge": {"merge": {"width": 8}},
}


@cache
def planner(size: tuple[int, int]) -> Planner:
    return Planner(size)


def tree(encoder: str, context: str, neck: str, head: str) -> dict[str, Any]:
    semantic = {"context": CONTEXTS[context], "neck": NECKS[neck], "head": HEADS[head]}
    return {
        "task": {"semantic": {"classes": 4}},
        "input": [3, 64, 96],
        "encoder": ENCODERS[encoder],
        "decoders": {"semantic": semantic},
    }


def expected_levels(neck: str, finest: int, coarsest: int) -> list[int]:
    top = int(neck[-1]) if neck != "none" else 0
    return list(range(finest, max(coarsest, top) + 1))


@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("encoder", ENCODERS)
def test_every_combination_plans(encoder: str, size: tuple[int, int]) -> None:
    for context, neck, head in itertools.product(CONTEXTS, NECKS, HEADS):
        plan = planner(size).plan(tree(encoder, context, neck, head))
        assert plan.macs > 0


@pytest.mark.parametrize("neck", [n for n in NECKS if n != "none"])
@pytest.mark.parametrize(
    ("encoder", "finest", "coarsest"), [("resnet8", 2, 3), ("resnet32", 2, 5), ("one_stage", 1, 1)]
)
def test_necks_reach_their_top_level(neck: str, encoder: str, finest: int, coarsest: int) -> None:
    """`merge` resizes one feature per level: the levels that it does not have to resize, and those that it has to."""
    semantic = tree(encoder, "none", neck, "merge")
    semantic["decoders"]["semantic"]["head"] = {"merge": {"width": 8, "finest": 2**finest}}
    steps, _ = planner((64, 96)).plan(semantic).steps()
    raised = [s.name for s in steps if s.name.startswith("decoder.semantic.head.merge.up.")]
    wanted = expected_levels(neck, finest, coarsest)[1:]
    assert raised == [f"decoder.semantic.head.merge.up.s{2**level}.resize" for level in wanted]


@given(
    st.sampled_from(list(ENCODERS)),
    st.sampled_from(list(CONTEXTS)),
    st.sampled_from(list(NECKS)),
    st.sampled_from(list(HEADS)),
    st.sampled_from(SIZES),
)
@settings(deadline=None, max_examples=25, derandomize=True)
def test_combinations_train_a_step(
    encoder: str, context: str, neck: str, head: str, size: tuple[int, int]
) -> None:
    torch.manual_seed(0)
    network = Network(planner(size).plan(tree(encoder, context, neck, head)))
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
    images, labels = torch.randn(2, 3, *size), torch.randint(4, (2, *size))
    loss = torch.nn.functional.cross_entropy(network(images).logits, labels)
    loss.backward()  # type: ignore[no-untyped-call]
    assert not [n for n, p in network.named_parameters() if p.grad is None]
    optimizer.step()
    assert network.eval()(images[:1]).isfinite().all()


@pytest.mark.full
@pytest.mark.parametrize(
    "names",
    [
        ("resnet16", "aspp", "bifpn9", "merge"),
        ("two_stages", "none", "fpn9", "deeplabv3plus"),
    ],
    ids="-".join,
)
def test_deep_pyramids_export(names: tuple[str, str, str, str], tmp_path: Path) -> None:
    """The contracts export every kind, in networks up to P5."""
    size, onnx, path = (576, 640), find("onnx"), tmp_path / "network.onnx"
    network = Network(planner(size).plan(tree(*names))).eval()
    onnx.write(network, torch.randn(2, 3, *size), path, dynamic=True, metadata={})
    run = onnx.open(path, threads=1)
    for shape in ((2, 3, 97, 131), (1, 3, 640, 577)):
        images = torch.randn(shape)
        with torch.no_grad():
            torch.testing.assert_close(run(images), network(images), rtol=1e-3, atol=1e-4)


def test_what_does_not_fit_is_said_with_slot_and_place() -> None:
    wrong = tree("resnet32", "none", "none", "fcn")
    wrong["decoders"]["semantic"]["auxiliary"] = {"stage5": {"fcn": {}}}
    with pytest.raises(PlanError, match=r"no feature 'stage5'; it has stem, stage1"):
        Planner((64, 96)).plan(wrong)
    with pytest.raises(PlanError, match=r"\[3, height, width\]"):
        Planner((64, 96)).plan(tree("resnet32", "none", "none", "fcn") | {"input": [1, 64, 96]})
    with pytest.raises(PlanError, match="`multi_grid` needs at least one number, got none"):
        Planner((64, 96)).plan(
            tree("resnet32", "none", "none", "fcn") | {"encoder": {"resnet": {"multi_grid": []}}}
        )
    empty = tree("stages", "none", "none", "fcn") | {
        "encoder": {"stages": {"stages": [{"width": 8, "blocks": []}]}}
    }
    with pytest.raises(PlanError, match="stage 1 has no blocks"):
        Planner((64, 96)).plan(empty)


@pytest.mark.parametrize("head", [n for n in names("head") if "dropout" in find_kind(n).fields])
def test_dropping_everything_is_refused_when_the_file_is_read(head: str, tmp_path: Path) -> None:
    described = tree("resnet32", "none", "none", "fcn")
    described["decoders"]["semantic"]["head"] = {head: {"dropout": 1}}
    file = tmp_path / "network.yaml"
    file.write_text(to_yaml(described))
    place = rf"network.yaml:\d+:\d+: decoders\.semantic\.head\.{head}\.dropout"
    with pytest.raises(SpaceError, match=place + r": expected a number from 0 up to 0\.99, got 1"):
        load_architecture(file)
