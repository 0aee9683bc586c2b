"""S2-FPN (Elhassan et al. 2022): the counts of the authors' code, first version, and what its parts compute.

"Recounted": the authors' code, 19 classes, 512x1024, built and counted with fvcore. What it lists holds layers that no
forward uses; "trained" is what gets a gradient, four auxiliary classifiers of the fused levels included (a 3x3 with
batch norm and a 1x1 without bias each), which evaluation does not run.
"""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from nas.architecture import load_architecture
from nas.cost import cost
from nas.network import build
from nas.plan import Planner
from search_spaces.blocks.attention_fusion import (
    AttentionFusion,
    ChannelReweighting,
    StripAttention,
)

TRAINED = {"resnet18": 17_888_580, "resnet34": 27_996_740, "resnet34m": 27_996_740}
GIGA = {"resnet18": 27.81, "resnet34": 47.14, "resnet34m": 184.82}
WIDTHS = (256, 128, 64, 32)
AUXILIARY = sum(9 * c * c + 2 * c + 19 * c for c in WIDTHS)
USED_18 = 17_095_140


@pytest.mark.parametrize("trunk", TRAINED)
def test_parameters_are_those_of_the_authors_code(trunk: str) -> None:
    params = cost(load_architecture(f"s2fpn_{trunk}")).params
    assert params == TRAINED[trunk] - AUXILIARY
    if trunk == "resnet18":
        assert params == USED_18


@pytest.mark.parametrize("trunk", GIGA)
def test_multiply_adds_at_512x1024(trunk: str) -> None:
    """Recounted, given to 10 M: convolutions, there are no other products."""
    macs = cost(load_architecture(f"s2fpn_{trunk}")).macs / 1e9
    assert macs == pytest.approx(GIGA[trunk], abs=6e-3)


def test_trained_parameters_with_auxiliary_heads() -> None:
    """Ours are on the encoder's stages, as wide as the code's, whose inputs are as wide; and with a bias."""
    architecture = load_architecture("s2fpn_resnet18")
    with torch.device("meta"):
        trained = sum(p.numel() for p in build(architecture, (64, 128)).parameters())
    ins = (512, 256, 128, 64)
    auxiliary = sum(9 * i * c + 2 * c + 19 * c + 19 for i, c in zip(ins, WIDTHS, strict=True))
    assert trained == USED_18 + auxiliary


def test_strips_are_the_same_along_every_column() -> None:
    """What attention adds depends on the column alone: on its maximum and its mean, not on where they come from."""
    block = StripAttention(4, dropout=0.0).eval()
    nn.init.ones_(block.share)
    x = torch.randn(2, 4, 6, 5)
    y = block(x)
    torch.testing.assert_close(y, y[:, :, :1].expand_as(y))
    torch.testing.assert_close(block(x[:, :, torch.randperm(6)]), y)
    changed = x.clone()
    changed[..., 2] += 1
    differs = (block(changed) - y).abs().amax((0, 1, 2))
    assert (differs > 1e-6).tolist() == [False, False, True, False, False]


def test_strip_attention_is_its_formula() -> None:
    """As in the authors' code: a softmax over channels, of which two are shares."""
    block, x = StripAttention(6, dropout=0.15).eval(), torch.randn(2, 6, 5, 4)
    nn.init.constant_(block.share, 0.4)
    weight = block.strip.weight[:, :, 0, 0]
    most = block.norms["most"](torch.einsum("oc,nchw->nohw", weight, F.max_pool2d(x, (5, 1))))
    mean = block.norms["mean"](torch.einsum("oc,nchw->nohw", weight, F.avg_pool2d(x, (5, 1))))
    shares = torch.softmax(most * mean, 1)
    torch.testing.assert_close(shares.sum(1), torch.ones(2, 1, 4))
    mixed = block.mix(shares[:, 0, None] * mean + shares[:, 1, None] * most)
    torch.testing.assert_close(block(x), F.relu(0.4 * mixed + 0.6 * x))


def test_without_a_share_strip_attention_is_relu() -> None:
    """Where the authors' code starts."""
    block, x = StripAttention(4, dropout=0.15).eval(), torch.randn(2, 4, 6, 5)
    nn.init.zeros_(block.share)
    torch.testing.assert_close(block(x), x.relu())


def test_reweighting_does_not_depend_on_the_order_of_pixels() -> None:
    block, x, order = ChannelReweighting(8, 4), torch.randn(2, 8, 4, 5), torch.randperm(20)
    shares = block(x) / x
    assert ((shares > 0) & (shares < 1)).all()
    torch.testing.assert_close(shares, shares[..., :1, :1].expand_as(shares))
    mixed = x.flatten(2)[..., order].reshape(x.shape)
    torch.testing.assert_close(block(mixed) / mixed, shares)


def test_fusion_weighs_the_coarse_by_strips_and_the_fine_by_channels() -> None:
    block = AttentionFusion((6, 6, 6)).eval()
    both, high, low = torch.randn(3, 2, 6, 5, 4)
    nothing = torch.zeros_like(low)
    torch.testing.assert_close(block(both, high, nothing), block.spatial(both) * high)
    torch.testing.assert_close(block(both, nothing, low), block.channel(both) * low)
    whole = block(both, high, nothing) + block(both, nothing, low)
    torch.testing.assert_close(block(both, high, low), whole)
    with pytest.raises(ValueError, match=r"equal channels, got \[6, 6, 4\]"):
        AttentionFusion((6, 6, 4))
    with pytest.raises(ValueError, match="two channels at least"):
        AttentionFusion((1, 1, 1))


@pytest.mark.parametrize(
    ("pool", "top", "strides"),
    [(True, 5, [4, 8, 16, 32]), (False, 4, [2, 4, 8, 16]), (True, 7, [4, 8, 16, 32, 64, 128])],
)
def test_every_level_is_fused_and_raised(pool: bool, top: int, strides: list[int]) -> None:
    tree = load_architecture("s2fpn_resnet18").tree
    tree["encoder"]["resnet"] |= {"pool": pool, "width": 0.125}
    tree["decoders"]["semantic"]["head"] = {"pointwise": {"finest": 2}}
    tree["decoders"]["semantic"]["neck"]["attention_pyramid"] |= {
        "top": top,
        "width": 4,
        "widest": 8,
    }
    steps = Planner((256, 512)).plan(tree).steps()[0]
    shapes = {s.name.split("attention_pyramid.")[-1]: s.leaf.shape for s in steps}
    for i, stride in enumerate(strides):
        expected = (min(4 * 2**i, 8), 256 // stride, 512 // stride)
        assert shapes[f"fuse.s{stride}.refine.conv"] == expected
        assert shapes[f"lift.s{stride}.mix.conv"] == expected
    assert shapes["coarser.conv"][1:] == (128 // strides[-1], 256 // strides[-1])
