"""LI-ASPP (Wang et al. 2020): parameters, and what lateral inhibition computes.

No table of the paper gives parameters or multiply-adds. "By hand": sums over layers that others published. Separable
pyramid pooling and decoder are those of DeepLabv3+'s official code; the code's inhibition within the trunk is left out.
There is no auxiliary head.
"""

from __future__ import annotations

from math import exp
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from nas.architecture import load_architecture
from nas.cost import cost
from nas.network import Network
from nas.plan import Planner
from search_spaces.blocks.lateral_inhibition import LateralInhibition, surround

# published: torchvision's MobileNetV2, less its classifier and the 1x1 from 320 to 1,280 in front of it
MOBILENETV2 = 3_504_872 - (1280 * 1000 + 1000) - (320 * 1280 + 2 * 1280)
RESNET50 = 23_631_808  # counted on other official code: torchvision's with a stem of 64, 64, 128
POOLING = {
    320: 750_912,
    2048: 3_019_776,
}  # by hand: separable ASPP to 256 channels, as in test_published
DECODER = 168_325  # by hand: separable, 48 channels of 256 at stride 4, 21 classes


def test_parameters() -> None:
    """Inhibition adds one scalar per channel and dilated branch: 960 and 6,144."""
    light = cost(load_architecture("li_aspp_mobilenetv2")).params
    assert light == MOBILENETV2 + POOLING[320] + 3 * 320 + 256 * 21 + 21
    deep = cost(load_architecture("li_aspp_resnet50")).params
    assert deep == RESNET50 + POOLING[2048] + 3 * 2048 + DECODER


def test_multiply_adds_of_the_trunk() -> None:
    """DeepLab's model zoo gives 2.75 G for MobileNetV2 and a head without dilated branches, 2.741 G by hand."""
    tree = load_architecture("li_aspp_mobilenetv2").tree
    tree["decoders"]["semantic"]["context"] = {"aspp": {"rates": []}}
    assert cost(tree).macs / 1e9 == pytest.approx(2.741, abs=6e-4)


@pytest.mark.parametrize(("name", "channels"), [("mobilenetv2", 320), ("resnet50", 2048)])
def test_inhibition_costs_as_a_depthwise_convolution(name: str, channels: int) -> None:
    architecture = load_architecture(f"li_aspp_{name}")
    with_it = cost(architecture).macs
    tree = architecture.tree
    tree["decoders"]["semantic"]["context"] = {"aspp": {"separable": True}}
    assert with_it - cost(tree).macs == 3 * 9 * channels * 33 * 33


def test_the_surround_is_a_gaussian_without_its_centre() -> None:
    """Zone 3, sigma 1: at full strength a flat region sums to 1 - 4 e^-1/2 - 4 e^-1."""
    edge, corner = exp(-0.5), exp(-1)
    rows = [[corner, edge, corner], [edge, 0, edge], [corner, edge, corner]]
    torch.testing.assert_close(surround(3, 1.0), torch.tensor(rows))
    assert surround(5, 2.0)[0, 1].item() == pytest.approx(exp(-5 / 8))
    assert 1 - surround(3, 1.0).sum().item() == pytest.approx(-2.8976, abs=1e-4)


@settings(deadline=None, max_examples=30)
@given(zone=st.sampled_from([1, 3, 5, 7]), rate=st.integers(1, 3), seed=st.integers(0, 2**16))
def test_each_pixel_is_weakened_by_its_neighbours(zone: int, rate: int, seed: int) -> None:
    """Pixel by pixel, beyond the border nothing."""
    generator = torch.Generator().manual_seed(seed)
    block = LateralInhibition(2, zone=zone, sigma=1.5, rate=rate).eval()
    with torch.no_grad():
        block.strength.copy_(torch.rand(2, generator=generator))
    x, reach = torch.rand(1, 2, 6, 5, generator=generator), zone // 2
    expected = x.clone()
    for channel, y, column in torch.cartesian_prod(*map(torch.arange, (2, 6, 5))).tolist():
        for dy in range(-reach, reach + 1):
            for dx in range(-reach, reach + 1):
                row, other = y + rate * dy, column + rate * dx
                if (dy, dx) != (0, 0) and 0 <= row < 6 and 0 <= other < 5:
                    share = block.strength[channel] * exp(-(dy * dy + dx * dx) / 4.5)
                    expected[0, channel, y, column] -= (share * x[0, channel, row, other]).detach()
    torch.testing.assert_close(block(x), expected.relu())


