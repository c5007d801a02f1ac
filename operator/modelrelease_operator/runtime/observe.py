"""Reading the cluster into `Seen`: what is, in the words that decisions are made in."""

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import chain
from typing import Any

from modelrelease_contract.runtime import EXIT_REFUSED
from modelrelease_operator.api import names
from modelrelease_operator.api.retrain import RetrainOutcome
from modelrelease_operator.api.spec import Canary
from modelrelease_operator.core.memo import Memo
from modelrelease_operator.core.observed import Commands, ObservedJob, Signature, Workload
from modelrelease_operator.errors import ReleaseError, Unavailable
from modelrelease_operator.manifests import Owner, read_back
from modelrelease_operator.runtime.kube import Kube, Object
from modelrelease_operator.runtime.ownership import checked, is_orphan_of, is_owned
from modelrelease_operator.traffic.provider import Asked, Effect, TrafficProvider

RETRAIN_CONTAINER = "retrain"
"""Of a Job's pod: as the Job is made."""
OUT_OF_MEMORY = "OOMKilled"
NO_IMAGE = frozenset(
    {
        "ErrImagePull",
        "ImagePullBackOff",
        "ImageVolumeMountFailed",
        "RegistryUnavailable",
        "SignatureValidationFailed",
    }
)
"""Why a node has no image to start or to mount, as the kubelet says (kubernetes/cri-api, errors).
None of it is held against a version."""
NO_SOURCE = 'failed to mkdir ""'
"""What containerd before 2.1 says of an image volume: to it that is a mount without a source
(kubernetes-sigs/kind#3745). Nothing else that a pod may ask for is one.
"""
LAST_WORDS = 500
"""Characters of a Job's last words that are repeated: the end says most."""

