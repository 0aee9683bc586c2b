"""What every encoder, context, neck and head must do, each in a small network."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from examples import SMALL, SURROUNDING, composite_trees, in_stages, kinds, tree, wider
from in_slots import firsts
from torch import Tensor

from nas.formats import find
from nas.network import Network
from nas.plan import Planner

SIZES = [(97, 131), (33, 65)]
TRACED = (96, 160)  # at which no map is one pixel: tracing would fix that


def trees() -> list[Any]:
    found = []
    for kind in kinds():
        if kind.is_leaf or kind.name in SURROUNDING:
            continue
        try:
            made = composite_trees(kind)
        except LookupError:
            continue
        found += [pytest.param(tree, id=f"{kind.name}{i}") for i, tree in enumerate(made)]
    return found


def all_together() -> list[Any]:
    """As few networks as have every composite in each of its slots, by its first example: an export takes seconds."""
    every = {slot: firsts(slot) for slot in SMALL}
    composites = {kind.name for kind in kinds() if not kind.is_leaf}
    every["encoder"] += [in_stages(cell) for cell in firsts("cell") if composites.issuperset(cell)]
    found = []
    for i in range(max(map(len, every.values()))):
        parts = {slot: (specs[i:] or [SMALL[slot]])[0] for slot, specs in every.items()}
        names = "-".join(kind for spec in parts.values() for kind in spec)
        found.append(pytest.param(tree(parts.pop("encoder"), parts, TRACED), id=names))
    return found


every_tree = pytest.mark.parametrize("tree", trees())


def image(size: tuple[int, int], batch: int = 2) -> Tensor:
    return torch.randn(batch, 3, *size, generator=torch.Generator().manual_seed(1))


def build(tree: Any, size: tuple[int, int]) -> Network:
    torch.manual_seed(0)
    return Network(Planner(size).plan(tree))


@pytest.mark.parametrize("name", [k.name for k in kinds() if not k.is_leaf])
def test_every_composite_has_a_way_to_be_exercised(name: str) -> None:
    assert name in SURROUNDING or composite_trees(next(k for k in kinds() if k.name == name))


@every_tree
@pytest.mark.parametrize("size", SIZES, ids=str)
def test_every_leaf_runs_at_its_planned_shape(tree: Any, size: tuple[int, int]) -> None:
    plan = Planner(size).plan(tree)
    network = Network(plan).eval()
    shapes: dict[str, tuple[int, ...]] = {}
    steps, _ = plan.steps()
    modules = dict(network.named_modules())
    for step in steps:
        modules[step.name].register_forward_hook(
            lambda _m, _i, out, name=step.name: shapes.__setitem__(name, tuple(out.shape))
        )
    logits = network(image(size, batch=1))
    assert logits.shape == (1, 5, *size)
    assert shapes == {step.name: (1, *step.leaf.shape) for step in steps}


@every_tree
def test_a_training_step_reaches_every_parameter(tree: Any) -> None:
    network = build(tree, (97, 131))
    out = network(image((97, 131)))
    (tap,) = tree["decoders"]["semantic"]["auxiliary"]
    assert {name: tuple(x.shape) for name, x in out.aux.items()} == {f"aux.{tap}": (2, 5, 97, 131)}
    loss = out.logits.square().mean() + sum(x.square().mean() for x in out.aux.values())
    loss.backward()
    assert not [
        n for n, p in network.named_parameters() if p.grad is None or not p.grad.isfinite().all()
    ]


@every_tree
def test_evaluation_is_deterministic_and_treats_images_apart(tree: Any) -> None:
    network, images = build(tree, (33, 65)).eval(), image((33, 65), batch=3)
    first = network(images)
    assert torch.equal(first, network(images))
    torch.testing.assert_close(network(images[2:]), first[2:], rtol=1e-3, atol=1e-5)


@every_tree
def test_bf16_autocast_runs(tree: Any) -> None:
    network = build(tree, (64, 96))
    with torch.autocast("cpu", torch.bfloat16):
        out = network(image((64, 96)))
    out.logits.float().square().mean().backward()
    assert out.logits.isfinite().all()


@every_tree
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64], ids=str)
def test_a_network_of_another_precision_runs_and_learns(tree: Any, dtype: torch.dtype) -> None:
    """All of it converted, as for a check of gradients or a device that knows one precision only."""
    network = build(tree, (64, 96)).to(dtype)
    out = network(image((64, 96)).to(dtype))
    assert out.logits.dtype == dtype
    (out.logits.square().mean() + sum(x.square().mean() for x in out.aux.values())).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in network.parameters())


@every_tree
def test_a_wider_twin_has_the_same_parameter_names(tree: Any) -> None:
    narrow, wide = build(tree, (64, 96)), build(wider(tree), (64, 96))
    assert [n for n, _ in narrow.named_parameters()] == [n for n, _ in wide.named_parameters()]


@pytest.mark.full
@pytest.mark.parametrize("tree", all_together())
def test_onnx_equals_the_network_at_another_size(tree: Any, tmp_path: Path) -> None:
    network = build(tree, TRACED).eval()
    path, onnx = tmp_path / "network.onnx", find("onnx")
    onnx.write(network, image(TRACED), path, dynamic=True, metadata={})
    run = onnx.open(path, threads=1)
    for other, batch in (((97, 131), 2), ((160, 193), 1)):
        with torch.no_grad():
            expected = network(image(other, batch))
        torch.testing.assert_close(run(image(other, batch)), expected, rtol=1e-3, atol=1e-4)
