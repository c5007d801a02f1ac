"""Has a Job of the release find out what an artifact is that the operator cannot read."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from pydantic import ValidationError

from modelrelease_contract import ArtifactIdentity
from modelrelease_contract.runtime import EXIT_REFUSED
from modelrelease_operator.api.status import Resolved, Target
from modelrelease_operator.errors import Gone, Invalid, Unavailable
from modelrelease_operator.manifests import Owner, reader_job
from modelrelease_operator.manifests.reader import COMMAND, READER
from modelrelease_operator.runtime.kube import Kube, Object
from modelrelease_operator.runtime.observe import ended, workload_of
from modelrelease_operator.runtime.ownership import delete_ours, read_ours

EXIT_USAGE = 2
"""Of a container that knows no such command, or was told a wrong setting."""
OF_JOB = "batch.kubernetes.io/job-name"


class Reading(Unavailable):
    """There is no answer yet, and nothing is wrong."""


async def read_by_pod(
    kube: Kube,
    owner: Owner,
    target: Target,
    understood: Callable[[ArtifactIdentity], Resolved],
) -> Resolved:
    """Return what is at the target's place, once its Job has said so; make the Job where there is
    none. The Job is deleted when its answer was understood.

    Raises Reading while it is read, Unavailable where that may be tried again, Invalid for an
    artifact that can never work.
    """
    wanted = reader_job(owner, target)
    name = wanted["metadata"]["name"]
    reads = f"Job {owner.namespace}/{name} reads the artifact at {target.uri}"
    live = await read_ours(kube, owner, "Job", name)
    if live is None:
        await _make(kube, wanted)
        msg = f"{reads}, because the operator cannot"
        raise Reading(msg)
    pods = await kube.list("Pod", owner.namespace, {OF_JOB: name})
    end = next(filter(None, (ended(pod, READER) for pod in pods)), None)
    if end is None:
        if trouble := _trouble(live, pods):
            msg = f"{reads}: {trouble}"
            raise Unavailable(msg)
        if not pods:
            # Why (a quota, a policy, an account that is missing) is in the Job's Events alone.
            ask = f"kubectl -n {owner.namespace} describe job {name}"
            msg = f"{reads} once it has a pod. If it gets none, `{ask}` says why"
            raise Reading(msg)
        msg = f"{reads}, because the operator cannot"
        raise Reading(msg)
    found = understood(_answer(end, target))
    await delete_ours(kube, owner, "Job", name, live["metadata"]["uid"])
    return found


async def _make(kube: Kube, job: Object) -> None:
    try:
        await kube.apply(job)
    except Gone as problem:
        # The namespace is on its way out: only the release's own absence ends its task.
        raise Unavailable(str(problem)) from problem


def _answer(end: Mapping[str, Any], target: Target) -> ArtifactIdentity:
    words, code = (end.get("message") or "").strip(), end.get("exitCode")
    if words and code in (EXIT_REFUSED, EXIT_USAGE):
        raise Invalid(words)
    if code not in (0, EXIT_USAGE):
        msg = words or f"the artifact at {target.uri} could not be read (exit code {code})"
        raise Unavailable(msg)
    try:
        return ArtifactIdentity.model_validate_json(words)
    except ValidationError as problem:
        msg = (
            f"the container that read {target.uri} did not say what it is: image "
            f"{target.recipe.image} must know the command `{COMMAND}`, or set spec.model.version "
            "and spec.model.sha256"
        )
        raise Invalid(msg) from problem


def _trouble(job: Object, pods: Iterable[Object]) -> str | None:
    """Return why a Job has no answer, as far as it and its pods say it."""
    seen = workload_of("", None, pods)
    failed = next(
        (
            condition.get("message")
            for condition in (job.get("status") or {}).get("conditions") or ()
            if condition["type"] == "Failed" and condition["status"] == "True"
        ),
        None,
    )
    return seen.refused or seen.problem or seen.blocked or failed
