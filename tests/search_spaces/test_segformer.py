"""SegFormer-B0 (Xie et al. 2021): counts by hand and as published, and what its parts compute.

The authors' code also builds the classifier of its base head (128 channels), which nothing uses and we leave out. There
is no auxiliary head.
"""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from nas.architecture import load_architecture
from nas.cost import Cost, cost
from search_spaces.blocks.attention import TokenAttention, as_map, as_tokens, padded
from search_spaces.blocks.mix_transformer import MixTransformer, SequenceReduction

WIDTHS, RATIOS = (32, 64, 160, 256), (8, 4, 2, 1)


def b0(classes: int, size: tuple[int, int]) -> Cost:
    return cost(load_architecture("segformer_b0").with_classes(classes), size)


def block_params(c: int, ratio: int) -> int:
    """By hand from the authors' layers."""
    attention = 4 * (c * c + c)
    reduction = c * c * ratio**2 + c + 2 * c if ratio > 1 else 0
    feed_forward = c * 4 * c + 4 * c + 9 * 4 * c + 4 * c + 4 * c * c + c
    return 2 * 2 * c + attention + reduction + feed_forward


def encoder_params() -> int:
    blocks = sum(2 * block_params(c, r) for c, r in zip(WIDTHS, RATIOS, strict=True))
    embeds = [49 * 3 * 32 + 32, 9 * 32 * 64 + 64, 9 * 64 * 160 + 160, 9 * 160 * 256 + 256]
    return blocks + sum(embeds) + 2 * 2 * sum(WIDTHS)


def test_parameters_by_hand_and_as_published() -> None:
    """Published, table 1: encoder 3.4 M, decoder 0.4 M, together 3.8 M."""
    costs = b0(150, (512, 512))
    head = sum(c * 256 + 256 for c in WIDTHS) + 4 * 256 * 256 + 2 * 256 + 256 * 150 + 150
    encoder = sum(n.params for n in costs.nodes if n.name.startswith("encoder"))
    assert encoder == encoder_params() == 3_319_392
    assert costs.params == encoder + head == 3_752_694
    assert round(costs.params / 1e6, 1) == 3.8


@pytest.mark.parametrize("ratio", RATIOS)
def test_parameters_of_a_block_by_hand(ratio: int) -> None:
    block = MixTransformer(16, width=16, heads=2, reduction=ratio)
    assert sum(p.numel() for p in block.parameters()) == block_params(16, ratio)


def test_multiply_adds_as_published() -> None:
    """Published, attention included: 8.4 G on ADE20K at 512x512, 125.5 G on Cityscapes at 1024x2048.

    The second figure is that of a network with 150 classes; with 19 there are 131 * 256 a pixel less, 4.4 G.
    """
    assert b0(150, (512, 512)).macs / 1e9 == pytest.approx(8.4, rel=0.005)
    assert b0(150, (1024, 2048)).macs / 1e9 == pytest.approx(125.5, rel=0.005)
    fewer = 131 * 256 * 256 * 512
    assert b0(19, (1024, 2048)).macs == b0(150, (1024, 2048)).macs - fewer


@pytest.mark.parametrize(
    ("depths", "width", "params_m", "macs_g", "side"),
    [
        ((2, 2, 2, 2), 256, 13.7, 15.9, 512),
        ((3, 4, 6, 3), 768, 27.5, 62.4, 512),
        ((3, 4, 18, 3), 768, 47.3, 79.0, 512),
        ((3, 8, 27, 3), 768, 64.1, 95.7, 512),
        ((3, 6, 40, 3), 768, 84.7, 183.3, 640),
    ],
    ids=["b1", "b2", "b3", "b4", "b5"],
)
def test_the_larger_ones_are_as_published(
    depths: tuple[int, ...], width: int, params_m: float, macs_g: float, side: int
) -> None:
    """Table 1, ADE20K: B1 to B5 differ from B0 in depths and widths only."""
    tree = load_architecture("segformer_b0").with_classes(150).tree
    stages = tree["encoder"]["mit"]["stages"]
    for stage, depth, channels in zip(stages, depths, (64, 128, 320, 512), strict=True):
        stage |= {"depth": depth, "width": channels}
    tree["decoders"]["semantic"]["head"] = {"mlp": {"width": width}}
    costs = cost(tree, (side, side))
    assert round(costs.params / 1e6, 1) == params_m
    assert costs.macs / 1e9 == pytest.approx(macs_g, rel=0.002)


def test_attention_is_the_formula_written_out() -> None:
    """Softmax over tokens of q k / sqrt(d), head by head."""
    block = TokenAttention(12, heads=3).double()
    pixels, tokens = torch.randn(2, 10, 12).double(), torch.randn(2, 5, 12).double()
    found = []
    for c in range(0, 12, 4):
        q, k, v = (
            part(x)[..., c : c + 4]
            for part, x in ((block.query, pixels), (block.key, tokens), (block.value, tokens))
        )
        scores = torch.exp(q @ k.mT / 4**0.5)
        found.append(scores / scores.sum(-1, keepdim=True) @ v)
    torch.testing.assert_close(block(pixels, tokens), block.project(torch.cat(found, -1)))


def test_rows_of_attention_sum_to_one() -> None:
    """Where all tokens are one vector, every pixel finds its value, whatever it asks for."""
    block = TokenAttention(8, heads=2)
    vector = torch.randn(1, 1, 8)
    expected = block.project(block.value(vector)).expand(1, 7, 8)
    torch.testing.assert_close(block(torch.randn(1, 7, 8), vector.expand(1, 4, 8)), expected)


def test_heads_must_divide_the_width() -> None:
    with pytest.raises(ValueError, match="got 3 heads and width 8"):
        TokenAttention(8, heads=3)


@settings(deadline=None, max_examples=30)
@given(height=st.integers(1, 20), width=st.integers(1, 20), ratio=st.sampled_from([2, 3, 4, 8]))
def test_reduction_gives_one_token_for_each_window_begun(
    height: int, width: int, ratio: int
) -> None:
    block, x = SequenceReduction(4, ratio), torch.randn(2, 4, height, width)
    rows, columns = -(-height // ratio), -(-width // ratio)
    assert block(x).shape == (2, rows * columns, 4)
    whole = x[:, :, : height // ratio * ratio, : width // ratio * ratio]
    if whole.numel():
        inside = block.conv(whole)
        outer = block.conv(padded(x, ratio))
        torch.testing.assert_close(outer[..., : inside.shape[2], : inside.shape[3]], inside)


def test_every_pixel_sees_the_whole_map() -> None:
    """A change in one corner reaches the other at once, while the feed-forward part sees neighbours only."""
    block = MixTransformer(8, width=8, heads=2, reduction=4).double()
    x = torch.randn(1, 8, 16, 16).double()
    changed = x.clone()
    changed[:, 0, 0, 0] += 5
    assert (block.attend(x) != block.attend(changed))[..., -1, -1].all()
    assert torch.equal(block.mlp(x)[..., -1, -1], block.mlp(changed)[..., -1, -1])


def test_tokens_are_pixels_row_by_row() -> None:
    x = torch.randn(2, 3, 4, 5)
    assert torch.equal(as_tokens(x), x.flatten(2).mT)
    assert torch.equal(as_map(as_tokens(x), x), x)
