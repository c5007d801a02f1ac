"""Reading Deployments and pods as the API server gives them."""

from datetime import UTC, datetime
from typing import Any

import pytest

from modelrelease_contract.runtime import EXIT_REFUSED
from modelrelease_operator.api import names
from modelrelease_operator.api.spec import Canary
from modelrelease_operator.core.memo import Memo
from modelrelease_operator.core.observed import Commands, Signature, Workload
from modelrelease_operator.errors import Invalid, Unavailable
from modelrelease_operator.manifests import Owner
from modelrelease_operator.runtime.observe import (
    commands_of,
    read_route,
    read_workloads,
    trouble_of_prober,
    workload_of,
)
from modelrelease_operator.traffic.replicas import REPLICAS


def a_deployment(revision: str = "rev1", **changes: Any) -> dict[str, Any]:
    meta = {
        "name": f"qna-{revision}",
        "uid": f"uid-of-{revision}",
        "generation": 2,
        "labels": {names.LABEL_REVISION: revision},
        "ownerReferences": [{"uid": "uid-of-qna"}],
    }
    status = {"observedGeneration": changes.pop("observed", 2)}
    return {"metadata": meta, "spec": {"replicas": 3}, "status": {**status, **changes}}


def a_pod(name: str = "qna-rev1-a", *, ready: bool = True, **changes: Any) -> dict[str, Any]:
    revision = changes.pop("revision", "rev1")
    meta = {"name": name, "labels": {names.LABEL_REVISION: revision}, **changes.pop("metadata", {})}
    conditions = [
        {"type": "Ready", "status": "True" if ready else "False"},
        *changes.pop("conditions", []),
    ]
    return {"metadata": meta, "status": {"conditions": conditions, **changes}}


def waiting(reason: str, message: str = "", **last: Any) -> dict[str, Any]:
    state = {"waiting": {"reason": reason, "message": message}}
    return {"name": "predictor", "state": state, "lastState": last}


def ended(code: int, message: str = "") -> dict[str, Any]:
    return {"name": "fetch", "state": {"terminated": {"exitCode": code, "message": message}}}


def test_a_workload_is_summed_up_from_its_deployment_and_its_pods():
    pods = [a_pod("a"), a_pod("b"), a_pod("c", ready=False)]
    found = workload_of("rev1", a_deployment(), pods)
    assert (found.wanted, found.ready, found.pods, found.current) == (3, 2, 3, True)
    assert found.ready_names == {"a", "b"}
    assert (found.refused, found.problem) == (None, None)


def test_a_deployment_whose_newest_spec_nobody_acted_on_is_not_current():
    assert not workload_of("rev1", a_deployment(observed=1), []).current
    assert not workload_of("rev1", {**a_deployment(), "status": {}}, []).current


def test_pods_without_a_deployment_are_seen_but_not_current():
    found = workload_of("rev1", None, [a_pod()])
    assert (found.wanted, found.pods, found.ready, found.current) == (0, 1, 1, False)


def test_a_pod_that_was_just_made_has_no_status_yet():
    found = workload_of("rev1", a_deployment(), [{"metadata": {"name": "a"}}])
    assert (found.pods, found.ready) == (1, 0)


@pytest.mark.parametrize("kind", ["initContainerStatuses", "containerStatuses"])
def test_an_artifact_that_is_refused_is_quoted(kind: str):
    parts: dict[str, Any] = {kind: [ended(EXIT_REFUSED, " the digest differs \n")]}
    pod = a_pod(ready=False, **parts)
    assert workload_of("rev1", a_deployment(), [a_pod("b"), pod]).refused == "the digest differs"


def test_a_refusal_is_known_between_two_tries_too():
    status = waiting(
        "CrashLoopBackOff", terminated={"exitCode": EXIT_REFUSED, "message": "wrong library"}
    )
    found = workload_of("rev1", a_deployment(), [a_pod(ready=False, containerStatuses=[status])])
    assert found.refused == "wrong library"


