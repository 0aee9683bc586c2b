"""BiSeNetV2: the counts of a port, and what its own parts compute.

The authors published no code. Parameters and MACs are those of a port (CoinCheung/BiSeNet, 19 classes, auxiliary heads
left out), its layers built and counted. The paper prints 21.15 G and does not say how wide the head is: of the 24.6 G
here 9.8 are the port's head of 1,024 channels.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nas.architecture import load_architecture
from nas.cost import cost
from nas.errors import PlanError
from nas.network import build
from nas.plan import Planner
from search_spaces.blocks.gate import Gate
from search_spaces.blocks.gather_expand import GatherExpand
from search_spaces.blocks.image_embedding import ImageEmbedding

NECK = "decoder.semantic.neck.guided_aggregation"
CONTEXT = "decoder.semantic.context.context_embedding"


def params(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def test_parameters_and_macs_are_those_of_the_port() -> None:
    costs = cost(load_architecture("bisenetv2"))
    assert (costs.params, costs.macs) == (3_358_627, 24_603_312_128)
    head = sum(n.macs for n in costs.nodes if n.name.startswith("decoder.semantic.head"))
    assert head == 64 * 128 * (9 * 128 * 1024 + 1024 * 19)


def test_the_booster_has_four_heads_in_training_only() -> None:
    """Figure 3: after every stage of the semantic branch; neither counted nor run in evaluation."""
    network = build(load_architecture("bisenetv2"), (64, 96))
    out = network(torch.randn(2, 3, 64, 96))
    taps = {f"aux.stage{stage}" for stage in (2, 3, 4, 5)}
    assert {name: tuple(x.shape) for name, x in out.aux.items()} == dict.fromkeys(
        taps, (2, 19, 64, 96)
    )
    assert network.eval()(torch.randn(1, 3, 64, 96)).shape == (1, 19, 64, 96)


@pytest.mark.parametrize(
    ("channels", "width", "stride"), [(16, 32, 2), (32, 32, 1), (64, 128, 2), (24, 40, 1)]
)
def test_gather_and_expansion_by_hand(channels: int, width: int, stride: int) -> None:
    inner = 6 * channels
    expected = 9 * channels**2 + 2 * channels + 9 * inner + 2 * inner + inner * width + 2 * width
    if stride == 2 or channels != width:
        expected += 9 * inner + 2 * inner  # the second depthwise convolution
        expected += 9 * channels + 2 * channels + channels * width + 2 * width  # the shortcut
    assert params(GatherExpand(channels, width=width, stride=stride)) == expected


@pytest.mark.parametrize(("width", "stride"), [(6, 1), (10, 2), (10, 1)])
def test_gather_and_expansion_adds_its_shortcut(width: int, stride: int) -> None:
    """With the last batch norm at zero only the shortcut is left: the input itself where nothing changes."""
    block, x = GatherExpand(6, width=width, stride=stride).eval(), torch.randn(2, 6, 9, 7)
    nn.init.zeros_(block.project.norm.weight)  # type: ignore[arg-type]
    torch.testing.assert_close(block(x), block.shortcut(x).relu())
    if (width, stride) == (6, 1):
        torch.testing.assert_close(block(x), x.relu())


def test_gathering_sees_a_neighbourhood_and_each_channel_is_expanded_alone() -> None:
    block = GatherExpand(3, width=3, expand=2).eval()
    first = block.expand["first"]
    x = torch.randn(1, 3, 5, 5)
    other = x.clone()
    other[:, 0] += 1
    changed = (first(x) != first(other)).any(dim=(0, 2, 3))
    assert changed.tolist() == [True, True, False, False, False, False]


def test_a_gate_weighs_between_nothing_and_all() -> None:
    gate, x = Gate((3, 3)), torch.randn(2, 3, 4, 5)
    torch.testing.assert_close(gate(x, torch.zeros_like(x)), x / 2)
    torch.testing.assert_close(gate(x, torch.full_like(x, 1e3)), x)
    torch.testing.assert_close(gate(x, torch.full_like(x, -1e3)), torch.zeros_like(x))
    with pytest.raises(ValueError, match=r"of equal channels, got \[3, 4\]; project"):
        Gate((3, 4))


def test_an_image_embedding_is_one_vector_of_the_mean() -> None:
    block, x = ImageEmbedding(6, width=4).eval(), torch.randn(2, 6, 5, 7)
    vector = block.conv(block.norm(x.mean((2, 3), keepdim=True)))
    torch.testing.assert_close(block(x), vector.expand(2, 4, 5, 7))
    torch.testing.assert_close(block(x), block(x.flip(2)), rtol=1e-4, atol=1e-5)


def watched(
    names: tuple[str, ...], size: tuple[int, int]
) -> tuple[dict[str, nn.Module], list[Tensor]]:
    """The parts of the network, and what those of these names gave for a random image."""
    torch.manual_seed(0)
    network = build(load_architecture("bisenetv2"), size).eval()
    parts = dict(network.named_modules())
    seen: dict[str, Tensor] = {}
    for name in names:
        parts[name].register_forward_hook(lambda _m, _i, y, name=name: seen.update({name: y}))
    network(torch.randn(1, 3, *size))
    return parts, [seen[name] for name in names]


def test_context_embedding_is_its_formula() -> None:
    names = ("encoder.bisenetv2.stage5.3.gather_expand", f"{CONTEXT}.mix.conv")
    parts, (x, got) = watched(names, (97, 131))
    said = parts[f"{CONTEXT}.image.image_embedding"](x)
    torch.testing.assert_close(got, parts[f"{CONTEXT}.mix.conv"](x + said))


def test_guided_aggregation_is_its_formula() -> None:
    """Figure 6: each gates the other at its own size; the sum is taken at the finer one."""
    names = ("encoder.bisenetv2.detail3.2.conv", f"{CONTEXT}.mix.conv", f"{NECK}.fused.conv")
    parts, (fine, coarse, got) = watched(names, (97, 131))
    at = {name.removeprefix(f"{NECK}."): part for name, part in parts.items()}

    def up(x: Tensor) -> Tensor:
        return F.interpolate(x, size=fine.shape[-2:], mode="bilinear")

    left = at["detail.point.conv"](at["detail.depthwise.conv"](fine))
    left = left * up(at["meaning.dense.conv"](coarse)).sigmoid()
    right = F.avg_pool2d(at["detail.down.conv"](fine), 3, 2, 1)
    right = right * at["meaning.point.conv"](at["meaning.depthwise.conv"](coarse)).sigmoid()
    torch.testing.assert_close(got, at["fused.conv"](left + up(right)))


@pytest.mark.parametrize(("finest", "halvings"), [(4, 3), (8, 2), (16, 1)])
def test_detail_is_halved_as_often_as_the_strides_ask(finest: int, halvings: int) -> None:
    tree: dict[str, Any] = load_architecture("bisenetv2").tree
    tree["decoders"]["semantic"]["neck"] = {"guided_aggregation": {"width": 8, "finest": finest}}
    names = [s.name for s in Planner((128, 192)).plan(tree).steps()[0]]
    down = [
        n
        for n in names
        if n.startswith(f"{NECK}.detail.") and n.endswith(("down.conv", "avg_pool"))
    ]
    assert len(down) == halvings


def test_lists_of_other_lengths_are_refused() -> None:
    tree: dict[str, Any] = load_architecture("bisenetv2").tree
    tree["encoder"]["bisenetv2"]["semantic"] = [16, 32, 64]
    with pytest.raises(PlanError, match="got 3, 3 and 3"):
        Planner((64, 96)).plan(tree)
