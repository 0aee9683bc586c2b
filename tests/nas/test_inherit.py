"""One file built on another: what merges, what replaces, what `keep` narrows, and circles."""

# ruff: noqa: E501 - a case of a table is one line, its file and message in full
from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from nas.architecture import load_architecture
from nas.errors import SpaceError
from nas.language.document import read_text
from nas.language.grammar import template_of
from nas.language.inherit import merge, read_merged
from nas.space import load_space


def merged(old: str, new: str) -> Any:
    """Return one text overriding another, as plain data."""
    return merge(read_text(old, "old"), read_text(new, "new"), "").plain()


def error(old: str, new: str) -> str:
    with pytest.raises(SpaceError) as raised:
        merged(old, new)
    return str(raised.value)


@pytest.mark.parametrize(
    ("old", "new", "result"),
    [
        ("a: {x: 1, y: 2}\nb: 3", "a: {y: 4, z: 5}", {"a": {"x": 1, "y": 4, "z": 5}, "b": 3}),
        ("a: [1, 2]", "a: [3]", {"a": [3]}),
        ("a: {x: 1}", "a: null", {"a": None}),
        ("a: {choice: [1, 2]}", "a: 1", {"a": 1}),
        ("a: {choice: [1, 2]}", "a: {choice: [3, 4]}", {"a": {"choice": [3, 4]}}),
        ("a: {x: {k: 1}}", "a: {choice: {x: {}, y: {}}}", {"a": {"choice": {"x": {}, "y": {}}}}),
        ("a: {choice: {x: {k: 1}}}", "a: {choice: {x: {m: 2}}}", {"a": {"choice": {"x": {"m": 2}}}}),
        ("a: {choice: {x: {k: 1, m: 2}, y: {}}}", "a: {x: {m: 3}}", {"a": {"x": {"k": 1, "m": 3}}}),
        ("a: {choice: {x: {k: 1}}}", "a: {z: {m: 3}}", {"a": {"z": {"m": 3}}}),
        ("a: {choice: {from: 1, to: 3}}", "a: {from: {m: 3}}", {"a": {"from": {"m": 3}}}),
        ("a: {use: k}", "a: {x: 1}", {"a": {"x": 1}}),
        ("a: {repeat: 2, of: {choice: {x: {}, y: {}}}}", "a: {repeat: 3}", {"a": {"repeat": 3, "of": {"choice": {"x": {}, "y": {}}}}}),
        ("a: {repeat: 2, of: {choice: {x: {}, y: {}}}}", "a: {of: {choice: {keep: [y]}}}", {"a": {"repeat": 2, "of": {"choice": {"y": {}}}}}),
        ("a: {pick: 1, from: [p], of: {choice: {x: {}, y: {}}}}", "a: {of: {choice: {keep: [y]}}}", {"a": {"pick": 1, "from": ["p"], "of": {"choice": {"y": {}}}}}),
        ("a: {repeat: 2, of: 1}", "a: {repeat: 3, of: 4}", {"a": {"repeat": 3, "of": 4}}),
        ("let: {k: {choice: [3, 5]}}", "let: {k: {choice: {keep: [5]}}, m: 1}", {"let": {"k": {"choice": [5]}, "m": 1}}),
    ],
)  # fmt: skip
def test_overrides(old: str, new: str, result: Any) -> None:
    assert merged(old, new) == result


@pytest.mark.parametrize(
    ("choice", "keep", "result"),
    [
        ("{x: {k: 1}, y: {}, z: {}}", "[z, x]", {"x": {"k": 1}, "z": {}}),
        ("[48, 64, 96]", "[96, 48]", [48, 96]),
        ("{from: 24, to: 48, by: 8}", "[32, 40]", [32, 40]),
        ("[[1, 2], [3]]", "[[3]]", [[3]]),
        ("[1, 2]", "2", [2]),
    ],
)
def test_keep_narrows_in_the_order_of_the_base(choice: str, keep: str, result: Any) -> None:
    assert merged(f"a: {{choice: {choice}}}", f"a: {{choice: {{keep: {keep}}}}}") == {
        "a": {"choice": result}
    }


@pytest.mark.parametrize(
    ("old", "keep", "message"),
    [
        ("{choice: {fpn: {}, bifpn: {}}}", "[bifpm]", "new:1:21: a: keep: the inherited choice has no option 'bifpm'; did you mean 'bifpn'? known: fpn, bifpn"),
        ("{choice: [48, 64]}", "[60]", "new:1:21: a: keep: the inherited choice has no option 60; nearest: 64; known: 48, 64"),
        ("{choice: [a, b]}", "[1]", "keep: the inherited choice has no option 1; known: a, b"),
        ("{fpn: {}}", "[fpn]", "new:1:20: a: `keep` narrows an inherited choice, but the base has {'fpn': {}} here"),
        ("3", "[fpn]", "new:1:20: a: `keep` narrows an inherited choice, but the base has 3 here"),
        ("{choice: [3, 5]}", "[]", "new:1:20: a: `keep` of nothing; expected at least one option of 3, 5"),
    ],
)  # fmt: skip
def test_keep_names_the_nearest_option(old: str, keep: str, message: str) -> None:
    assert message in error(f"a: {old}", f"a: {{choice: {{keep: {keep}}}}}")


