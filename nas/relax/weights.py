"""Weights of the questions: one-hot for an architecture's decisions, softmax or sampled for architecture parameters."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nas.relax.gates import Question
from nas.relax.network import Weights

START = 1e-3
"""Standard deviation of the architecture parameters at the start (Auto-DeepLab, section 5.1)."""


def one_hot(asked: Mapping[str, Question], decisions: Mapping[str, int]) -> Weights:
    """Return the weights of one architecture: 1 for what was decided, 0 for all else.

    `decisions` are those that close the space; a question that they leave out (on a branch not taken) has zeros only.
    """
    weights = {path: [0.0] * len(q.labels) for path, q in asked.items()}
    for path, index in decisions.items():
        for option in asked[path].ways[index]:
            weights[path][option] = 1.0
    return weights


class ArchitectureParameters(nn.Module):
    """One vector per choice (alpha) and per place of a walk (beta). A pick takes all of its sources while searching.

    Drawn from N(0, 0.001) by `seed`, as in Auto-DeepLab.
    """

    def __init__(self, asked: Iterable[Question], seed: int = 0) -> None:
        super().__init__()
        asked = tuple(asked)
        generator = torch.Generator().manual_seed(seed)
        self.questions = tuple(q for q in asked if q.kind != "pick")
        self.fixed: Weights = {q.path: [1.0] * len(q.labels) for q in asked if q.kind == "pick"}
        self.logits = nn.ParameterList(
            torch.randn(len(q.labels), generator=generator) * START for q in self.questions
        )

    def probabilities(self) -> dict[str, Tensor]:
        """Return softmax(logits) of every question. Of a walk: over the moves away from a place, so they sum to 1."""
        pairs = zip(self.questions, self.logits, strict=True)
        return {q.path: F.softmax(logits, 0) for q, logits in pairs}

    def softmax(self) -> Weights:
        """Return the weights of the mixture with every option in it (Auto-DeepLab, eq. 3 and 6; DARTS, eq. 2)."""
        return {**self.fixed, **{path: p.unbind() for path, p in self.probabilities().items()}}

    def gumbel(self, temperature: float, generator: torch.Generator) -> Weights:
        """Return weights of one sampled option per question: 1 in the forward pass, in the backward softmax's gradient.

        softmax((logits + g) / temperature) with g from Gumbel(0, 1), its largest taken straight through (GDAS, Dong and
        Yang 2019, eq. 3 and 5; SNAS, Xie et al. 2019). All other options are the number 0: they are not run.
        """
        sampled = {}
        for question, logits in zip(self.questions, self.logits, strict=True):
            uniform = torch.rand(len(question.labels), generator=generator).clamp_(1e-9, 1 - 1e-9)
            soft = F.softmax((logits - (-uniform.log()).log().to(logits.device)) / temperature, 0)
            index = int(soft.argmax())
            options: list[float | Tensor] = [0.0] * len(question.labels)
            options[index] = 1 + soft[index] - soft[index].detach()
            sampled[question.path] = options
        return {**self.fixed, **sampled}