def test_a_refusal_without_a_word_still_gets_a_sentence():
    found = workload_of(
        "rev1", a_deployment(), [a_pod(initContainerStatuses=[ended(EXIT_REFUSED)])]
    )
    assert found.refused == "container fetch refused the artifact"


@pytest.mark.parametrize("code", [0, 1, 137])
def test_any_other_end_is_no_refusal(code: int):
    found = workload_of("rev1", a_deployment(), [a_pod(initContainerStatuses=[ended(code, "x")])])
    assert found.refused is None


def test_a_container_in_trouble_says_which_and_why():
    pod = a_pod(ready=False, containerStatuses=[waiting("ErrImagePull", "no such image")])
    found = workload_of("rev1", a_deployment(), [pod])
    assert found.problem == "container predictor: ErrImagePull: no such image"


def test_a_crash_is_told_in_the_last_words_of_the_process():
    last = {"exitCode": 1, "message": "cannot read /models"}
    pod = a_pod(containerStatuses=[waiting("CrashLoopBackOff", "back-off 10s", terminated=last)])
    assert workload_of("rev1", a_deployment(), [pod]).problem == (
        "container predictor: CrashLoopBackOff: cannot read /models"
    )


def test_a_container_that_merely_starts_is_no_trouble():
    pod = a_pod(ready=False, containerStatuses=[waiting("ContainerCreating")])
    assert workload_of("rev1", a_deployment(), [pod]).problem is None


def test_a_pod_that_fits_nowhere_says_so():
    condition = {
        "type": "PodScheduled",
        "status": "False",
        "message": "0/1 nodes: Insufficient cpu",
    }
    found = workload_of("rev1", a_deployment(), [a_pod(ready=False, conditions=[condition])])
    assert found.problem == "a pod cannot be scheduled: 0/1 nodes: Insufficient cpu"


def test_pods_that_may_not_even_be_made_are_told_by_the_deployment():
    failure = {"type": "ReplicaFailure", "status": "True", "message": "exceeded quota"}
    found = workload_of("rev1", a_deployment(conditions=[failure]), [])
    assert found.problem == "no pods can be made: exceeded quota"


def test_endless_words_are_cut():
    pod = a_pod(containerStatuses=[waiting("ErrImagePull", "x" * 9_000)])
    found = workload_of("rev1", a_deployment(), [pod])
    assert found.problem is not None
    assert len(found.problem) == 500


@pytest.mark.parametrize("annotations", [None, {}, {"other": "x"}])
def test_without_annotations_nobody_asks_for_anything(annotations: Any):
    assert commands_of({"metadata": {"annotations": annotations}}) == Commands()


def test_each_annotation_is_its_command():
    annotations = {
        f"modelrelease.dev/{name}": name.upper() for name in ("approve", "abort", "retry")
    }
    assert commands_of({"metadata": {"annotations": annotations}}) == Commands(
        approve="APPROVE", abort="ABORT", retry="RETRY"
    )


class Cluster:
    """Objects by kind, for what only lists and gets."""

    def __init__(self, **objects: Any) -> None:
        self.objects = objects

    async def list(self, kind: str, namespace: str, labels: dict[str, str]) -> list[Any]:
        assert namespace == "ml"
        assert labels in ({names.LABEL_RELEASE: "qna"}, {names.LABEL_PROBER: "qna"})
        return list(self.objects.get(kind, []))

    async def known(self, kind: str, namespace: str, name: str) -> Any:
        found = self.objects.get(kind)
        if isinstance(found, Exception):
            raise found
        assert (kind, name) == ("Service", "qna")
        return found


OWNER = Owner(namespace="ml", name="qna", uid="uid-of-qna")


def a_service(selector: Any, owner: str = "uid-of-qna") -> dict[str, Any]:
    meta = {"namespace": "ml", "name": "qna", "ownerReferences": [{"uid": owner}]}
    return {"metadata": meta, "spec": {"selector": selector}}


