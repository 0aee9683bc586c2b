"""Every field of every option against the signatures of kinds: place, path, what was expected, what came, the closest."""

# ruff: noqa: E501 - a case of a table is one line, its file and message in full
from __future__ import annotations

import pytest

from nas.errors import SpaceError
from tests.nas.language import HEAD, checked

STAGES = "encoder: {stages: {stages: [{width: 16, blocks: [{mbconv: {%s}}]}]}}"
MBCONV = "encoder.stages.stages[0].blocks[0].mbconv"
FCN = HEAD + "encoder: {stages: {stages: []}}\nhead: {fcn: {%s}}"
MLP = HEAD + "encoder: {stages: {stages: []}}\nhead: {mlp: {%s}}"
TRELLIS = HEAD + "encoder: {trellis: {path: %s, cell: %s}}"
PATH, CELL = "[4, 8]", "[[{source: prev, op: {zero: {}}}]]"


def errors(text: str) -> list[str]:
    """Return the lines of the error that a text gets."""
    with pytest.raises(SpaceError) as error:
        checked(text)
    return str(error.value).splitlines()


@pytest.mark.parametrize(
    "text",
    [
        HEAD + STAGES % "",
        HEAD + STAGES % "kernel: 5, expand: 2.5",
        HEAD + STAGES % "kernel: 5.0, expand: 0",
        HEAD + STAGES % "kernel: {choice: {from: 1, to: 7, by: 2}}",
        HEAD + "encoder: {stages: {stem: {choice: [8, 64]}, stages: [{width: 16, blocks: [], stride: {choice: [1, 2]}}]}}",
        HEAD + "let: {k: {choice: [3, 5]}}\nencoder: {stages: {stages: {repeat: {choice: [1, 2]}, of: {width: 8, blocks: {repeat: 2, of: {mbconv: {kernel: {use: k}}}}}}}}",
        TRELLIS % ("{walk: 2, from: 4, moves: {4: [4, 8], 8: [4]}}", CELL),
        TRELLIS % (PATH, "{repeat: 2, of: {pick: 1, from: [prev, earlier], of: {choice: {zero: {}, mbconv: {kernel: 5}}}}}"),
        FCN % "taps: [{level: 4}, {level: 8, weight: 1}], pair: [2, b]",
        FCN % "pair: {choice: [[2, b], [3, c]]}",
        MLP % "dropout: 1, bias: false, name: 'x', context: null",
        MLP % "context: {choice: {aspp: {rates: {choice: [[1], [1, 2]]}}}}",
        MLP % "context: {choice: [null, {aspp: {rates: []}}]}",
        HEAD + "encoder: {stages: {stages: [{width: 8, blocks: [{free: {extra: {anything: [1, {choice: [a, b]}]}}}]}]}}",
    ],
)  # fmt: skip
def test_what_the_signatures_allow_passes(kinds: None, text: str) -> None:
    assert checked(text).size() >= 1


