"""How options are mixed: stored and read back, ranges refused with what was expected, schedules end where they say."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest

from nas.errors import RecipeError
from nas.relax.mixing import Mixing

MANY: dict[str, Any] = {
    "form": "gumbel",
    "order": 2,
    "temperature": (3.0, 0.1),
    "entropy": (0.0, 0.1),
    "edges": True,
    "partial": 4,
    "targets": {"macs": 1e9},
    "limits": {"params": 2e6},
    "weights": {"latency_ms": 0.1},
}


@pytest.mark.parametrize("changes", [{}, MANY])
def test_it_comes_back_from_plain_data(changes: dict[str, Any]) -> None:
    mixing = Mixing(**changes)
    plain = json.loads(json.dumps(mixing.to_dict()))
    assert Mixing(**plain) == Mixing.of(plain) == mixing


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({"form": "sigmoid"}, "form: got 'sigmoid'; known: softmax, gumbel"),
        ({"order": 3}, "order: got 3; known: 1, 2"),
        ({"order": True}, "order: got True"),
        ({"partial": 0}, "partial: expected a whole number from 1, got 0"),
        ({"partial": 2.5}, "partial: expected a whole number from 1, got 2.5"),
        ({"warmup": 1.5}, "warmup: expected 0 to 1, got 1.5"),
        ({"lr": float("nan")}, "lr: expected a number, got nan"),
        ({"temperature": [5.0]}, "temperature: expected two numbers"),
        ({"temperature": [5.0, 0.0]}, "temperature: expected 0.001 to 1000, got 0"),
        ({"entropy": None}, "entropy: expected two numbers"),
        ({"limits": {"macs": 0}}, "limits.macs: expected a number above zero, got 0"),
        ({"weights": {"macs": -1}}, "weights.macs: expected a number above zero, got -1"),
        ({"targets": 1e9}, "targets: expected costs with numbers"),
        ({"targets": {"macs": 1}, "limits": {"macs": 2}}, "macs has a target and a limit"),
    ],
)
def test_values_out_of_range_are_refused(changes: dict[str, Any], what: str) -> None:
    with pytest.raises(RecipeError) as error:
        Mixing(**changes)
    assert what in str(error.value)


def test_an_unknown_field_is_refused_with_the_closest() -> None:
    with pytest.raises(RecipeError, match="'temprature'; did you mean 'temperature'"):
        Mixing.of({"temprature": [1, 2]})


@pytest.mark.parametrize("epochs", [1, 2, 7])
def test_schedules_begin_and_end_where_they_say(epochs: int) -> None:
    mixing = Mixing(temperature=(4.0, 0.25), entropy=(-0.1, 0.3), skip_dropout=0.4, warmup=0.0)
    assert mixing.temperature_at(0, epochs) == 4.0
    assert mixing.entropy_at(0, epochs) == -0.1
    assert mixing.skip_dropout_at(0, epochs) == 0.4
    if epochs > 1:
        assert mixing.temperature_at(epochs - 1, epochs) == pytest.approx(0.25)
        assert mixing.entropy_at(epochs - 1, epochs) == pytest.approx(0.3)
        assert mixing.skip_dropout_at(epochs - 1, epochs) == 0.0


def test_the_weight_of_entropy_begins_when_the_architecture_learns() -> None:
    mixing = Mixing(warmup=0.5, entropy=(1.0, 2.0))
    assert [mixing.learns(e, 6) for e in range(6)] == [False] * 3 + [True] * 3
    assert [mixing.entropy_at(e, 6) for e in range(3, 6)] == [1.0, 1.5, 2.0]


def test_temperatures_that_are_not_given_are_the_forms() -> None:
    assert [Mixing().temperature_at(e, 5) for e in range(5)] == [1.0] * 5
    assert Mixing(form="gumbel").temperature_at(4, 5) == pytest.approx(0.5)


def test_it_loads_without_torch() -> None:
    code = "import sys, nas.relax.mixing; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
