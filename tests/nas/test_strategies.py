import optuna
import pytest

from nas import strategies
from nas.errors import NasError


@pytest.mark.parametrize("name", list(strategies.STRATEGIES))
def test_the_same_seed_draws_the_same(name):
    def drawn(seed):
        study = optuna.create_study(sampler=strategies.find(name)(seed))
        choose = strategies.chooser(study.ask())
        return [choose(f"p{i}", list(range(50))) for i in range(8)]

    assert drawn(3) == drawn(3) != drawn(4)


def test_an_unknown_strategy_names_the_closest():
    with pytest.raises(NasError, match="did you mean 'nsga2'"):
        strategies.find("nsga")


@pytest.mark.parametrize(
    ("options", "ordered"),
    [
        ([1, 2, 4], True),
        ([0.25, 0.5], True),
        ([3, 1], False),
        ([1, 1], False),
        (["a", "b"], False),
        ([False, True], False),
    ],
)
def test_rising_numbers_are_ordered(options, ordered):
    assert strategies.is_ordered(options) is ordered


def test_labels_tell_options_apart():
    options = [
        {"mbconv": {"kernel": 3}},
        {"mbconv": {"kernel": 5}},
        {"none": {}},
        [6, 12],
        None,
        "x",
    ]
    assert strategies.labels(options) == ["mbconv#0", "mbconv#1", "none", "[6,12]", "null", "x"]
    long = [["x" * 50, i] for i in range(2)]
    assert len(set(strategies.labels(long))) == 2


def test_numbers_are_integers_and_kinds_are_categories():
    trial = optuna.create_study(sampler=strategies.find("random")(0)).ask()
    choose = strategies.chooser(trial)
    choose("width", [8, 16])
    choose("cell", [{"a": {}}, {"b": {}}])
    assert choose("only", ["one"]) == 0
    kinds = {name: type(d).__name__ for name, d in trial.distributions.items()}
    assert kinds == {"width": "IntDistribution", "cell": "CategoricalDistribution"}
