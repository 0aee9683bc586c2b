"""DDRNet: its published counts, and what makes it itself: pyramid of averages, exchanges, levels without activation.

Counts are those of the official code (ydhongHIT/DDRNet). The paper's figures leave the auxiliary head out, which is
built for training and not counted, as everywhere here.
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
from nas.network import Network, build
from nas.plan import Planner
from search_spaces.blocks.activate import Activate
from search_spaces.blocks.pre_activation import PooledPreConv, PreConv
from search_spaces.blocks.residual import Basic, Bottleneck

# official code, built and counted: without and with the auxiliary head, 19 classes; published 5.7 M, 20.1 M, 32.3 M
PARAMS = {
    "ddrnet23_slim": (5_695_987, 5_734_342),
    "ddrnet23": (20_148_947, 20_299_366),
    "ddrnet39": (32_360_275, 32_660_838),
}
# official code, counted at 1024x2048; published 36.3, 143.1 and 281.2 G
MACS = {
    "ddrnet23_slim": 36_281_319_424,
    "ddrnet23": 143_060_500_480,
    "ddrnet39": 281_116_016_640,
}
CONTEXT = "decoder.semantic.context"
ENCODER = "encoder.dual_resolution"


def tree(encoder: dict[str, Any], **semantic: Any) -> dict[str, Any]:
    return {
        "task": {"semantic": {"classes": 5}},
        "input": [3, 128, 192],
        "encoder": {"dual_resolution": {"width": 4, **encoder}},
        "decoders": {"semantic": semantic},
    }


def nodes(described: dict[str, Any]) -> list[str]:
    return [step.name for step in Planner((128, 192)).plan(described).steps()[0]]


@pytest.mark.parametrize("name", PARAMS)
def test_parameters_are_the_official_codes(name: str) -> None:
    architecture = load_architecture(name)
    with torch.device("meta"):
        trained = sum(p.numel() for p in build(architecture, (128, 192)).parameters())
    assert (cost(architecture).params, trained) == PARAMS[name]


@pytest.mark.parametrize("name", MACS)
def test_macs_are_the_official_codes(name: str) -> None:
    assert cost(load_architecture(name)).macs == MACS[name]


@pytest.mark.parametrize(
    ("size", "giga"), [((512, 512), 4.535), ((512, 1024), 9.070), ((720, 960), 12.014)]
)
def test_macs_of_the_slim_one_at_other_sizes(size: tuple[int, int], giga: float) -> None:
    """Official code, counted at these sizes; at 720x960 too its size of stride 8 is exact."""
    macs = cost(load_architecture("ddrnet23_slim"), size).macs
    assert macs / 1e9 == pytest.approx(giga, abs=0.0006)


@pytest.mark.parametrize(
    ("channels", "output", "params"), [(512, 128, 1_073_408), (1024, 256, 1_685_760)]
)
def test_dappm_has_the_published_parameters(channels: int, output: int, params: int) -> None:
    wide = {"dual_resolution": {"width": channels // 16}}
    described = tree({}, context={"dappm": {"width": 128, "output": output}}, head={"fcn": {}})
    costs = cost({**described, "encoder": wide}, (128, 192))
    assert sum(n.params for n in costs.nodes if n.name.startswith(CONTEXT)) == params
    b, o, c = 128, output, channels
    by_hand = 5 * (2 * c + c * b) + 4 * (2 * b + 9 * b * b) + (10 * b + 5 * b * o) + 2 * c + c * o
    assert by_hand == params


def shaken(module: nn.Module) -> nn.Module:
    """Batch norms that do something."""
    for m in module.modules():
        if isinstance(m, nn.BatchNorm2d):
            nn.init.uniform_(m.weight, 0.5, 1.5)
            nn.init.normal_(m.bias, std=0.2)
            nn.init.normal_(m.running_mean, std=0.2)  # type: ignore[arg-type]
            nn.init.uniform_(m.running_var, 0.5, 1.5)  # type: ignore[arg-type]
    return module.eval()


def pre(part: nn.Module, x: Tensor) -> Tensor:
    """What a pre-activation part computes, by PyTorch's functions."""
    found = part.conv if isinstance(part, PooledPreConv) else part
    assert isinstance(found, PreConv)
    norm, weight = found.norm, found.conv.weight
    x = F.batch_norm(x, norm.running_mean, norm.running_var, norm.weight, norm.bias, eps=norm.eps)
    return F.conv2d(x.relu(), weight, padding=weight.shape[-1] // 2)


def test_dappm_is_its_formula() -> None:
    """One recursion over the scales, and one 1x1 of the concatenation of all of them (official code)."""
    described = tree(
        {}, context={"dappm": {"width": 6, "output": 16}}, head={"ddrnet": {"finest": 64}}
    )
    network = shaken(build(described, (520, 700)))
    parts = dict(network.named_modules())
    seen: dict[str, Tensor] = {}
    for name in (f"{ENCODER}.stage5.bottleneck", f"{CONTEXT}.dappm.project.sum"):
        parts[name].register_forward_hook(lambda _m, _i, y, name=name: seen.update({name: y}))
    network(torch.randn(1, 3, 520, 700))
    x, got = seen.values()
    at = {name.removeprefix(f"{CONTEXT}.dappm."): part for name, part in parts.items()}
    y = pre(at["scale0.pre_conv"], x)
    refined = [y]
    for scale, pool in (("scale2", 2), ("scale4", 4), ("scale8", 8), ("image", 0)):
        pooled = F.avg_pool2d(x, 2 * pool + 1, pool, pool) if pool else x.mean((2, 3), keepdim=True)
        small = pre(at[f"{scale}.pre_conv" if pool else "image.pooled_pre_conv"], pooled)
        total = F.interpolate(small, size=x.shape[-2:], mode="bilinear") + y
        y = pre(at[f"{scale}.refine.pre_conv"], total)
        refined.append(y)
    names = ("scale0", "scale2", "scale4", "scale8", "image")
    joined = concatenated([at[f"{name}.project.pre_conv"] for name in names])
    torch.testing.assert_close(
        got, pre(joined, torch.cat(refined, dim=1)) + pre(at["input.project.pre_conv"], x)
    )


def concatenated(parts: list[nn.Module]) -> PreConv:
    """One pre-activation convolution of the concatenation of what the parts read."""
    given = [p for p in parts if isinstance(p, PreConv)]
    whole = PreConv(
        sum(p.norm.num_features for p in given), width=given[0].conv.out_channels, kernel=1
    )
    norms = {
        k: torch.cat([p.norm.state_dict()[k] for p in given])
        for k in ("weight", "bias", "running_mean", "running_var")
    }
    whole.norm.load_state_dict(norms, strict=False)
    whole.conv.load_state_dict({"weight": torch.cat([p.conv.weight for p in given], dim=1)})
    return whole.eval()


def test_each_branch_hears_the_other_only_in_the_directions_asked_for() -> None:
    """What nothing needs is not built: the nodes of a network show whom a branch depends on."""
    high, low = {"ddrnet": {"width": 8, "finest": 8}}, {"ddrnet": {"width": 8, "finest": 64}}
    reads_low = {
        d: any(".stage4." in n for n in nodes(tree({"direction": d}, head=high)))
        for d in ("both", "up", "down")
    }
    reads_high = {
        d: any(".high4." in n for n in nodes(tree({"direction": d}, head=low)))
        for d in ("both", "up", "down")
    }
    assert reads_low == {"both": True, "up": True, "down": False}
    assert reads_high == {"both": True, "up": False, "down": True}


@pytest.mark.parametrize(("exchanges", "blocks"), [(1, 2), (2, 4), (3, 3)])
def test_there_is_an_exchange_after_every_part_of_stage_three(exchanges: int, blocks: int) -> None:
    encoder = {"blocks": [1, 1, blocks, 1], "exchanges": exchanges}
    found = nodes(tree(encoder, head={"fcn": {"width": 8}}))
    ups = [n for n in found if n.startswith(f"{ENCODER}.up3") and n.endswith(".resize")]
    downs = [n for n in found if n.startswith(f"{ENCODER}.down3") and n.endswith(".conv")]
    cells = [n for n in found if n.startswith(f"{ENCODER}.stage3") and n.endswith(".basic")]
    assert (len(ups), len(downs), len(cells)) == (exchanges, exchanges, blocks)


def test_stages_of_other_cells_end_with_another_one() -> None:
    encoder = {"blocks": [3, 1, 2, 1], "cell": {"separable": {}}, "last": {"mbconv": {"expand": 2}}}
    found = [n.split(".")[2:] for n in nodes(tree(encoder, head={"ddrnet": {"finest": 64}}))]
    cells = {(stage, i): kind for stage, i, *kind in found if i.isdigit()}
    assert cells == {
        ("stage1", "0"): ["separable"],
        ("stage1", "1"): ["separable"],
        ("stage1", "2"): ["mbconv"],
        ("stage2", "0"): ["mbconv"],
        ("stage3", "0"): ["separable"],
        ("stage3", "1"): ["mbconv"],
        ("high3", "0"): ["separable"],
        ("high3", "1"): ["mbconv"],
        ("stage4", "0"): ["mbconv"],
        ("high4", "0"): ["mbconv"],
    }


def test_an_exchange_is_its_formula() -> None:
    """Equation 1: each branch adds what the other had before the exchange."""
    described = tree({}, head={"fcn": {"width": 8}})
    network = shaken(build(described, (97, 131)))
    parts = dict(network.named_modules())
    wanted = ("stage3.1.basic", "high3.1.basic", "stage3.sum", "high3.sum")
    seen: dict[str, Tensor] = {}
    for name in wanted:
        parts[f"{ENCODER}.{name}"].register_forward_hook(
            lambda _m, _i, y, name=name: seen.update({name: y})
        )
    network(torch.randn(1, 3, 97, 131))
    low, high = seen["stage3.1.basic"], seen["high3.1.basic"]
    up = F.interpolate(
        parts[f"{ENCODER}.up3.conv"](low.relu()), size=high.shape[-2:], mode="bilinear"
    )
    torch.testing.assert_close(seen["high3.sum"], high + up)
    torch.testing.assert_close(
        seen["stage3.sum"], low + parts[f"{ENCODER}.down3.conv"](high.relu())
    )
    assert min(seen["high3.1.basic"].min().item(), seen["high3.sum"].min().item()) < 0


@pytest.mark.parametrize("block", [Basic, Bottleneck])
def test_a_linear_block_is_the_block_before_its_last_activation(block: Any) -> None:
    plain, linear = block(8, width=8).eval(), block(8, width=8, linear=True).eval()
    linear.load_state_dict(plain.state_dict())
    x = torch.randn(2, 8, 7, 5)
    assert linear(x).min() < 0
    torch.testing.assert_close(linear(x).relu(), plain(x))


def test_activate_normalises_before_it_activates() -> None:
    block, x = Activate(4, norm=True), torch.randn(3, 4, 5, 6)
    torch.testing.assert_close(block(x), F.batch_norm(x, None, None, training=True).relu())
    assert list(Activate(4).parameters()) == []


def test_the_sum_leaves_out_what_lies_between() -> None:
    """Stride 8 gets the resized context; strides 16 and 32 are not read after it, as in the paper."""
    semantic = {"context": {"dappm": {"width": 8, "output": 16}}, "neck": {"deep_sum": {}}}
    with_all = nodes(tree({}, **semantic, head={"fcn": {"width": 8}}))
    assert [n for n in with_all if n.startswith("decoder.semantic.neck")] == [
        "decoder.semantic.neck.deep_sum.deep.resize",
        "decoder.semantic.neck.deep_sum.sum.sum",
    ]
    assert len([n for n in with_all if n.endswith(".classify")]) == 1


def test_what_does_not_fit_is_said() -> None:
    with pytest.raises(PlanError, match="exchanges must divide the blocks of stage 3, got 2 and 3"):
        nodes(tree({"blocks": [2, 2, 3, 2], "exchanges": 2}, head={"fcn": {}}))
    with pytest.raises(PlanError, match=r"blocks are for stages 1 to 4, got \[2, 2, 2\]"):
        nodes(tree({"blocks": [2, 2, 2]}, head={"fcn": {}}))
    with pytest.raises(PlanError, match="strides must differ"):
        nodes(tree({}, context={"dappm": {"strides": [2, 2]}}, head={"fcn": {}}))


@pytest.mark.full
def test_the_slim_one_exports_at_any_size(tmp_path: Any) -> None:
    """Averages at stride 512 need an image above 1024 pixels to be traced with more than one value."""
    from nas.formats import find

    slim = load_architecture("ddrnet23_slim").tree
    slim["encoder"]["dual_resolution"] = {"width": 4, "blocks": [1, 1, 1, 1]}
    slim["decoders"]["semantic"]["context"]["dappm"]["output"] = 16
    onnx, path = find("onnx"), tmp_path / "network.onnx"
    network = Network(Planner((1030, 1100)).plan(slim)).eval()
    onnx.write(network, torch.randn(2, 3, 1030, 1100), path, dynamic=True, metadata={})
    run = onnx.open(path, threads=1)
    for shape in ((1, 3, 97, 131), (2, 3, 640, 577)):
        images = torch.randn(shape)
        with torch.no_grad():
            torch.testing.assert_close(run(images), network(images), rtol=1e-3, atol=1e-4)
