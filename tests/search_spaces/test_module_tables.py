"""Counts of modules at widths, depths and classes that no published file has: the formulas hold there, too.

"Recounted": modules of the authors' code, or of mmsegmentation where it says so, built and counted by others with
fvcore on maps of the size given; multiply-adds of convolutions and of matrix products, in G. "By hand": sums over
layers, each convolution with batch norm and without bias. No auxiliary heads.
"""

from __future__ import annotations

from typing import Any

import pytest

from nas.architecture import Architecture, load_architecture
from nas.cost import cost
from nas.leaf import measure
from nas.registry import find
from search_spaces.blocks.msca import MultiScaleAttention
from search_spaces.blocks.rectangular_attention import RectangularAttention

CONTEXT, NECK, HEAD = (f"decoder.semantic.{slot}" for slot in ("context", "neck", "head"))


def network(encoder: Any, *, classes: int = 19, **semantic: Any) -> dict[str, Any]:
    """An architecture for 512x1024."""
    return {
        "task": {"semantic": {"classes": classes}},
        "input": [3, 512, 1024],
        "encoder": encoder,
        "decoders": {"semantic": semantic},
    }


def stages(*widths: int) -> dict[str, Any]:
    """An encoder of one convolution per stage, from stride 4 on."""
    return {
        "stages": {
            "stem": 8,
            "stages": [{"width": w, "blocks": [{"conv": {}}]} for w in widths],
        }
    }


def resnet(depth: int, **fields: Any) -> dict[str, Any]:
    return {"resnet": {"depth": depth, **fields}}


def part(tree: Any, *names: str, size: tuple[int, int] = (512, 1024)) -> tuple[int, float]:
    """Parameters and multiply-adds, in G, of the nodes below these names."""
    nodes = [n for n in cost(tree, size).nodes if n.name.startswith(names)]
    return sum(n.params for n in nodes), sum(n.macs for n in nodes) / 1e9


@pytest.mark.parametrize(
    ("channels", "dense", "separable", "no_image", "four_rates"),
    [
        (320, 2_706_432, 750_912, 2_558_464, 3_509_760),
        (512, 4_131_840, 1_003_008, 3_934_720, 5_377_536),
        (960, 7_457_792, 1_591_232, 7_145_984, 9_735_680),
        (1280, 9_833_472, 2_011_392, 9_439_744, 12_848_640),
    ],
)
def test_aspp(channels: int, dense: int, separable: int, no_image: int, four_rates: int) -> None:
    """By hand, 256 channels wide. Lateral inhibition adds one scalar per channel and rate."""

    def params(**context: Any) -> int:
        tree = network(stages(8, 8, channels), context=context, head={"fcn": {"finest": 16}})
        return part(tree, CONTEXT, size=(64, 96))[0]

    assert params(aspp={}) == dense
    assert params(aspp={"separable": True}) == separable
    assert params(aspp={"image_pool": False}) == no_image
    assert params(aspp={"rates": [6, 12, 18, 24]}) == four_rates
    assert params(li_aspp={}) == separable + 3 * channels
    assert params(li_aspp={"separable": False, "rates": [3, 5]}) == (
        dense - 9 * channels * 256 - 2 * 256 - 256 * 256 + 2 * channels
    )


@pytest.mark.parametrize("classes", [19, 21])
@pytest.mark.parametrize(
    ("low", "dense", "separable"),
    [
        (24, 1_297_395, 156_675),
        (144, 1_303_155, 162_435),
        (100, 1_301_043, 160_323),
        (160, 1_303_923, 163_203),
        (240, 1_307_763, 167_043),
        (256, 1_308_531, 167_811),
    ],
)
def test_deeplabv3plus_decoder(low: int, dense: int, separable: int, classes: int) -> None:
    """By hand for 19 classes, on 256 channels from a context; 257 more for each further class."""
    for fields, expected in (({}, dense), ({"separable": True}, separable)):
        head = {"deeplabv3plus": fields}
        tree = network(stages(low, 8, 256), classes=classes, head=head)
        assert part(tree, HEAD, size=(64, 96))[0] == expected + 257 * (classes - 19)


