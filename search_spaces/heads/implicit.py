"""IFA's head (Hu et al. 2022, arXiv 2206.08655): every pixel asks all levels, a perceptron answers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from nas.fields import Place, Positive, PowerOfTwo
from nas.plan import Feature, Net
from nas.registry import kind
from search_spaces.blocks.conv import Dropout
from search_spaces.blocks.relative_sample import Frequencies
from search_spaces.heads.logits import from_stride, logits

LINEAR: dict[str, Any] = {"conv": {"kernel": 1, "bias": True}}


@kind("implicit", "head")
def implicit(
    net: Net,
    features: list[Feature],
    *,
    classes: Place[int],
    finest: PowerOfTwo = 4,
    query: PowerOfTwo = 4,
    width: Positive = 256,
    frequencies: Frequencies = 6,
    hidden: Sequence[Positive] = (512, 256, 256),
    laterals: Literal["all", "finer"] = "all",
    dropout: Dropout = 0,
) -> Feature:
    """At each pixel of stride `query`: the nearest vector of every level from stride `finest` up, and where it lies.

    Levels go through a 1x1 to `width` first, with `laterals` "finer" not the coarsest, which a context made. Then come
    layers of `hidden` channels, and the classes; all 1x1, with bias, batch norm and ReLU. The first has one weight per
    level, equal to one of their concatenation. Section 3.2, as in the official code's shipped configuration, whose
    `pos_dim` is four times `frequencies`.
    """
    if not hidden:
        raise ValueError("implicit: `hidden` needs at least one layer, got none")
    levels = from_stride(features, finest)
    terms: list[Feature] = []
    for level in levels:
        name = f"s{level.stride}"
        x = level
        if laterals == "all" or level is not levels[-1]:
            x = net.add(f"lateral.{name}", LINEAR, x, width=width)
        fields = {"frequencies": frequencies}
        x = net.add(f"ask.{name}", {"relative_sample": fields}, x, net.image, to=query)
        weight = {"conv": {"kernel": 1, "bias": not terms, "norm": False, "act": "none"}}
        terms.append(net.add(f"ask.{name}", weight, x, width=hidden[0]))
    x = net.add("answer", {"activate": {"norm": True}}, net.sum("answer", *terms))
    for i, layer in enumerate(hidden[1:], start=1):
        x = net.add(f"hidden{i}", LINEAR, x, width=layer)
    return logits(net, x, classes, dropout)
