"""Identity of architectures: canonical text, ids that never move, files that load back."""

# ruff: noqa: E501 - a case of a table is one line, its file and message in full
from __future__ import annotations

import pickle
from pathlib import Path
from time import perf_counter

import pytest

from nas import registry
from nas.architecture import Architecture, load_architecture, published, save_architecture
from nas.choosers import replay, smallest
from nas.errors import SpaceError
from nas.language.tree import Choice
from nas.resolve import closed, decide, resolve
from tests.nas.language import HEAD, checked, first

LITERAL = {"a": [1, 2.0, "x"], "b": {"c": None, "d": True}}
STAGES = {
    "encoder": {
        "stages": {"stages": [{"width": 16, "blocks": [{"mbconv": {"kernel": 5}}, {"zero": {}}]}]}
    }
}
TRELLIS = {
    "encoder": {"trellis": {"path": [4, 8], "cell": [[{"source": "prev", "op": {"mbconv": {}}}]]}}
}
TASK = {"task": {"semantic": {"classes": 4}}, "input": [3, 64, 128]}

# An id once released never changes: these fail when canonical text, defaults or digests change their meaning.
GOLDEN = [
    (LITERAL, "ab8c8fc43415"),
    (TASK | STAGES, "e94b8c95857b"),
    (TASK | STAGES | {"head": {"mlp": {"dropout": 0.5, "context": {"aspp": {}}}}}, "7f1720807b27"),
    (TASK | TRELLIS, "6e9371e246bd"),
    (TASK | TRELLIS | {"head": {"fcn": {"width": 32, "taps": [{"level": 4}, {"level": 8, "weight": 1}]}}}, "56c8c6304273"),
]  # fmt: skip


@pytest.mark.parametrize(("tree", "name"), GOLDEN)
def test_golden_ids(kinds: None, tree: dict[str, object], name: str) -> None:
    assert Architecture.of(tree).id == name


def test_text_is_canonical_json() -> None:
    assert (
        Architecture.of({"b": (1, 2.0), "a": {"y": 0.5, "x": None}}).text
        == '{"a":{"x":null,"y":0.5},"b":[1,2]}'
    )
    assert Architecture.of({"a": 4.0}) == Architecture.of({"a": 4})
    assert Architecture.of({"a": [1]}) == Architecture.of({"a": (1,)})
    assert Architecture.of({"a": True}) != Architecture.of({"a": 1})
    assert Architecture.of({"a": -0.0}) == Architecture.of({"a": 0})


def test_it_is_frozen_hashable_and_picklable() -> None:
    architecture = Architecture.of(LITERAL)
    assert len({architecture, Architecture.of(LITERAL), Architecture(architecture.text)}) == 1
    assert pickle.loads(pickle.dumps(architecture)) == architecture
    with pytest.raises(AttributeError):
        architecture.text = ""  # type: ignore[misc]


def test_its_tree_is_a_fresh_copy() -> None:
    architecture = Architecture.of(LITERAL)
    architecture.tree["a"].append(3)
    assert architecture.tree == LITERAL


@pytest.mark.parametrize(
    ("written", "short"),
    [
        ({"encoder": {"stages": {"stages": [], "stem": 32}}}, {"encoder": {"stages": {"stages": []}}}),
        ({"head": {"fcn": {}}}, {}),
        ({"head": {"fcn": {"width": 64, "taps": [], "pair": (1, "a")}}}, {}),
        ({"head": {"fcn": {"pair": [2.0, "a"]}}}, {"head": {"fcn": {"pair": [2, "a"]}}}),
        ({"head": {"fcn": {"taps": [{"level": 4, "weight": 0.4}]}}}, {"head": {"fcn": {"taps": [{"level": 4}]}}}),
        ({"head": {"mlp": {"context": None, "bias": True, "name": "mlp"}}}, {"head": {"mlp": {}}}),
        ({"head": {"mlp": {"bias": 1}}}, {"head": {"mlp": {"bias": 1}}}),
        ({"head": {"mlp": {"context": {"aspp": {"rates": [6, 12, 18]}}}}}, {"head": {"mlp": {"context": {"aspp": {}}}}}),
        ({"encoder": {"unknown": {"mbconv": {"kernel": 3}}}}, {"encoder": {"unknown": {"mbconv": {"kernel": 3}}}}),
        (
            {"encoder": {"trellis": {"path": [4.0], "cell": [[{"source": "a", "op": {"mbconv": {"expand": 4}}}]]}}},
            {"encoder": {"trellis": {"path": [4], "cell": [[{"source": "a", "op": {"mbconv": {}}}]]}}},
        ),
        (
            {"encoder": {"stages": {"stages": [{"width": 8, "blocks": [{"free": {"extra": {"mbconv": {"kernel": 3}}}}]}]}}},
            {"encoder": {"stages": {"stages": [{"width": 8, "blocks": [{"free": {"extra": {"mbconv": {"kernel": 3}}}}]}]}}},
        ),
    ],
)  # fmt: skip
def test_defaults_are_left_out_where_a_kind_stands(
    kinds: None, written: dict[str, object], short: dict[str, object]
) -> None:
    architecture = Architecture.of(written)
    assert architecture.tree == short
    assert Architecture.of(architecture.tree) == architecture