@pytest.mark.parametrize(
    ("text", "line"),
    [
        # names
        (HEAD + "encodr: {stages: {stages: []}}", "space.yaml:3:1: encodr: 'encodr' is no top-level key of a network; did you mean 'encoder'? known: task, input, encoder, head, let, base"),
        (HEAD + "encoder: {stagse: {}}", "space.yaml:3:11: encoder.stagse: no encoder is called 'stagse'; did you mean 'stages'? known: stages, trellis"),
        (HEAD + "encoder: {choice: {stages: {stages: []}, fcn: {}}}", "space.yaml:3:42: encoder.fcn: 'fcn' is for the slot head, not encoder; known: stages, trellis"),
        (HEAD + STAGES % "kernl: 3", f"space.yaml:3:60: {MBCONV}.kernl: 'kernl' is no field of 'mbconv'; did you mean 'kernel'? known: kernel, expand"),
        (HEAD + STAGES % "width: 8", f"space.yaml:3:60: {MBCONV}.width: 'width' is decided by the surrounding block, not in the file; remove it"),
        (FCN % "classes: 3", "space.yaml:4:14: head.fcn.classes: 'classes' is decided by the surrounding block, not in the file; remove it"),
        (HEAD, "space.yaml:1:1: encoder: missing; expected one encoder as {kind: fields}"),
        (HEAD + "encoder: {stages: {}}", "space.yaml:3:11: encoder.stages.stages: missing; expected a list, each item a mapping of width, blocks, stride"),
        (HEAD + "encoder: {stages: {stages: [{width: 8}]}}", "space.yaml:3:29: encoder.stages.stages[0].blocks: missing; expected a list, each item one cell as {kind: fields}"),
        (HEAD + "encoder: {stages: {stages: [{width: 8, blocks: [], strid: 1}]}}", "space.yaml:3:52: encoder.stages.stages[0].strid: 'strid' is no key here; did you mean 'stride'? known: width, blocks, stride"),
        # specs
        (HEAD + "encoder: stages", "space.yaml:3:10: encoder: expected one encoder as {kind: fields}, got 'stages'; write {stages: {}}; did you mean 'stages'? known: stages, trellis"),
        (HEAD + "encoder:", "space.yaml:3:9: encoder: expected one encoder as {kind: fields}, got None; known: stages, trellis"),
        (HEAD + "encoder: {stages: {stages: []}, trellis: {}}", "space.yaml:3:10: encoder: expected one encoder as {kind: fields}, got 2 keys: stages, trellis; to search, write {choice: ...}"),
        (HEAD + "encoder: {stages: {stages: []}}\nhead: {fcn: }", "space.yaml:4:13: head.fcn: expected the fields of 'fcn' as a mapping; write fcn: {} for no fields"),
        (HEAD + "encoder: {stages: {stages: []}}\nhead: {fcn: 3}", "space.yaml:4:13: head.fcn: expected the fields of 'fcn' as a mapping; got 3"),
        # scalars
        (HEAD + STAGES % "kernel: 4", f"space.yaml:3:68: {MBCONV}.kernel: expected an odd whole number from 1, got 4; nearest: 5"),
        (HEAD + STAGES % "kernel: {choice: [3, 5, 6]}", f"space.yaml:3:84: {MBCONV}.kernel:2: expected an odd whole number from 1, got 6; nearest: 7"),
        (HEAD + STAGES % "kernel: -3", f"space.yaml:3:68: {MBCONV}.kernel: expected an odd whole number from 1, got -3; nearest: 1"),
        (HEAD + STAGES % "kernel: no", f"space.yaml:3:68: {MBCONV}.kernel: expected an odd whole number from 1, got 'no'"),
        (HEAD + STAGES % "kernel: '3'", f"space.yaml:3:68: {MBCONV}.kernel: expected an odd whole number from 1, got '3'; write 3 without quotes"),
        (HEAD + STAGES % "kernel: true", f"space.yaml:3:68: {MBCONV}.kernel: expected an odd whole number from 1, got True"),
        (HEAD + STAGES % "kernel: 3.5", f"space.yaml:3:68: {MBCONV}.kernel: expected an odd whole number from 1, got 3.5"),
        (HEAD + STAGES % "expand: -1.5", f"space.yaml:3:68: {MBCONV}.expand: expected a number from 0, got -1.5; nearest: 0"),
        (HEAD + STAGES % "kernel: [3, 5]", f"space.yaml:3:68: {MBCONV}.kernel: expected an odd whole number from 1, got [3, 5]"),
        (HEAD + STAGES % "kernel: {from: 3, to: 5}", f"space.yaml:3:68: {MBCONV}.kernel: expected an odd whole number from 1, got {{'from': 3, 'to': 5}}; a range stands in a choice: {{choice: {{from: ...}}}}"),
        (HEAD + "encoder: {stages: {stem: 20, stages: []}}", "space.yaml:3:26: encoder.stages.stem: expected a whole number from 8 up to 64 in multiples of 8, got 20; nearest: 16"),
        (HEAD + "encoder: {stages: {stem: 99, stages: []}}", "space.yaml:3:26: encoder.stages.stem: expected a whole number from 8 up to 64 in multiples of 8, got 99; nearest: 64"),
        (HEAD + "encoder: {stages: {stages: [{width: 8, blocks: [], stride: 3}]}}", "space.yaml:3:60: encoder.stages.stages[0].stride: expected one of 1, 2, got 3; nearest: 2"),
        (MLP % "dropout: 1.5", "space.yaml:4:23: head.mlp.dropout: expected a number from 0 up to 1, got 1.5; nearest: 1"),
        (MLP % "bias: yes", "space.yaml:4:20: head.mlp.bias: expected true or false, got 'yes'; write true or false"),
        (MLP % "bias: 1", "space.yaml:4:20: head.mlp.bias: expected true or false, got 1"),
        (MLP % "name: 7", "space.yaml:4:20: head.mlp.name: expected text, got 7; write it in quotes: '7'"),
        (MLP % "context: 7", "space.yaml:4:23: head.mlp.context: expected one context as {kind: fields} or nothing (null), got 7"),
        (MLP % "context: {aspp: {rates: [0]}}", "space.yaml:4:39: head.mlp.context.aspp.rates[0]: expected a whole number from 1, got 0; nearest: 1"),
        (MLP % "context: {choice: {aspp: {rate: 1}}}", "space.yaml:4:40: head.mlp.context.aspp.rate: 'rate' is no field of 'aspp'; did you mean 'rates'? known: rates"),
        # lists and records
        (HEAD + "encoder: {stages: {stages: 3}}", "space.yaml:3:28: encoder.stages.stages: expected a list, each item a mapping of width, blocks, stride, got 3"),
        (HEAD + "encoder: {stages: {stages: [16]}}", "space.yaml:3:29: encoder.stages.stages[0]: expected a mapping of width, blocks, stride, got 16"),
        (FCN % "taps: [{level: 5}]", "space.yaml:4:29: head.fcn.taps[0].level: expected one of 4, 8, 16, got 5; nearest: 4"),
        (FCN % "taps: [{weight: 1}]", "space.yaml:4:21: head.fcn.taps[0].level: missing; expected one of 4, 8, 16"),
        (FCN % "pair: [1]", "space.yaml:4:20: head.fcn.pair: expected a list of 2: a whole number; text, got 1 items: [1]"),
        (FCN % "pair: [1, 2]", "space.yaml:4:24: head.fcn.pair[1]: expected text, got 2; write it in quotes: '2'"),
        # open nodes in places that cannot hold them
        (HEAD + STAGES % "kernel: {choice: {mbconv: {}, zero: {}}}", f"space.yaml:3:68: {MBCONV}.kernel: expected an odd whole number from 1, got a choice of kinds: mbconv, zero"),
        (HEAD + STAGES % "kernel: {repeat: 2, of: 3}", f"space.yaml:3:68: {MBCONV}.kernel: expected an odd whole number from 1, got a repeat, which makes a list"),
        (FCN % "pair: {repeat: {choice: [2, 3]}, of: 1}", "space.yaml:4:20: head.fcn.pair: expected a list of 2: a whole number; text, got a repeat of 2 or 3 items"),
        (FCN % "width: {walk: 1, from: 4, moves: {4: [4]}}", "space.yaml:4:21: head.fcn.width: expected a whole number from 1, got a walk, which makes a list"),
        (TRELLIS % ("{walk: 2, from: 4, moves: {4: [4, 5], 5: [4]}}", CELL), "space.yaml:3:27: encoder.trellis.path: stride 5: expected one of 4, 8, 16, 32, got 5; nearest: 4"),
        (TRELLIS % (PATH, "{repeat: 1, of: {pick: 1, from: [a], of: {choice: {zero: {}, aspp: {}}}}}"), "space.yaml:3:102: encoder.trellis.cell[].*.aspp: 'aspp' is for the slot context, not cell; known: free, mbconv, zero"),
        # through a let
        (HEAD + "let: {k: {choice: [3, 4]}}\n" + STAGES % "kernel: {use: k}", "space.yaml:3:23: let.k:1: expected an odd whole number from 1, got 4; nearest: 5"),
        # options that only defaults make equal
        (HEAD + "encoder: {stages: {stages: [{width: 8, blocks: [{choice: [{mbconv: {}}, {mbconv: {kernel: {choice: [3, 5]}}}]}]}]}}", "space.yaml:3:73: encoder.stages.stages[0].blocks[0]: options 1 and 2 can both become"),
    ],
)  # fmt: skip
def test_what_they_do_not_allow_is_refused(kinds: None, text: str, line: str) -> None:
    assert [e for e in errors(text) if e.startswith(line)], errors(text)


