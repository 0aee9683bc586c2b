"""A search must find what random drawing does not, where the answer is planted: a sum over the fields."""

import pytest

pytestmark = pytest.mark.slow


def test_tpe_beats_random_on_a_planted_space(find):
    def best(strategy, seed):
        run = find(
            "real_time",
            folder=f"{strategy}-{seed}",
            strategy=strategy,
            seed=seed,
            budget="100trials",
            objectives=["miou"],
            size=(64, 64),
        )
        return max(t.values["miou"] for t in run.trials() if t.values)

    tpe, random = ([best(s, seed) for seed in range(3)] for s in ("tpe", "random"))
    assert min(tpe) > max(random)


def test_refused_trials_teach_tpe_to_keep_the_limits(find):
    run = find("real_time", strategy="tpe", budget="100trials", size=(64, 64), max_macs="40M")
    trials = run.trials()
    half = len(trials) // 2
    early, late = (
        sum(t.outcome == "refused" for t in part) for part in (trials[:half], trials[half:])
    )
    assert early > 2 * late