def test_flat_regions_are_silenced_and_edges_stay() -> None:
    block = LateralInhibition(1).eval()
    torch.nn.init.constant_(block.strength, 0.2)
    x = torch.zeros(1, 1, 7, 8)
    x[..., 4:] = 1
    flat, edge, outside = (block(x)[0, 0, 3, column] for column in (5, 4, 3))
    assert flat.item() == pytest.approx(1 - 0.2 * 3.8976, abs=1e-4)
    assert edge.item() > 1.9 * flat.item()
    assert outside == 0


def network(context: dict[str, Any]) -> Network:
    tree = load_architecture("li_aspp_mobilenetv2").tree
    tree["encoder"] = {"resnet": {"depth": 18, "width": 0.125, "output_stride": 16}}
    tree["decoders"]["semantic"]["context"] = context
    torch.manual_seed(0)
    return Network(Planner((97, 131)).plan(tree))


@pytest.mark.parametrize("separable", [True, False])
def test_without_inhibition_it_is_plain_pyramid_pooling(separable: bool) -> None:
    """The same weights behind a feature that is not negative, as at the start of training."""
    fields = {"width": 8, "separable": separable}
    plain, inhibited = network({"aspp": fields}), network({"li_aspp": fields})
    weights = {n.replace(".aspp.", ".li_aspp."): w for n, w in plain.state_dict().items()}
    left = inhibited.load_state_dict(weights, strict=False)
    assert not left.unexpected_keys
    assert [n.split(".")[-1] for n in left.missing_keys] == ["strength"] * 3
    images = torch.randn(2, 3, 97, 131)
    torch.testing.assert_close(inhibited.eval()(images), plain.eval()(images))


def test_strength_is_put_back_after_a_step_and_can_return() -> None:
    """A step too far ends at the bound; from there the next one has a gradient."""
    block, x = LateralInhibition(2), torch.rand(2, 2, 6, 6) + 1
    with torch.no_grad():
        block.strength.copy_(torch.tensor([-3.0, 7.0]))
    block(x).sum().backward()
    assert block.strength.tolist() == [0, 1]
    assert block.strength.grad is not None
    assert block.strength.grad[0] < 0
    with torch.no_grad():
        block.strength.copy_(torch.tensor([-3.0, 0.5]))
    y = block.eval()(x)
    torch.testing.assert_close(y[:, 0], x[:, 0])
    assert block.strength.tolist() == [-3, 0.5]


def test_the_gradient_of_the_strength_is_that_of_finite_differences() -> None:
    block = LateralInhibition(1, zone=5).double()
    torch.nn.init.constant_(block.strength, 0.03)
    x = 2 + torch.rand(1, 1, 6, 6, dtype=torch.float64)
    weight = torch.randn(1, 1, 6, 6, dtype=torch.float64)

    def total(strength: float) -> torch.Tensor:
        torch.nn.init.constant_(block.strength, strength)
        y: torch.Tensor = (block(x) * weight).sum()
        return y

    total(0.03).backward()  # type: ignore[no-untyped-call]
    assert block.strength.grad is not None
    slope = (total(0.03 + 1e-6) - total(0.03 - 1e-6)) / 2e-6
    torch.testing.assert_close(block.strength.grad[0], slope.detach(), rtol=1e-6, atol=1e-6)


def test_rates_must_differ() -> None:
    with pytest.raises(Exception, match=r"rates must differ, got \[6, 6\]"):
        network({"li_aspp": {"rates": [6, 6]}})


def test_relu6_is_bounded() -> None:
    """MobileNetV2's activation."""
    tree = load_architecture("li_aspp_mobilenetv2").tree
    steps = Planner((64, 64)).plan(tree).steps()[0]
    stem = next(s.leaf for s in steps if s.name == "encoder.mobilenet.stem.conv").make().eval()
    y = stem(1000 * torch.randn(1, 3, 16, 16))
    assert y.max() == 6
    assert y.min() == 0
    torch.testing.assert_close(y, F.hardtanh(y, 0, 6))
