"""Names, owners and uids on a real API server: what is not a release's own is left alone."""

import json
from dataclasses import replace

from cluster.errors import ClusterError
from examples import fixtures
from examples.waiting import wait_until
from testbed.releases import Release

LOOKS = 15
"""One a second: in this time it was once applied dozens of times."""


def a_service(space: str, name: str) -> fixtures.Object:
    spec = {"selector": {"app": "billing"}, "ports": [{"port": 8080}]}
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name, "namespace": space},
        "spec": spec,
    }


def test_a_foreign_service_of_an_arm_is_refused_and_left_alone(release: Release) -> None:
    fixtures.apply(release.cluster, a_service(release.space, "qna-canary"))
    before = release.read("service", "qna-canary")
    release.apply("1")
    status = release.wait(
        "the refusal", lambda status: "belongs to somebody else" in status.get("message", "")
    )
    assert "Service" in status["message"]
    assert "qna-canary" in status["message"]
    assert "ApplyRefused" in release.reasons()
    assert not release.items("deployments"), "nothing is made of what cannot be whole"
    release.cluster.kubectl(
        "delete", "modelrelease", release.name, "-n", release.space, "--timeout=120s"
    )
    after = release.read("service", "qna-canary")
    assert after["metadata"]["uid"] == before["metadata"]["uid"]
    assert after["spec"] == before["spec"]
    assert "ownerReferences" not in after["metadata"]
    release.cluster.kubectl("delete", "service", "qna-canary", "-n", release.space)
    release.begins("1")


def test_a_service_with_callers_is_handed_over_and_no_request_is_lost(release: Release) -> None:
    """What was there before is another release, which answers as any server would."""
    before = replace(release, name="before")
    before.begins("1")
    selector = before.read("service", "before")["spec"]["selector"]
    # Under another name the port is another one, with nobody behind it for a moment.
    ports = [{"name": "http", "port": 80, "targetPort": 8000}]
    mine = a_service(release.space, "qna")
    fixtures.apply(release.cluster, {**mine, "spec": {"selector": selector, "ports": ports}})
    release.load()
    with release.no_request_lost():
        release.cluster.kubectl(
            "label", "service", "qna", "-n", release.space,
            "modelrelease.dev/release=qna", "app.kubernetes.io/managed-by=modelrelease-operator",
        )  # fmt: skip
        release.begins("2")
        wait_until(
            "callers to meet version 2",
            release.stats,
            lambda stats: stats.count(version="2") > 100,
        )
        release.cluster.kubectl("delete", "modelrelease", "before", "-n", release.space)
        answered = release.stats().count(version="2")
        wait_until(
            "callers to meet version 2 alone",
            release.stats,
            lambda stats: stats.count(version="2") > answered + 500,
        )
    owners = release.read("service", "qna")["metadata"]["ownerReferences"]
    assert [owner["uid"] for owner in owners] == [release.get()["metadata"]["uid"]]


def test_a_write_about_one_object_never_lands_on_its_namesake(release: Release) -> None:
    """What the operator's writes rest on:
    the API server refuses an apply, or a deletion, of another uid.
    """
    release.begins("1")
    kubectl, space = release.cluster.kubectl, release.space
    found, other = release.get(), "00000000-0000-0000-0000-000000000000"
    meta = {"name": "qna", "namespace": space, "resourceVersion": "1"}
    body = {"apiVersion": found["apiVersion"], "kind": found["kind"], "metadata": meta}
    said = refusal(
        release, "apply", "--server-side", "--force-conflicts", "--subresource=status", "-f", "-",
        input=json.dumps({**body, "status": {"phase": "Pending"}}),
    )  # fmt: skip
    assert "the object has been modified" in said
    assert release.status()["phase"] == "Stable"
    for name, expected in (
        ("qna", "field is immutable"),
        ("nobody", "no existing object was found"),
    ):
        service = {
            **a_service(space, name),
            "metadata": {"name": name, "namespace": space, "uid": other},
        }
        said = refusal(
            release,
            "apply",
            "--server-side",
            "--force-conflicts",
            "-f",
            "-",
            input=json.dumps(service),
        )
        assert expected in said
    options = {"apiVersion": "v1", "kind": "DeleteOptions", "preconditions": {"uid": other}}
    said = refusal(
        release, "delete", "--raw", f"/api/v1/namespaces/{space}/services/qna", "-f", "-",
        input=json.dumps(options),
    )  # fmt: skip
    assert "UID in the precondition" in said
    kubectl("get", "service", "qna", "-n", space)


def test_a_release_that_is_deleted_and_made_anew_serves_again(release: Release) -> None:
    release.begins("1")
    uid = release.get()["metadata"]["uid"]
    release.cluster.kubectl("delete", "modelrelease", "qna", "-n", release.space, "--wait=false")
    wait_until("the release to be gone", lambda: _uid(release), lambda found: found != uid)
    release.begins("2")
    owners = release.read("service", "qna")["metadata"]["ownerReferences"]
    assert [owner["uid"] for owner in owners] == [release.get()["metadata"]["uid"]]


def test_a_release_that_waits_leaves_the_api_server_alone(release: Release) -> None:
    """While pods cannot start, nothing is applied again."""
    release.apply("1", serving={"replicas": 1, "image": "registry.invalid/nobody:1"})
    release.wait(
        "trouble to be told",
        lambda status: "predictor" in json.dumps(status) or "fetch" in json.dumps(status),
    )
    before = _written(release)
    assert before
    seen: list[str] = []

    def look() -> int:
        seen.append(_written(release))
        return len(seen)

    wait_until("fifteen seconds of looks", look, lambda looks: looks >= LOOKS, every=1)
    assert set(seen) == {before}


def _written(release: Release) -> str:
    """Return when the operator last wrote the release's Deployment."""
    return release.cluster.kubectl(
        "get", "deployments", "-n", release.space, "--show-managed-fields", "-o",
        'jsonpath={.items[*].metadata.managedFields[?(@.manager=="modelrelease-operator")].time}',
    )  # fmt: skip


def _uid(release: Release) -> str | None:
    found = release.cluster.kubectl(
        "get",
        "modelrelease",
        "qna",
        "-n",
        release.space,
        "--ignore-not-found",
        "-o",
        "jsonpath={.metadata.uid}",
    )
    return found or None


def refusal(release: Release, *args: str, input: str) -> str:  # noqa: A002 - as kubectl's
    """Run kubectl, which must fail; return what it says."""
    try:
        release.cluster.kubectl(*args, input=input)
    except ClusterError as problem:
        return str(problem)
    raise AssertionError(f"kubectl {' '.join(args)} was not refused")
