"""The published systems have the published numbers of parameters; each figure with where it is from.

Figures called "published" were printed by others; "by hand" are sums over the layers of a paper's description.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch

from nas.architecture import load_architecture
from nas.cost import Cost, cost
from nas.network import build
from nas.space import published

NAMES = [f"{s}_resnet{d}" for s in ("fcn", "fpn", "pspnet", "deeplabv3plus") for d in (18, 50)]
SMALL = (64, 96)

# published: torchvision's table of ImageNet weights, without fc (512 or 2048 inputs, 1,000 classes, bias)
TRUNKS = {
    18: 11_689_512 - 513_000,
    34: 21_797_672 - 513_000,
    50: 25_557_032 - 2_049_000,
    101: 44_549_160 - 2_049_000,
}
DEEP_STEM = 19_232  # by hand: three 3x3 (32, 32, 64) with batch norm, less one 7x7 of 64; mmsegmentation's ResNetV1c

# by hand, 19 classes, auxiliary heads left out
BY_HAND = {
    "fcn_resnet18": TRUNKS[18] + 512 * 128 * 9 + 2 * 128 + 128 * 19 + 19,
    "fcn_resnet50": TRUNKS[50] + 2048 * 512 * 9 + 2 * 512 + 512 * 19 + 19,
    # FPN and head: mmsegmentation's modules, counted by others; by hand in test_parts_by_hand
    "fpn_resnet18": TRUNKS[18] + DEEP_STEM + 2_607_104 + 1_626_259,
    "fpn_resnet50": TRUNKS[50] + DEEP_STEM + 3_344_384 + 1_626_259,
    "pspnet_resnet18": TRUNKS[18]
    + DEEP_STEM
    + 4 * (512 * 128 + 2 * 128)
    + (512 + 4 * 128) * 128 * 9
    + 2 * 128
    + 128 * 19
    + 19,
    # head: mmsegmentation's PSPHead 2048 -> 512, counted on its code
    "pspnet_resnet50": TRUNKS[50] + DEEP_STEM + 23_083_539,
    # separable ASPP on 512 channels, and the separable decoder with 64 low-level channels
    "deeplabv3plus_resnet18": TRUNKS[18]
    + 1_003_008
    + (64 * 48 + 2 * 48)
    + (304 * 9 + 2 * 304 + 304 * 256 + 2 * 256)
    + (256 * 9 + 2 * 256 + 256 * 256 + 2 * 256)
    + 256 * 19
    + 19,
    # ASPP on 2048 channels, and the decoder with 256 low-level channels
    "deeplabv3plus_resnet50": TRUNKS[50] + 15_535_104 + 1_308_531,
}


def test_parts_by_hand() -> None:
    """The sums behind the constants above."""
    laterals = sum(c * 256 + 256 for c in (64, 128, 256, 512))
    assert laterals + 4 * (256 * 256 * 9 + 256) == 2_607_104
    assert laterals + 4 * (256 * 256 * 9 + 256) + 256 * 3 * 960 == 3_344_384
    first, further = 256 * 128 * 9 + 2 * 128, 128 * 128 * 9 + 2 * 128
    assert 4 * first + 3 * further + 128 * 19 + 19 == 1_626_259
    pooled, fused = 4 * (2048 * 512 + 2 * 512), 4096 * 512 * 9 + 2 * 512
    assert pooled + fused + 512 * 19 + 19 == 23_083_539


def network(encoder: Any, classes: int = 19, **semantic: Any) -> dict[str, Any]:
    return {
        "task": {"semantic": {"classes": classes}},
        "input": [3, *SMALL],
        "encoder": encoder,
        "decoders": {"semantic": semantic},
    }


def part(costs: Cost, name: str) -> int:
    """Parameters of the nodes below `name`."""
    return sum(n.params for n in costs.nodes if n.name.startswith(name))


def everything(tree: Any) -> int:
    """Parameters of the network as it is trained, auxiliary heads included."""
    with torch.device("meta"):
        return sum(p.numel() for p in build(tree, SMALL).parameters())


def test_all_published_files_are_here() -> None:
    assert set(NAMES) <= set(published())


@pytest.mark.parametrize("name", NAMES)
def test_parameters_of_the_published_files(name: str) -> None:
    assert cost(load_architecture(name), SMALL).params == BY_HAND[name]


@pytest.mark.parametrize("name", NAMES)
def test_published_files_are_for_cityscapes(name: str) -> None:
    architecture = load_architecture(name)
    assert architecture.classes == 19
    assert architecture.input == (3, 512, 1024)


@pytest.mark.parametrize("depth", TRUNKS)
@pytest.mark.parametrize("output_stride", [8, 16, 32])
def test_resnets_have_torchvisions_parameters(depth: int, output_stride: int) -> None:
    tree = network({"resnet": {"depth": depth, "output_stride": output_stride}}, head={"fcn": {}})
    assert part(cost(tree), "encoder") == TRUNKS[depth]


def test_fcn_resnet50_is_torchvisions() -> None:
    """Published: torchvision's FCN_ResNet50 for 21 classes, auxiliary head included."""
    assert everything(load_architecture("fcn_resnet50").with_classes(21)) == 35_322_218


