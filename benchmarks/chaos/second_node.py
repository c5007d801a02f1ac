"""A second real node beside the first one: a kubelet and a containerd of its own.

Both run in the namespaces of the native cluster and share its bridge, so pods of both nodes reach
each other; kube-proxy is shared, too. What is in its pods lies below a cgroup of its own, so all of
the node can be ended at once. It goes with the cluster.
"""

import json
import os
import signal
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from benchmarks.chaos.node import Node
from cluster import Cluster, imageset
from cluster.engines import engine
from cluster.native.config import BIN, CONTAINERD, INSIDE, PAUSE_IMAGE
from cluster.progress import step
from examples.waiting import wait_until

NAME: Final = "second"
TAINT: Final = "modelrelease.dev/leaves"
SOCKET: Final = "/run/containerd-second/containerd.sock"
CGROUPS: Final = Path("/sys/fs/cgroup")
PORT: Final = 10350
READY_SECONDS: Final = 90

Object = dict[str, Any]


@dataclass(kw_only=True)
class SecondNode:
    """Comes and goes."""

    cluster: Cluster
    node: Node
    _programs: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def come(self) -> None:
        """Start it, load the predictor's image, and wait until pods can run there."""
        with step("starting a second node"):
            self._write()
            self._start("containerd", "containerd", f"--config={INSIDE}/second/containerd.toml")
            wait_until("the second containerd", self._answers, bool, within=READY_SECONDS)
            self._import(self.cluster.state.folder / "pause.tar")
            serving, _ = imageset.build_once(imageset.SERVING, engine(self.cluster.provider.name))
            self._import(serving)
            self._start(
                "kubelet", f"{BIN}/kubelet", f"--config={INSIDE}/second/kubelet.yaml",
                f"--kubeconfig={INSIDE}/second/kubeconfig", f"--hostname-override={NAME}",
                "--root-dir=/var/lib/kubelet-second", "--cert-dir=/var/lib/kubelet-second/pki",
                f"--register-with-taints={TAINT}=true:NoSchedule", f"--node-ip={self._address()}",
            )  # fmt: skip
            wait_until("the second node", self._is_there, bool, within=READY_SECONDS)
            ready = ("wait", "--for=condition=Ready", f"node/{NAME}", "--timeout=90s")
            self.cluster.kubectl(*ready)

    def go(self) -> None:
        """End everything of it at once, as a power cut does."""
        for program in self._programs:
            for child in _children(program.pid):
                os.kill(child, signal.SIGKILL)
            program.wait()
        self._programs.clear()
        self.node.end_below(f"/{NAME}/")

    def forget(self) -> None:
        """Remove the Node object, as a cloud does after a while: what it had is gone then, too."""
        self.cluster.kubectl("delete", "node", NAME, "--ignore-not-found", "--wait=false")

    def _folder(self) -> Path:
        return self.cluster.state.folder / NAME

    def _write(self) -> None:
        """Write its configuration."""
        self._folder().mkdir(exist_ok=True)
        (self._folder() / "containerd.toml").write_text(containerd_config())
        kubelet = kubelet_config(self._first_kubelet(), self._cgroup())
        (self._folder() / "kubelet.yaml").write_text(json.dumps(kubelet))
        # As the administrator: the first node's certificate may register no other one.
        kubeconfig = self._folder() / "kubeconfig"
        kubeconfig.touch(mode=0o600)
        kubeconfig.write_text(self.cluster.kubeconfig.read_text())
        for path in self._cgroup_folders():
            path.mkdir(exist_ok=True)

    def _first_kubelet(self) -> Object:
        """Return the first node's configuration."""
        text = (self.cluster.state.folder / "kubelet.yaml").read_text()
        config: Object = json.loads(text)
        return config

    def _address(self) -> str:
        """Return the address that both have: they differ by their ports."""
        address: str = self._first_kubelet()["address"]
        return address

    def _cgroup(self) -> str:
        return f"/modelrelease-{self.cluster.name}/{NAME}"

    def _cgroup_folders(self) -> list[Path]:
        """Name its cgroup in every hierarchy of the machine (version 2 has one)."""
        below = self._cgroup().lstrip("/")
        if (CGROUPS / "cgroup.controllers").exists():
            return [CGROUPS / below]
        return [each / below for each in CGROUPS.iterdir() if (each / below).parent.is_dir()]

    def _start(self, name: str, *words: str) -> None:
        """Start a program inside."""
        log = self.cluster.state.folder / "logs" / f"{name}-{NAME}.log"
        with log.open("ab") as sink:
            child = subprocess.Popen(
                [*self._inside(), *words], stdin=subprocess.DEVNULL, stdout=sink, stderr=sink
            )
        self._programs.append(child)

    def _inside(self) -> list[str]:
        spaces = ("--mount", "--net", "--pid", "--uts", "--ipc")
        return ["nsenter", "--target", str(self.node.first()), *spaces, "--"]

    def _ctr(self, *words: str) -> list[str]:
        return [*self._inside(), "ctr", "--address", SOCKET, "--namespace", "k8s.io", *words]

    def _answers(self) -> bool:
        asked = subprocess.run(self._ctr("version"), capture_output=True, check=False)
        return asked.returncode == 0

    def _import(self, archive: Path) -> None:
        with archive.open("rb") as file:
            subprocess.run(
                self._ctr("images", "import", "-"), stdin=file, capture_output=True, check=True
            )

    def _is_there(self) -> bool:
        return bool(self.cluster.kubectl("get", "node", NAME, "-o", "name", check=False))


def containerd_config() -> str:
    """Return the first node's configuration with other places."""
    text = CONTAINERD.format(socket=SOCKET, pause=PAUSE_IMAGE, inside=INSIDE)
    for place in ("/var/lib/containerd", "/run/containerd"):
        text = text.replace(f'"{place}"', f'"{place}-{NAME}"')
    return text


def kubelet_config(first: Object, cgroup: str) -> Object:
    """Return the first node's configuration with other places and ports."""
    return first | {
        "containerRuntimeEndpoint": f"unix://{SOCKET}",
        "cgroupRoot": cgroup,
        "port": PORT,
        "healthzPort": 0,
        "podLogsDir": f"/var/log/pods-{NAME}",
    }


def _children(pid: int) -> list[int]:
    """Return the children of a process: nsenter's is the program, in the cluster's namespaces."""
    try:
        return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []
