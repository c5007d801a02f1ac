"""The first process inside a native cluster's namespaces: it sets them up, and runs programs.

Started as `unshare … python init.py STATE BIN`; it uses the standard library alone, because nothing
else need be there. When it ends, the kernel ends everything else in its process namespace, unmounts
what was mounted and removes the node's network: that is the whole of the clean-up.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import ssl
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

INSIDE = Path("/run/cluster")
LINK = "eth0"


def log(text: str) -> None:
    """Write a line to the log of this process."""
    print(time.strftime("%H:%M:%S"), text, flush=True)


def command(*words: str | Path) -> None:
    """Run a command that must succeed."""
    subprocess.run([str(word) for word in words], check=True)


def mount_everything(state: Path, programs: Path) -> None:
    """Give the cluster its own /run, /var/lib and /var/log, then let kubelet's mounts spread."""
    run = state / "run"
    for folder in ("run", "var-lib", "logs"):
        (state / folder).mkdir(exist_ok=True)
    command("mount", "--no-mtab", "-t", "tmpfs", "-o", "mode=755", "tmpfs", run)
    for name, source in {"cluster": state, "bin": programs}.items():
        (run / name).mkdir()
        command("mount", "--no-mtab", "--bind", source, run / name)
    command("mount", "--no-mtab", "--move", run, "/run")
    command("mount", "--no-mtab", "--bind", INSIDE / "var-lib", "/var/lib")
    command("mount", "--no-mtab", "--bind", INSIDE / "logs", "/var/log")
    command("mount", "--no-mtab", "--make-rshared", "/")


def set_up_network(plan: dict[str, Any]) -> None:
    """Wait for the link from the host, then route Services to it, where kube-proxy sees them."""
    while (
        subprocess.run(["ip", "link", "show", LINK], capture_output=True, check=False).returncode
        != 0
    ):
        time.sleep(0.05)
    command("ip", "link", "set", "lo", "up")
    command("ip", "address", "add", plan["address"], "dev", LINK)
    command("ip", "link", "set", LINK, "up")
    command("ip", "route", "add", plan["services"], "dev", LINK)
    for setting in ("net/ipv4/ip_forward", "net/bridge/bridge-nf-call-iptables"):
        file = Path("/proc/sys") / setting
        if file.exists():
            file.write_text("1")


class Programs:
    """Starts programs, remembers their process ids, and starts again what has ended."""

    def __init__(self) -> None:
        self.commands: dict[str, list[str]] = {}
        self.running: dict[int, str] = {}

    def start(self, name: str, words: list[str]) -> None:
        """Start a program with a log of its own."""
        self.commands[name] = words
        with (INSIDE / "logs" / f"{name}.log").open("ab") as sink:
            child = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=sink, stderr=sink)
        self.running[child.pid] = name
        child.returncode = 0  # reaped below, by waitpid for all children
        self._record()

    def reap(self, *, block: bool) -> None:
        """Collect ended children, ours and those of dead shims, and restart ours."""
        while True:
            try:
                pid, status = os.waitpid(-1, 0 if block else os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            name = self.running.pop(pid, None)
            if name is not None:
                log(f"{name} ended with {os.waitstatus_to_exitcode(status)}; starting it again")
                time.sleep(1)
                self.start(name, self.commands[name])

    def _record(self) -> None:
        """Show which programs run, by their process ids inside."""
        text = json.dumps({name: pid for pid, name in self.running.items()})
        temporary = INSIDE / "pids.json.new"
        temporary.write_text(text)
        temporary.rename(INSIDE / "pids.json")


def api_ready(url: str) -> bool:
    """Ask the API server whether it is ready; anyone may."""
    context = ssl.create_default_context(cafile=str(INSIDE / "pki" / "ca.crt"))
    opener = urllib.request.build_opener(
        urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context)
    )
    try:
        with opener.open(url, timeout=2) as response:
            return bool(response.status == 200)
    except (urllib.error.URLError, OSError):
        return False


def main() -> None:
    """Set up, start what the API needs, then the rest, and stay."""
    state, programs = Path(sys.argv[1]), Path(sys.argv[2])
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    plan = json.loads((state / "node.json").read_text())
    mount_everything(state, programs)
    os.chdir("/")
    socket.sethostname(plan["hostname"])
    set_up_network(plan)
    group = Programs()
    for name, words in plan["first"].items():
        group.start(name, words)
    while not api_ready(plan["api"]):
        group.reap(block=False)
        time.sleep(0.1)
    log("the API server is ready")
    for name, words in plan["then"].items():
        group.start(name, words)
    while True:
        group.reap(block=True)
        time.sleep(0.1)


if __name__ == "__main__":
    main()
