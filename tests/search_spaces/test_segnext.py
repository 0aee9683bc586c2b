"""SegNeXt (Guo et al. 2022): the authors' counts, and what its parts compute.

"Recounted": the authors' code, built and counted with fvcore; multiply-adds of convolutions and of NMF's products.
There is no auxiliary head.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from nas.architecture import load_architecture
from nas.cost import Cost, cost
from nas.meter import Meter
from nas.network import build
from search_spaces.blocks.msca import MultiScaleAttention
from search_spaces.blocks.nmf import Nmf, factorise, random_bases

SIZES = ("t", "s", "b", "l")
RECOUNTED = {"t": 4_263_414, "s": 13_932_886, "b": 27_636_310}
HEADS = {"t": 359_830, "s": 482_710, "b": 1_358_486, "l": 4_289_686}
MACS_512 = {"t": (6.102, 0.302), "s": (15.344, 0.302), "b": (32.098, 2.565)}
MACS_1024 = {"t": (47.7, 2.4), "s": (121.7, 2.4), "b": (254.6, 20.3), "l": (514.1, 38.6)}
BLOCKS = {(64, 8): 91_136, (128, 8): 337_920, (320, 4): 1_178_880, (512, 4): 2_967_552}
PUBLISHED_M = {"t": 4, "s": 14, "b": 28, "l": 49}
"""The authors' README, ADE20K."""


def ade20k(size: str) -> Cost:
    """Of the network for ADE20K's 150 classes, at 512x512."""
    return cost(load_architecture(f"segnext_{size}").with_classes(150), (512, 512))


def head(costs: Cost) -> int:
    return sum(n.params for n in costs.nodes if n.name.startswith("decoder"))


def products(costs: Cost, channels: int, rank: int) -> int:
    """Multiply-adds of NMF's products: 7 steps on the map at stride 8."""
    (_, height, width) = next(n.shape for n in costs.nodes if n.kind == "nmf")
    pixels = height * width
    return 17 * pixels * channels * rank + 15 * (pixels + channels) * rank**2


@pytest.mark.parametrize("size", SIZES)
def test_parameters_are_those_of_the_authors_code(size: str) -> None:
    costs = ade20k(size)
    assert head(costs) == HEADS[size]
    assert round(costs.params / 1e6) == PUBLISHED_M[size]
    if size in RECOUNTED:
        assert costs.params == RECOUNTED[size]


def test_parameters_of_the_largest_encoder_by_hand() -> None:
    """3, 5, 27 and 3 blocks recounted; stem, 3x3s with bias and batch norm between stages, layer norms by hand."""
    depths, widths = (3, 5, 27, 3), (64, 128, 320, 512)
    blocks = sum(d * n for d, n in zip(depths, BLOCKS.values(), strict=True))
    ways = [(3, 32), (32, 64), (64, 128), (128, 320), (320, 512)]
    embeds = sum(9 * a * b + b + 2 * b for a, b in ways)
    costs = ade20k("l")
    assert costs.params - head(costs) == blocks + embeds + 2 * sum(widths)


@pytest.mark.parametrize("size", MACS_512)
def test_multiply_adds_at_512x512(size: str) -> None:
    costs, (convolutions, matrices) = ade20k(size), MACS_512[size]
    mine = products(costs, *((512, 64) if size == "b" else (256, 16)))
    assert mine / 1e9 == pytest.approx(matrices, abs=6e-4)
    assert (costs.macs - mine) / 1e9 == pytest.approx(convolutions, abs=6e-4)


@pytest.mark.parametrize("size", SIZES)
def test_multiply_adds_at_1024x2048(size: str) -> None:
    """Published for S and B: 125 and 276 G. The README prints 56 and 578 G for T and L, which its code is not."""
    macs = cost(load_architecture(f"segnext_{size}")).macs / 1e9
    assert macs == pytest.approx(sum(MACS_1024[size]), abs=0.1)


def test_stages_end_normalised() -> None:
    """Every pixel of a pyramid level has mean 0 and variance 1 over its channels, as long as nothing was trained."""
    network = build(load_architecture("segnext_t"), (64, 96)).eval()
    found = {}
    for name in ("stage1", "stage4"):
        module = network.get_submodule(f"encoder.mscan.{name}.norm.channel_norm")
        module.register_forward_hook(lambda _m, _i, out, name=name: found.__setitem__(name, out))
    with torch.no_grad():
        network(torch.randn(1, 3, 64, 96))
    for x in found.values():
        zero, one = torch.zeros(x[:, 0].shape), torch.ones(x[:, 0].shape)
        torch.testing.assert_close(x.mean(1), zero, rtol=0, atol=1e-5)
        torch.testing.assert_close(x.var(1, unbiased=False), one, rtol=0, atol=1e-2)


