"""A driver with a Ray of its own: one job, which a signal ends. Run as `ray_driver.py HOW`."""

import signal
import sys
import tempfile
from pathlib import Path

from nas.executors import Epoch, Pool, Result, make
from tests.nas.executors.contract import job


def main():
    with tempfile.TemporaryDirectory() as folder:
        executor = make(Pool(executor="ray", workers=1))
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda *_: executor.stop_current())
        executor.submit(job(sys.argv[1], cache=Path(folder) / "cache"))
        while not (result := look(executor)):
            pass
        print(result.state, flush=True)
        executor.close()


def look(executor):
    for event in executor.poll(1):
        if isinstance(event, Epoch):
            print("epoch", flush=True)
        if isinstance(event, Result):
            return event
    return None


if __name__ == "__main__":
    main()
