"""A small driver: one job, Ctrl-C asks it to stop, then one more job. Run as `driver.py PLUGIN HOW`."""

import signal
import sys

from nas.executors import Job, Pool, Result, make


def main():
    executor = make(Pool())
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: executor.stop_current())
    plugin, how = sys.argv[1:]
    executor.submit(job(plugin, how))
    first = next(event for _ in iter(int, 1) for event in executor.poll(1))
    (worker,) = executor.pids
    print(worker, flush=True)
    print(result(executor).state, flush=True)
    executor.submit(job(plugin, "well"))
    second = result(executor)
    print(second.state, second.metrics["pid"] == worker, flush=True)
    executor.close()
    return first


def job(plugin, how):
    recipe = {"how": how}
    return Job(
        number=0,
        architecture="{}",
        seed=0,
        evaluator="misbehaving",
        recipe=recipe,
        plugins=(plugin,),
    )


def result(executor):
    while True:
        for event in executor.poll(1):
            if isinstance(event, Result):
                return event


if __name__ == "__main__":
    main()
