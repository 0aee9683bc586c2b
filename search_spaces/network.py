"""The root of every architecture: an encoder, and on its features one decoder per task."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Literal, TypedDict

from nas.architecture import Architecture
from nas.fields import ContextSpec, EncoderSpec, HeadSpec, NeckSpec, Place, Positive, Slot, Spec
from nas.plan import Feature, Net
from nas.registry import kind

PYRAMID = re.compile(r"s(\d+)")


class SemanticTask(TypedDict):
    """Semantic segmentation: how many classes there are."""

    classes: Positive


class Task(TypedDict):
    """What the network is for."""

    semantic: SemanticTask


DecoderSpec = Annotated[Spec, Slot("decoder")]


@kind("network", "root")
def network(
    net: Net,
    *,
    task: Task,
    input: tuple[Literal[3], Positive, Positive],  # noqa: A002
    encoder: EncoderSpec,
    decoders: DecoderSpec,
) -> dict[str, Feature]:
    """Encoder and decoders; `input` is [3, height, width].

    Returns "logits" (classes channels at stride 1), and auxiliary logits as "aux.TAP".
    """
    if len(input) != 3 or input[0] != 3:
        raise ValueError(
            f"input is [3, height, width]: three colours, then pixels; got {list(input)}"
        )
    features = net.add("encoder", encoder, net.image)
    classes = task["semantic"]["classes"]
    outputs: dict[str, Feature] = net.add("decoder", decoders, features, classes=classes)
    return outputs


@kind("semantic", "decoder")
def semantic(
    net: Net,
    features: dict[str, Feature],
    *,
    classes: Place[int],
    head: HeadSpec,
    context: ContextSpec = {"none": {}},  # noqa: B006
    neck: NeckSpec = {"none": {}},  # noqa: B006
    auxiliary: Mapping[str, HeadSpec] = {},
) -> dict[str, Feature]:
    """Context, neck and head on the encoder's pyramid; `auxiliary` puts further heads on encoder features by name.

    Auxiliary heads run in training only, and are neither counted nor exported.
    """
    levels = increasing("encoder", pyramid(features))
    levels = increasing("context", net.add("context", context, levels))
    levels = increasing("neck", net.add("neck", neck, levels))
    outputs: dict[str, Feature] = {"logits": net.add("head", head, levels, classes=classes)}
    for tap, spec in auxiliary.items():
        if tap not in features:
            raise ValueError(
                f"auxiliary: the encoder has no feature {tap!r}; it has {', '.join(features)}"
            )
        outputs[f"aux.{tap}"] = net.add(f"aux.{tap}", spec, [features[tap]], classes=classes)
    return outputs


def without_auxiliary(architecture: Architecture) -> Architecture:
    """Return the same architecture without auxiliary heads: as it is evaluated, counted and exported."""
    tree = architecture.tree
    for decoder in tree["decoders"].values():
        decoder.pop("auxiliary", None)
    return Architecture.of(tree)


def pyramid(features: dict[str, Feature]) -> list[Feature]:
    """Return an encoder's features called s2, s4, ... s32, finest first; other names are taps, not levels."""
    matches = [(PYRAMID.fullmatch(name), f) for name, f in features.items()]
    return [
        f for _, f in sorted(((int(m[1]), f) for m, f in matches if m), key=lambda pair: pair[0])
    ]


def increasing(slot: str, features: list[Feature]) -> list[Feature]:
    """Return `features` if they are a pyramid: at least one, strides strictly increasing. Raises ValueError."""
    strides = [f.stride for f in features]
    if not strides or strides != sorted(set(strides)):
        raise ValueError(
            f"{slot} must give features of strictly increasing strides, gave strides {strides}"
        )
    return features