def test_a_field_that_is_added_later_changes_no_id(kinds: None) -> None:
    old = Architecture.of(TASK | STAGES).id

    class Wider:
        def __init__(
            self, channels: int, *, kernel: int = 3, expand: float = 4, added: int = 7
        ) -> None:
            """One field more."""

    del registry.KINDS["mbconv"]
    registry.kind("mbconv", "cell")(Wider)
    assert Architecture.of(TASK | STAGES).id == old


def test_open_nodes_and_foreign_values_are_refused() -> None:
    with pytest.raises(SpaceError, match=r"an open node is left: \{'choice': \[1, 2\]\}"):
        Architecture.of({"a": Choice((1, 2))})
    with pytest.raises(SpaceError, match="is a set; an architecture holds plain data only"):
        Architecture.of({"a": {1, 2}})
    with pytest.raises(ValueError, match="not JSON compliant"):
        Architecture.of({"a": float("nan")})


def test_input_and_classes_are_read_and_changed(kinds: None) -> None:
    architecture = Architecture.of(TASK | STAGES)
    assert (architecture.input, architecture.classes) == ((3, 64, 128), 4)
    other = architecture.with_classes(19).with_input((3, 32, 32))
    assert (other.input, other.classes, other.tree["encoder"]) == (
        (3, 32, 32),
        19,
        architecture.tree["encoder"],
    )
    assert other.with_classes(4).with_input((3, 64, 128)) == architecture
    with pytest.raises(SpaceError, match="no `input` at its top; keys: a, b"):
        _ = Architecture.of(LITERAL).input


def test_five_thousand_a_second(kinds: None) -> None:
    block = {"mbconv": {"kernel": 5, "expand": 4.0}}
    tree = TASK | {"encoder": {"stages": {"stages": [{"width": 16, "blocks": [block] * 5}] * 4}}}
    times = []
    for _ in range(50):
        start = perf_counter()
        Architecture.of(tree)
        times.append(perf_counter() - start)
    assert min(times) < 2e-4


# files


def test_a_saved_file_loads_back_to_the_same_id(tmp_path: Path) -> None:
    for name in published():
        architecture = load_architecture(name)
        file = tmp_path / f"{name}.yaml"
        save_architecture(architecture, file, "line one\nline two")
        assert load_architecture(file) == architecture
        assert file.read_text().startswith(
            f"# line one\n# line two\n# id: {architecture.id}\ntask:"
        )
    assert not [f for f in tmp_path.iterdir() if f.name.startswith(".")]


def test_a_space_is_no_architecture_and_the_error_says_where(tmp_path: Path) -> None:
    file = tmp_path / "open.yaml"
    file.write_text("base: tiny\ndecoders: {semantic: {neck: {none: {}}}}\n")
    with pytest.raises(
        SpaceError,
        match=r"tiny\.yaml:\d+:\d+: encoder\.stages\.stages\[0\]\.blocks\[0\] is open \(options: mbconv, basic\)",
    ):
        load_architecture(file)


def test_a_space_narrowed_to_one_is_an_architecture(tmp_path: Path) -> None:
    file = tmp_path / "one.yaml"
    file.write_text(
        "base: deeplabv3plus_resnet18\nencoder: {resnet: {depth: {choice: [34]}}}\n",
        encoding="utf-8",
    )
    assert load_architecture(file).tree["encoder"] == {"resnet": {"depth": 34, "output_stride": 16}}


def test_an_unknown_name_is_answered_with_the_closest() -> None:
    with pytest.raises(SpaceError, match="did you mean 'fpn_resnet18'"):
        load_architecture("fpn_resnet19")


def test_decisions_are_found_whatever_was_left_out(kinds: None) -> None:
    text = (
        HEAD
        + "encoder: {stages: {stem: 32, stages: [{width: 16, blocks: [{mbconv: {kernel: {choice: [3, 5]}, expand: 4}}]}]}}"
    )
    space = checked(text)
    assert "kernel" not in resolve(space, smallest).text
    assert decide(space, first(text)) == {"encoder.stages.stages[0].blocks[0].mbconv.kernel": 0}
    assert decide(space, Architecture.of(TASK | {"encoder": {"stages": {"stages": [{"width": 16, "blocks": [{"mbconv": {"kernel": 5}}]}]}}})) == {
        "encoder.stages.stages[0].blocks[0].mbconv.kernel": 1
    }  # fmt: skip


def test_decisions_in_a_let_are_found_whatever_was_left_out(kinds: None) -> None:
    space = checked(
        "let: {op: {choice: {mbconv: {kernel: {choice: [5, 3]}}, zero: {}}}, cells: {repeat: {choice: [1, 2]}, of: {use: op}}}\n"
        + HEAD
        + "encoder: {stages: {stages: [{width: 16, blocks: {use: cells}}]}}"
    )
    for architecture in space.enumerate():
        assert closed(space, replay(decide(space, architecture))) == architecture
    assert space.size() == 6
