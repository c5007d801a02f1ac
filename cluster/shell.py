"""Run the host's programs; a failure becomes an error that shows the command and its last words."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from cluster.errors import ClusterError
from cluster.progress import step

Command = Sequence[str | Path]


def text(command: Command) -> str:
    """Show a command as one could type it."""
    return shlex.join(str(word) for word in command)


def environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """Build a child's environment: ours, the system folders on PATH, and `extra`."""
    folders = os.environ.get("PATH", "").split(os.pathsep)
    folders += [
        folder for folder in ("/usr/sbin", "/sbin", "/usr/bin", "/bin") if folder not in folders
    ]
    return {**os.environ, "PATH": os.pathsep.join(folders), **(extra or {})}


def has(program: str) -> bool:
    """Tell whether the host has a program."""
    return shutil.which(program, path=environment()["PATH"]) is not None


def run(
    command: Command,
    *,
    stdin: str | None = None,
    stdin_file: Path | None = None,
    env: Mapping[str, str] | None = None,
    check: bool = True,
    cwd: Path | None = None,
    timeout: float | None = None,
) -> subprocess.CompletedProcess[str]:
    """Run a short command to its end and return what it printed."""
    try:
        with (stdin_file or Path(os.devnull)).open("rb") as source:
            child = subprocess.Popen(
                [str(word) for word in command],
                stdin=source if stdin is None else subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                errors="replace",
                env=environment(env),
                cwd=cwd,
            )
    except FileNotFoundError as error:
        raise ClusterError(f"`{command[0]}` is not on this machine: {error}") from error
    with child:
        try:
            printed, complained = child.communicate(stdin, timeout=timeout)
        except subprocess.TimeoutExpired as error:
            child.kill()
            raise ClusterError(f"`{text(command)}` had not ended after {timeout:.0f} s") from error
        except BaseException:
            child.kill()
            raise
    if check and child.returncode != 0:
        raise failure(command, child.returncode, complained or printed)
    return subprocess.CompletedProcess(list(command), child.returncode, printed, complained)


def output(command: Command) -> str:
    """Run a command and return its standard output without the last newline."""
    return run(command).stdout.rstrip("\n")


def failure(command: Command, code: int, words: str) -> ClusterError:
    """Describe a command that failed by its code and the end of what it printed."""
    tail = "\n".join(f"    {line}" for line in words.strip().splitlines()[-15:])
    return ClusterError(
        f"`{text(command)}` ended with code {code}:\n{tail or '    (it printed nothing)'}"
    )


def stream(
    title: str,
    command: Command,
    log: Path,
    *,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    detail: Callable[[str, int], str] = lambda line, _: line,
) -> None:
    """Run a long command: all it prints goes to `log`, and a heartbeat says how far it is.

    `detail(last_line, lines_so_far)` words the progress.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    last, count = "", 0
    with log.open("w") as sink, step(title, lambda: detail(last, count)[:100]):
        child = subprocess.Popen(
            [str(word) for word in command],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            env=environment(env),
            cwd=cwd,
        )
        with child:
            assert child.stdout is not None  # noqa: S101 - told to Popen above
            for line in child.stdout:
                last, count = line.strip() or last, count + 1
                sink.write(line)
                sink.flush()
        if child.returncode != 0:
            raise failure(command, child.returncode, log.read_text()[-4000:])


def poll(ready: Callable[[], bool], seconds: float) -> bool:
    """Ask `ready` again and again until it says yes, or time is up."""
    deadline = time.monotonic() + seconds
    while not ready():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.1)
    return True


def wait_until(
    condition: str, ready: Callable[[], bool], seconds: float, next_step: str = ""
) -> None:
    """Wait aloud for something; the error names what never came about, and after how long."""
    with step(f"waiting for {condition}"):
        if not poll(ready, seconds):
            raise ClusterError(f"{condition}: not there after {seconds:.0f} s", next_step)
