import io
import json
import os
import signal
import sys

import pytest
import yaml
from rich.console import Console

from nas.architecture import Architecture, load_architecture
from nas.candidates import PATIENCE_COUNTED
from nas.cost import Counter, cost
from nas.errors import DataError, LimitError, RunError, SpaceError
from nas.problem import Budget
from nas.progress import PlainLines
from nas.record import read_seconds, read_trials
from nas.run import Run
from nas.space import load_space
from search_spaces.data import open_data

STRATEGIES = ["tpe", "nsga2", "random"]


def score(architecture):
    return sys.modules["user_planted"].score(architecture)


def outcomes(run):
    return [t.outcome for t in run.trials()]


def history(run):
    return [
        (
            t.number,
            t.outcome,
            t.architecture,
            t.digest,
            t.macs,
            t.params,
            dict(t.values),
            t.seed,
            t.reason,
        )
        for t in run.trials()
    ]


def test_a_search_scores_counts_and_keeps_everything(find):
    run = find()
    trials = run.trials()
    assert run.ended == "budget"
    assert sum(t.counts for t in trials) == 8
    for trial in trials:
        architecture = Architecture(trial.architecture)
        assert trial.architecture_id == architecture.id
        assert architecture.classes == len(open_data("street").classes)
        counted = cost(architecture, size=run.settings.size)
        assert (trial.macs, trial.params) == (counted.macs, counted.params)
        assert trial.values == {"miou": score(architecture), "macs": counted.macs}
    trained = [t for t in trials if t.outcome == "complete"]
    assert [[e["epoch"] for e in t.epochs] for t in trained] == [[1, 2]] * 8
    assert all(t.metrics == {"miou": t.values["miou"], "seed": t.seed} for t in trained)
    assert len({t.digest for t in trained}) == 8


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_resumed_is_uninterrupted(find, strategy):
    whole = find(folder="whole", strategy=strategy, budget="22trials", max_macs="60M")
    part = find(folder="part", strategy=strategy, budget="1trials", max_macs="60M")
    for trials in (3, 13, 22):
        part = find(resume=part.folder, budget=f"{trials}trials")
    assert history(part) == history(whole)


def test_another_seed_finds_another_way(find):
    assert history(find(folder="a", seed=1)) != history(find(folder="b", seed=2))


def test_networks_over_a_limit_are_refused_before_training(find):
    free = find(folder="free", budget="20trials", strategy="random")
    cap = sorted(t.macs for t in free.trials())[10]
    run = find(folder="capped", budget="10trials", strategy="random", max_macs=cap)
    refused = [t for t in run.trials() if t.outcome == "refused"]
    assert refused
    assert all(t.macs > cap and not t.epochs and "macs" in t.reason for t in refused)
    assert all(t.macs <= cap for t in run.trials() if t.outcome == "complete")
    assert sum(t.counts for t in run.trials()) == 10


def test_a_known_network_takes_over_its_score(find):
    run = find(budget="30trials", strategy="random")
    trials = run.trials()
    again = [t for t in trials if t.outcome == "duplicate"]
    assert again
    for trial in again:
        earlier = trials[trial.duplicate_of]
        assert earlier.outcome == "complete"
        assert (earlier.digest, earlier.values) == (trial.digest, trial.values)
        assert trial.reason == f"duplicate of {earlier.number}"


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_a_space_that_is_used_up_ends_the_search(find, small, strategy):
    run = find(small, strategy=strategy, budget="1000trials")
    assert run.ended == "used up"
    assert longest_idle(run.trials()) <= PATIENCE_COUNTED
    space = load_space(small).with_classes(run_classes(run)).with_input((3, *run.settings.size))
    counter = Counter(run.settings.size)
    networks = {counter.count(a).digest for a in space.enumerate()}
    assert sorted(t.digest for t in run.trials() if t.outcome == "complete") == sorted(networks)


def run_classes(run):
    return len(run.settings.classes)


def longest_idle(trials):
    longest = now = 0
    for trial in trials:
        now = 0 if trial.counts else now + 1
        longest = max(longest, now)
    return longest


def test_limits_that_nothing_meets_end_the_search_with_the_reason(find, capfd):
    run = find(max_macs=1, progress=True)
    assert run.ended == "used up"
    assert "no architecture of the space is within the limits (macs 1)" in capfd.readouterr().err


