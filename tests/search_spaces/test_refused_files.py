"""Impossible architecture files: refused when they are read, with place, slot, what it needs and what it was given."""

from __future__ import annotations

from pathlib import Path

import pytest

from nas.architecture import load_architecture
from nas.errors import SpaceError
from nas.language.library import published
from nas.space import load_space

TOP = "task: {semantic: {classes: 11}}\ninput: [3, 96, 128]\n"
RESNET = "encoder: {resnet: {depth: 18}}\n"
CELL = "encoder: {stages: {stem: 16, stages: [{width: 30, blocks: [{%s}]}]}}\n"
PREV = "{source: prev, op: {skip: {}}}"


def decoder(context: str = "none: {}", neck: str = "none: {}", head: str = "fcn: {}") -> str:
    slots = {"context": context, "neck": neck, "head": head}
    return "decoders:\n  semantic:\n" + "".join(f"    {s}: {{{k}}}\n" for s, k in slots.items())


REFUSED = {
    "unknown kind": (
        TOP + "encoder: {resnett: {depth: 18}}\n" + decoder(),
        "3:11: encoder.resnett: no encoder is called 'resnett'; did you mean 'resnet'?",
    ),
    "context as neck": (
        TOP + RESNET + decoder(neck="aspp: {}"),
        "7:12: decoders.semantic.neck.aspp: 'aspp' is for the slot context, not neck",
    ),
    "context above the decoders": (
        TOP + RESNET + "context: {aspp: {}}\n" + decoder(),
        "4:1: context: 'context' is no top-level key of a network",
    ),
    "panoptic decoder": (
        TOP + RESNET + "decoders: {instance: {head: {fcn: {}}}}\n",
        "4:12: decoders.instance: no decoder is called 'instance'; did you mean 'semantic'?",
    ),
    "panoptic head": (
        TOP + RESNET + decoder(head="panoptic: {}"),
        "8:12: decoders.semantic.head.panoptic: no head is called 'panoptic'",
    ),
    "no head": (
        TOP + RESNET + "decoders: {semantic: {neck: {none: {}}}}\n",
        "decoders.semantic.head: missing; expected one head as {kind: fields}",
    ),
    "stride": (
        TOP + "encoder: {stages: {stem: 16, stages: [{width: 32, stride: 3, blocks: []}]}}\n" + decoder(),
        "encoder.stages.stages[0].stride: expected one of 1, 2, got 3; nearest: 2",
    ),
    "no expansion": (
        TOP + CELL % "mbconv: {expand: 0}" + decoder(),
        "mbconv.expand: expected a number from 1 up to 16, got 0; nearest: 1",
    ),
    "groups": (
        TOP + CELL % "conv: {groups: 4}" + decoder(),
        "3:60: encoder.stages.stage1.0.conv: conv on 16 channels at stride 2: conv: groups must divide",
    ),
    "groups, closest": (
        TOP + CELL % "conv: {groups: 4}" + decoder(),
        "the input's channels and the width, got groups 4, channels 16, width 30; nearest: 2",
    ),
    "heads": (
        TOP + CELL % "mix_transformer: {heads: 4}" + decoder(),
        "attention: heads must divide the width, got 4 heads and width 30; nearest: 3",
    ),
    "no stages": (
        TOP + "encoder: {stages: {stem: 16, stages: []}}\n" + decoder(),
        "3:19: encoder.stages: stages: at least one stage is needed, got none",
    ),
    "no blocks": (
        TOP + "encoder: {stages: {stem: 16, stages: [{width: 32, blocks: []}]}}\n" + decoder(),
        "encoder.stages: stages: stage 1 has no blocks",
    ),
    "walk": (
        TOP + "encoder: {trellis: {path: [4, 6], cell: [[" + PREV + "]]}}\n" + decoder(),
        "3:31: encoder.trellis.path[1]: expected one of 4, 8, 16, 32, got 6; nearest: 4",
    ),
    "sources of a neck": (
        TOP + RESNET
        + decoder(neck="merging: {cells: [{stride: 8, inputs: [{source: s8, op: sum}, {source: s9, op: sum}]}]}"),
        "7:11: decoder.semantic.neck.merging.stack0: item0: inputs must be different ones of s8, s16, s32, s64",
    ),
    "rates": (
        TOP + RESNET + decoder(context="li_aspp: {rates: [6, 6]}"),
        "6:24: decoder.semantic.context.li_aspp: li_aspp: rates must differ, got [6, 6]",
    ),
    "tap of an auxiliary head": (
        TOP + RESNET + decoder() + "    auxiliary: {s64: {fcn: {}}}\n",
        "auxiliary: the encoder has no feature 's64'; it has",
    ),
    "stages of a dual encoder": (
        TOP + "encoder: {dual_resolution: {width: 32, blocks: [1, 1]}}\n" + decoder(),
        "3:28: encoder.dual_resolution: dual_resolution: blocks are for stages 1 to 4, got [1, 1]",
    ),
    "input": (
        TOP.replace("[3, 96, 128]", "[96, 128]") + RESNET + decoder(),
        "2:8: input: expected a list of 3: 3; a whole number from 1; a whole number from 1, got 2 items: [96, 128]",
    ),
    "colours": (
        TOP.replace("[3, 96, 128]", "[4, 96, 128]") + RESNET + decoder(),
        "2:9: input[0]: expected 3, got 4; nearest: 3",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_is_refused_with_its_place(name: str, tmp_path: Path) -> None:
    text, said = REFUSED[name]
    file = tmp_path / "mine.yaml"
    file.write_text(text)
    with pytest.raises(SpaceError) as refused:
        load_architecture(file)
    assert str(refused.value).startswith(f"{file}:")
    assert said in str(refused.value)


def test_an_option_of_a_space_is_refused_as_well(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(TOP + CELL % "mbconv: {expand: {choice: [0, 3]}}" + decoder())
    with pytest.raises(SpaceError, match=r"expand:0: expected a number from 1 up to 16, got 0"):
        load_space(file)


def test_published_ones_fit() -> None:
    assert load_architecture(published()["fast_scnn"]).input == (3, 1024, 2048)