async def test_every_revision_with_a_deployment_or_pods_is_found():
    leaving = a_pod("c", revision="rev3", metadata={"deletionTimestamp": "2026-11-01T12:00:00Z"})
    leaving["metadata"]["labels"] = {names.LABEL_REVISION: "rev3"}
    stray = {"metadata": {"name": "x", "labels": {}}}
    cluster = Cluster(
        Deployment=[a_deployment("rev1")],
        Pod=[a_pod("a"), a_pod("b", revision="rev2"), leaving, stray],
    )
    found = await read_workloads(cluster, OWNER)  # type: ignore[arg-type]
    assert not found.probers
    assert {name: (it.pods, it.current) for name, it in found.workloads.items()} == {
        "rev1": (1, True),
        "rev2": (1, False),
    }, "a pod that is on its way out is out of every Service already"


async def test_pods_that_are_as_they_were_are_not_summed_up_again():
    kept: Memo[Workload] = Memo(8)
    pods = [a_pod("a"), a_pod("b", revision="rev2")]
    cluster = Cluster(Deployment=[a_deployment("rev1")], Pod=pods)
    first = await read_workloads(cluster, OWNER, kept=kept)  # type: ignore[arg-type]
    pods[1] = a_pod("b", revision="rev2", ready=False)
    later = await read_workloads(cluster, OWNER, kept=kept)  # type: ignore[arg-type]
    assert later.workloads["rev1"] is first.workloads["rev1"]
    assert (first.workloads["rev2"].ready, later.workloads["rev2"].ready) == (1, 0)


async def test_a_deployment_that_probes_is_no_revision():
    prober = a_deployment("rev2")
    prober["metadata"] |= {"name": "qna-rev2-probe", "labels": {names.LABEL_PROBER: "qna"}}
    cluster = Cluster(Deployment=[a_deployment("rev1"), prober], Pod=[])
    found = await read_workloads(cluster, OWNER)  # type: ignore[arg-type]
    assert (set(found.workloads), found.probers) == ({"rev1"}, frozenset({"qna-rev2-probe"}))
    assert found.uids == {"qna-rev1": "uid-of-rev1", "qna-rev2-probe": "uid-of-rev2"}


async def test_a_prober_that_finds_no_example_rows_says_it_in_its_last_words():
    refused = ended(EXIT_REFUSED, "http://store/qna/2/manifest.json does not exist")
    leaving = {"metadata": {"name": "x", "deletionTimestamp": "2026-11-01T12:00:00Z"}}
    pods = [a_pod("x", ready=False, initContainerStatuses=[ended(EXIT_REFUSED, "old")], **leaving),
            a_pod("y", ready=False, initContainerStatuses=[refused])]  # fmt: skip
    found = await trouble_of_prober(Cluster(Pod=pods), OWNER)  # type: ignore[arg-type]
    assert found == "http://store/qna/2/manifest.json does not exist"
    assert await trouble_of_prober(Cluster(Pod=[a_pod()]), OWNER) is None  # type: ignore[arg-type]


async def test_a_deployment_without_our_uid_is_no_workload():
    foreign = a_deployment("rev2")
    foreign["metadata"]["ownerReferences"] = [{"uid": "another"}]
    cluster = Cluster(Deployment=[a_deployment("rev1"), foreign], Pod=[])
    found = await read_workloads(cluster, OWNER)  # type: ignore[arg-type]
    assert (set(found.workloads), set(found.uids)) == ({"rev1"}, {"qna-rev1"})


@pytest.mark.parametrize(
    ("selector", "routed"),
    [
        ({names.LABEL_RELEASE: "qna", names.LABEL_REVISION: "rev1"}, {"rev1"}),
        ({names.LABEL_RELEASE: "qna"}, {"rev1", "rev2"}),
        (None, {"rev1", "rev2"}),
    ],
    ids=["pinned", "open", "no selector"],
)
async def test_a_route_is_read_from_the_service(selector: Any, routed: Any):
    cluster = Cluster(Service=a_service(selector))
    effect = await read_route(cluster, OWNER, REPLICAS, Canary(), ["rev1", "rev2"])  # type: ignore[arg-type]
    assert effect.revisions == routed


