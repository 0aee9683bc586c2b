"""Superpixels of a batch of images, in tensors of fixed shapes: SLIC (Achanta et al. 2012), all pixels at once."""

from __future__ import annotations

import itertools

import torch
import torch.nn.functional as F
from torch import Tensor

NEAR = tuple(itertools.product((-1, 0, 1), repeat=2))


def superpixels(image: Tensor, cell: int, compactness: float, steps: int) -> Tensor:
    """Return which superpixel each pixel of an image (N, 3, H, W) belongs to: (N, H, W), int64, numbered by row.

    There is one superpixel for each of ceil(H / cell) x ceil(W / cell) cells, which may end empty. They begin as the
    cells; in each of `steps` every pixel goes to that of its own and the 8 neighbouring cells' whose mean colour and
    place are nearest, d^2 = |colour|^2 + (compactness / cell)^2 |place|^2, and the means are taken anew. No gradient.
    Other than published SLIC: colours are the image's own, not CIELAB, nothing moves the seeds off edges at the start,
    and parts that are not connected stay as they are.
    """
    points = with_places(image.detach(), compactness / cell)
    height, width = image.shape[-2:]
    rows = torch.arange(height, device=image.device) // cell
    columns = torch.arange(width, device=image.device) // cell
    home = rows.unsqueeze(1) * cells(width, cell) + columns
    labels = home.expand(image.shape[0], -1, -1)
    centres = torch.zeros_like(points[:, :, ::cell, ::cell])
    for _ in range(steps):
        centres = means(points, labels, centres)
        labels = nearest(points, centres, rows, columns)
    return labels


def cells(size: int, cell: int) -> int:
    """Return how many cells there are along a side: ceil(size / cell)."""
    return (size - 1) // cell + 1


def with_places(image: Tensor, scale: float) -> Tensor:
    """Return colours and places, the latter times `scale`: (N, 5, H, W)."""
    height, width = image.shape[-2:]
    rows = torch.arange(height, device=image.device, dtype=image.dtype) * scale
    columns = torch.arange(width, device=image.device, dtype=image.dtype) * scale
    places = torch.stack(
        [rows.unsqueeze(1).expand(height, width), columns.expand(height, width)]
    ).expand(image.shape[0], -1, -1, -1)
    return torch.cat([image, places], dim=1)


def means(x: Tensor, labels: Tensor, otherwise: Tensor) -> Tensor:
    """Return the mean of x (N, C, H, W) over each label's pixels, of the shape of `otherwise` (N, C, rows, columns).

    Labels are numbered by row; those without a pixel keep the value of `otherwise`.
    """
    index = labels.flatten(1).unsqueeze(1)
    empty = torch.zeros_like(otherwise).flatten(2)
    flat = x.flatten(2)
    sums = empty.scatter_add(2, index.expand_as(flat), flat)
    counts = empty[:, :1].scatter_add(2, index, torch.ones_like(flat[:, :1]))
    found = (sums / counts.clamp(min=1)).reshape(otherwise.shape)
    return torch.where(counts.reshape(otherwise[:, :1].shape) > 0, found, otherwise)


def nearest(points: Tensor, centres: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """Return the label of the nearest centre (N, H, W) among those of a pixel's cell and of the cells around it.

    `points` (N, 5, H, W), `centres` (N, 5, cells, cells); `rows` (H,) and `columns` (W,) say which cell a pixel is in.
    """
    high, wide = centres.shape[-2:]
    around = F.pad(centres, [1] * 4, mode="replicate")
    distances = []
    for y, x in NEAR:
        there = around[:, :, 1 + y : 1 + y + high, 1 + x : 1 + x + wide]
        spread = there.index_select(2, rows).index_select(3, columns)
        distances.append((points - spread).square().sum(1))
    best = torch.stack(distances, dim=1).argmin(dim=1)
    row = (rows.unsqueeze(1) + best // 3 - 1).clamp(0, high - 1)
    column = (columns + best % 3 - 1).clamp(0, wide - 1)
    return row * wide + column
