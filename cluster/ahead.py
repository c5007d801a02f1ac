"""Runs side by side what takes different things: to compile processors, to fetch the network."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, as_completed

from cluster.errors import ClusterError
from cluster.progress import say


def side_by_side(*jobs: Callable[[], object]) -> None:
    """Run jobs at once and wait for all; an error is said then, and raised when all have ended."""
    with ThreadPoolExecutor(len(jobs)) as pool:
        running = [pool.submit(job) for job in jobs]
        for job in as_completed(running):
            if isinstance(error := job.exception(), ClusterError):
                say(f"failed, and the rest goes on: {error.problem}")
    for job in running:
        job.result()