def test_failed_trials_are_on_record_and_count(find):
    run = find(evaluator="planted_raises", budget="12trials")
    failed = [t for t in run.trials() if t.outcome == "failed" and t.counts]
    assert failed
    assert all(t.error["type"] == "RuntimeError" and "planted failure" in t.reason for t in failed)
    assert sum(t.counts for t in run.trials()) == 12


def test_a_search_in_which_everything_fails_ends(find):
    run = find(evaluator="planted_nan", budget="100trials")
    assert run.ended == "failing"
    assert {t.outcome for t in run.trials() if t.counts} == {"failed"}
    assert "nan" in run.trials()[0].reason


def test_starting_points_come_first(find, small, tmp_path):
    space = load_space(small)
    chosen = list(space.enumerate())[5]
    file = tmp_path / "mine.yaml"
    file.write_text(yaml.safe_dump(chosen.tree))
    run = find(start_from=[file], budget="3trials")
    first = run.trials()[0]
    assert first.start_from == str(file)
    mine = chosen.with_classes(run_classes(run)).with_input((3, *run.settings.size))
    assert first.architecture == mine.text
    assert [t.start_from for t in run.trials()][1:].count("") == len(run.trials()) - 1
    again = find(resume=run.folder, budget="4trials")
    assert history(again)[: len(run.trials())] == history(run)


def test_a_starting_point_outside_the_space_is_refused(find):
    with pytest.raises(SpaceError, match="--start-from deeplabv3plus_resnet18: not in the space"):
        find(start_from=["deeplabv3plus_resnet18"])


def test_time_is_a_budget_and_the_trial_in_flight_is_stopped(find):
    run = find(evaluator="planted_slow", budget="1s", strategy="random")
    trials = run.trials()
    assert run.ended == "budget"
    assert trials[-1].outcome == "stopped"
    assert trials[-1].reason == "stopped at the deadline"
    assert not trials[-1].counts
    used = read_seconds(run.study_url)
    assert used >= 1.0
    assert find(resume=run.folder).trials() == trials
    more = find(resume=run.folder, budget=f"{used + 2:.0f}s")
    assert len(more.trials()) > len(trials)
    assert more.problem.budget == Budget(None, round(used + 2))
    assert read_seconds(run.study_url) >= round(used + 2)


def test_the_first_of_two_budgets_ends_it(find):
    run = find(budget=["1h", "2trials"])
    assert (run.ended, sum(t.counts for t in run.trials())) == ("budget", 2)


def test_a_front_that_stalls_ends_the_search(find):
    run = find(stall=3, budget="1000trials", objectives=["miou"])
    trained = [t for t in run.trials() if t.outcome == "complete"]
    scores = [t.values["miou"] for t in trained]
    assert run.ended == "stalled"
    assert max(scores[-3:]) <= max(scores[:-3]) == scores[-4]


def test_a_second_search_in_the_same_folder_is_refused(find):
    find(budget="1trial")
    with pytest.raises(RunError, match="--resume"):
        find(budget="1trial")


def test_a_locked_run_is_refused(find):
    run = find(budget="1trial")
    with run.lock(), pytest.raises(RunError, match=f"process {os.getpid()}"):
        find(resume=run.folder, budget="2trials")


@pytest.mark.parametrize(
    ("asked", "text"),
    [
        ({"space": "real_time"}, "space: the run has small"),
        ({"objectives": ["miou"]}, "objectives"),
        ({"max_params": "3M"}, "limits"),
        ({"data": "street:images=13,size=32x64"}, "data: the run has"),
        ({"seed": 5}, "seed: the run has 0, asked for 5"),
        ({"strategy": "random"}, "strategy: the run has tpe"),
        ({"recipe": {"epochs": 99}}, "recipe.epochs"),
    ],
)
def test_a_resumed_run_must_be_the_same_search(find, asked, text):
    run = find(budget="1trial")
    with pytest.raises(RunError, match=text):
        find(resume=run.folder, **asked)


def test_a_changed_space_file_is_noticed(find):
    run = find(budget="1trial")
    text = run.space_file.read_text()
    run.space_file.write_text(text.replace("48", "40"))
    with pytest.raises(RunError, match="was changed") as error:
        find(resume=run.folder)
    assert "what differs:" in str(error.value)
    changed = [line for line in str(error.value).splitlines() if line[0] in "+-"]
    assert [line[0] for line in changed] == ["-", "+"]
    assert [("48" in line, "40" in line) for line in changed] == [(True, False), (False, True)]
    run.log_file.unlink()
    with pytest.raises(RunError, match=f"digests {run.settings.space_digest} "):
        find(resume=run.folder)


def test_another_space_is_refused_with_what_differs_and_the_same_one_goes_on(find, small):
    run = find(budget="1trial")
    text = small.read_text()
    small.write_text("# the same space\n" + text)
    assert find(small, resume=run.folder, budget="2trials").ended == "budget"
    small.write_text(text.replace("[8, 16]", "[8, 24]"))
    with pytest.raises(RunError, match=r"\n +-let.*16.*\n +\+let.*24"):
        find(small, resume=run.folder, budget="3trials")


def test_the_reporting_split_is_out_of_reach(find):
    with pytest.raises(DataError, match="reported on that split"):
        find(split="val")
    with pytest.raises(DataError, match="trains on"):
        find(split="train")
    with pytest.raises(DataError, match="no split"):
        find(split="tests")


def test_a_batch_larger_than_the_data_is_refused_before_anything_is_planned(find, tmp_path, capsys):
    with pytest.raises(
        DataError, match=r"a batch takes 64 images and there are \d+ to train on.*--batch"
    ):
        find(recipe={"batch": 64}, evaluator="short_training", preflight=True, progress=True)
    assert "planning" not in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    "asked", [{"objectives": ["mious"]}, {"budget": "soon"}, {"max_macs": "big"}, {"stall": 0}]
)
def test_what_makes_no_sense_leaves_no_run(find, tmp_path, asked):
    with pytest.raises(LimitError):
        find(**asked)
    assert not (tmp_path / "run").exists()


def test_the_run_folder_tells_what_happened(find):
    run = find(budget="3trials")
    assert Run.open(run.folder).settings == run.settings
    events = [json.loads(line) for line in (run.folder / "log.jsonl").read_text().splitlines()]
    assert [e["event"] for e in events][:3] == ["created", "started", "began"]
    assert events[-1] | {"event": "ended", "why": "budget"} == events[-1]
    files = {f.stem for f in (run.folder / "architectures").glob("*.yaml")}
    assert files
    assert all(
        load_architecture(f).id == f.stem for f in (run.folder / "architectures").glob("*.yaml")
    )


def test_plain_lines_say_what_was_trained(find):
    stream = io.StringIO()
    run = find(
        budget="3trials", progress=PlainLines(Console(file=stream, width=200, soft_wrap=True))
    )
    lines = stream.getvalue().splitlines()
    trained = [t for t in run.trials() if t.counts]
    for trial, line in zip(trained, lines, strict=False):
        assert line.startswith(
            f"trial {trial.number} {trial.architecture_id}: mIoU {trial.values['miou']:.4f}"
        )
    assert "3 of 3 trials, 0 left" in lines[2]
    assert "the budget is used" in lines[3]


def test_ctrl_c_gives_the_trial_back(find):
    whole = find(folder="whole", budget="6trials")

    class Interrupting(PlainLines):
        """Presses Ctrl-C when the third trial has ended."""

        def ended(self, view, trial):
            if view.counted == 3:
                os.kill(os.getpid(), signal.SIGINT)

    quiet = Interrupting(Console(file=io.StringIO()))
    run = find(folder="run", budget="6trials", progress=quiet)
    assert run.ended == "interrupted"
    assert {"running", "waiting"}.isdisjoint(outcomes(run)[:-1])
    assert run.resume_command == f"nas search --resume {run.folder}"
    assert history(find(resume=run.folder)) == history(whole)


def test_a_second_ctrl_c_stops_at_once(find):
    class Interrupting(PlainLines):
        def ended(self, view, trial):
            os.kill(os.getpid(), signal.SIGINT)
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        find(progress=Interrupting(Console(file=io.StringIO())))


def test_trials_are_read_while_the_search_runs(find):
    seen = []

    class Reading(PlainLines):
        def ended(self, view, trial):
            seen.append([t.number for t in read_trials(url, ["miou", "macs"])])

    run = find(folder="first", budget="1trial")
    url = run.study_url
    find(resume=run.folder, budget="4trials", progress=Reading(Console(file=io.StringIO())))
    assert [len(s) for s in seen] == sorted(len(s) for s in seen)
    assert len(seen[-1]) == len(run.trials())
