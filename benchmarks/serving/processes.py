"""Servers as processes: started on one core, looked at through /proc, ended with all that they
started.

A server leads a session of its own. Its processes are those of the session and all that they
started, seen once and then known by their start time, so helpers are found even when they left the
session or lost their parent, and nothing else is ever signalled.
"""

import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from examples.waiting import wait_until

_TICKS: Final = os.sysconf("SC_CLK_TCK")
_PAGE: Final = os.sysconf("SC_PAGE_SIZE")
_GRACE_SECONDS: Final = 3.0
_PARENT, _SESSION, _USER, _SYSTEM, _STARTED, _RESIDENT = 1, 3, 11, 12, 19, 21
"""Fields of /proc/PID/stat after the program's name."""


@dataclass(frozen=True, slots=True)
class Usage:
    """What a server and its helpers have used."""

    cpu_seconds: float
    resident_bytes: int
    processes: int


class Server:
    """A running server and everything that it started."""

    def __init__(self, process: "subprocess.Popen[bytes]", log: Path) -> None:
        self._process = process
        self._started: dict[int, str] = {}
        self.log = log
        self.began = time.monotonic()

    @property
    def alive(self) -> bool:
        """Whether the first process still runs."""
        return self._process.poll() is None

    @property
    def pid(self) -> int:
        """The first process."""
        return self._process.pid

    def usage(self) -> Usage:
        """Look at all processes of the server now."""
        stats = self._processes()
        ticks = sum(int(fields[_USER]) + int(fields[_SYSTEM]) for fields in stats.values())
        pages = sum(int(fields[_RESIDENT]) for fields in stats.values())
        return Usage(cpu_seconds=ticks / _TICKS, resident_bytes=pages * _PAGE, processes=len(stats))

    def last_words(self, lines: int = 12) -> str:
        """Return the end of what it printed."""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])

    def stop(self) -> None:
        """Ask all its processes to end; after a while end them."""
        self._signal(signal.SIGTERM)
        end = time.monotonic() + _GRACE_SECONDS
        while self._processes() and time.monotonic() < end:
            self._process.poll()
            time.sleep(0.02)
        self._signal(signal.SIGKILL)
        self._process.wait()
        wait_until(
            "the server to be gone", self._processes, lambda processes: not processes, within=10
        )

    def _processes(self) -> dict[int, list[str]]:
        """Return the server's living processes, with the fields of their /proc/PID/stat."""
        own = family(_all_processes(), self.pid, self._started)
        self._started = {pid: fields[_STARTED] for pid, fields in own.items()}
        return own

    def _signal(self, number: signal.Signals) -> None:
        for pid in self._processes():
            try:
                os.kill(pid, number)
            except ProcessLookupError:
                continue


def start(
    command: Sequence[str], *, core: int, folder: Path, variables: Mapping[str, str], log: Path
) -> Server:
    """Start a server that may use one core only, with these variables beside our own."""
    with log.open("wb") as output:
        process = subprocess.Popen(
            ["taskset", "--cpu-list", str(core), *command],
            cwd=folder,
            env={**os.environ, **variables},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    return Server(process, log)


def end_well_on_sigterm() -> None:
    """Let a SIGTERM to this program end it as Ctrl-C does, so that no server stays behind."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)


def core_busy_seconds(core: int) -> float:
    """Return for how long a core has worked for anybody since the machine started."""
    for line in Path("/proc/stat").read_text().splitlines():
        name, *values = line.split()
        if name == f"cpu{core}":
            user, nice, system, _idle, _wait, interrupts, soft, stolen, *_ = (
                int(value) for value in values
            )
            return (user + nice + system + interrupts + soft + stolen) / _TICKS
    msg = f"this machine has no core {core}: the server needs one and the load tool another"
    raise OSError(msg)


def family(
    processes: Mapping[int, list[str]], leader: int, started: Mapping[int, str]
) -> dict[int, list[str]]:
    """Return the processes of a session, those known before, and whatever any of them started.

    `known` is by process and start time, so that a number that was given out again means nobody.
    """
    children: dict[int, list[int]] = {}
    for pid, fields in processes.items():
        children.setdefault(int(fields[_PARENT]), []).append(pid)
    waiting = [
        pid
        for pid, fields in processes.items()
        if int(fields[_SESSION]) == leader or started.get(pid) == fields[_STARTED]
    ]
    members: dict[int, list[str]] = {}
    while waiting:
        pid = waiting.pop()
        if pid not in members:
            members[pid] = processes[pid]
            waiting += children.get(pid, [])
    return members


def _all_processes() -> dict[int, list[str]]:
    """Return the fields of /proc/PID/stat after the program's name, of all processes that live."""
    processes = {}
    for entry in Path("/proc").iterdir():
        if not entry.name.isdecimal():
            continue
        try:
            text = (entry / "stat").read_text()
        except OSError:
            continue
        fields = text[text.rindex(")") + 2 :].split()
        if fields[0] != "Z":
            processes[int(entry.name)] = fields
    return processes
