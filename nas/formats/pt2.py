"""PyTorch's own exported program (`torch.export`), for AOTInductor, ExecuTorch and a Python without this package."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor, nn


class Pt2:
    """`.pt2`, loaded with `torch.export.load`; what ONNX keeps as metadata is its extra file `metadata.json`."""

    suffix = ".pt2"
    runtime = "torch.export"

    def write(
        self,
        network: nn.Module,
        example: Tensor,
        path: Path,
        *,
        dynamic: bool,
        metadata: Mapping[str, str],
    ) -> None:
        import torch

        axes = (0, 2, 3) if dynamic else (0,)
        shapes = (dict.fromkeys(axes, torch.export.Dim.DYNAMIC),)
        program = torch.export.export(network, (example,), dynamic_shapes=shapes)
        torch.export.save(program, path, extra_files={"metadata.json": json.dumps(dict(metadata))})

    def open(self, path: Path, threads: int) -> Callable[[Tensor], Tensor]:  # noqa: ARG002
        import torch

        module = torch.export.load(path).module()

        def run(images: Tensor) -> Tensor:
            with torch.inference_mode():
                return module(images)  # type: ignore[no-any-return]

        return run
