"""A single real node on this Linux machine, in namespaces of its own; see `cluster/native`."""

from __future__ import annotations

import functools
import json
import os
import shlex
import signal
import sys
from collections.abc import Iterator
from ipaddress import IPv4Network
from pathlib import Path

from cluster import archive, cache, shell, toolchain
from cluster.errors import ClusterError
from cluster.names import Subnets, free_subnets, link_name
from cluster.native.config import CONTAINERD_SOCKET, PAUSE_IMAGE, Node
from cluster.native.host import install_packages
from cluster.native.pki import Pki
from cluster.progress import say, step
from cluster.state import State, all_clusters

INIT = Path(__file__).parent.parent / "native" / "init.py"
CGROUPS = Path("/sys/fs/cgroup")


class Native:
    """Starts, inspects and ends the namespaces of one cluster."""

    name = "native"
    creates = True

    def __init__(self, state: State) -> None:
        self.state = state
        self.controller_qps: int | None = None
        """Requests a second that the controllers may make; None for Kubernetes' own default."""

    # -- what runs ----------------------------------------------------------------------------

    def _pid(self) -> int | None:
        """Process id of the cluster's first process on the host, if it is still that process."""
        record = self.state.read("native")
        pid, started = record.get("pid"), record.get("started")
        return pid if pid and started and _start_time(pid) == started else None

    def _subnets(self) -> Subnets | None:
        index = self.state.read("native").get("index")
        return None if index is None else Subnets(index)

    def healthy(self) -> bool:
        """Tell whether the namespaces live and the API server in them is ready."""
        return self._pid() is not None and toolchain.api_ready(self.state.kubeconfig)

    def status(self) -> dict[str, str]:
        """Say where the node is and which programs run in it."""
        pid, subnets = self._pid(), self._subnets()
        if pid is None or subnets is None:
            return {"node": "not running"}
        programs = ", ".join(sorted(self.state.read("pids")))
        return {
            "node": f"process {pid}, address {subnets.node_ip}, link {link_name(self.state.name)}",
            "programs": programs,
            "logs": str(self.state.folder / "logs"),
        }

    # -- up -----------------------------------------------------------------------------------

    def modules(self) -> tuple[toolchain.Module, ...]:
        """Name Kubernetes."""
        return (toolchain.kubernetes(),)

    def up(self) -> None:
        """Compile, configure and start, unless all of it runs already."""
        if self.state.read("native").get("complete") and self.healthy():
            self._require_same_controllers()
            say(f"cluster {self.state.name!r} runs already and is healthy: using it")
            return
        if self.state.read("native"):
            say(f"cluster {self.state.name!r} was left half made or has died: starting over")
            self.down()
        install_packages("node")
        toolchain.kubectl()
        kubernetes = toolchain.kubernetes()
        toolchain.compile_all(*self.modules())
        node = self._configure()
        with step(
            f"starting the control plane and the node {node.hostname} at {node.subnets.node_ip}"
        ):
            self._start(kubernetes.target)
            self._connect(node.subnets)
        advice = f"read the logs in {self.state.folder / 'logs'}"
        shell.wait_until(
            "the API server", lambda: toolchain.api_ready(self.state.kubeconfig), 120, advice
        )
        shell.wait_until("containerd", self._containerd_answers, 60, advice)
        self._import(
            archive.single_program(
                PAUSE_IMAGE, kubernetes.target / "pause", self.state.folder / "pause.tar"
            )
        )
        shell.wait_until("the node", lambda: bool(self._nodes()), 60, advice)
        self.state.write("native", {**self.state.read("native"), "complete": True})

    def _require_same_controllers(self) -> None:
        runs_with = self.state.read("native").get("controller_qps")
        if self.controller_qps not in (None, runs_with):
            raise ClusterError(
                f"cluster {self.state.name!r} runs with controllers at {runs_with or 'the usual'} "
                f"requests a second, not {self.controller_qps}",
                f"choose another --name, or first: python -m cluster down --name {self.state.name}",
            )

    def _nodes(self) -> str:
        command = [*toolchain.kubectl(self.state.kubeconfig), "get", "nodes", "-o", "name"]
        return shell.run(command, check=False).stdout.strip()

    def _containerd_answers(self) -> bool:
        return shell.run([*self._inside(), *self._store(), "version"], check=False).returncode == 0

    def _configure(self) -> Node:
        """Choose subnets and write every file, under a lock: no other cluster takes the same."""
        link = link_name(self.state.name)
        if _link_exists(link):
            raise ClusterError(
                (
                    f"the network link {link} exists, and not by this user's cluster "
                    f"{self.state.name!r}"
                ),
                "choose another --name; or, if nothing uses it: ip link delete " + link,
            )
        with cache.lock("subnets"):
            subnets = free_subnets(self.state.name, _networks_in_use(self.state.name))
            self.state.create()
            self.state.write(
                "native", {"index": subnets.index, "controller_qps": self.controller_qps}
            )
        node = Node(self.state.name, subnets, self.controller_qps)
        with step("making certificates and configuration"):
            pki = Pki(self.state.folder / "pki", subnets, node.hostname)
            pki.make()
            for file, text in node.files().items():
                path = self.state.folder / file
                path.parent.mkdir(exist_ok=True)
                path.write_text(text)
            (self.state.folder / "logs").mkdir()
            self.state.kubeconfig.touch(mode=0o600)
            self.state.kubeconfig.write_text(
                pki.kubeconfig("admin", f"modelrelease-{self.state.name}")
            )
        return node

    def _start(self, programs: Path) -> None:
        """Start the first process in new namespaces, detached from here, and record its id."""
        for path in self._cgroups():
            path.mkdir(exist_ok=True)
        inside = ["unshare", "--mount", "--net", "--pid", "--uts", "--ipc"]
        inside += ["--fork", "--mount-proc", "--kill-child"]
        inside += [sys.executable, "-I", str(INIT), str(self.state.folder), str(programs)]
        note, log = self.state.folder / "unshare.pid", self.state.folder / "logs" / "init.log"
        script = (
            f"exec >{shlex.quote(str(log))} 2>&1 </dev/null; echo $$ >{shlex.quote(str(note))}; "
        )
        shell.run(
            ["setsid", "--fork", "sh", "-c", script + f"exec {shlex.join(inside)}"], timeout=20
        )
        outer = self._await_number(note)
        inner = self._await_child(outer)
        record = self.state.read("native")
        self.state.write(
            "native", {**record, "pid": inner, "started": _start_time(inner), "unshare": outer}
        )

    def _await_number(self, note: Path) -> int:
        if shell.poll(lambda: note.exists() and note.read_text().endswith("\n"), 10):
            return int(note.read_text())
        raise ClusterError(
            "unshare did not start within 10 s", f"read {self.state.folder}/logs/init.log"
        )

    def _await_child(self, outer: int) -> int:
        if shell.poll(lambda: bool(_children(outer)), 10):
            return _children(outer)[0]
        log = self.state.folder / "logs" / "init.log"
        raise ClusterError(
            f"no process was started in new namespaces: {log.read_text().strip()}", f"read {log}"
        )

    def _connect(self, subnets: Subnets) -> None:
        """Lay the link between the host and the node, and route the cluster's addresses over it."""
        pid, link = self._pid(), link_name(self.state.name)
        shell.run(
            ["ip", "link", "add", link, "type", "veth", "peer", "name", "eth0", "netns", str(pid)]
        )
        shell.run(["ip", "address", "add", f"{subnets.host_ip}/24", "dev", link])
        shell.run(["ip", "link", "set", link, "up"])
        shell.run(
            ["ip", "route", "replace", str(subnets.services), "via", subnets.node_ip, "dev", link]
        )
        shell.run(
            ["ip", "route", "replace", str(subnets.pods), "via", subnets.node_ip, "dev", link]
        )

    # -- images -------------------------------------------------------------------------------

    def load_image(self, archive_path: Path, reference: str) -> None:
        """Import an archive into containerd's store for Kubernetes."""
        with step(f"loading {reference} into the node"):
            self._import(archive_path)

    def _import(self, archive_path: Path) -> None:
        shell.run(
            [*self._inside(), *self._store(), "images", "import", "-"], stdin_file=archive_path
        )

    def _store(self) -> list[str]:
        return ["ctr", "--address", CONTAINERD_SOCKET, "--namespace", "k8s.io"]

    def _inside(self) -> list[str]:
        pid = self._pid()
        if pid is None:
            raise ClusterError(
                f"cluster {self.state.name!r} is not running",
                f"python -m cluster up --name {self.state.name}",
            )
        return ["nsenter", "--target", str(pid), "--mount", "--net", "--pid", "--"]

    # -- down ---------------------------------------------------------------------------------

    def down(self) -> None:
        """End the first process: the kernel ends the rest and unmounts; then remove the remains."""
        with step(f"ending all processes of cluster {self.state.name!r}"):
            for pid in self._processes():
                _kill(pid)
        if self.state.read("native"):
            link = link_name(self.state.name)
            if _link_exists(link):
                shell.run(["ip", "link", "delete", link], check=False)
            for path in self._cgroups():
                _remove_cgroup(path)
        self.state.remove()

    def _processes(self) -> Iterator[int]:
        """Find the processes around and inside of the namespaces, recorded or not (in a crash)."""
        pid = self._pid()
        if pid is not None:
            yield pid
        for proc in Path("/proc").glob("[0-9]*"):
            words = _command_line(proc)
            runs_init = any(Path(word).name == INIT.name for word in words)
            if runs_init and str(self.state.folder) in words:
                yield int(proc.name)

    def _cgroups(self) -> list[Path]:
        """Name this cluster's cgroup in every hierarchy of the machine (version 2 has one)."""
        name = Node(self.state.name, Subnets(0)).cgroup
        if (CGROUPS / "cgroup.controllers").exists():
            return [CGROUPS / name]
        return [hierarchy / name for hierarchy in CGROUPS.iterdir() if hierarchy.is_dir()]