async def test_a_service_of_somebody_else_is_not_taken_over():
    foreign = a_service({"app": "qna"}, owner="another")
    with pytest.raises(Invalid, match="Service ml/qna exists and belongs to somebody else"):
        await read_route(Cluster(Service=foreign), OWNER, REPLICAS, Canary(), [])  # type: ignore[arg-type]


async def test_no_service_is_no_route_and_trouble_is_trouble():
    effect = await read_route(Cluster(), OWNER, REPLICAS, Canary(), [])  # type: ignore[arg-type]
    assert effect.revisions is None
    with pytest.raises(Unavailable):
        await read_route(Cluster(Service=Unavailable("x")), OWNER, REPLICAS, Canary(), [])  # type: ignore[arg-type]


def running(name: str = "predictor", restarts: int = 0, **last: Any) -> dict[str, Any]:
    state: dict[str, Any] = {"running": {}}
    found: dict[str, Any] = {
        "name": name,
        "state": state,
        "lastState": {},
        "restartCount": restarts,
    }
    return {**found, "lastState": {"terminated": last}} if last else found


LIMITED = {"containers": [{"name": "predictor", "resources": {"limits": {"memory": "512Mi"}}}]}
OOM: dict[str, Any] = {"exitCode": 137, "reason": "OOMKilled"}


UNKNOWN_MOUNT = (
    'failed to generate container "8a1f" spec: failed to generate spec: '
    'failed to mkdir "": mkdir : no such file or directory'
)
"""Debian's containerd 1.6.20 on a pod with an image volume."""


def test_a_container_that_was_killed_for_memory_says_so_with_its_limit():
    pod = a_pod(
        ready=False, containerStatuses=[waiting("CrashLoopBackOff", "back-off 20s", terminated=OOM)]
    )
    found = workload_of("rev1", a_deployment(), [{**pod, "spec": LIMITED}])
    assert found.problem == (
        "container predictor was killed for memory (limit 512Mi), exit code 137 (CrashLoopBackOff)"
    )
    between = a_pod(ready=False, containerStatuses=[running(restarts=1, **OOM)])
    found = workload_of("rev1", a_deployment(), [{**between, "spec": LIMITED}])
    assert found.problem == "container predictor was killed for memory (limit 512Mi), exit code 137"


def test_a_container_without_a_limit_that_is_killed_for_memory_says_that_its_node_ran_out():
    pod = a_pod(
        ready=False,
        containerStatuses=[running(restarts=1, **OOM)],
    )
    found = workload_of(
        "rev1", a_deployment(), [{**pod, "spec": {"containers": [{"name": "predictor"}]}}]
    )
    assert "killed for memory (no limit of its own: its node ran out)" in str(found.problem)


def test_a_crash_without_last_words_says_its_exit_code():
    last = {"exitCode": 139}
    pod = a_pod(
        ready=False,
        containerStatuses=[waiting("CrashLoopBackOff", "back-off 20s", terminated=last)],
    )
    assert workload_of("rev1", a_deployment(), [pod]).problem == (
        "container predictor ended with exit code 139 (CrashLoopBackOff)"
    )


@pytest.mark.parametrize(
    ("status", "ends"),
    [
        (running(), 0),
        (running(restarts=2, exitCode=139), 2),
        (running(restarts=3, exitCode=0, reason="Completed"), 0),
        (running(restarts=1, exitCode=0, reason="OOMKilled"), 1),
        ({"name": "predictor", "state": {"terminated": {"exitCode": 1}}, "restartCount": 4}, 5),
        ({"name": "predictor", "state": {"terminated": {"exitCode": 0}}, "restartCount": 4}, 0),
    ],
    ids=[
        "none",
        "a signal's code",
        "a good end",
        "memory",
        "it has just ended",
        "it has just ended well",
    ],
)
def test_abnormal_ends_are_counted_by_pod(status: dict[str, Any], ends: int):
    found = workload_of(
        "rev1", a_deployment(), [a_pod("a", containerStatuses=[status]), a_pod("b")]
    )
    assert found.crashes == ({"a": ends} if ends else {})
    assert (found.crash is not None) == bool(ends)


