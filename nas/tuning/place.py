"""Where the trainings of a tuning run, a Ray that is started for them or a cluster, and what each of them takes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from nas.errors import RunError
from nas.executors.worker import cpus
from nas.pool import RETRIES, Pool
from nas.ray_start import start


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """What one training takes, how many run at once (None: as many as fit), and how often one may lose its worker."""

    cpus: float
    gpus: float
    at_once: int | None
    retries: int

    @property
    def device(self) -> str:
        """What trainings compute on."""
        return "cuda" if self.gpus else "cpu"

    @property
    def threads(self) -> int:
        """Threads of one training."""
        return max(1, int(self.cpus))


def make_place(pool: Pool, scheduler: str) -> Place:
    """Return the place that a pool describes: on this machine one training at a time, with all there is, by default.

    Raises RunError for a Ray client, and where a number of workers would cut a population.
    """
    local = pool.address is None
    if not local and "://" in str(pool.address):
        raise RunError(
            f"{pool.address}: a Ray client shares no files with the cluster; log in to one of its nodes, and give"
            " --address auto there"
        )
    if not local and pool.workers is not None and scheduler == "pbt":
        raise RunError(
            "pbt trains a whole population, as many at once as the cluster has room for; leave --workers out, or set"
            " --cpus-per-trial"
        )
    workers = pool.workers or (1 if local else None)
    share = float(max(1, cpus() // workers)) if local and workers else 1.0
    return Place(
        cpus=pool.cpus_per_trial or share,
        gpus=_gpus(local) if pool.gpus_per_trial is None else pool.gpus_per_trial,
        at_once=None if scheduler == "pbt" else workers,
        retries=RETRIES["ray"] if pool.retries is None else pool.retries,
    )


@contextmanager
def connected(pool: Pool, place: Place) -> Iterator[None]:
    """Start Ray or join the cluster for as long as the trainings run; raises RunError where no node can take one."""
    at_once = pool.workers or 1
    with start(pool.address, cpus=at_once * place.cpus, gpus=at_once * place.gpus):
        import ray

        alive = [node for node in ray.nodes() if node["Alive"]]  # type: ignore[no-untyped-call]
        nodes = [node["Resources"] for node in alive]
        wanted = {"CPU": place.cpus, "GPU": place.gpus}
        if not any(all(node.get(k, 0) >= n for k, n in wanted.items()) for node in nodes):
            has = "; ".join(f"{n.get('CPU', 0):g} CPUs, {n.get('GPU', 0):g} GPUs" for n in nodes)
            told = f"{place.cpus:g} CPUs and {place.gpus:g} GPUs"
            raise RunError(f"one training takes {told}, and the nodes have {has or 'nothing'}")
        yield


def _gpus(local: bool) -> float:
    """Return a GPU per training where this machine has one."""
    import torch

    return 1.0 if local and torch.cuda.is_available() else 0.0
