"""What expected costs add to the loss of the architecture: to come to targets, to keep limits, to be cheap.

Costs off a target or limit count as shares, e = cost / target - 1; a multiplier m of each learns by gradient ascent,
m += pressure * e.

- a target, met from both sides: m * e + stiffness / 2 * e^2, an augmented Lagrangian (LightNAS, Luo et al. 2021, is the
  same without the square);
- a limit: the same while m + stiffness * e is above 0 and nothing otherwise, m never below 0: the augmented Lagrangian
  of an inequality. A cost that stays below its limit adds nothing;
- a weight: weight * log(cost). It is the logarithm of MnasNet's product, accuracy * (cost / T)^w (Tan et al. 2019), for
  a loss that stands for -log(accuracy): twice the cost is worth weight * log(2) of loss. Its T would add a constant.
"""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from nas.errors import TrainingError, suggest
from nas.relax.mixing import Mixing


class Penalty:
    """The costs' part of the loss, with a multiplier for each target and limit."""

    def __init__(self, mixing: Mixing, known: Mapping[str, object]) -> None:
        for name in mixing.costs:
            if name not in known:
                raise TrainingError(f"no cost is called {name!r}; {suggest(name, known)}")
        self._mixing = mixing
        self.multipliers = dict.fromkeys([*mixing.targets, *mixing.limits], 0.0)

    def __call__(self, costs: Mapping[str, Tensor]) -> Tensor | float:
        """Return what expected costs add to the loss, after moving the multipliers by them."""
        total: Tensor | float = 0.0
        for name, target in self._mixing.targets.items():
            excess = costs[name] / target - 1
            self.multipliers[name] += self._mixing.pressure * float(excess.detach())
            total = total + self._lagrangian(name, excess)
        for name, limit in self._mixing.limits.items():
            excess = costs[name] / limit - 1
            moved = self.multipliers[name] + self._mixing.pressure * float(excess.detach())
            self.multipliers[name] = max(0.0, moved)
            if self.multipliers[name] + self._mixing.stiffness * float(excess.detach()) > 0:
                total = total + self._lagrangian(name, excess)
        for name, weight in self._mixing.weights.items():
            total = total + weight * costs[name].log()
        return total

    def _lagrangian(self, name: str, excess: Tensor) -> Tensor:
        return self.multipliers[name] * excess + self._mixing.stiffness / 2 * excess**2
