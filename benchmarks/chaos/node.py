"""The programs and the pods of a native cluster's node, by process id.

Only processes in the cluster's own process namespace, or below its own cgroup, are ever found: of
the machine and of other clusters nothing can be ended from here.
"""

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from cluster import Cluster, ClusterError
from examples.waiting import wait_until

PROC: Final = Path("/proc")
READY_SECONDS: Final = 90


class Node:
    """Handles on what runs in one cluster."""

    def __init__(self, cluster: Cluster, proc: Path = PROC) -> None:
        self._cluster, self._proc = cluster, proc

    def require(self) -> None:
        """Raise ClusterError where processes cannot be found or may not be ended."""
        provider = self._cluster.provider.name
        if provider != "native":
            raise ClusterError(
                f"cluster {self._cluster.name!r} has provider {provider!r}: only the programs of a "
                "native one are processes of this machine",
                "add --provider native, on Linux",
            )
        if os.geteuid() != 0:
            raise ClusterError(
                "the programs of a native cluster belong to root, and some are to be ended",
                "run it as root",
            )

    def end(self, program: str) -> None:
        """End a program without a goodbye; the cluster's first process starts it again."""
        before = self.inner_id(program)
        _kill(self.host_id(program))
        wait_until(
            f"{program} to be started again",
            lambda: self.inner_id(program),
            lambda pid: pid not in (0, before),
            within=READY_SECONDS,
            every=0.1,
        )

    def await_api(self) -> None:
        """Wait until the API server is ready."""
        wait_until(
            "the API server to be ready",
            self._cluster.provider.healthy,
            bool,
            within=READY_SECONDS,
            every=0.2,
        )

    def end_below(self, cgroup: str, program: str = "") -> int:
        """End the processes of a cgroup of the cluster at once; return how many there were.

        `cgroup` is a part of its path, such as `pod` with a pod's uid. `program` leaves the others
        alone.
        """
        found = [pid for pid in self._below(cgroup) if program in ("", self._program(pid))]
        for pid in found:
            _kill(pid)
        return len(found)

    def _below(self, cgroup: str) -> Iterator[int]:
        """Return the processes of the cluster whose cgroup has this part in its path."""
        root = f"/modelrelease-{self._cluster.name}/"
        for pid in self._all():
            paths = self._read(pid, "cgroup")
            if root in paths and cgroup in paths:
                yield pid

    def _program(self, pid: int) -> str:
        return self._read(pid, "comm").strip()

    def inner_id(self, program: str) -> int:
        """Return a program's id as the cluster's first process has it, 0 while it does not run."""
        return int(self._cluster.state.read("pids").get(program, 0))

    def host_id(self, program: str) -> int:
        """Return a program's id on this machine."""
        inner = self.inner_id(program)
        found = [pid for pid in self._beside_the_first() if self._ids(pid)[-1:] == [inner]]
        if len(found) == 1:
            return found[0]
        raise ClusterError(
            f"cluster {self._cluster.name!r}: {program} is no process of its own",
            f"python -m cluster status --name {self._cluster.name}",
        )

    def first(self) -> int:
        """Return the id of the cluster's first process on this machine."""
        return int(self._cluster.state.read("native").get("pid", 0))

    def _beside_the_first(self) -> Iterator[int]:
        """Return what runs in the process namespace of the cluster, without its pods."""
        space = self._space(self.first())
        return (pid for pid in self._all() if space and self._space(pid) == space)

    def _all(self) -> list[int]:
        return [int(folder.name) for folder in self._proc.glob("[0-9]*")]

    def _space(self, pid: int) -> str:
        try:
            return str((self._proc / str(pid) / "ns" / "pid").readlink())
        except OSError:
            return ""

    def _ids(self, pid: int) -> list[int]:
        """Return a process's ids, from this machine's inwards."""
        for line in self._read(pid, "status").splitlines():
            if line.startswith("NSpid:"):
                return [int(each) for each in line.split()[1:]]
        return []

    def _read(self, pid: int, file: str) -> str:
        try:
            return (self._proc / str(pid) / file).read_text()
        except OSError:
            return ""


def _kill(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return
