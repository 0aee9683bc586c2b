"""What single blocks compute, against PyTorch's own operations and against published counts."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from search_spaces.blocks.conv import Conv
from search_spaces.blocks.convnext import ConvNext
from search_spaces.blocks.joins import Concat, Fuse, Resize, Sum, WeightedSum
from search_spaces.blocks.mbconv import MBConv
from search_spaces.blocks.msca import Msca
from search_spaces.blocks.pooling import PooledConv, adaptive_average, averaging_matrix
from search_spaces.blocks.residual import Basic, Bottleneck
from search_spaces.blocks.separable import BifpnConv, Separable


def params(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


@given(height=st.integers(1, 40), width=st.integers(1, 40), cells=st.integers(1, 9))
@settings(deadline=None, max_examples=60)
def test_adaptive_average_is_adaptive_avg_pool2d(height: int, width: int, cells: int) -> None:
    x = torch.randn(2, 3, height, width, dtype=torch.float64)
    torch.testing.assert_close(adaptive_average(x, cells), F.adaptive_avg_pool2d(x, cells))


@given(size=st.integers(1, 60), cells=st.integers(1, 9))
@settings(deadline=None)
def test_every_row_of_an_averaging_matrix_sums_to_one(size: int, cells: int) -> None:
    matrix = averaging_matrix(size, cells, torch.zeros(1, dtype=torch.float64))
    torch.testing.assert_close(matrix.sum(1), torch.ones(cells, dtype=torch.float64))
    assert (matrix >= 0).all()


def test_pooled_conv_is_pool_conv_resize() -> None:
    block, x = PooledConv(6, width=4, bins=3).eval(), torch.randn(1, 6, 7, 11)
    pooled = block.conv(F.adaptive_avg_pool2d(x, 3))
    expected = F.interpolate(pooled, size=(7, 11), mode="bilinear", align_corners=False)
    torch.testing.assert_close(block(x), expected)


def test_image_pooling_trains_on_two_images_and_not_on_one() -> None:
    block = PooledConv(6, width=4)
    assert block(torch.randn(2, 6, 5, 5)).shape == (2, 4, 5, 5)
    with pytest.raises(ValueError, match="more than 1 value per channel"):
        block(torch.randn(1, 6, 5, 5))
    assert block.eval()(torch.randn(1, 6, 5, 5)).shape == (1, 4, 5, 5)


@pytest.mark.parametrize("kernel", [1, 3])
def test_fuse_is_a_convolution_of_the_concatenation(kernel: int) -> None:
    widths = {"low": 3, "deep": 5}
    fuse, conv = Fuse(widths, width=4, kernel=kernel).eval(), Conv(8, width=4, kernel=kernel).eval()
    weights = [w.weight for w in fuse.sources.values() if isinstance(w, nn.Conv2d)]
    with torch.no_grad():
        conv.conv.weight.copy_(torch.cat(weights, dim=1))
    xs = {name: torch.randn(2, c, 6, 7) for name, c in widths.items()}
    torch.testing.assert_close(fuse(xs), conv(Concat(widths)(xs)))
    assert params(fuse) == params(conv)


def test_separable_fuse_is_a_separable_convolution_of_the_concatenation() -> None:
    widths = {"low": 3, "deep": 5}
    fuse, whole = (
        Fuse(widths, width=4, kernel=3, separable=True).eval(),
        Separable(8, width=4).eval(),
    )
    with torch.no_grad():
        depthwise = [m.conv.weight for m in fuse.depthwise.values() if isinstance(m, Conv)]
        whole.depthwise.conv.weight.copy_(torch.cat(depthwise))
        whole.pointwise.conv.weight.copy_(
            torch.cat([w.weight for w in fuse.sources.values() if isinstance(w, nn.Conv2d)], dim=1)
        )
    xs = {name: torch.randn(2, c, 6, 7) for name, c in widths.items()}
    torch.testing.assert_close(fuse(xs), whole(Concat(widths)(xs)))
    assert params(fuse) == params(whole)


def test_widening_one_source_of_fuse_leaves_the_weight_of_the_others() -> None:
    narrow, wide = (Fuse({"low": c, "deep": 5}, width=4) for c in (3, 6))
    shapes = [{n: p.shape for n, p in f.named_parameters()} for f in (narrow, wide)]
    assert shapes[0].keys() == shapes[1].keys()
    assert [n for n in shapes[0] if shapes[0][n] != shapes[1][n]] == ["sources.low.weight"]


@given(st.lists(st.floats(-3, 3), min_size=1, max_size=4))
@settings(deadline=None)
def test_weighted_sum_has_shares_that_are_not_negative_and_sum_to_about_one(
    weights: list[float],
) -> None:
    block = WeightedSum({f"s{i}": 2 for i in range(len(weights))})
    with torch.no_grad():
        for p, w in zip(block.weights.values(), weights, strict=True):
            p.fill_(w)
    shares = torch.stack(list(block.shares().values()))
    assert (shares >= 0).all()
    positive = sum(max(w, 0.0) for w in weights)
    assert shares.sum().item() == pytest.approx(positive / (positive + 1e-4), abs=1e-5)
    xs = {f"s{i}": torch.randn(1, 2, 3, 3) for i in range(len(weights))}
    expected = sum(s * x for s, x in zip(shares, xs.values(), strict=True))
    torch.testing.assert_close(block(xs), expected)


def test_joins_refuse_unequal_channels_and_say_what_to_do() -> None:
    with pytest.raises(ValueError, match=r"got \[3, 4\]; project"):
        Sum((3, 4))
    with pytest.raises(ValueError, match="project them"):
        WeightedSum({"a": 3, "b": 4})
    with pytest.raises(ValueError, match="two inputs"):
        Resize((3,), to=2)
    with pytest.raises(ValueError, match="got groups 3, channels 6, width 10; nearest: 2"):
        Conv(6, width=10, groups=3)


@pytest.mark.parametrize("to", [1, 2, 8, 32])
def test_resize_gives_the_size_that_strided_convolutions_give(to: int) -> None:
    image = torch.randn(1, 3, 97, 131)
    x = image
    for _ in range(to.bit_length() - 1):
        x = F.max_pool2d(x, 3, 2, 1)
    assert Resize((3, 3), to=to)(image, image).shape == x.shape


def test_identities_are_used_where_shapes_agree_only() -> None:
    x = torch.randn(1, 8, 6, 6)
    for block in (
        Basic(8, width=8),
        Bottleneck(8, width=8),
        Msca(8, width=8),
        ConvNext(8, width=8),
    ):
        assert not [n for n, _ in block.named_parameters() if n.startswith(("shortcut", "entry"))]
    assert MBConv(8, width=8).residual
    assert not MBConv(8, width=8, stride=2).residual
    assert not MBConv(8, width=12).residual
    assert MBConv(8, width=8, expand=1).eval()(x).shape == x.shape


def test_a_dilated_block_is_the_strided_one_on_every_second_pixel() -> None:
    """The a trous form: what a dilated block computes at even pixels is what the plain one computes on them alone."""
    plain, dilated = Basic(4, width=4).eval(), Basic(4, width=4, dilation=2).eval()
    dilated.load_state_dict(plain.state_dict())
    x = torch.randn(1, 4, 12, 12)
    torch.testing.assert_close(dilated(x)[..., ::2, ::2], plain(x[..., ::2, ::2]))


@pytest.mark.parametrize(
    ("width", "mlp", "count"),
    [(64, 8, 91_136), (128, 8, 337_920), (320, 4, 1_178_880), (512, 4, 2_967_552)],
)
def test_msca_has_the_parameters_of_segnext(width: int, mlp: int, count: int) -> None:
    """Counted on the official code's blocks."""
    assert params(Msca(width, width=width, mlp=mlp)) == count


def test_counts_by_hand() -> None:
    assert params(Basic(64, width=64)) == 2 * (9 * 64 * 64 + 2 * 64)
    assert params(Bottleneck(256, width=256)) == 256 * 64 + 9 * 64 * 64 + 64 * 256 + 2 * (
        64 + 64 + 256
    )
    assert params(Separable(32, width=48)) == 9 * 32 + 2 * 32 + 32 * 48 + 2 * 48
    assert params(BifpnConv(64, width=64)) == 9 * 64 + 64 * 64 + 3 * 64
    assert (
        params(ConvNext(96, width=96)) == 96 * 49 + 96 + 2 * 96 + 2 * 4 * 96 * 96 + 4 * 96 + 96 + 96
    )
    inner, squeezed = 6 * 16, 4
    expected = 16 * inner + 2 * inner + 25 * inner + 2 * inner + inner * 24 + 2 * 24
    expected += inner * squeezed + squeezed + squeezed * inner + inner
    assert params(MBConv(16, width=24, kernel=5, squeeze_excite=0.25)) == expected
