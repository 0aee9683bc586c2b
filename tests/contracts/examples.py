"""How every kind is exercised: small fields, and inputs where the signature does not say enough.

A new kind with neither required fields nor unusual inputs needs no entry: leaves are run on what their
signature asks for, composites in a small network. Everything else declares an example here.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from nas.leaf import form
from nas.registry import KINDS, REQUIRED, Kind, load

load()

CHANNELS = 6
PLACES: dict[str, tuple[int, ...]] = {"width": (10,), "stride": (1, 2), "classes": (5,)}
SLOTS = ("encoder", "context", "neck", "head", "cell")
SURROUNDING = {"network": "the root", "semantic": "the decoder", "zero": "no connection at all"}
WIDTHS = {"width", "widest", "stem", "low_level", "filters"}
TAPS = {"trellis": "s4"}
"""Where the auxiliary head of a small network reads, by encoder; others have a tap `stage3`."""


@dataclass(frozen=True)
class Example:
    """Fields of a leaf, its inputs as (channels, stride), and what the surrounding composite would decide.

    `idle` are parameters of the paper's design that a batch norm behind them makes idle: their gradient may be zero.
    """

    fields: Mapping[str, Any] = field(default_factory=dict)
    inputs: tuple[tuple[int, int], ...] = ()
    place: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    idle: tuple[str, ...] = ()


LEAVES: dict[str, list[Example]] = {
    "conv": [
        Example(),
        Example({"kernel": 7, "act": "hard_swish"}),
        Example({"dilation": 3, "groups": 2, "act": "gelu"}),
        Example({"kernel": 1, "bias": True, "norm": False, "act": "none"}),
    ],
    "separable": [Example(), Example({"dilation": 2, "act": "silu", "between": False})],
    "image_embedding": [Example(idle=("norm.bias",))],
    "gather_expand": [Example(), Example({"expand": 2}, place={"width": (CHANNELS,)})],
    "basic": [Example(), Example({"dilation": 2}), Example(place={"width": (CHANNELS,)})],
    "bottleneck": [Example(), Example({"dilation": 4, "reduction": 2.5})],
    "mbconv": [
        Example(),
        Example({"expand": 1, "dilation": 2}),
        Example({"expand": 1.5, "kernel": 5, "squeeze_excite": 0.25}),
        Example(place={"width": (CHANNELS,)}),
    ],
    "msca": [Example(), Example({"strips": [3, 5], "mlp": 1}, place={"width": (CHANNELS,)})],
    "inception_transformer": [
        Example({"heads": 2, "reduction": 2}),
        Example({"heads": 3}, place={"width": (CHANNELS,)}),
    ],
    "mix_transformer": [
        Example({"heads": 2, "reduction": 2}),
        Example({"heads": 3}, place={"width": (CHANNELS,)}),
    ],
    "convnext": [Example(), Example({"kernel": 3, "mlp": 0.5}, place={"width": (CHANNELS,)})],
    "pooled_conv": [Example(), Example({"bins": 2}), Example({"bins": 6})],
    "nmf": [Example({"rank": 3}), Example({"rank": 8, "train_steps": 1, "eval_steps": 2})],
    "fuse": [
        Example(),
        Example({"kernel": 3, "norm": "group"}),
        Example({"kernel": 3, "separable": True}),
    ],
    "flow_align": [Example(), Example({"kernel": 5}, ((CHANNELS, 1), (CHANNELS, 4)))],
    "dual_flow_align": [
        Example(),
        Example({"gate": "conv"}, ((CHANNELS, 1), (CHANNELS, 4))),
    ],
    "pixel_sampling": [
        Example({}, ((CHANNELS, 1), (CHANNELS, 2)), {"ratio": (2,)}),
        Example({"choose": "highest"}, ((CHANNELS, 1),) * 2, {"ratio": (1,)}),
    ],
    "channel_sampling": [
        Example({"cells": 3}, ((CHANNELS, 1), (CHANNELS, 2))),
        Example({"choose": "highest", "cells": 1}),
    ],
    "superpixel_message": [
        Example({"cells": [2]}, ((CHANNELS, 1), (3, 1)), {"to": (1,)}),
        Example({"cells": [1, 3], "steps": 2}, ((CHANNELS, 4), (3, 1)), {"to": (4,)}),
    ],
    "region_relation": [
        Example({"heads": 2, "keys": 4}, ((CHANNELS, 1), (CHANNELS, 2)), {"ratio": (2,)}),
        Example({"heads": 3, "keys": 6, "window": 5}, ((4, 1), (6, 4)), {"ratio": (4,)}),
    ],
    "unified_ffn": [Example(), Example({"mlp": 2}, place={"width": (CHANNELS,)})],
    "grid_attention": [
        Example({"heads": 2, "key": 3, "grid": 5}),
        Example({"heads": 2, "key": 3, "grid": 3, "shrink": True}, place={"width": (CHANNELS,)}),
    ],
    "attention_down": [Example({"heads": 2, "key": 3, "grid": 6}, place={"stride": (2,)})],
    "rectangular_attention": [Example(), Example({"band": 5, "square": 5})],
    "calibrate": [Example(), Example(inputs=((CHANNELS, 1), (CHANNELS, 4)))],
    "pool_to": [Example(inputs=((CHANNELS, 2), (3, 1)), place={"to": (4, 16)})],
    "attention_fusion": [Example({"reduction": 2}, ((CHANNELS, 1),) * 3)],
    "max_gate": [Example(), Example({}, ((CHANNELS, 1), (CHANNELS, 2)))],
    "relative_sample": [
        Example(inputs=((CHANNELS, 4), (3, 1)), place={"to": (1, 2, 8)}),
        Example({"frequencies": 0}, ((CHANNELS, 4), (3, 1)), {"to": (2,)}),
    ],
    "lateral_inhibition": [Example(), Example({"zone": 5, "sigma": 2, "rate": 2})],
    "activate": [Example(), Example({"act": "silu", "norm": True})],
    "multi_kernel_pool": [
        Example({"bins": [1, 2, 3]}),
        Example({"bins": [4], "kernels": [1, 3, 5]}, place={"width": (12,)}),
    ],
    "avg_pool": [Example(), Example({"kernel": 17}, place={"stride": (8,)})],
    "pre_conv": [Example(), Example({"kernel": 1})],
    "atrous": [Example(), Example({"kernel": 5, "rate": 3})],
    "pool": [
        Example({"take": "average"}),
        Example({"take": "maximum", "kernel": 5}, place={"width": (CHANNELS,)}),
    ],
    "skip": [Example(), Example(place={"width": (CHANNELS,)})],
    "stack": [Example(), Example({"missing": [1, 3]})],
    "resize": [Example(inputs=((CHANNELS, s), (3, 1)), place={"to": (1, 2, 8)}) for s in (1, 4)],
}

STAGES = [
    {"width": 8, "blocks": [{"basic": {}}]},
    {"width": 12, "blocks": [{"mbconv": {"expand": 2}}, {"separable": {}}]},
    {"width": 16, "blocks": [{"conv": {}}]},
    {"width": 20, "blocks": [{"msca": {"mlp": 1}}]},
]
CELL = [
    [
        {"source": "prev2", "op": {"atrous": {"kernel": 5}}},
        {"source": "prev", "op": {"double_separable": {}}},
    ],
    [
        {"source": "prev", "op": {"skip": {}}},
        {"source": "item0", "op": {"pool": {"take": "average"}}},
    ],
]
MERGING = [
    {
        "stride": 16,
        "inputs": [{"source": "s8", "op": "sum"}, {"source": "s32", "op": "attention"}],
    },
    {
        "stride": 32,
        "inputs": [{"source": "s16", "op": "attention"}, {"source": "item0", "op": "attention"}],
    },
    {"stride": 8, "inputs": [{"source": "item0", "op": "sum"}, {"source": "item1", "op": "sum"}]},
]
EMPTY = [{"source": "prev", "op": {"zero": {}}}, {"source": "prev2", "op": {"zero": {}}}]
COMPOSITES: dict[str, list[dict[str, Any]]] = {
    "resnet": [
        {"depth": 18, "width": 0.125},
        {"depth": 50, "width": 0.0625, "output_stride": 8, "stem": "deep", "multi_grid": [1, 2, 4]},
    ],
    "efficientnet": [
        {"width": 0.25, "depth": 0.3},
        {"width": 0.25, "depth": 0.6, "squeeze_excite": 0, "act": "relu"},
    ],
    "mobilenet": [
        {
            "stem": 8,
            "stages": [{"width": 8, "blocks": [{"kernel": 3, "expand": 2}]} for _ in range(4)],
        },
        {
            "stem": 8,
            "stages": [
                {"width": 8, "blocks": [{"kernel": 3, "expand": 6}, {"kernel": 5, "expand": 1}]}
                for _ in range(4)
            ],
            "last": 12,
            "output_stride": 16,
            "tap": "expanded",
        },
    ],
    "stages": [
        {"stem": 8, "stages": STAGES},
        {"stem": 8, "stages": [{"width": 8, "stride": 1, "blocks": [{"convnext": {}}]}, *STAGES]},
    ],
    "mscan": [
        {"stages": [{"width": 8, "depth": 1, "mlp": 2} for _ in range(3)]},
        {"stages": [{"width": 8, "depth": 2} for _ in range(4)], "strips": [3, 5]},
    ],
    "bisenetv2": [
        {"detail": [6, 10, 12], "semantic": [4, 6, 12, 14], "blocks": [1, 1, 2]},
        {
            "detail": [6, 10, 12],
            "semantic": [4, 6, 12, 14],
            "blocks": [1, 2, 1],
            "cell": {"basic": {}},
        },
    ],
    "dual_resolution": [
        {"width": 8},
        {
            "width": 8,
            "blocks": [1, 2, 4, 1],
            "exchanges": 2,
            "high": 1.5,
            "cell": {"separable": {}},
            "last": {"mbconv": {"expand": 2}},
        },
    ],
    "mit": [
        {"stages": [{"width": 8, "depth": 1, "heads": h, "reduction": 4 // h} for h in (1, 2, 4)]},
        {"stages": [{"width": 8, "depth": 1, "heads": 2, "reduction": r} for r in (8, 4, 2, 1)]},
    ],
    "trellis": [
        {"path": [4, 8, 8, 16, 32, 16], "cell": CELL, "filters": 4},
        {"path": [8, 4, 16, 32], "cells": [[*CELL, EMPTY], [EMPTY, *CELL]], "filters": 4},
    ],
    "incepformer": [
        {"stages": [{"width": 8, "depth": 1, "heads": 2, "reduction": r} for r in (8, 4, 2, 1)]}
    ],
    "efficientformer": [
        {
            "stages": [
                {"width": 8, "mlp": [2]},
                {"width": 8, "mlp": [1, 2]},
                {"width": 8, "mlp": [2, 1], "attention": 1},
                {"width": 8, "mlp": [2], "attention": 1},
            ],
            "resolution": 96,
            "heads": 2,
            "key": 4,
        }
    ],
    "hrnet": [{"width": 6, "modules": [1, 2], "blocks": 1, "stem": 4}],
    "aspp": [{"width": 8}, {"width": 8, "rates": [2], "separable": True, "image_pool": False}],
    "ppm": [
        {"width": 8},
        {"width": 8, "bins": [1, 4], "projection": 1, "branch": 3, "branch_act": "none"},
    ],
    "rectangular_pyramid": [
        {"width": 8, "repeats": 2},
        {"width": 8, "repeats": 1, "finest": 4, "band": 5, "square": 5, "mlp": 1},
    ],
    "li_aspp": [{"width": 8}, {"width": 8, "rates": [2], "separable": False, "zone": 5}],
    "dappm": [
        {"width": 8, "output": 12},
        {"width": 8, "output": 12, "strides": [2], "image_pool": False},
    ],
    "multi_kernel": [{"width": 8}, {"width": 12, "bins": [2, 3], "kernels": [3, 5, 7]}],
    "fpn": [{"width": 8, "top": 5}, {"width": 8, "top": 9}],
    "bifpn": [{"width": 8, "top": 5, "repeats": 1}, {"width": 8, "top": 9, "repeats": 2}],
    "merging": [
        {"width": 8, "cells": MERGING, "top": 5, "repeats": 1},
        {
            "width": 8,
            "cells": MERGING,
            "finest": 4,
            "top": 9,
            "repeats": 2,
            "op": {"separable": {}},
        },
    ],
    "panet": [{"width": 8}, {"width": 8, "top": 9, "norm": True}],
    "attention_pyramid": [{"width": 8, "widest": 16}, {"width": 4, "widest": 8, "top": 9}],
    "feature_fusion": [{"width": 8}, {"width": 8, "finest": 4}],
    "guided_aggregation": [{"width": 8}, {"width": 8, "finest": 4}],
    "flow_alignment": [{"width": 8}, {"width": 8, "top": 9, "kernel": 5}],
    "dual_sampling": [
        {"width": 8, "cells": 2, "window": 1},
        {"width": 8, "cells": 2, "branches": "channels", "choose": "highest"},
        {"width": 8, "cells": 2, "top": 6},
    ],
    "msp": [{"sizes": [8], "steps": 1}, {"sizes": [16, 40], "steps": 2, "weight": 0.5}],
    "rsp": [
        {"width": 8, "heads": 2, "keys": 4},
        {"width": 8, "heads": 2, "keys": 4, "top": 9, "window": 5, "keep": "all"},
    ],
    "dual_flow": [{"width": 8}, {"width": 8, "top": 9, "middle": 8, "gate": "conv"}],
    "fcn": [
        {"width": 8},
        {"width": 8, "finest": 32, "convs": 0},
        {"width": 8, "convs": 2, "cell": {"mbconv": {"expand": 2}}},
    ],
    "deeplabv3plus": [
        {"width": 8, "low_level": 4},
        {"width": 8, "separable": True, "low_stride": 8},
    ],
    "semantic_fpn": [{"width": 8}],
    "ddrnet": [{"width": 8}],
    "fused_levels": [{"width": 8}, {"width": 8, "finest": 8, "kernel": 1}],
    "hybrid_decoder": [{"width": 8}, {"width": 8, "middle_join": "sum", "finest_join": "concat"}],
    "merge": [{"width": 8}, {"width": 8, "finest": 8, "convs": 2}],
    "implicit": [
        {"width": 8, "hidden": [8, 6]},
        {"width": 8, "hidden": [8], "frequencies": 2, "query": 8, "laterals": "finer"},
    ],
    "mlp": [{"width": 8}, {"width": 8, "finest": 8}],
    "upernet": [{"width": 8}, {"width": 8, "finest": 8, "bins": [1, 3]}],
    "hamburger": [{"width": 8, "rank": 4}, {"width": 8, "finest": 4, "rank": 4, "train_steps": 1}],
}
SMALL: dict[str, dict[str, Any]] = {
    "encoder": {"stages": {"stem": 8, "stages": STAGES}},
    "context": {"none": {}},
    "neck": {"none": {}},
    "head": {"merge": {"width": 8}},
}


def kinds() -> list[Kind]:
    """Every kind of the package, leaves and composites."""
    return [k for k in KINDS.values() if k.make.__module__.startswith("search_spaces.")]


def leaf_examples(kind: Kind) -> list[Example]:
    """Examples of a leaf with its inputs filled in; raises LookupError with what to write for a new kind."""
    given = LEAVES.get(kind.name)
    if given is None:
        unknown = [f"place {n!r}" for n in kind.place if n not in PLACES]
        unknown += [f"field {n!r}" for n, f in kind.fields.items() if f.default is REQUIRED]
        if unknown:
            raise LookupError(missing("LEAVES", kind, unknown))
        given = [Example()]
    count = {"one": 1, "many": 2, "named": 2}[form(kind.make)]
    inputs = ((CHANNELS, 1),) * count
    return [replace(e, inputs=e.inputs or inputs) for e in given]


def places(kind: Kind, example: Example) -> Iterator[dict[str, int]]:
    """Every combination of what a surrounding composite may decide."""
    options = {n: example.place.get(n) or PLACES[n] for n in kind.place}
    made: list[dict[str, int]] = [{}]
    for name, values in options.items():
        made = [{**m, name: v} for m in made for v in values]
    yield from made


def composite_trees(kind: Kind, size: tuple[int, int] = (64, 96)) -> list[dict[str, Any]]:
    """Networks around a composite, one per example of its fields and slot that it may stand in."""
    slots = [s for s in kind.slots if s in SLOTS]
    given = COMPOSITES.get(kind.name)
    if not slots:
        raise LookupError(missing("SURROUNDING", kind, [f"slot {kind.slots}"]))
    if given is None:
        required = [f"field {n!r}" for n, f in kind.fields.items() if f.default is REQUIRED]
        if required:
            raise LookupError(missing("COMPOSITES", kind, required))
        given = [{}]
    return [around(slot, {kind.name: fields}, size) for slot in slots for fields in given]


def around(slot: str, spec: dict[str, Any], size: tuple[int, int] = (64, 96)) -> dict[str, Any]:
    """A small network with `spec` in `slot`, auxiliary head included."""
    parts = dict(SMALL)
    if slot == "cell":
        parts["encoder"] = in_stages(spec)
    else:
        parts[slot] = spec
    encoder = parts.pop("encoder")
    tap = TAPS.get(next(iter(encoder)), "stage3")
    semantic = {**parts, "auxiliary": {tap: {"fcn": {"width": 8}}}}
    return tree(encoder, semantic, size)


def in_stages(cell: dict[str, Any]) -> dict[str, Any]:
    """An encoder of three such cells."""
    stages = [{"width": w, "blocks": [cell]} for w in (8, 8, 12)]
    return {"stages": {"stem": 8, "stages": stages}}


def tree(encoder: Any, semantic: Any, size: tuple[int, int], classes: int = 5) -> dict[str, Any]:
    """A closed architecture."""
    return {
        "task": {"semantic": {"classes": classes}},
        "input": [3, *size],
        "encoder": encoder,
        "decoders": {"semantic": semantic},
    }


def wider(value: Any) -> Any:
    """The same tree with every width doubled."""
    if isinstance(value, list):
        return [wider(v) for v in value]
    if not isinstance(value, dict):
        return value
    return {
        k: 2 * v if k in WIDTHS and isinstance(v, int | float) else wider(v)
        for k, v in value.items()
    }


def missing(table: str, kind: Kind, unknown: list[str]) -> str:
    """What to do about a kind that nothing here can exercise."""
    return (
        f"kind {kind.name!r} ({kind.make.__module__}) has {', '.join(unknown)} that no contract test can choose: "
        f"add an example of it to {table} in tests/contracts/examples.py"
    )
