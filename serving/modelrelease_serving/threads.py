"""How many threads numerical libraries may use: as many as the container's share of CPU carries.

They would count the node's cores instead, and a pool as wide as the node on a pod's one CPU makes
every prediction slower. Imports nothing, because it has to run before numpy is imported.
"""

import os
from collections.abc import Mapping, MutableMapping
from pathlib import Path
from typing import Final

CGROUP: Final = Path("/sys/fs/cgroup")
_POOLS: Final = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


def pin(environment: MutableMapping[str, str] = os.environ, *, cgroup: Path = CGROUP) -> None:
    """Set the size of every pool that `environment` does not; OMP_NUM_THREADS speaks for all."""
    number = environment.get(_POOLS[0]) or str(share(cgroup))
    for name in _POOLS:
        environment.setdefault(name, number)
    # A pool of processes beside the one that answers would be copies of the model.
    environment.setdefault("JOBLIB_MULTIPROCESSING", "0")


def chosen(environment: Mapping[str, str] = os.environ) -> int:
    """Return how many threads were chosen, of a list the first: for what reads no variable."""
    first = environment.get(_POOLS[0], "").partition(",")[0].strip()
    return max(1, int(first)) if first.isdecimal() else 1


def share(cgroup: Path = CGROUP) -> int:
    """Return the whole CPUs of the container's limit, at least one; one where there is no limit."""
    quota, period = _limit(cgroup)
    return max(1, quota // period) if quota > 0 and period > 0 else 1


def _limit(cgroup: Path) -> tuple[int, int]:
    """Return quota and period in microseconds, of cgroup 2 or else 1; zeros without a limit."""
    for files in (
        [cgroup / "cpu.max"],
        [cgroup / f"cpu/cpu.cfs_{name}_us" for name in ("quota", "period")],
    ):
        try:
            quota, period = " ".join(file.read_text(encoding="ascii") for file in files).split()
            return int(quota), int(period)
        except (OSError, ValueError):
            continue
    return 0, 0
