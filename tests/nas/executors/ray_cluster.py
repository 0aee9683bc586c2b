"""A Ray cluster of real nodes on one machine: each `ray start` in a session of its own, with a token."""

import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

QUICK = (
    '{"health_check_initial_delay_ms": 1000, "health_check_period_ms": 1000,'
    ' "health_check_timeout_ms": 1000, "health_check_failure_threshold": 3}'
)
RAY = (sys.executable, "-m", "ray.scripts.scripts", "start", "--block", "--disable-usage-stats")


class Cluster:
    """A head without room for trials, and nodes that are added and killed; `environment` is what a driver needs."""

    def __init__(self):
        self.folder = Path(tempfile.mkdtemp(prefix="rt-"))  # short: sockets lie in it
        token = self.folder / "token"
        token.touch(mode=0o600)
        token.write_text(secrets.token_hex(32))
        self.environment = {
            "HOME": str(self.folder),
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN_PATH": str(token),
            "RAY_USAGE_STATS_ENABLED": "0",
        }
        self.processes = []
        port = free_port()
        self.address = f"{own_address()}:{port}"
        head = ["--head", f"--port={port}", "--include-dashboard=false", "--num-cpus=0"]
        head += [f"--temp-dir={self.folder}", f"--system-config={QUICK}"]
        self._start(head)
        wait_for(lambda: listens(port), "the head does not listen")

    def add(self, cpus=1, hidden=()):
        """Start a node that does not see the folders `hidden`; return it. It joins a moment later."""
        mounts = "".join(f"mount -t tmpfs none {folder} && " for folder in hidden)
        within = ["unshare", "-rm", "sh", "-c", f'{mounts}exec "$@"', "-"] if hidden else []
        return self._start([f"--address={self.address}", f"--num-cpus={cpus}"], within)

    def kill(self, node):
        """Kill a node: its raylet and all that runs there, at once."""
        for pid in processes_of(node.pid):
            os.kill(pid, signal.SIGKILL)
        node.wait()
        self.processes.remove(node)

    def close(self):
        for process in list(self.processes):
            self.kill(process)
        shutil.rmtree(self.folder, ignore_errors=True)

    def _start(self, arguments, within=()):
        with (self.folder / f"start-{len(self.processes)}.log").open("w") as log:
            process = subprocess.Popen(
                [*within, *RAY, "--object-store-memory=100000000", *arguments],
                stdout=log,
                stderr=subprocess.STDOUT,
                env={**os.environ, **self.environment, "OMP_NUM_THREADS": "1"},
                start_new_session=True,
            )
        self.processes.append(process)
        return process


def hides_folders():
    """Return whether a process may be started here that does not see a folder."""
    return (
        subprocess.run(["unshare", "-rm", "true"], check=False, capture_output=True).returncode == 0
    )


def own_address():
    """Return the address by which Ray calls this machine."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))
            return probe.getsockname()[0]
        except OSError:
            return "127.0.0.1"


def free_port():
    with socket.socket() as probe:
        probe.bind(("", 0))
        return probe.getsockname()[1]


def listens(port):
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def processes_of(pid):
    """Return a process and all that descend from it."""
    parents = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            parents[int(stat.parent.name)] = int(stat.read_text().rpartition(")")[2].split()[1])
        except (OSError, IndexError):
            continue
    found = [pid]
    for one in found:
        found += [child for child, parent in parents.items() if parent == one]
    return found


def raylet_of(node):
    """Return the process that is the node for the rest of the cluster."""
    found = [p for p in processes_of(node.pid) if _command(p).endswith("/raylet")]
    assert len(found) == 1, found
    return found[0]


def _command(pid):
    return Path(f"/proc/{pid}/cmdline").read_bytes().partition(b"\0")[0].decode()


def alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def wait_for(condition, otherwise, seconds=60.0):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, otherwise
        time.sleep(0.05)


def wait_for_room(cluster, cpus):
    """Wait until the nodes that have joined have so many CPUs; this process has the cluster's environment."""
    import ray

    from nas.ray_start import start

    with start(cluster.address):
        wait_for(lambda: ray.cluster_resources().get("CPU", 0) >= cpus, f"no {cpus} CPUs")