def test_every_option_is_checked_and_errors_come_together(kinds: None) -> None:
    text = HEAD + "encoder:\n  choice:\n    stages: {stem: 1, stages: [{width: 0, blocks: [{choice: {mbconv: {kernel: 2}, zer: {}}}]}]}\n    trellis: {path: 3, cell: []}\nhead: {choice: {fcn: {width: x}, mlp: {nam: x}}}"  # fmt: skip
    lines = errors(text)
    assert sorted(line.split(": ")[1] for line in lines) == [
        "encoder.stages.stages[0].blocks[0].mbconv.kernel",
        "encoder.stages.stages[0].blocks[0].zer",
        "encoder.stages.stages[0].width",
        "encoder.stages.stem",
        "encoder.trellis.path",
        "head.fcn.width",
        "head.mlp.nam",
    ]


def test_an_error_in_a_let_comes_once_however_often_it_is_used(kinds: None) -> None:
    text = HEAD + "let: {k: 4}\nencoder: {stages: {stages: {repeat: 3, of: {width: 8, blocks: [{mbconv: {kernel: {use: k}}}, {mbconv: {kernel: {use: k}}}]}}}}"  # fmt: skip
    assert len(errors(text)) == 1


def test_a_missing_root_is_named(kinds: None) -> None:
    from nas import registry

    del registry.KINDS["network"]
    with pytest.raises(SpaceError, match="no kind is registered as 'network'"):
        checked("a: 1")