@pytest.mark.parametrize(("channels", "output", "giga"), [(512, 128, 0.4221), (1024, 256, 0.6094)])
def test_dappm(channels: int, output: int, giga: float) -> None:
    """Recounted on a map of 16x32."""
    context = {"dappm": {"width": 128, "output": output}}
    encoder = {"dual_resolution": {"width": channels // 16}}
    tree = network(encoder, context=context, head={"fcn": {}})
    assert part(tree, CONTEXT, size=(1024, 2048))[1] == pytest.approx(giga, abs=6e-5)


def test_ddrnet_head() -> None:
    """Recounted: 128 to 64 to 19 channels at 128x256."""
    params, giga = part(load_architecture("ddrnet23_slim"), HEAD, size=(1024, 2048))
    assert params == 75_347
    assert giga == pytest.approx(2.456, abs=6e-4)


def test_pyramid_pooling_of_sfnet() -> None:
    """Recounted: 512 to 128 channels."""
    context = {"ppm": {"width": 128, "projection": 1, "branch_act": "none"}}
    tree = network(resnet(18), context=context, head={"fcn": {"finest": 32}})
    assert part(tree, CONTEXT)[0] == 394_496


@pytest.mark.parametrize(
    ("depth", "width", "params", "giga"),
    [
        (18, 128, 713_728, 6.92),
        (18, 256, 2_607_104, 26.68),
        (50, 128, 1_082_368, 8.43),
        (50, 256, 3_344_384, 29.70),
    ],
)
def test_fpn(depth: int, width: int, params: int, giga: float) -> None:
    """Recounted, mmsegmentation's."""
    tree = network(resnet(depth), neck={"fpn": {"width": width}}, head={"merge": {}})
    found = part(tree, NECK)
    assert found[0] == params
    assert found[1] == pytest.approx(giga, abs=6e-3)


@pytest.mark.parametrize(
    ("context", "params", "giga"),
    [
        ({"ppm": {"width": 256}}, 9_182_483, 58.0),
        ({"ppm": {"width": 512}}, 23_083_539, 154.8),
        ({"aspp": {"width": 256, "rates": [12, 24, 36], "projection": 3}}, 18_161_427, 144.5),
        ({"aspp": {"width": 512, "rates": [12, 24, 36], "projection": 3}}, 42_221_075, 337.2),
    ],
)
def test_heads_of_one_level(context: Any, params: int, giga: float) -> None:
    """Recounted, mmsegmentation's: 2,048 channels at 64x128; averaging as matrix products is 0.3 % of the first."""
    encoder = resnet(50, output_stride=8)
    tree = network(encoder, context=context, head={"fcn": {"convs": 0}})
    found = part(tree, "decoder")
    assert found[0] == params
    assert found[1] == pytest.approx(giga, rel=5e-3)


@pytest.mark.parametrize(
    ("top", "width", "giga"),
    [(5, 64, 0.251), (9, 64, 0.255), (9, 96, 0.551), (9, 128, 0.958), (9, 160, 1.477)],
)
def test_bifpn_cell(top: int, width: int, giga: float) -> None:
    """A cell of the official code, rebuilt and counted: the second one here, which projects nothing any more."""
    neck = {"bifpn": {"top": top, "width": width, "repeats": 2}}
    tree = network({"efficientnet": {}}, neck=neck, head={"merge": {"width": width}})
    assert part(tree, f"{NECK}.bifpn.cell1")[1] == pytest.approx(giga, abs=6e-4)


@pytest.mark.parametrize(
    ("top", "width", "repeats", "giga"),
    [(5, 64, 3, 0.988), (7, 64, 3, 1.016), (9, 96, 4, 2.781), (9, 128, 3, 3.376)],
)
def test_bifpn_on_a_resnet18(top: int, width: int, repeats: int, giga: float) -> None:
    """Rebuilt and counted."""
    neck = {"bifpn": {"top": top, "width": width, "repeats": repeats}}
    tree = network(resnet(18), neck=neck, head={"merge": {"width": width}})
    assert part(tree, NECK)[1] == pytest.approx(giga, abs=6e-4)


LITE = {
    (1, 1): [(3.185, 4.66), (3.321, 5.17), (3.532, 6.07), (3.678, 6.62)],
    (1, 1.1): [(5.205, 6.57), (5.341, 7.08), (5.552, 7.99), (5.697, 8.54)],
    (1.1, 1.2): [(6.108, 7.47), (6.244, 7.98), (6.459, 8.89), (6.605, 9.45)],
    (1.2, 1.4): [(8.467, 10.62), (8.603, 11.13), (8.823, 12.05), (8.968, 12.60)],
}


@pytest.mark.parametrize("scale", LITE, ids=str)
def test_eseg_lite_with_other_encoders_and_necks(scale: tuple[float, float]) -> None:
    """EfficientNet B0 to B3 without excitation, BiFPN to P9, one separable convolution; counted by others."""
    necks = [(64, 2), (64, 4), (96, 3), (96, 4)]
    for (width, repeats), (mega, giga) in zip(necks, LITE[scale], strict=True):
        tree = load_architecture("eseg_lite_s").tree
        tree["encoder"]["efficientnet"] |= dict(zip(("width", "depth"), scale, strict=True))
        semantic = tree["decoders"]["semantic"]
        semantic["neck"]["bifpn"] |= {"width": width, "repeats": repeats}
        semantic["head"]["merge"]["width"] = width
        found = cost(tree)
        assert found.params / 1e6 == pytest.approx(mega, abs=1e-3)
        assert found.macs / 1e9 == pytest.approx(giga, abs=6e-3)


@pytest.mark.parametrize(("top", "mega"), [(5, 6.457), (7, 6.654), (9, 6.820)])
def test_eseg_with_other_tops(top: int, mega: float) -> None:
    """ESeg-S, counted by others."""
    tree = load_architecture("eseg_s").tree
    tree["decoders"]["semantic"]["neck"]["bifpn"]["top"] = top
    assert cost(tree, (512, 1024)).params / 1e6 == pytest.approx(mega, abs=6e-4)


@pytest.mark.parametrize(
    ("width", "mlp", "params", "giga"),
    [
        (64, 8, 91_136, 0.091),
        (128, 8, 337_920, 0.342),
        (320, 4, 1_178_880, 1.199),
        (512, 4, 2_967_552, 3.026),
    ],
)
def test_mscan_block(width: int, mlp: int, params: int, giga: float) -> None:
    """Recounted on a map of 32x32."""
    leaf = measure(find("msca"), {"mlp": mlp, "width": width}, ((width, 32, 32),), None)
    assert leaf.params == params
    assert leaf.macs / 1e9 == pytest.approx(giga, abs=6e-4)


@pytest.mark.parametrize("width", [16, 64, 320])
def test_attention_of_strips(width: int) -> None:
    """d^2 + 111d; recounted at 64 channels: 11,200."""
    block = MultiScaleAttention(width, (7, 11, 21))
    assert sum(p.numel() for p in block.parameters()) == width**2 + 111 * width
    assert 64**2 + 111 * 64 == 11_200


@pytest.mark.parametrize(
    ("channels", "rank", "convolutions", "products"),
    [(256, 16, 0.537, 0.302), (512, 64, 2.148, 2.565), (1024, 64, 8.590, 4.878)],
)
def test_hamburger(channels: int, rank: int, convolutions: float, products: float) -> None:
    """Recounted on a map of 64x64, seven iterations: 2c^2 + 3c parameters."""
    leaf = measure(find("nmf"), {"rank": rank}, ((channels, 64, 64),), None)
    assert leaf.params == 2 * channels**2 + 3 * channels
    assert leaf.macs / 1e9 == pytest.approx(convolutions + products, abs=1.1e-3)


@pytest.mark.parametrize(
    ("size", "giga"),
    [("t", 1.466 + 0.302), ("s", 1.969 + 0.302), ("b", 5.549 + 2.565), ("l", 17.541 + 4.878)],
)
def test_segnext_head(size: str, giga: float) -> None:
    """Recounted on the pyramid of 512x512, 150 classes."""
    tree = load_architecture(f"segnext_{size}").with_classes(150)
    assert part(tree, "decoder", size=(512, 512))[1] == pytest.approx(giga, abs=1.1e-3)


@pytest.mark.parametrize(
    ("width", "heads", "reduction", "mlp", "side", "params", "giga"),
    [
        (64, 2, 8, 8, 64, 94_208, 0.323 + 0.101),
        (128, 4, 4, 8, 32, 345_088, 0.318 + 0.050),
        (320, 8, 2, 4, 16, 1_253_120, 0.305 + 0.032),
        (512, 16, 1, 4, 8, 3_172_864, 0.203 + 0.004),
    ],
)
def test_incepformer_block(
    width: int, heads: int, reduction: int, mlp: int, side: int, params: int, giga: float
) -> None:
    """Recounted on square maps."""
    fields = {"heads": heads, "reduction": reduction, "mlp": mlp, "width": width}
    leaf = measure(find("inception_transformer"), fields, ((width, side, side),), None)
    assert leaf.params == params
    assert leaf.macs / 1e9 == pytest.approx(giga, abs=1.1e-3)


@pytest.mark.parametrize(("size", "giga"), [("t", 9.848), ("s", 14.772), ("b", 14.772)])
def test_incepformer_head(size: str, giga: float) -> None:
    """Recounted at 128x128, 150 classes."""
    tree = load_architecture(f"incepformer_{size}").with_classes(150)
    assert part(tree, HEAD, size=(512, 512))[1] == pytest.approx(giga, abs=6e-4)


def test_rectangular_attention() -> None:
    """Recounted at 64 channels, band 11: 2,304; ours has the batch norm that follows it in the cell, 128."""
    block = RectangularAttention(64, band=11, square=3)
    assert sum(p.numel() for p in block.parameters()) == 2_304 + 128


@pytest.mark.parametrize(
    ("size", "giga"), [("t", 0.611 + 0.079), ("b", 1.188 + 0.157), ("l", 1.600 + 0.157)]
)
def test_cgrseg_head(size: str, giga: float) -> None:
    """Recounted on the pyramid of 512x512, 150 classes; averaging as matrix products is at most 7 M more."""
    found = part(load_architecture(f"cgrseg_{size}"), "decoder", size=(512, 512))[1]
    assert giga - 1.1e-3 <= found <= giga + 7e-3


def test_auto_deeplab_of_eight_filters() -> None:
    """By hand: the width of the search, 3.495 M and 241.6 G at 1025x2049."""
    tree = load_architecture("auto_deeplab_s").tree
    tree["encoder"]["trellis"]["filters"] = 8
    found = cost(tree)
    assert found.params / 1e6 == pytest.approx(3.495, abs=6e-4)
    assert found.macs / 1e9 == pytest.approx(241.6, abs=0.06)


def test_mobilenetv2_without_dilated_branches() -> None:
    """By hand: 21.233 G at 1025x2049 for 19 classes (DeepLab's model zoo: 21.27); 2.669 without the image's average."""
    tree = load_architecture("li_aspp_mobilenetv2").tree
    tree["decoders"]["semantic"]["context"] = {"aspp": {"rates": []}}
    wide = cost(Architecture.of(tree).with_classes(19), (1025, 2049)).macs / 1e9
    tree["decoders"]["semantic"]["context"] = {"aspp": {"rates": [], "image_pool": False}}
    assert (wide, cost(tree).macs / 1e9) == pytest.approx((21.233, 2.669), abs=6e-4)


@pytest.mark.parametrize(
    ("stem", "decoder", "mega"),
    [("7x7", False, 58.041), ("wide", False, 58.164), ("wide", True, 59.468)],
)
def test_deeplabv3_on_a_resnet101(stem: str, decoder: bool, mega: float) -> None:
    """By hand for 21 classes, with and without DeepLabv3+'s decoder."""
    encoder = resnet(101, stem=stem, output_stride=16, multi_grid=[1, 2, 4])
    head = {"deeplabv3plus": {}} if decoder else {"fcn": {"finest": 16, "convs": 0}}
    tree = network(encoder, classes=21, context={"aspp": {}}, head=head)
    assert cost(tree, (64, 96)).params / 1e6 == pytest.approx(mega, abs=6e-4)