def test_semantic_fpn_resnet50_is_mmsegmentations() -> None:
    """Published: 28.5 M for ADE20K's 150 classes (Wang et al. 2021, Pyramid Vision Transformer)."""
    assert everything(load_architecture("fpn_resnet50").with_classes(150)) == 28_514_806


def test_pspnet_resnet101_is_mmsegmentations() -> None:
    """Published: 68.1 M for ADE20K's 150 classes, auxiliary head included (Xie et al. 2021, SegFormer, table 2)."""
    tree = load_architecture("pspnet_resnet50").with_classes(150).tree
    tree["encoder"]["resnet"]["depth"] = 101
    assert everything(tree) == 68_068_492


def test_deeplabv3plus_resnet101_is_mmsegmentations() -> None:
    """Published: 62.7 M for ADE20K's 150 classes, auxiliary head included (Xie et al. 2021, SegFormer, table 2)."""
    tree = network(
        {"resnet": {"depth": 101, "output_stride": 8, "stem": "deep"}},
        classes=150,
        context={"aspp": {"rates": [12, 24, 36], "width": 512, "separable": True, "projection": 3}},
        head={"deeplabv3plus": {"width": 512, "separable": True}},
        auxiliary={"stage3": {"fcn": {"width": 256}}},
    )
    assert everything(tree) == 62_682_876


@pytest.mark.parametrize(
    ("fields", "count"),
    [
        ({}, 15_535_104),
        ({"separable": True}, 3_019_776),
        ({"image_pool": False}, 14_944_768),
        ({"rates": [6, 12, 18, 24]}, 20_319_744),
    ],
)
def test_aspp_on_2048_channels(fields: dict[str, Any], count: int) -> None:
    """By hand: 1x1, 3x3s, image pooling at 256 channels, 1x1 over all of them."""
    tree = network(
        {"resnet": {"output_stride": 16}}, context={"aspp": fields}, head={"fcn": {"finest": 16}}
    )
    assert part(cost(tree), "decoder.semantic.context") == count


def test_pyramid_pooling_of_sfnet() -> None:
    """Published code, counted: 2048 -> 256, bins 1, 2, 3, 6, 1x1 over all of them."""
    tree = network(
        {"resnet": {}},
        context={"ppm": {"width": 256, "projection": 1}},
        head={"fcn": {"finest": 32}},
    )
    assert part(cost(tree), "decoder.semantic.context") == 2_886_144


@pytest.mark.parametrize(
    ("top", "width", "repeats", "count"),
    [(5, 64, 3, 203_434), (7, 64, 3, 294_792), (9, 96, 4, 810_376), (9, 128, 3, 1_025_382)],
)
def test_bifpn_on_a_resnet18(top: int, width: int, repeats: int, count: int) -> None:
    """By hand from EfficientDet's code: a node with n inputs has 9W + W^2 + 3W + n, a projection CW + 3W."""
    neck = {"bifpn": {"top": top, "width": width, "repeats": repeats}}
    tree = network({"resnet": {"depth": 18}}, neck=neck, head={"merge": {"width": width}})
    assert part(cost(tree), "decoder.semantic.neck") == count


def test_macs_at_512x1024() -> None:
    """mmsegmentation's modules, counted by others, in G: trunk 45.21, FPN 29.70, head 15.63; dilated trunk 201.84."""
    fpn = cost(load_architecture("fpn_resnet50"))
    assert fpn.macs / 1e9 == pytest.approx(45.21 + 29.70 + 15.63, abs=0.02)
    psp = cost(load_architecture("pspnet_resnet50"))
    encoder = sum(n.macs for n in psp.nodes if n.name.startswith("encoder"))
    assert encoder / 1e9 == pytest.approx(201.84, abs=0.01)