def _link_exists(link: str) -> bool:
    return Path("/sys/class/net", link).exists()


def _start_time(pid: int) -> str:
    """Return when a process began, in the kernel's ticks; with the id it names it for good."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return ""
    return "" if fields[0] in "ZX" else fields[19]


def _children(pid: int) -> list[int]:
    try:
        return [
            int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        ]
    except FileNotFoundError:
        return []


def _command_line(proc: Path) -> list[str]:
    try:
        return (proc / "cmdline").read_bytes().decode(errors="replace").split("\0")
    except OSError:
        return []


def _kill(pid: int) -> None:
    """End a process at once and wait until it is gone; being gone already is as good."""
    started = _start_time(pid)
    if pid == os.getpid() or not started:
        return
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return
    if not shell.poll(lambda: _start_time(pid) != started, 60):
        raise ClusterError(
            f"process {pid} lives on 60 s after SIGKILL",
            f"see what it waits for: cat /proc/{pid}/stack",
        )


def _remove_cgroup(path: Path) -> None:
    """Remove a cgroup from its leaves up; the kernel may see the last process go a moment later."""
    for folder in [*sorted((p for p in path.rglob("*") if p.is_dir()), reverse=True), path]:
        shell.poll(functools.partial(_removed, folder), 5)


def _removed(folder: Path) -> bool:
    try:
        folder.rmdir()
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return True


def _networks_in_use(name: str) -> list[IPv4Network]:
    """List what the host routes already, and what other clusters have chosen."""
    routes = json.loads(shell.output(["ip", "-json", "route", "show", "table", "main"]))
    networks = [
        IPv4Network(route["dst"], strict=False) for route in routes if route["dst"] != "default"
    ]
    for state in all_clusters():
        index = state.read("native").get("index")
        if state.name != name and index is not None:
            networks.append(Subnets(index).all)
    return networks
