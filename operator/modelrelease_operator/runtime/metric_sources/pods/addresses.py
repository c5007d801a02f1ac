"""Where the pods of a release show their metrics, as the API server tells it."""

import ipaddress
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from modelrelease_operator.api import names
from modelrelease_operator.runtime.kube import Object

ENDED = ("Succeeded", "Failed")
"""Phases of pods that answer nobody any more: others may have their addresses."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PodAddress:
    """One pod whose page may be read."""

    name: str
    uid: str
    """With the number of its containers' restarts: of one run."""
    revision: str
    ip: str
    ready: bool
    leaving: bool
    """Whether it is on its way out: it answers until it is gone, and then others may have its
    address.
    """
    since: float | None
    """When the newest of its containers that run was started, in unix seconds of its node."""

    def url(self, port: int, path: str) -> str:
        """Return where its page is."""
        host = f"[{self.ip}]" if ":" in self.ip else self.ip
        return f"http://{host}:{port}{path}"


def addresses_of(
    pods: Iterable[Object], release: str, revisions: Iterable[str]
) -> list[PodAddress]:
    """Return the pods of these revisions that may answer.

    Labels are anybody's to set, so a pod must also come from the ReplicaSet of the revision's own
    Deployment. Of two pods with one address the younger one has it: the other is gone, and the API
    server does not know it yet.
    """
    known: dict[str, tuple[str, PodAddress]] = {}
    makers = {revision: names.workload_name(release, revision) for revision in revisions}
    for pod in pods:
        labels = pod["metadata"].get("labels") or {}
        maker = makers.get(labels.get(names.LABEL_REVISION, ""))
        if maker is None or not _comes_from(pod, maker):
            continue
        address = address_of(pod, labels[names.LABEL_REVISION])
        if address is None:
            continue
        made = str(pod["metadata"].get("creationTimestamp") or "")
        other = known.get(address.ip)
        if other is None or other[0] < made or other[1].leaving:
            known[address.ip] = (made, address)
    return [address for _, address in known.values()]


def probers_of(pods: Iterable[Object], release: str, canary: str) -> list[PodAddress]:
    """Return the pods that probe while a revision is the canary."""
    maker = names.prober_name(release, canary)
    ours = [pod for pod in pods if _comes_from(pod, maker)]
    return [address for pod in ours if (address := address_of(pod, canary))]


def address_of(pod: Object, revision: str) -> PodAddress | None:
    """Return a pod's address; None where it has none, or answers nobody any more."""
    meta, status = pod["metadata"], pod.get("status") or {}
    ip = _ip_of(status)
    if ip is None or status.get("phase") in ENDED:
        return None
    containers = status.get("containerStatuses") or ()
    restarts = sum(container.get("restartCount", 0) for container in containers)
    return PodAddress(
        name=meta["name"],
        uid=f"{meta['uid']}/{restarts}",
        revision=revision,
        ip=ip,
        ready=_is_ready(status),
        leaving="deletionTimestamp" in meta,
        since=max(_starts(containers), default=None),
    )


def _ip_of(status: dict[str, Any]) -> str | None:
    """Return a pod's address as it is written in one way; None where it has none."""
    try:
        return str(ipaddress.ip_address(status.get("podIP") or ""))
    except ValueError:
        return None


def _comes_from(pod: Object, deployment: str) -> bool:
    """Return whether a pod's controller is a ReplicaSet of this Deployment."""
    for owner in pod["metadata"].get("ownerReferences") or ():
        if owner.get("kind") == "ReplicaSet" and owner.get("controller"):
            return bool(str(owner.get("name", "")).rpartition("-")[0] == deployment)
    return False


def _is_ready(status: dict[str, Any]) -> bool:
    conditions = status.get("conditions") or ()
    return any(each["type"] == "Ready" and each["status"] == "True" for each in conditions)


def _starts(containers: Iterable[dict[str, Any]]) -> Iterator[float]:
    for container in containers:
        running = (container.get("state") or {}).get("running") or {}
        if at := running.get("startedAt"):
            yield datetime.fromisoformat(at).timestamp()
