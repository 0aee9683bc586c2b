"""Weights of the questions: one-hot for an architecture's decisions, softmax or sampled for architecture parameters."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

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
    """One vector per choice (alpha) and per place of a walk (beta), drawn from N(0, 0.001) by `seed` (Auto-DeepLab).

    A pick takes all of its sources while searching: each fully, or with `edges` as softmax of a vector of its own says,
    so that they sum to 1 (the edge normalisation of PC-DARTS, Xu et al. 2020; where there are more than it keeps).
    """

    def __init__(self, asked: Iterable[Question], seed: int = 0, *, edges: bool = False) -> None:
        super().__init__()
        asked = tuple(asked)
        generator = torch.Generator().manual_seed(seed)
        picks = tuple(q for q in asked if q.kind == "pick")
        self.every: Weights = {q.path: [1.0] * len(q.labels) for q in picks}
        """What takes all sources of all picks fully."""
        self.fixed: Weights = {} if edges else self.every
        self.questions = tuple(q for q in asked if q.kind != "pick") + (picks if edges else ())
        self.logits = nn.ParameterList(
            torch.randn(len(q.labels), generator=generator) * START for q in self.questions
        )

    def probabilities(self, temperature: float = 1.0) -> dict[str, Tensor]:
        """Return softmax(logits / temperature) of every question.

        Of a walk: over the moves away from a place, so they sum to 1.
        """
        return {
            q.path: F.softmax(logits / temperature, 0)
            for q, logits in zip(self.questions, self.logits, strict=True)
        }

    def softmax(self, temperature: float = 1.0) -> Weights:
        """Return the weights of the mixture with every option in it (Auto-DeepLab, eq. 3 and 6; DARTS, eq. 2)."""
        found = self.probabilities(temperature)
        return {**self.fixed, **{path: p.unbind() for path, p in found.items()}}

    def entropies(self, temperature: float = 1.0) -> dict[str, Tensor]:
        """Return the entropy of every question in nats, with a gradient that is finite where an option has died out."""
        found = {}
        for question, logits in zip(self.questions, self.logits, strict=True):
            logs = F.log_softmax(logits / temperature, 0)
            found[question.path] = -(logs.exp() * logs).sum()
        return found

    def gumbel(self, temperature: float, generator: torch.Generator) -> Weights:
        """Return weights of one sampled option per question: 1 in the forward pass, in the backward softmax's gradient.

        softmax((logits + g) / temperature) with g from Gumbel(0, 1), its largest taken straight through (GDAS, Dong and
        Yang 2019, eq. 3 and 5; SNAS, Xie et al. 2019). All other options are the number 0: they are not run.
        Sources of picks are not sampled.
        """
        sampled: dict[str, Sequence[float | Tensor]] = {}
        for question, logits in zip(self.questions, self.logits, strict=True):
            if question.kind == "pick":
                sampled[question.path] = F.softmax(logits, 0).unbind()
                continue
            uniform = torch.rand(len(question.labels), generator=generator).clamp_(1e-9, 1 - 1e-9)
            soft = F.softmax((logits - (-uniform.log()).log().to(logits.device)) / temperature, 0)
            index = int(soft.argmax())
            options: list[float | Tensor] = [0.0] * len(question.labels)
            options[index] = 1 + soft[index] - soft[index].detach()
            sampled[question.path] = options
        return {**self.fixed, **sampled}
