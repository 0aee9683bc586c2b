"""The score of one architecture with the supernet's weights: a hint, not a result, since nothing was trained for it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from nas.relax.network import RelaxedNetwork, Weights
from nas.relax.weights import one_hot
from nas.task import Task
from nas.train import score

Batches = Iterable[tuple[Tensor, Tensor]]
Normed = nn.modules.batchnorm._BatchNorm  # noqa: SLF001 - what all batch norms have in common has no public name


class OneHot(nn.Module):
    """The closed network inside of a relaxed one: (N, 3, H, W) to what the network gives."""

    def __init__(self, network: RelaxedNetwork, weights: Weights) -> None:
        super().__init__()
        self.network, self.weights = network, weights

    def forward(self, image: Tensor) -> Any:
        return self.network(image, self.weights)


def one_hot_score(
    network: RelaxedNetwork,
    asked: Mapping[str, Any],
    decisions: Mapping[str, int],
    task: Task,
    *,
    settle: Batches,
    held: Batches,
) -> dict[str, Any]:
    """Return the task's metric of one architecture over `held`, with the weights that it shares with all others.

    The running statistics of batch norms are of mixtures: those of this architecture are taken from the batches of
    `settle` (Guo et al. 2020, section 3.4, recalibrate likewise), and the network's own put back afterwards.
    """
    closed = OneHot(network, one_hot(asked, decisions))
    with _statistics_of_its_own(network):
        closed.train()
        device = next(network.parameters()).device
        with torch.no_grad():
            for images, _ in settle:
                closed(images.to(device))
        return score(closed, task, held)


@contextmanager
def _statistics_of_its_own(network: nn.Module) -> Iterator[None]:
    """Let batch norms average over what they see in this block, from nothing; then all is as it was."""
    was_training = network.training
    norms = [m for m in network.modules() if isinstance(m, Normed) and m.track_running_stats]
    kept = [{name: buffer.clone() for name, buffer in m.named_buffers()} for m in norms]
    momenta = [m.momentum for m in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None
    try:
        yield
    finally:
        for norm, buffers, momentum in zip(norms, kept, momenta, strict=True):
            norm.momentum = momentum
            for name, buffer in norm.named_buffers():
                buffer.copy_(buffers[name])
        network.train(was_training)