def test_what_the_container_that_fetches_ended_with_is_no_crash():
    pod = a_pod(ready=False, initContainerStatuses=[ended(1, "no route to host")])
    assert workload_of("rev1", a_deployment(), [pod]).crashes == {}


@pytest.mark.parametrize(
    ("pod", "blocked"),
    [
        (
            a_pod(ready=False, conditions=[
                {"type": "PodScheduled", "status": "False",
                "message": "0/3 nodes: Insufficient cpu"}
            ]),
            "a pod cannot be scheduled: 0/3 nodes: Insufficient cpu",
        ),
        (
            a_pod(ready=False, containerStatuses=[waiting("ImagePullBackOff",
            "back-off pulling x")]),
            "container predictor: ImagePullBackOff: back-off pulling x",
        ),
        (
            a_pod(ready=False, initContainerStatuses=[waiting("ImageVolumeMountFailed",
            "failed to unpack image volume")]),
            "container predictor: ImageVolumeMountFailed: failed to unpack image volume",
        ),
        (
            a_pod(ready=False, initContainerStatuses=[waiting("CreateContainerError",
            UNKNOWN_MOUNT)]),
            "container predictor: CreateContainerError: "
            f"the node's container runtime cannot mount images: {UNKNOWN_MOUNT}",
        ),
        (
            a_pod("a", ready=False, conditions=[{"type": "PodReadyToStartContainers",
            "status": "False"}]),
            "volumes or the network of pod a are not ready",
        ),
        (a_pod(ready=False, containerStatuses=[waiting("CrashLoopBackOff", terminated=OOM)]), None),
        (a_pod(ready=False, containerStatuses=[waiting("CreateContainerConfigError",
        "no Secret x")]), None),
    ],
    ids=["room", "image", "a mount", "an old runtime", "volumes", "a crash",
         "a wrong configuration"],
)  # fmt: skip
def test_what_the_cluster_lacks_is_told_from_what_is_the_version_s_fault(
    pod: Any, blocked: str | None
):
    assert workload_of("rev1", a_deployment(), [pod]).blocked == blocked


def test_a_quota_is_the_cluster_s_matter():
    failure = {"type": "ReplicaFailure", "status": "True", "message": "exceeded quota"}
    found = workload_of("rev1", a_deployment(conditions=[failure]), [])
    assert found.blocked == "no pods can be made: exceeded quota"


def test_who_gave_a_command_and_when_is_read_from_the_managed_fields():
    def wrote(manager: str, time: str, *keys: str) -> dict[str, Any]:
        owned: dict[str, Any] = {"f:metadata": {"f:annotations": {f"f:{key}": {} for key in keys}}}
        return {"manager": manager, "operation": "Update", "time": time, "fieldsV1": owned}

    meta = {
        "annotations": {names.ANNOTATION_APPROVE: "rev2", names.ANNOTATION_PROMOTE: "rev2"},
        "managedFields": [
            wrote("kubectl-annotate", "2026-11-01T12:00:00Z", names.ANNOTATION_APPROVE, "other"),
            wrote("kustomize-controller", "2026-11-01T13:00:00Z", "other"),
            {"manager": "modelrelease-operator", "fieldsV1": {"f:status": {}}},
        ],
    }
    found = commands_of({"metadata": meta})
    assert found.promote == "rev2"
    assert found.signed == {
        "approve": Signature(by="kubectl-annotate", at=datetime(2026, 11, 1, 12, tzinfo=UTC))
    }


def test_a_native_sidecar_that_ends_is_a_crash_of_its_pod():
    """It lasts as long as the pod does, although the API lists it among the init containers."""
    ends = [running("beside", restarts=3, exitCode=3), running("fetch", restarts=1, exitCode=1)]
    pod = a_pod("a", initContainerStatuses=ends, containerStatuses=[running()])
    asked = [{"name": "beside", "restartPolicy": "Always"}, {"name": "fetch"}]
    found = workload_of("rev1", a_deployment(), [{**pod, "spec": {"initContainers": asked}}])
    assert found.crashes == {"a": 3}
    assert found.crash == "container beside ended with exit code 3"
