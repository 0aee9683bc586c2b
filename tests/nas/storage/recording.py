"""A record that trials are written to, without training: drawn, begun, finished."""

from nas import strategies
from nas.record import Record

OBJECTIVES = {"miou": "maximize", "macs": "minimize"}
CHOICES = [8, 16, 32, 64]


def opened(url, study="run", **given):
    return Record(url, study, OBJECTIVES, **given)


def trained(record, parameters=6):
    """Draw the next trial, begin it and finish it."""
    begun(record, parameters)
    number = len(record.trials) - 1
    return record.finish(number, "complete", {"seconds": 0.5, "epochs": [{"epoch": 1}]}, [0.5, 8])


def begun(record, parameters=6):
    """Draw the next trial and begin it."""
    number = record.next_number
    trial = record.ask(strategies.find("random")(number))
    choose = strategies.chooser(trial)
    drawn = [choose(f"p{i}", CHOICES) for i in range(parameters)]
    trial.set_constraint("macs", -0.5)
    return record.begin(trial, {"digest": f"{number}-{drawn}", "macs": 8})


def history(trials):
    return [(t.number, t.outcome, t.digest, dict(t.values), t.seconds) for t in trials]
