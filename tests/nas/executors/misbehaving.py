"""A user's file with an evaluator that does what `recipe: {how: ...}` says, after one good epoch."""

import ctypes
import os
import signal
import sys
import time

from nas.evaluators import evaluator


def wait_for_stop(stop):
    while not stop():
        time.sleep(0.01)


def print_much():
    print("noise " * 20_000)
    os.write(1, b"noise from native code\n" * 1000)


WAYS = {
    "well": lambda stop: None,
    "print": lambda stop: print_much(),
    "read": lambda stop: sys.stdin.read(),
    "raise": lambda stop: 1 / 0,
    "memory": lambda stop: bytearray(1 << 60),
    "exit": lambda stop: sys.exit(3),
    "kill": lambda stop: os.kill(os.getpid(), signal.SIGKILL),
    "segfault": lambda stop: ctypes.string_at(8),
    "wait": wait_for_stop,
    "hang": lambda stop: ctypes.PyDLL(None).sleep(100),
}


@evaluator("misbehaving")
class Misbehaving:
    def __init__(self):
        self.jobs = 0

    def evaluate(self, architecture, job, stop):
        self.jobs += 1
        how = job.recipe["how"]
        if how == "nothing":
            return
        yield {"epoch": 1, "loss": 1.5}
        if how in WAYS:
            WAYS[how](stop)
        if stop():
            return
        yield {
            "miou": float("nan") if how == "nan" else 0.25,
            "pid": os.getpid(),
            "jobs": self.jobs,
        }
