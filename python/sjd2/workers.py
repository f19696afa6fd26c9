"""Many processes that draw one run, by Ray Data: an actor per GPU, whose death, back-pressure and retries are Ray's.

A row of the data set is the number of a group. An actor that dies takes nothing along but the groups it was given: Ray
hands them out again, and what is not in the folder yet is drawn.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterator, Mapping
from typing import Any

from .many import Drawer, Job

STORE = 128 << 20  # bytes of Ray's object store: rows are numbers and records, pictures go to the folder


class Actor:
    """One process with the model.

    Args:
        job: what to draw; the model is loaded with the first group.
        directory: that relative paths are seen from.
    """

    def __init__(self, job: Job, directory: str) -> None:
        os.chdir(directory)
        self.job = job
        self.drawer: Drawer | None = None

    def __call__(self, row: Mapping[str, Any]) -> dict[str, str]:
        """Draw a group.

        Args:
            row: its number as ``group``.

        Returns: the group's records as JSON, or the text of an error that a user can mend: Ray would wrap it.
        """
        from .cli import ERRORS
        from .commands._models import thread_limit

        try:
            self.drawer = self.drawer or self.job.start()
            with thread_limit(self.drawer.pipe):
                records = self.drawer.draw(self.job.groups[int(row["group"])])
        except ERRORS as error:
            return {"records": "[]", "error": str(error) or repr(error)}
        return {"records": json.dumps(records), "error": ""}


def draw_by_actors(job: Job, workers: int, device: str) -> Iterator[list[dict[str, Any]]]:
    """Draw the groups of a job in several processes, on the Ray cluster of RAY_ADDRESS or on this machine.

    Args:
        job: every process must see its folder.
        workers: actors.
        device: "cuda", a GPU for each, or "cpu".

    Returns: an iterator over the records of each group, in the order in which they end.

    Raises: ModuleNotFoundError that names the install line where Ray is missing; ValueError for more actors than there
        are GPUs or cores, or for what an actor cannot mend.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        import ray
        import ray.data
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError("--workers needs Ray: pip install 'sjd2-kernels[ray]'") from error

    address = os.environ.get("RAY_ADDRESS")
    local: dict[str, Any] = {} if address else {
        "num_cpus": max(workers, os.cpu_count() or 1), "object_store_memory": STORE, "include_dashboard": False
    }  # fmt: skip
    ray.init(address=address or "local", logging_level=logging.WARNING, **local)
    try:
        check_resources(ray.cluster_resources(), workers, device)  # type: ignore[no-untyped-call]
        logging.getLogger("ray.data").setLevel(logging.WARNING)
        ray.data.DataContext.get_current().enable_progress_bars = False
        rows = [{"group": number} for number in range(len(job.groups))]
        drawn = ray.data.from_items(rows, override_num_blocks=len(rows)).map(
            Actor,  # type: ignore[arg-type]  # Ray makes one per process
            fn_constructor_args=(job, os.getcwd()),
            compute=ray.data.ActorPoolStrategy(size=workers, max_tasks_in_flight_per_actor=2),
            num_cpus=1,
            num_gpus=1 if device == "cuda" else 0,
        )
        for row in drawn.iter_rows():
            if row["error"]:
                raise ValueError(row["error"])
            yield json.loads(row["records"])
    finally:
        ray.shutdown()


def check_resources(there: Mapping[str, float], workers: int, device: str) -> None:
    """Refuse more actors than Ray can place: it would wait for the machines to come.

    Args:
        there: resources of the cluster by Ray's names.
        workers, device: as in `draw_by_actors`.

    Raises: ValueError.

    Example:
        >>> check_resources({"CPU": 8, "GPU": 2}, 2, "cuda")
    """
    name = "GPU" if device == "cuda" else "CPU"
    if there.get(name, 0) < workers:
        raise ValueError(f"workers must be at most the {int(there.get(name, 0))} {name}s that Ray sees, got {workers}")