def test_pairs_of_strips_are_square_kernels() -> None:
    """1xk and kx1 are a kxk kernel of rank one: without biases the attention is one sum of depthwise convolutions."""
    block, x = MultiScaleAttention(3, (7, 11, 21)).double(), torch.randn(1, 3, 30, 25).double()
    with torch.no_grad():
        for name, p in block.named_parameters():
            if name.startswith("strips") and name.endswith("bias"):
                p.zero_()
    near = block.local(x)
    total = near
    for strip in block.strips.values():
        row, column = (conv.weight for conv in strip)
        total = total + F.conv2d(near, column @ row, padding=row.shape[-1] // 2, groups=3)
    torch.testing.assert_close(block(x), block.mix(total) * x)


def error(x: torch.Tensor, rank: int, steps: int) -> float:
    bases, codes = factorise(x, random_bases(x.shape[1], rank).to(x.dtype), steps)
    return float((x - bases @ codes.mT).norm())


@settings(deadline=None, max_examples=40)
@given(
    seed=st.integers(0, 2**16),
    channels=st.integers(2, 12),
    pixels=st.integers(2, 40),
    rank=st.integers(1, 8),
)
def test_more_steps_never_approximate_worse(
    seed: int, channels: int, pixels: int, rank: int
) -> None:
    """Multiplicative updates do not raise the error (Lee and Seung 2001, theorem 1)."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.rand(1, channels, pixels, generator=generator, dtype=torch.float64)
    errors = [error(x, rank, steps) for steps in (1, 2, 4, 8, 16)]
    assert all(b <= a + 1e-5 for a, b in pairwise(errors))


def test_a_product_of_non_negative_factors_is_found_again() -> None:
    """Of rank two: after many steps nothing is left, while one vector cannot say it."""
    generator = torch.Generator().manual_seed(0)
    left, right = (torch.rand(1, n, 2, generator=generator, dtype=torch.float64) for n in (6, 9))
    x = left @ right.mT
    assert error(x, 2, 3000) < 1e-2 * x.norm() < error(x, 1, 3000)


def test_factors_are_not_negative_and_equal_the_updates_written_out() -> None:
    """Coefficients and bases in turn, as in the paper of the updates; checked in numpy."""
    x = torch.rand(2, 5, 11, dtype=torch.float64)
    start = random_bases(5, 3).double()
    bases, codes = factorise(x, start, 2)
    assert (bases >= 0).all()
    assert (codes >= 0).all()
    for image, d, c in zip(x.numpy(), bases.numpy(), codes.numpy(), strict=True):
        mine, given = by_hand(image, start.numpy(), 2)
        np.testing.assert_allclose(mine, d)
        np.testing.assert_allclose(given, c)


def by_hand(x: np.ndarray, bases: np.ndarray, steps: int) -> tuple[np.ndarray, np.ndarray]:
    scores = np.exp(x.T @ bases)
    codes = scores / scores.sum(1, keepdims=True)
    for step in range(steps + 1):
        codes = codes * (x.T @ bases) / (codes @ bases.T @ bases + 1e-6)
        if step < steps:
            bases = bases * (x @ codes) / (bases @ codes.T @ codes + 1e-6)
    return bases, codes


@pytest.mark.parametrize(("steps", "training"), [(6, True), (7, False)])
def test_nmf_takes_the_official_steps(steps: int, training: bool) -> None:
    """Six in training, seven in evaluation; multiply-adds by the closed form, and those of two 1x1 convolutions."""
    block = Nmf(8, rank=4).train(training)
    x = torch.rand(2, 8, 5, 6)
    bases, codes = factorise(x.flatten(2), block.bases, steps)
    assert torch.equal(block.approximate(x), (bases @ codes.mT).reshape(x.shape))
    with Meter() as meter:
        block(x[:1])
    pixels = 30
    updates = (2 * steps + 3) * pixels * 8 * 4 + (2 * steps + 1) * (pixels + 8) * 16
    assert meter.macs == updates + 2 * pixels * 64


def test_bases_are_the_same_every_time_and_draw_nothing_from_the_global_generator() -> None:
    before = torch.get_rng_state()
    bases = random_bases(16, 4)
    assert torch.equal(before, torch.get_rng_state())
    assert torch.equal(bases, random_bases(16, 4))
    torch.testing.assert_close(bases.norm(dim=0), torch.ones(4))
    assert set(Nmf(8, rank=4).state_dict()) >= {"bases"}


def test_the_factorisation_is_computed_in_single_precision() -> None:
    block, x = Nmf(8, rank=4).eval(), torch.rand(1, 8, 6, 6)
    whole = block.approximate(x)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(block.approximate(x), whole)
        assert block.approximate(x.bfloat16()).dtype == torch.bfloat16
