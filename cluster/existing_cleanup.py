"""Manners in a cluster of the user's: disturb nothing there, and take out only what we put in."""

from __future__ import annotations

import json
from pathlib import Path

from cluster import addons, shell, toolchain
from cluster.addons import Kubectl
from cluster.errors import ClusterError
from cluster.progress import say, step
from cluster.state import State

MARKER = "modelrelease-cluster"
RECORD = "borrowed"


def marker(kubectl: Kubectl, *, check: bool = True) -> dict[str, str]:
    """Read the mark that an `up` left in a cluster; none is empty."""
    configmap = ["configmap", MARKER, "-n", "kube-system"]
    text = kubectl("get", *configmap, "-o", "json", "--ignore-not-found", check=check)
    data: dict[str, str] = json.loads(text).get("data", {}) if text.strip() else {}
    return data


def enter(kubectl: Kubectl, state: State) -> None:
    """Refuse where something of others would be overwritten; note what was there before us."""
    existing = marker(kubectl)
    if existing and existing.get("id") == state.read("cluster").get("id"):
        return
    if existing:
        raise ClusterError(
            (
                f"this context is the cluster that `up --name {existing.get('name')}` made or "
                "borrowed already"
            ),
            f"use it as such: leave out --context and add --name {existing.get('name')}",
        )
    if _exists(kubectl, "deployment", "prometheus", "-n", "monitoring"):
        raise ClusterError(
            (
                "Deployment monitoring/prometheus is in this context and not ours: it would be "
                "overwritten"
            ),
            "use another cluster, or leave out --context for one that is made for you",
        )
    state.write(RECORD, {"namespace existed": _exists(kubectl, "namespace", "monitoring")})


def note_operator(state: State, kubeconfig: Path) -> None:
    """Note, before the first installation, whether the operator was there before us."""
    record = state.read(RECORD)
    if "operator existed" in record:
        return
    status = [toolchain.helm(), f"--kubeconfig={kubeconfig}", "status", "modelrelease"]
    existed = (
        shell.run([*status, "--namespace", "modelrelease-system"], check=False).returncode == 0
    )
    if existed:
        say("the operator was in this cluster before us: it is upgraded, and `down` will leave it")
    state.write(RECORD, {**record, "operator existed": existed})


def leave(kubectl: Kubectl, state: State, kubeconfig: Path) -> None:
    """Take out what we put in, if this cluster still carries our mark."""
    identity = state.read("cluster").get("id")
    if not identity or marker(kubectl).get("id") != identity:
        say("the cluster does not carry our mark: nothing in it is touched")
        return
    record = state.read(RECORD)
    with step("taking out what was installed"):
        if record.get("operator existed") is False:
            helm = [toolchain.helm(), f"--kubeconfig={kubeconfig}", "uninstall", "modelrelease"]
            shell.run([*helm, "--namespace", "modelrelease-system", "--wait"], check=False)
            kubectl("delete", "namespace", "modelrelease-system", "--ignore-not-found")
        addons.remove_prometheus(kubectl, and_namespace=not record.get("namespace existed", True))
        kubectl("delete", "configmap", MARKER, "-n", "kube-system", "--ignore-not-found")


def _exists(kubectl: Kubectl, *resource: str) -> bool:
    return bool(kubectl("get", *resource, "-o", "name", "--ignore-not-found").strip())
