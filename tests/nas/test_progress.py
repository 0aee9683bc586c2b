import io

from rich.console import Console

from nas.problem import make_problem
from nas.progress import (
    LivePanel,
    PlainLines,
    Silent,
    View,
    make_progress,
    panel,
    running_line,
    trial_line,
)
from nas.record import TrialRecord
from nas.standing import Standing

PROBLEM = make_problem(["miou", "macs"], {"macs": "2G"}, ["50trials", "2h"])


def trial(number, miou, macs, outcome="complete", **facts):
    values = {"miou": miou, "macs": macs} if outcome in {"complete", "duplicate"} else {}
    return TrialRecord(
        number, outcome, f"id{number}", macs=macs, params=1000, values=values, seconds=61, **facts
    )


TRIALS = [
    trial(0, 0.5, 10**9),
    trial(1, 0.4, 2 * 10**9),
    trial(2, 0.6, 2 * 10**9),
    trial(3, 0.6, 2 * 10**9, "duplicate", duplicate_of=2),
    trial(4, 0, 3 * 10**9, "refused", reason="refused: macs 3 G > 2 G"),
    trial(5, 0, 10**9, "failed", reason="failed: RuntimeError: x"),
]


def view(**changes):
    standing = Standing(PROBLEM, TRIALS)
    known = {
        "name": "tiny",
        "problem": PROBLEM,
        "seconds_used": 3600.0,
        "counts": standing.counts,
        "counted": standing.counted,
        "best": standing.best,
        "front": standing.front,
        "running": {6: {"epoch": 3, "loss": 1.25}, 7: {}},
        "epochs": 10,
    }
    return View(**known | changes)


def text_of(renderable):
    stream = io.StringIO()
    Console(file=stream, width=120).print(renderable)
    return stream.getvalue()


def test_the_panel_shows_budget_counts_running_and_front():
    text = text_of(panel(view(note="a note")))
    assert "4 of 50 trials, 46 left; 1h of 2h, 1h left" in text
    assert "best mIoU 0.6000" in text
    assert "3 done, 2 running, 1 failed, 1 refused by limits, 1 duplicates" in text
    assert "trial 6: epoch 3 of 10, loss 1.2500" in text
    assert "trial 7: starting" in text
    assert "front (2)" in text
    rows = [line.split() for line in text.splitlines() if line.startswith("id")]
    assert rows == [
        ["id", "miou", "macs", "params", "trial"],
        ["id2", "0.6000", "2", "G", "1", "k", "2"],
        ["id0", "0.5000", "1", "G", "1", "k", "0"],
    ]
    assert "a note" in text


def test_a_front_too_long_for_the_screen_is_cut_and_says_so():
    standing = Standing(PROBLEM, [trial(i, i / 100, 10**6 * (i + 1)) for i in range(30)])
    text = text_of(panel(view(front=standing.front)))
    assert "front (30)" in text
    assert "and 18 more" in text


def test_lines_of_trials():
    assert trial_line(TRIALS[0]) == "trial 0 id0: mIoU 0.5000, macs 1 G, params 1 k, 1m1s"
    assert trial_line(TRIALS[4]) == "trial 4 id4: refused: macs 3 G > 2 G"
    assert running_line(1, {"epoch": 2}, None) == "  trial 1: epoch 2"


def test_plain_lines_leave_refused_trials_out():
    stream = io.StringIO()
    lines = PlainLines(Console(file=stream, width=200))
    for t in TRIALS:
        lines.ended(view(), t)
    assert [line.split(":")[0] for line in stream.getvalue().splitlines()] == [
        "trial 0 id0",
        "trial 1 id1",
        "trial 2 id2",
        "trial 5 id5",
    ]


def test_a_terminal_gets_a_panel_and_a_file_gets_lines():
    assert isinstance(make_progress(True, io.StringIO()), PlainLines)
    assert isinstance(make_progress(False), Silent)
    stream = io.StringIO()
    live = LivePanel(Console(file=stream, force_terminal=True, width=120))
    live.update(view())
    live.say("a line that stays")
    live.ended(view(seconds_used=3700.0), TRIALS[0])
    live.close()
    live.close()
    assert "a line that stays" in stream.getvalue()
    assert "1h1m40s of 2h" in stream.getvalue()


def test_standing_follows_the_trials():
    standing = Standing(PROBLEM)
    stalled = []
    for t in TRIALS:
        standing.add(t)
        stalled.append(standing.stalled)
    assert [t.number for t in standing.front] == [2, 0]
    assert (standing.counted, standing.best) == (4, 0.6)
    assert stalled == [0, 1, 0, 0, 0, 0]
    standing.add(trial(6, 0.6, 2 * 10**9))
    assert standing.stalled == 1
    standing.add(TrialRecord(7, "running"))
    assert standing.counts.total() == 7
