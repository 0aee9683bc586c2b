"""What a network does across the images of a batch, done across all ranks: batch norm and dropout.

Nothing in a network is exchanged for it. The functions of `torch.nn.functional` are caught on their way, whoever calls
them: layers, candidates that run as one, a user's own block.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode

from nas.parallel.batch_norm import batch_norm
from nas.parallel.ranks import Ranks


class AsOne(TorchFunctionMode):
    """Batch norm and dropout are those of the whole batch while this is entered.

    Statistics are taken from all ranks' images. For dropout each rank draws for all of them, from generators that all
    ranks have seeded alike, and takes its slice: what is left out is what one process leaves out.
    Alpha dropout is not caught, nor are numbers that a block draws by itself.
    """

    def __init__(self, ranks: Ranks) -> None:
        super().__init__()
        dropouts = (F.dropout, F.dropout1d, F.dropout2d, F.dropout3d)
        self._own: Mapping[Any, Callable[..., Tensor]] = {
            F.batch_norm: _bound(batch_norm, ranks),
            **{made: _bound(_dropout, ranks, made) for made in dropouts},
        }

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        return self._own.get(func, func)(*args, **(kwargs or {}))


def _bound(function: Callable[..., Tensor], *first: Any) -> Callable[..., Tensor]:
    return lambda *args, **kwargs: function(*first, *args, **kwargs)


def _dropout(  # noqa: PLR0917 (called as what it stands for is)
    ranks: Ranks,
    function: Callable[..., Tensor],
    x: Tensor,
    p: float = 0.5,
    training: bool = True,
    inplace: bool = False,
) -> Tensor:
    """Return this rank's slice of what `function` would make of the whole batch."""
    if not training or p == 0:
        return function(x, p, training, inplace)
    shape = (len(x) * ranks.number, *x.shape[1:])
    ones = torch.empty_strided(shape, x.stride(), dtype=x.dtype, device=x.device).fill_(1)
    kept = ranks.part(function(ones, p, True, True))
    return x.mul_(kept) if inplace else x * kept
