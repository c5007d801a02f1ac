"""Reading the cluster into `Seen`: what is, in the words that decisions are made in."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from modelrelease_contract.runtime import EXIT_REFUSED
from modelrelease_operator.api import names
from modelrelease_operator.api.retrain import RetrainOutcome
from modelrelease_operator.core.state import Commands, JobSeen, Workload
from modelrelease_operator.manifests import Owner
from modelrelease_operator.runtime.kube import Kube, Object
from modelrelease_operator.runtime.ownership import checked, is_orphan_of, is_owned
from modelrelease_operator.traffic.replicas import routed_by

RETRAIN_CONTAINER = "retrain"
"""Of a Job's pod: as the Job is made."""
LAST_WORDS = 500
"""Characters of a Job's last words that are repeated: the end says most."""

WAITING_IN_TROUBLE = frozenset(
    {
        "CrashLoopBackOff",
        "CreateContainerConfigError",
        "CreateContainerError",
        "ErrImageNeverPull",
        "ErrImagePull",
        "ImagePullBackOff",
        "InvalidImageName",
        "RunContainerError",
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Owned:
    """What a release owns, as it is."""

    workloads: dict[str, Workload]
    """By revision: everything that has a Deployment of this release, or pods."""
    probers: frozenset[str]
    """Names of Deployments that probe."""
    uids: dict[str, str]
    """By name: the Deployments' uids, for whoever deletes them."""


async def read_workloads(kube: Kube, owner: Owner) -> Owned:
    """Return what runs for a release. A Deployment that only carries its labels is somebody else's."""
    labels = {names.LABEL_RELEASE: owner.name}
    listed = await kube.list("Deployment", owner.namespace, labels)
    found = [item for item in listed if is_owned(item, owner) or is_orphan_of(item, owner)]
    probers = frozenset(
        item["metadata"]["name"] for item in found if names.LABEL_PROBER in item["metadata"].get("labels", {})
    )
    deployments = {_revision(item): item for item in found if item["metadata"]["name"] not in probers}
    pods: dict[str, list[Object]] = defaultdict(list)
    for pod in await kube.list("Pod", owner.namespace, labels):
        if "deletionTimestamp" not in pod["metadata"]:
            pods[_revision(pod)].append(pod)
    workloads = {
        revision: workload_of(revision, deployments.get(revision), pods.get(revision, []))
        for revision in {*deployments, *pods}
        if revision
    }
    uids = {item["metadata"]["name"]: item["metadata"]["uid"] for item in found if is_owned(item, owner)}
    return Owned(workloads=workloads, probers=probers, uids=uids)


async def read_jobs(kube: Kube, owner: Owner) -> tuple[dict[str, JobSeen], dict[str, str]]:
    """Return the Jobs of the release's retrainings by request, and their uids by name."""
    found, uids = {}, {}
    for job in await kube.list("Job", owner.namespace, {names.LABEL_RELEASE: owner.name}):
        request = job["metadata"]["labels"].get(names.LABEL_RETRAIN)
        if request and "deletionTimestamp" not in job["metadata"] and is_owned(job, owner):
            found[request] = await _job_seen(kube, owner.namespace, job)
            uids[job["metadata"]["name"]] = job["metadata"]["uid"]
    return found, uids


async def _job_seen(kube: Kube, namespace: str, job: Object) -> JobSeen:
    """Judge a Job by itself, or by its own container where a sidecar keeps the pod from ending."""
    name = job["metadata"]["name"]
    pods = await kube.list("Pod", namespace, {"batch.kubernetes.io/job-name": name})
    ended = [(pod, state) for pod in pods if (state := _end_of(pod, RETRAIN_CONTAINER))]
    said = max(((state.get("finishedAt", ""), (state.get("message") or "").strip()) for _, state in ended),
               default=("", ""))[1][-LAST_WORDS:]  # fmt: skip
    for kind, outcome in (("Complete", RetrainOutcome.SUCCEEDED), ("Failed", RetrainOutcome.FAILED)):
        if _condition(job, kind) == "True":
            cluster = next(
                (each.get("message", "") for each in job["status"]["conditions"] if each["type"] == kind), ""
            )
            return JobSeen(name=name, outcome=outcome, message=said or cluster)
    if any(state.get("exitCode") == 0 for _, state in ended):
        return JobSeen(name=name, outcome=RetrainOutcome.SUCCEEDED, message=said)
    for pod, state in ended:
        if pod.get("status", {}).get("phase") == "Running":
            code = state.get("exitCode")
            msg = f"{said or 'it'} ended with {code}, while other containers of its pod go on"
            return JobSeen(name=name, outcome=RetrainOutcome.FAILED, message=msg)
    return JobSeen(name=name)


def _end_of(pod: Object, container: str) -> Mapping[str, Any] | None:
    """Return how a container of a pod ended, if it did."""
    for status in pod.get("status", {}).get("containerStatuses", ()):
        if status.get("name") == container:
            ended: Mapping[str, Any] | None = status.get("state", {}).get("terminated")
            return ended
    return None


async def read_route(kube: Kube, owner: Owner, revisions: Iterable[str]) -> frozenset[str] | None:
    """Return which revisions the main Service selects, or None while it does not exist.

    Raises Invalid when a Service of that name belongs to somebody else: it is not taken over.
    """
    found = await kube.known("Service", owner.namespace, names.service_names(owner.name)[0])
    service = checked(found, owner, "Service") if found else None
    return routed_by(service["spec"].get("selector") or {}, revisions) if service else None


def commands_of(release: Object) -> Commands:
    """Return what a person asks by annotation."""
    annotations = release["metadata"].get("annotations") or {}
    return Commands(
        approve=annotations.get(names.ANNOTATION_APPROVE),
        abort=annotations.get(names.ANNOTATION_ABORT),
        retry=annotations.get(names.ANNOTATION_RETRY),
        retrain=annotations.get(names.ANNOTATION_RETRAIN),
    )


def workload_of(revision: str, deployment: Object | None, pods: Iterable[Object]) -> Workload:
    """Sum up one revision from its Deployment and its pods that are not terminating."""
    alive = list(pods)
    spec = (deployment or {}).get("spec", {})
    status = (deployment or {}).get("status", {})
    generation = (deployment or {}).get("metadata", {}).get("generation", 0)
    ready = [pod["metadata"]["name"] for pod in alive if _condition(pod, "Ready") == "True"]
    said = [trouble for pod in alive for trouble in _troubles(pod)]
    refused = next((text for fatal, text in said if fatal), None)
    problem = next((text for fatal, text in said if not fatal), None)
    return Workload(
        revision=revision,
        wanted=spec.get("replicas", 0),
        ready=len(ready),
        ready_names=frozenset(ready),
        pods=len(alive),
        current=deployment is not None and status.get("observedGeneration", 0) >= generation,
        refused=refused,
        problem=problem or _replica_failure(status),
        live=deployment,
    )


def _troubles(pod: Object) -> Iterable[tuple[bool, str]]:
    """Yield each container's trouble: whether trying again is of no use, and a sentence."""
    status = pod.get("status", {})
    for container in (*status.get("initContainerStatuses", ()), *status.get("containerStatuses", ())):
        ended = container.get("state", {}).get("terminated") or container.get("lastState", {}).get(
            "terminated"
        )
        waiting = container.get("state", {}).get("waiting") or {}
        last_words = ((ended or {}).get("message") or "").strip()
        if ended and ended.get("exitCode") == EXIT_REFUSED:
            yield True, last_words or f"container {container['name']} refused the artifact"
        elif waiting.get("reason") in WAITING_IN_TROUBLE:
            detail = last_words or waiting.get("message", "")
            yield False, f"container {container['name']}: {waiting['reason']}: {detail}"[:500]
    if _condition(pod, "PodScheduled") == "False":
        message = next(c.get("message", "") for c in status["conditions"] if c["type"] == "PodScheduled")
        yield False, f"a pod cannot be scheduled: {message}"


def _replica_failure(status: Mapping[str, Any]) -> str | None:
    """Return why the cluster refuses to make pods at all, such as a quota or a pod security rule."""
    for condition in status.get("conditions", ()):
        if condition["type"] == "ReplicaFailure" and condition["status"] == "True":
            return f"no pods can be made: {condition.get('message', '')}"
    return None


def _condition(pod: Object, kind: str) -> str | None:
    conditions = pod.get("status", {}).get("conditions", ())
    return next((condition["status"] for condition in conditions if condition["type"] == kind), None)


def _revision(item: Object) -> str:
    revision: str = item["metadata"].get("labels", {}).get(names.LABEL_REVISION, "")
    return revision
