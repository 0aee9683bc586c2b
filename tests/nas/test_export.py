"""Exported files: they do what the network does, at any size where they say so, or they are not there."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from nas.architecture import Architecture, load_architecture
from nas.errors import ExportError
from nas.export import Check, Exported, Tolerance, compare, describe, export, odd, trace_size
from nas.formats import FORMATS, find
from nas.formats.onnx import Onnx
from nas.network import build
from nas.recipe import Recipe
from nas.registry import domain
from nas.space import load_space
from nas.weights import describe as about
from nas.weights import save_weights

SIZE = (64, 128)
DATA = "street:images=4,val=4,size=64x128"


@pytest.fixture(scope="module")
def data() -> Any:
    return domain().open_data(DATA)


@pytest.fixture(scope="module")
def architecture() -> Architecture:
    return next(iter(load_space("tiny").enumerate()))


@pytest.fixture(scope="module")
def weights(
    architecture: Architecture, data: Any, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    path = tmp_path_factory.mktemp("weights") / "weights.safetensors"
    save_weights(path, build(architecture, SIZE, seed=1), about(architecture, data, SIZE, Recipe()))
    return path


@pytest.fixture(scope="module")
def exported(
    architecture: Architecture, weights: Path, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], Exported]:
    """The network in a format, written when it is first asked for, alone in its folder."""

    @cache
    def written(name: str) -> Exported:
        path = tmp_path_factory.mktemp(name) / f"net{FORMATS[name].suffix}"
        return export(architecture, weights, DATA, path, format=name, size=SIZE, runs=3)

    return written


@pytest.mark.full
@pytest.mark.parametrize("name", FORMATS)
def test_export_is_dynamic_checked_and_timed(
    name: str, exported: Callable[[str], Exported], architecture: Architecture
) -> None:
    found = exported(name)
    path = found.path
    assert found.fixed is None
    assert {check.size for check in found.checks} == {SIZE, odd(SIZE)}
    assert len({check.batch for check in found.checks}) == 2
    assert set(found.latency) == {"PyTorch", FORMATS[name].runtime}
    assert [p.name for p in path.parent.iterdir()] == [path.name]
    image = torch.randn(3, 3, 45, 77)
    expected = build(architecture, SIZE, seed=1).eval()(image)
    assert torch.allclose(find(name).open(path, 1)(image), expected, atol=1e-4)


@pytest.mark.full
def test_onnx_metadata_say_how_to_use_the_file(
    architecture: Architecture, exported: Callable[[str], Exported], data: Any
) -> None:
    import onnxruntime

    session = onnxruntime.InferenceSession(
        str(exported("onnx").path), providers=["CPUExecutionProvider"]
    )
    found = session.get_modelmeta().custom_metadata_map
    assert json.loads(found["classes"]) == list(data.classes)
    assert json.loads(found["palette"]) == data.palette.tolist()
    assert (json.loads(found["mean"]), json.loads(found["std"])) == (
        list(data.mean),
        list(data.std),
    )
    assert Architecture.of(json.loads(found["architecture"])) == architecture
    assert json.loads(found["input"])["size"] == list(SIZE)
    image, _ = data.read(data.split("val")[0])
    prepared = (image / 255 - json.loads(found["mean"])) / json.loads(found["std"])
    logits = session.run(None, {"image": prepared.transpose(2, 0, 1)[None].astype(np.float32)})[0]
    assert logits.shape == (1, len(data.classes), *SIZE)


@pytest.mark.full
def test_fixed_size_still_has_a_dynamic_batch(
    architecture: Architecture, weights: Path, data: Any, tmp_path: Path
) -> None:
    exported = export(
        architecture, weights, data, tmp_path / "net.onnx", size=SIZE, fixed_size=True, runs=0
    )
    assert exported.fixed == "asked for"
    assert {check.batch for check in exported.checks} == {4, 1}
    with pytest.raises(ExportError, match="does not run"):
        compare(
            build(architecture, SIZE, seed=1).eval(),
            Onnx().open(exported.path, 1),
            torch.zeros(1, 3, 32, 32),
            _labels,
        )


class Wrong(Onnx):
    """A format whose files answer differently at other sizes than (H, W) = `right`; each is a copy of a right one."""

    def __init__(self, file: Path, right: tuple[int, int] | None) -> None:
        self.file, self.right = file, right

    def write(self, network: Any, example: Tensor, path: Path, **asked: Any) -> None:
        shutil.copy(self.file, path)

    def open(self, path: Path, threads: int) -> Any:
        run = super().open(path, threads)
        return lambda x: run(x) if x.shape[2:] == self.right else run(x).flip(1)


@pytest.mark.full
def test_silently_wrong_at_another_size_falls_back_to_the_fixed_one(
    exported: Callable[[str], Exported],
    architecture: Architecture,
    weights: Path,
    data: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(FORMATS, "onnx", Wrong(exported("onnx").path, right=SIZE))
    fallen = export(architecture, weights, data, tmp_path / "net.onnx", size=SIZE, runs=0)
    assert fallen.fixed is not None
    assert "disagree" in fallen.fixed
    assert {check.size for check in fallen.checks} == {SIZE}


@pytest.mark.full
def test_a_wrong_file_is_refused_and_not_left_behind(
    exported: Callable[[str], Exported],
    architecture: Architecture,
    weights: Path,
    data: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(FORMATS, "onnx", Wrong(exported("onnx").path, right=None))
    with pytest.raises(ExportError, match="disagree"):
        export(architecture, weights, data, tmp_path / "net.onnx", size=SIZE, runs=0)
    assert not list(tmp_path.iterdir())


def test_a_file_that_is_there_is_kept(
    architecture: Architecture, weights: Path, tmp_path: Path
) -> None:
    path = tmp_path / "net.onnx"
    path.write_text("mine")
    with pytest.raises(ExportError, match="already there"):
        export(architecture, weights, DATA, path)
    assert path.read_text() == "mine"


def test_an_unknown_format_is_answered_with_the_closest() -> None:
    with pytest.raises(ExportError, match="did you mean 'onnx'"):
        find("onxx")


def _labels(logits: Tensor) -> Tensor:
    return logits.argmax(1)


def test_compare_counts_pixels_and_scales_logits() -> None:
    expected = torch.zeros(1, 2, 10, 10)
    expected[:, 0] = 4.0
    got = expected.clone()
    got[0, 1, 0, :5] = 5.0
    check = compare(lambda _: expected, lambda _: got, torch.zeros(1, 3, 10, 10), _labels)
    assert (check.labels, check.logits) == (0.05, 1.25)
    assert check.fails(Tolerance())
    assert not check.fails(Tolerance(labels=0.05, logits=1.25))


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_what_is_not_a_number_fails(value: float) -> None:
    assert Check((1, 1), 1, 0.0, value).fails(Tolerance())


def test_a_shape_that_differs_is_an_error() -> None:
    images = torch.zeros(1, 3, 8, 8)
    with pytest.raises(ExportError, match="returns"):
        compare(lambda x: x, lambda x: x[..., :4], images, _labels)


def test_no_map_is_one_pixel_at_the_traced_size() -> None:
    deep = load_architecture("fpn_resnet18")
    assert trace_size(deep, (16, 200)) == (64, 200)
    assert trace_size(deep, (512, 1024)) == (512, 1024)


@pytest.mark.parametrize("size", [(64, 128), (360, 480), (97, 131)])
def test_the_second_size_is_odd_and_different(size: tuple[int, int]) -> None:
    other = odd(size)
    assert all(extent % 2 for extent in other)
    assert other[0] != size[0]
    assert other[1] != size[1]


def test_metadata_are_text(architecture: Architecture, data: Any) -> None:
    assert all(isinstance(value, str) for value in describe(architecture, data, SIZE).values())
