"""The gradient of sampled paths, from comparing a few of them: which does better on one batch?

What is learned is SNAS's objective (Xie et al. 2019): the expectation of the loss over paths, by the probabilities of
their options. Its gradient is the mean of (L - b) grad log p(path) for any b that does not depend on the path (Williams
1992). Here b is the mean loss of the other paths on the same batch (leave one out: Kool, van Hoof and Welling 2019), so
that how hard the batch is falls away, and so does the chance that a path reaches the logits at all.

The straight-through gradient (GDAS) of an option says how the loss changes as its output grows, not whether another
option would do better; in front of a batch norm it is zero. This one runs forward only, so it keeps no activations.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

from nas.relax.network import RelaxedNetwork, Weights
from nas.relax.second_order import Ahead
from nas.relax.weights import ArchitectureParameters

PATHS = 2


def compared(
    architecture: ArchitectureParameters,
    network: RelaxedNetwork,
    draw: Callable[[], Weights],
    value: Callable[[Weights], Tensor],
) -> Ahead:
    """Return the mean loss of `PATHS` drawn paths, and the gradient of the expected loss by what is learned.

    `value(path)` is the loss of one path on the batch; it is not differentiated.
    """
    paths = [numbers(draw()) for _ in range(PATHS)]
    with torch.no_grad():
        losses = torch.stack([value(path) for path in paths])
    others = (losses.sum() - losses) / (PATHS - 1)
    scores = torch.stack([log_chance(architecture, p, network.questions(p)) for p in paths])
    surrogate = ((losses - others).to(scores.device) * scores).mean()
    learned = list(architecture.parameters())
    gradients = torch.autograd.grad(surrogate, learned, allow_unused=True)
    return Ahead(losses.mean(), list(gradients))


def log_chance(
    architecture: ArchitectureParameters, path: Mapping[str, list[float]], asked: Collection[str]
) -> Tensor:
    """Return the logarithm of how probable a path's answers are to the questions that it was asked."""
    pairs = zip(architecture.questions, architecture.logits, strict=True)
    answers = [
        F.log_softmax(logits, 0)[path[question.path].index(1.0)]
        for question, logits in pairs
        if question.path in asked and question.kind != "pick"
    ]
    return torch.stack(answers).sum() if answers else sum(p.sum() for p in architecture.logits) * 0


def numbers(path: Weights) -> dict[str, list[float]]:
    """Return a sampled path's weights as plain numbers: what is 1 runs as it would in a closed network."""
    return {
        name: [float(isinstance(w, Tensor) or w != 0) for w in options]
        for name, options in path.items()
    }