def test_a_kind_replaces_another_kind_of_its_slot(kinds: None) -> None:
    assert merged("head: {fcn: {width: 8}}", "head: {mlp: {}}") == {"head": {"mlp": {}}}
    assert merged("head: {fcn: {width: 8}}", "head: {fcn: {pair: 1}}") == {
        "head": {"fcn": {"width": 8, "pair": 1}}
    }
    assert merged("all: {fcn: {width: 8}}", "all: {aspp: {}}") == {
        "all": {"fcn": {"width": 8}, "aspp": {}}
    }


# files


def write(folder: Path, name: str, text: str) -> Path:
    file = folder / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)
    return file


def beside(name: str, folder: Path) -> Path:
    return folder / name


def test_bases_build_on_bases_relative_to_their_own_folder(tmp_path: Path) -> None:
    write(tmp_path, "deep/er/one.yaml", "a: 1\nb: 1\nc: 1")
    write(tmp_path, "deep/two.yaml", "base: er/one.yaml\nb: 2\nc: 2")
    top = write(tmp_path, "three.yaml", "base: deep/two.yaml\nc: 3")
    assert read_merged(top, beside).plain() == {"a": 1, "b": 2, "c": 3}


def test_circles_are_refused_with_the_way_round(tmp_path: Path) -> None:
    write(tmp_path, "a.yaml", "base: b.yaml")
    write(tmp_path, "b.yaml", "base: c.yaml")
    write(tmp_path, "c.yaml", "base: ./a.yaml")
    with pytest.raises(
        SpaceError,
        match=r"c\.yaml:1:7: base: .* in a circle: a\.yaml -> b\.yaml -> c\.yaml -> a\.yaml",
    ):
        read_merged(tmp_path / "a.yaml", beside)


def test_a_base_is_a_name(tmp_path: Path) -> None:
    top = write(tmp_path, "a.yaml", "base: [1]")
    with pytest.raises(SpaceError, match=r"a\.yaml:1:7: base: expected the name .* got \[1\]"):
        read_merged(top, beside)


def test_a_let_that_only_the_base_needed_is_dropped(tmp_path: Path) -> None:
    write(tmp_path, "base.yaml", "let: {k: {choice: [3, 5]}}\na: {use: k}")
    top = write(tmp_path, "top.yaml", "base: base.yaml\na: 3")
    template, _ = template_of(read_merged(top, beside))
    assert (template.tree, template.lets) == ({"a": 3}, {})


def test_places_name_the_file_that_says_it(tmp_path: Path) -> None:
    base = write(tmp_path, "base.yaml", "a: {choice: [1, 2]}\nb: {choice: [1, 2]}")
    top = write(tmp_path, "top.yaml", "base: base.yaml\n\nb: {choice: {keep: [2]}}")
    _, places = template_of(read_merged(top, beside))
    assert str(places.find("a")) == f"{base}:1:4"
    assert str(places.find("b")) == f"{top}:3:4"


def test_five_lines_narrow_a_published_space(tmp_path: Path) -> None:
    text = """
base: tiny
let: {width: {choice: {keep: [8, 16]}}}
encoder: {stages: {stem: 16}}
decoders: {semantic: {neck: {fpn: {top: 5}}, head: {choice: {keep: [merge]}}}}
"""
    space = load_space(write(tmp_path, "mine.yaml", text))
    whole = load_space("tiny")
    assert space.lets["width"].options == (8, 16)
    assert space.tree["encoder"]["stages"] == whole.tree["encoder"]["stages"] | {"stem": 16}
    assert space.tree["decoders"]["semantic"]["neck"] == {"fpn": {"top": 5, "width": whole.tree["decoders"]["semantic"]["neck"].options[1]["width"]}}  # fmt: skip
    assert 1 < space.size() < whole.size()


def test_a_closed_architecture_is_a_base(tmp_path: Path) -> None:
    text = "base: fpn_resnet18\nencoder: {resnet: {depth: {choice: [18, 34]}}}\ninput: [3, 64, 128]"
    space = load_space(write(tmp_path, "wider.yaml", text))
    first, second = space.enumerate()
    assert first == load_architecture("fpn_resnet18").with_input((3, 64, 128))
    assert second.tree["encoder"]["resnet"]["depth"] == 34


def test_an_unknown_base_is_answered_with_the_closest(tmp_path: Path) -> None:
    with pytest.raises(
        SpaceError,
        match=r"a\.yaml:1:7: base: no file and no published name 'tinny'; did you mean 'tiny'",
    ):
        load_space(write(tmp_path, "a.yaml", "base: tinny"))
