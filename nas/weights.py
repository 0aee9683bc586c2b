"""Trained weights: a safetensors file that says by itself what it belongs to."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

import safetensors.torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from nas.architecture import Architecture
from nas.atomic import write_atomic
from nas.errors import RunError
from nas.recipe import Recipe
from nas.run import versions

FORMAT = "nas weights 1"
N = TypeVar("N", bound=nn.Module)


def describe(
    architecture: Architecture, data: Any, size: tuple[int, int], recipe: Recipe
) -> dict[str, Any]:
    """Return what a user of the weights needs: classes, colours, normalisation, size (H, W), ..."""
    return {
        "architecture": architecture.tree,
        "classes": list(data.classes),
        "palette": data.palette.tolist(),
        "mean": list(data.mean),
        "std": list(data.std),
        "size": list(size),
        "recipe": recipe.to_dict(),
        "data": data.text,
        "versions": versions(),
    }


def save_weights(path: Path, network: nn.Module, about: Mapping[str, Any]) -> None:
    """Write the network's parameters and buffers, with `about` as JSON metadata; whole or not at all."""
    tensors = {
        name: value.detach().cpu().contiguous().clone()
        for name, value in network.state_dict().items()
    }
    texts = {"format": FORMAT, **{key: json.dumps(value) for key, value in about.items()}}
    write_atomic(path, safetensors.torch.save(tensors, texts))


def load_weights(network: N, path: Path | str) -> N:
    """Put the weights of a file into the network; raises RunError where they do not belong to it."""
    _, tensors = _open(Path(path), with_tensors=True)
    wanted = network.state_dict()
    for name in sorted(wanted.keys() | tensors.keys()):
        given, expected = _shape(tensors.get(name)), _shape(wanted.get(name))
        if given != expected:
            what = f"{name}: expected {expected}, got {given}"
            raise RunError(
                f"{path}: the weights belong to another architecture or other classes ({what})"
            )
    network.load_state_dict(tensors)
    return network


def read_about(path: Path | str) -> dict[str, Any]:
    """Return what `describe` wrote into a file of weights; raises RunError for a file that is not one of ours."""
    texts, _ = _open(Path(path), with_tensors=False)
    return {key: json.loads(text) for key, text in texts.items() if key != "format"}


def _open(path: Path, with_tensors: bool) -> tuple[dict[str, str], dict[str, Tensor]]:
    try:
        with safe_open(path, "pt") as file:
            texts = file.metadata() or {}
            names = list(file.keys()) if with_tensors else []
            tensors = {name: file.get_tensor(name) for name in names}
    except FileNotFoundError:
        raise RunError(
            f"{path}: no such file; expected weights.safetensors of a retraining"
        ) from None
    except (SafetensorError, OSError) as error:
        raise RunError(f"{path}: damaged, or not a safetensors file ({error})") from error
    if texts.get("format") != FORMAT:
        found = texts.get("format")
        raise RunError(
            f"{path}: expected the format {FORMAT!r}, got {found!r}; weights of another program?"
        )
    return texts, tensors


def _shape(tensor: Tensor | None) -> str:
    return "nothing" if tensor is None else "x".join(map(str, tensor.shape)) or "a number"
