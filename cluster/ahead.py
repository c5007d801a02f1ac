"""Runs side by side what does not wait for each other:
to compile takes processors, to fetch the network.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, as_completed

from cluster.console import say
from cluster.errors import ClusterError


def side_by_side(*jobs: Callable[[], object]) -> None:
    """Run jobs at once and wait for all.
    An error is said at once, and raised when the others have ended.
    """
    with ThreadPoolExecutor(len(jobs)) as pool:
        running = [pool.submit(job) for job in jobs]
        for job in as_completed(running):
            if isinstance(error := job.exception(), ClusterError):
                say(f"failed, and the rest goes on: {error.what}")
    for job in running:
        job.result()
