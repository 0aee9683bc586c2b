"""What every leaf block must do, on every kind that is registered."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path

import pytest
import torch
from examples import kinds, leaf_examples
from not_exported import NOT_EXPORTED
from probe import Case, Together, cases, ceil, one_place_each
from torch import Tensor

from nas.formats import find
from nas.leaf import form

CASES = list(cases())
SIZES = [(13, 18), (33, 7), (1, 1), (24, 40)]
every_case = pytest.mark.parametrize("case", CASES, ids=str)


def image(size: tuple[int, int], batch: int = 2) -> Tensor:
    return torch.randn(batch, 3, *size, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("name", [k.name for k in kinds() if k.is_leaf])
def test_every_leaf_has_a_way_to_be_exercised(name: str) -> None:
    assert leaf_examples(next(k for k in kinds() if k.name == name))


@every_case
@pytest.mark.parametrize("size", SIZES, ids=str)
def test_size_is_that_of_the_stride_and_meta_equals_real(case: Case, size: tuple[int, int]) -> None:
    network = case.network(size).eval()
    out = network(image(size, batch=1))
    assert out.shape == (1, *network.spec.shape)
    assert out.shape[2:] == ceil(size, case.stride)


@every_case
def test_every_parameter_gets_a_gradient(case: Case) -> None:
    network = case.network((13, 18))
    out = network(image((13, 18)))
    (out * torch.randn(out.shape)).sum().backward()
    for name, p in network.named_parameters():
        assert p.grad is not None, f"{name} takes no part in the output"
        assert p.grad.isfinite().all(), name
        idle = name.removeprefix("leaf.") in case.example.idle
        assert idle or p.grad.abs().max() > 0, f"the gradient of {name} is zero"


@every_case
def test_evaluation_is_deterministic_and_treats_images_apart(case: Case) -> None:
    network, images = case.network((13, 18)).eval(), image((13, 18), batch=3)
    first = network(images)
    assert torch.equal(first, network(images))
    torch.testing.assert_close(network(images[1:2]), first[1:2], rtol=1e-4, atol=1e-5)


@every_case
def test_counted_parameters_are_those_of_the_module(case: Case) -> None:
    network = case.network((13, 18))
    assert network.spec.params == sum(p.numel() for p in network.leaf.parameters())


@every_case
def test_bf16_autocast_runs_forward_and_backward(case: Case) -> None:
    network = case.network((13, 18))
    with torch.autocast("cpu", torch.bfloat16):
        out = network(image((13, 18)))
    out.float().square().mean().backward()
    assert out.isfinite().all()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in network.parameters())


@every_case
def test_a_wider_twin_has_the_same_parameter_names(case: Case) -> None:
    narrow, wide = case.leaf((13, 18)), case.leaf((13, 18), factor=2)
    assert [n for n, _ in narrow.make().named_parameters()] == [
        n for n, _ in wide.make().named_parameters()
    ]


@every_case
def test_named_inputs_may_come_in_any_order(case: Case) -> None:
    leaf = case.leaf((13, 18))
    if form(case.kind.make) != "named" or case.kind.name == "concat":
        return
    module = leaf.make().eval()
    inputs = {
        name: torch.randn(1, c, 5, 6)
        for name, (c, _, _) in zip(leaf.names or (), leaf.inputs, strict=True)
    }
    torch.testing.assert_close(module(inputs), module(dict(reversed(inputs.items()))))


@pytest.mark.full
@pytest.mark.parametrize("name", sorted({c.kind.name for c in CASES}))
def test_onnx_equals_the_module_at_another_size(name: str, tmp_path: Path) -> None:
    tested = list(one_place_each(c for c in CASES if c.kind.name == name))
    network = Together([c.network((37, 52)) for c in tested]).eval()
    fails = pytest.raises(Exception, match=r".") if name in NOT_EXPORTED else nullcontext()
    with fails:
        assert_onnx_equals(network, tmp_path / "leaf.onnx")


def assert_onnx_equals(network: Together, path: Path) -> None:
    onnx = find("onnx")
    onnx.write(network, image((37, 52)), path, dynamic=True, metadata={})
    run = onnx.open(path, threads=1)
    for size, batch in (((37, 52), 2), ((29, 46), 3)):
        with torch.no_grad():
            expected = network(image(size, batch))
        torch.testing.assert_close(run(image(size, batch)), expected, rtol=1e-3, atol=1e-4)
