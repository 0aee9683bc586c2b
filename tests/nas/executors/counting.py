"""A user's file with an evaluator that counts epochs in its job's folder, and says in a journal where each one ran."""

import json
import os
import time
from pathlib import Path

from nas.atomic import write_atomic
from nas.evaluators import evaluator


@evaluator("counting")
class Counting:
    """Goes on from the last epoch that its folder holds.

    `recipe`: epochs, the journal's folder, and before which epoch to wait until that folder has a file "go".
    """

    def evaluate(self, architecture, job, stop):
        state = job.folder / "state" / "epoch.json"
        done = json.loads(state.read_text())["done"] if state.is_file() else 0
        for epoch in range(done + 1, job.recipe["epochs"] + 1):
            while epoch == job.recipe["wait"] and not (Path(job.recipe["journal"]) / "go").exists():
                if stop():
                    return
                time.sleep(0.01)
            write_atomic(state, json.dumps({"done": epoch}).encode())
            self.note(job, epoch)
            yield {"epoch": epoch, "loss": 1.0 / epoch}
        yield {"miou": 0.5, "pid": os.getpid(), "folder": str(job.folder), "file": __file__}

    def note(self, job, epoch):
        with (Path(job.recipe["journal"]) / f"{job.number}").open("a") as file:
            file.write(f"{epoch} {os.getpid()} {job.folder}\n")