WAITING_IN_TROUBLE = frozenset(
    {
        "CrashLoopBackOff",
        "CreateContainerConfigError",
        "CreateContainerError",
        "ErrImageNeverPull",
        "InvalidImageName",
        "RunContainerError",
        *NO_IMAGE,
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
    """By name: uids of the Deployments that may be deleted: not of an earlier release's, which are
    collected without us.
    """


async def read_workloads(
    kube: Kube, owner: Owner, *, lost: bool = False, kept: Memo[Workload] | None = None
) -> Owned:
    """Return what runs for a release. A Deployment that only carries its labels is somebody else's.

    `lost`: status does not say who serves, so it is read from the Deployments that name the
    release's uid. What an earlier release of the name left behind says nothing about this one.
    `kept` has what earlier passes summed up: most pods are as they were.
    """
    labels = {names.LABEL_RELEASE: owner.name}
    listed = await kube.list("Deployment", owner.namespace, labels)
    ours = [item for item in listed if is_owned(item, owner) or is_orphan_of(item, owner)]
    probers = frozenset(
        item["metadata"]["name"]
        for item in ours
        if names.LABEL_PROBER in item["metadata"].get("labels", {})
    )
    deployments = {
        _revision(item): item for item in ours if item["metadata"]["name"] not in probers
    }
    pods: dict[str, list[Object]] = defaultdict(list)
    for pod in await kube.list("Pod", owner.namespace, labels):
        if "deletionTimestamp" not in pod["metadata"]:
            pods[_revision(pod)].append(pod)
    workloads = {
        revision: _summed_up(owner, revision, deployments.get(revision), pods[revision], kept)
        for revision in {*deployments, *pods}
        if revision
    }
    own = [item for item in ours if is_owned(item, owner)]
    if lost:
        for item in own:
            _tell_track(workloads, item)
    nobodys = [item for item in ours if not item["metadata"].get("ownerReferences")]
    uids = {item["metadata"]["name"]: item["metadata"]["uid"] for item in (*own, *nobodys)}
    return Owned(workloads=workloads, probers=probers, uids=uids)


def _summed_up(
    owner: Owner,
    revision: str,
    deployment: Object | None,
    pods: Sequence[Object],
    kept: Memo[Workload] | None,
) -> Workload:
    """Return a workload as it was summed up last, unless one of its objects is another."""
    if kept is None:
        return workload_of(revision, deployment, pods)
    key = (owner.namespace, owner.name, revision)
    return kept.of(key, (deployment, pods), lambda: workload_of(revision, deployment, pods))


async def trouble_of_prober(kube: Kube, owner: Owner) -> str | None:
    """Return why a release's prober does not run, as far as its pods say it."""
    try:
        pods = await kube.list("Pod", owner.namespace, {names.LABEL_PROBER: owner.name})
    except ReleaseError:
        return None
    alive = [pod for pod in pods if "deletionTimestamp" not in pod["metadata"]]
    return next((text for pod in alive for _, text in _troubles(pod)), None)


def _tell_track(workloads: dict[str, Workload], deployment: Object) -> None:
    """Add to its workload what a Deployment tells of the release's course."""
    known = workloads.get(_revision(deployment))
    if known is None or known.live is None:
        return
    if known.live["metadata"]["uid"] != deployment["metadata"]["uid"]:
        return
    track = (deployment["metadata"].get("labels") or {}).get(names.LABEL_TRACK)
    workloads[known.revision] = replace(known, track=track, runs=read_back(deployment))


async def read_jobs(kube: Kube, owner: Owner) -> tuple[dict[str, ObservedJob], dict[str, str]]:
    """Return the Jobs of the release's retrainings by request, and their uids by name."""
    jobs, uids = {}, {}
    for job in await kube.list("Job", owner.namespace, {names.LABEL_RELEASE: owner.name}):
        request = job["metadata"]["labels"].get(names.LABEL_RETRAIN)
        if request and "deletionTimestamp" not in job["metadata"] and is_owned(job, owner):
            jobs[request] = await _job_seen(kube, owner.namespace, job)
            uids[job["metadata"]["name"]] = job["metadata"]["uid"]
    return jobs, uids


async def _job_seen(kube: Kube, namespace: str, job: Object) -> ObservedJob:
    """Judge a Job by itself, or by its own container where a sidecar keeps the pod from ending."""
    name = job["metadata"]["name"]
    pods = await kube.list("Pod", namespace, {"batch.kubernetes.io/job-name": name})
    ends = [(pod, state) for pod in pods if (state := ended(pod, RETRAIN_CONTAINER))]
    last = max(((state.get("finishedAt", ""), (state.get("message") or "").strip()) for _,
    state in ends),
               default=("", ""))[1][-LAST_WORDS:]  # fmt: skip
    for kind, outcome in (
        ("Complete", RetrainOutcome.SUCCEEDED),
        ("Failed", RetrainOutcome.FAILED),
    ):
        if _condition(job, kind) == "True":
            cluster = next(
                (
                    condition.get("message", "")
                    for condition in job["status"]["conditions"]
                    if condition["type"] == kind
                ),
                "",
            )
            return ObservedJob(name=name, outcome=outcome, message=last or cluster)
    if any(state.get("exitCode") == 0 for _, state in ends):
        return ObservedJob(name=name, outcome=RetrainOutcome.SUCCEEDED, message=last)
    for pod, state in ends:
        if pod.get("status", {}).get("phase") == "Running":
            code = state.get("exitCode")
            msg = f"{last or 'it'} ended with {code}, while other containers of its pod go on"
            return ObservedJob(name=name, outcome=RetrainOutcome.FAILED, message=msg)
    return ObservedJob(name=name)


def ended(pod: Object, container: str) -> Mapping[str, Any] | None:
    """Return how a container of a pod ended, if it did."""
    for status in pod.get("status", {}).get("containerStatuses", ()):
        if status.get("name") == container:
            ended: Mapping[str, Any] | None = status.get("state", {}).get("terminated")
            return ended
    return None


async def read_route(
    kube: Kube,
    owner: Owner,
    provider: TrafficProvider,
    canary: Canary,
    revisions: Collection[str],
) -> Effect:
    """Return which revisions clients reach, and at what weight.

    Raises Invalid when an object of such a name belongs to somebody else: it is not taken over.
    """
    asked = Asked(namespace=owner.namespace, release=owner.name, canary=canary)
    routes = {}
    for kind, name in provider.sources(owner.name):
        route = await kube.known(kind, owner.namespace, name)
        if route:
            routes[kind, name] = checked(route, owner, kind)
    for kind, name in provider.borrowed(canary):
        try:
            route = await kube.borrowed(kind, owner.namespace, name)
        except ReleaseError as problem:
            # Whom it leads to cannot be known, and the release's own Services still can be moved.
            refused = not isinstance(problem, Unavailable)
            return Effect(revisions=frozenset(revisions), problem=str(problem), refused=refused)
        if route:
            routes[kind, name] = route
    return provider.in_effect(routes, revisions, asked)


async def leads_elsewhere(kube: Kube, owner: Owner) -> bool:
    """Return whether the Service that clients call is there and leads to pods of others."""
    live = await kube.known("Service", owner.namespace, names.service_names(owner.name)[0])
    selector = (live or {}).get("spec", {}).get("selector") or {}
    return live is not None and selector.get(names.LABEL_RELEASE) != owner.name


def commands_of(release: Object) -> Commands:
    """Return what a person asks by annotation."""
    annotations = release["metadata"].get("annotations") or {}
    keys = {
        "approve": names.ANNOTATION_APPROVE,
        "abort": names.ANNOTATION_ABORT,
        "promote": names.ANNOTATION_PROMOTE,
        "retry": names.ANNOTATION_RETRY,
    }
    signed = {kind: _signature(release, key) for kind, key in keys.items() if key in annotations}
    return Commands(
        promote=annotations.get(names.ANNOTATION_PROMOTE),
        signed={kind: signature for kind, signature in signed.items() if signature},
        approve=annotations.get(names.ANNOTATION_APPROVE),
        abort=annotations.get(names.ANNOTATION_ABORT),
        retry=annotations.get(names.ANNOTATION_RETRY),
        retrain=annotations.get(names.ANNOTATION_RETRAIN),
    )


def _signature(release: Object, annotation: str) -> Signature | None:
    """Return who wrote an annotation last, as the API server remembers it."""
    wrote = [
        entry
        for entry in release["metadata"].get("managedFields") or ()
        if f"f:{annotation}" in _annotations_of(entry)
    ]
    if not wrote:
        return None
    last = max(wrote, key=lambda entry: entry.get("time") or "")
    at = last.get("time")
    return Signature(
        by=last.get("manager", "unknown"), at=datetime.fromisoformat(at) if at else None
    )


def what_signs(meta: Mapping[str, Any]) -> list[Object]:
    """Return of an object's managed fields what tells who wrote its annotations of ours.

    The rest names every key of spec and status once more, and is most of a release's memory.
    """
    kept = []
    for entry in meta.get("managedFields") or ():
        ours: Object = {
            key: {} for key in _annotations_of(entry) if key.startswith(f"f:{names.GROUP}/")
        }
        if ours and not entry.get("subresource"):
            who = {key: entry[key] for key in ("manager", "time") if key in entry}
            kept.append({**who, "fieldsV1": {"f:metadata": {"f:annotations": ours}}})
    return kept


def _annotations_of(entry: Mapping[str, Any]) -> Mapping[str, Any]:
    fields = (entry.get("fieldsV1") or {}).get("f:metadata") or {}
    annotations: Mapping[str, Any] = fields.get("f:annotations") or {}
    return annotations


def what_passes_read(obj: Object) -> tuple[Any, ...]:
    """Return what of an object a pass may read, but for what was asked of it.

    By the very functions that passes read with. While it stays the same, the controllers may write
    into the object what they like: nobody has to look.
    """
    meta, status = obj["metadata"], obj.get("status", {})
    known = (
        *(meta.get(key) for key in ("uid", "labels", "ownerReferences")),
        "deletionTimestamp" in meta,
    )
    match obj.get("kind"):
        case "Deployment":
            return (*known, workload_of("", obj, ()))
        case "Pod":
            return (
                *known,
                workload_of("", None, [obj]),
                status.get("phase"),
                ended(obj, RETRAIN_CONTAINER),
            )
        case "Service" | "PodDisruptionBudget":
            return known
        case "HorizontalPodAutoscaler":
            return (*known, inactive(obj))
        case _:
            return (*known, status)


def inactive(autoscaler: Object) -> str | None:
    """Return why an autoscaler does not scale, in its own words."""
    for condition in autoscaler.get("status", {}).get("conditions") or ():
        asked = condition["type"] in ("AbleToScale", "ScalingActive")
        if asked and condition["status"] == "False":
            reason, message = condition.get("reason", ""), condition.get("message", "")
            return f"{reason}: {message}"[:500]
    return None


def workload_of(revision: str, deployment: Object | None, pods: Iterable[Object]) -> Workload:
    """Sum up one revision from its Deployment and its pods that are not terminating."""
    alive = list(pods)
    spec = (deployment or {}).get("spec", {})
    status = (deployment or {}).get("status", {})
    generation = (deployment or {}).get("metadata", {}).get("generation", 0)
    ready = [pod["metadata"]["name"] for pod in alive if _condition(pod, "Ready") == "True"]
    troubles = list(chain.from_iterable(map(_troubles, alive)))
    refused = next((text for fatal, text in troubles if fatal), None)
    problem = next((text for fatal, text in troubles if not fatal), None)
    ends = {pod["metadata"]["name"]: _ends(pod) for pod in alive}
    crashed = max(alive, key=lambda pod: ends[pod["metadata"]["name"]], default=None)
    return Workload(
        blocked=next(filter(None, map(_blocked, alive)), None) or _replica_failure(status),
        crashes={name: count for name, count in ends.items() if count},
        crash=_last_crash(crashed) if crashed else None,
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
    for container in (
        *status.get("initContainerStatuses", ()),
        *status.get("containerStatuses", ()),
    ):
        ended = container.get("state", {}).get("terminated") or container.get("lastState", {}).get(
            "terminated"
        )
        waiting = container.get("state", {}).get("waiting") or {}
        last_words = ((ended or {}).get("message") or "").strip()
        if ended and ended.get("exitCode") == EXIT_REFUSED:
            yield True, last_words or f"container {container['name']} refused the artifact"
        elif waiting.get("reason") in WAITING_IN_TROUBLE:
            if (
                ended
                and _abnormal(ended)
                and (ended.get("reason") == OUT_OF_MEMORY or not last_words)
            ):
                yield False, f"{_end_of(pod, container, ended)} ({waiting['reason']})"[:500]
                continue
            yield False, _said(container, waiting, last_words)
        elif ended and ended.get("reason") == OUT_OF_MEMORY and _condition(pod, "Ready") != "True":
            yield False, _end_of(pod, container, ended)
    if _condition(pod, "PodScheduled") == "False":
        message = next(
            c.get("message", "") for c in status["conditions"] if c["type"] == "PodScheduled"
        )
        yield False, f"a pod cannot be scheduled: {message}"


def _said(container: Mapping[str, Any], waiting: Mapping[str, Any], last_words: str = "") -> str:
    """Say what a container waits for, and what the node's words mean where they do not tell."""
    detail = last_words or waiting.get("message", "")
    if NO_SOURCE in detail:
        detail = f"the node's container runtime cannot mount images: {detail}"
    return f"container {container['name']}: {waiting['reason']}: {detail}"[:500]


def _abnormal(ended: Mapping[str, Any]) -> bool:
    return (
        bool(ended.get("exitCode") or ended.get("signal")) or ended.get("reason") == OUT_OF_MEMORY
    )


def _that_last(pod: Object) -> list[Mapping[str, Any]]:
    """Return the states of a pod's containers that serve as long as it does, native sidecars among
    them.

    Other init containers are left out: they end before anybody is served.
    """
    declared = pod.get("spec", {}).get("initContainers", ())
    sidecars = {
        container["name"] for container in declared if container.get("restartPolicy") == "Always"
    }
    status = pod.get("status", {})
    beside = [
        container
        for container in status.get("initContainerStatuses", ())
        if container["name"] in sidecars
    ]
    return [*status.get("containerStatuses", ()), *beside]


def _ends(pod: Object) -> int:
    """Return how many runs of a pod's containers have ended abnormally, as far as the kubelet
    remembers.

    It keeps the last end and a count of restarts, so all of a container's are taken to be like the
    last.
    """
    count = 0
    for container in _that_last(pod):
        last = container.get("lastState", {}).get("terminated")
        now = container.get("state", {}).get("terminated")
        if now and _abnormal(now):
            # The restart that follows is not counted yet.
            count += container.get("restartCount", 0) + 1
        elif last and _abnormal(last):
            count += container.get("restartCount", 0)
    return count


def _last_crash(pod: Object) -> str | None:
    """Say what the last abnormal end of a pod's containers was."""
    for container in _that_last(pod):
        states = (container.get("state", {}), container.get("lastState", {}))
        ended = next((state["terminated"] for state in states if "terminated" in state), None)
        if ended and _abnormal(ended):
            return _end_of(pod, container, ended)[:500]
    return None


def _end_of(pod: Object, container: Mapping[str, Any], ended: Mapping[str, Any]) -> str:
    """Say how a container ended: of too little memory with its limit,
    else with its code and last words.
    """
    code = f"exit code {ended.get('exitCode', '?')}"
    if ended.get("signal"):
        code = f"{code}, signal {ended['signal']}"
    if ended.get("reason") == OUT_OF_MEMORY:
        limit = _memory_limit(pod, container["name"])
        return f"container {container['name']} was killed for memory ({limit}), {code}"
    words = (ended.get("message") or "").strip()
    detail = f": {words}" if words else ""
    return f"container {container['name']} ended with {code}{detail}"


def _memory_limit(pod: Object, name: str) -> str:
    spec = pod.get("spec", {})
    for container in (*spec.get("containers", ()), *spec.get("initContainers", ())):
        if container.get("name") == name:
            limit = ((container.get("resources") or {}).get("limits") or {}).get("memory")
            return f"limit {limit}" if limit else "no limit of its own: its node ran out"
    return "limit unknown"


def _blocked(pod: Object) -> str | None:
    """Say what the cluster lacks to start a pod: room, an image, volumes.
    None of it is a version's fault.
    """
    status = pod.get("status", {})
    if _condition(pod, "PodScheduled") == "False":
        message = next(
            c.get("message", "") for c in status["conditions"] if c["type"] == "PodScheduled"
        )
        return f"a pod cannot be scheduled: {message}"
    containers = (*status.get("initContainerStatuses", ()), *status.get("containerStatuses", ()))
    for container in containers:
        waiting = container.get("state", {}).get("waiting") or {}
        if waiting.get("reason") in NO_IMAGE or NO_SOURCE in waiting.get("message", ""):
            return _said(container, waiting)
    if _condition(pod, "PodReadyToStartContainers") == "False":
        return f"volumes or the network of pod {pod['metadata']['name']} are not ready"
    return None


def _replica_failure(status: Mapping[str, Any]) -> str | None:
    """Return why the cluster refuses to make pods at all,
    such as a quota or a pod security rule.
    """
    for condition in status.get("conditions", ()):
        if condition["type"] == "ReplicaFailure" and condition["status"] == "True":
            return f"no pods can be made: {condition.get('message', '')}"
    return None


def _condition(pod: Object, kind: str) -> str | None:
    conditions = pod.get("status", {}).get("conditions", ())
    return next(
        (condition["status"] for condition in conditions if condition["type"] == kind), None
    )


def _revision(item: Object) -> str:
    revision: str = item["metadata"].get("labels", {}).get(names.LABEL_REVISION, "")
    return revision
