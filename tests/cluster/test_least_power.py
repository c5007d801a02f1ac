"""Whoever may make a release gains no power by it,
unless whoever installed the operator says so.
"""

import json
from typing import Any

import pytest

from cluster import Cluster, ClusterError
from examples import fixtures
from examples.waiting import wait_until
from testbed.releases import Release

# One worker makes the people, and has all tests about them.
pytestmark = pytest.mark.xdist_group("people")
GOOD = "http://store/qna/1"
ALICE, BOB = "alice", "bob"
"""Alice may make releases, Bob pods as well."""
SECRET = {"secretKeyRef": {"name": "db", "key": "password"}}

POWERFUL: dict[str, tuple[dict[str, Any], str]] = {
    "an image": ({"serving": {"image": "evil:1"}}, "spec.serving.image"),
    "a command": (
        {"serving": {"runtime": {"command": ["evil"]}}},
        "spec.serving.runtime",
    ),
    "an account": (
        {"serving": {"serviceAccountName": "deployer"}},
        "spec.serving.serviceAccountName",
    ),
    "a Secret": (
        {"serving": {"env": [{"name": "A", "valueFrom": SECRET}]}},
        "spec.serving.env.valueFrom",
    ),
    "a container": (
        {"serving": {"sidecars": [{"name": "a", "image": "b"}]}},
        "spec.serving.sidecars",
    ),
    "a volume": (
        {"serving": {"volumes": [{"name": "a", "secret": {"secretName": "db"}}]}},
        "spec.serving.volumes",
    ),
    "a template": (
        {"serving": {"podTemplate": {"spec": {"hostPID": True}}}},
        "serving.podTemplate.spec",
    ),
    "a Job": ({"retrain": {"image": "evil:1"}}, "spec.retrain"),
    "credentials for a store": (
        {"model": {"uri": GOOD, "credentialsSecretRef": {"name": "db"}}},
        "spec.model.credentialsSecretRef",
    ),
    "a volume for artifacts": (
        {"model": {"uri": GOOD, "cache": {"persistentVolumeClaim": {"claimName": "db"}}}},
        "spec.model.cache",
    ),
    "an image that nodes pull": (
        {"model": {"uri": "oci://registry/private:1", "imageVolume": {}}},
        "spec.model.imageVolume",
    ),
    "a key in a Secret": (
        {
            "model": {
                "uri": GOOD,
                "signature": {"key": {"secretKeyRef": {"name": "db", "key": "password"}}},
            }
        },
        "spec.model.signature.key.secretKeyRef",
    ),
    "credentials for Prometheus": (
        {"analysis": {"prometheus": {"url": "https://evil", "basicAuthSecretRef": {"name": "db"}}}},
        "spec.analysis.prometheus",
    ),
}
HARMLESS: dict[str, dict[str, Any]] = {
    "a model": {},
    "labels": {"serving": {"podTemplate": {"metadata": {"labels": {"team": "nlp"}}}}},
    "a place": {"serving": {"nodeSelector": {"pool": "gpu"}, "tolerations": [{"key": "gpu"}]}},
    "a value": {"serving": {"env": [{"name": "A", "value": "1"}], "replicas": 2}},
    "a Prometheus without credentials": {"analysis": {"prometheus": {"url": "https://p"}}},
}


@pytest.fixture(scope="module")
def people(cluster: Cluster) -> str:
    """A namespace with Alice and Bob, where the chart's policy is in force; returns its name."""
    space = "people"
    fixtures.apply(cluster, fixtures.namespace(space))
    for who, resources in (
        (ALICE, "modelreleases.modelrelease.dev"),
        (BOB, "modelreleases.modelrelease.dev,pods"),
    ):
        make = (
            "create",
            "role",
            who,
            "--verb=get,list,watch,create,update,patch",
            f"--resource={resources}",
        )
        bind = ("create", "rolebinding", who, f"--role={who}", f"--user={who}")
        for command in (make, bind):
            manifest = cluster.kubectl(*command, "-n", space, "--dry-run=client", "-o", "json")
            fixtures.apply(cluster, json.loads(manifest))

    def said() -> str:
        try:
            send(cluster, space, {"serving": {"image": "evil:1"}}, who=ALICE)
        except ClusterError as refused:
            return str(refused)
        return ""

    wait_until(
        "the policy to be in force",
        said,
        lambda text: "may be set or changed only by" in text,
    )
    return space


def send(
    cluster: Cluster, space: str, parts: dict[str, Any], *, who: str, dry: bool = True
) -> None:
    manifest = fixtures.release("qna", space, GOOD)
    manifest["spec"] = {"model": {"uri": GOOD}, **parts}
    options = ["--dry-run=server"] if dry else []
    cluster.kubectl("apply", *options, "--as", who, "-f", "-", input=json.dumps(manifest))


@pytest.mark.parametrize(("parts", "field"), POWERFUL.values(), ids=POWERFUL)
def test_who_may_not_create_pods_has_none_made_with(
    cluster: Cluster, people: str, parts: dict[str, Any], field: str
) -> None:
    with pytest.raises(ClusterError) as refused:
        send(cluster, people, parts, who=ALICE)
    said = (
        f"{field} may be set or changed only by who may create pods in namespace people, which "
        "alice may not"
    )
    assert said in str(refused.value)
    send(cluster, people, parts, who=BOB)


@pytest.mark.parametrize("parts", HARMLESS.values(), ids=HARMLESS)
def test_who_may_not_create_pods_may_still_release(
    cluster: Cluster, people: str, parts: dict[str, Any]
) -> None:
    send(cluster, people, parts, who=ALICE)


def test_what_somebody_else_set_may_stay_and_may_be_taken_away_but_not_be_changed(
    cluster: Cluster, people: str
) -> None:
    env = [{"name": "A", "valueFrom": SECRET}]
    own = {"image": "theirs:1", "serviceAccountName": "models", "env": env}
    try:
        send(cluster, people, {"serving": own, "paused": True}, who=BOB, dry=False)
        send(cluster, people, {"serving": own, "canary": {"weight": 20}}, who=ALICE)
        send(
            cluster,
            people,
            {"serving": {**own, "env": [{"name": "B", "value": "1"}, *env]}},
            who=ALICE,
        )
        send(cluster, people, {"serving": {"image": "theirs:1"}}, who=ALICE)
        with pytest.raises(ClusterError, match=r"spec\.serving\.image may be set or changed only"):
            send(cluster, people, {"serving": {**own, "image": "evil:1"}}, who=ALICE)
    finally:
        cluster.kubectl("delete", "modelrelease", "qna", "-n", people, "--ignore-not-found")


@pytest.mark.parametrize(
    ("role", "verb", "allowed"),
    [
        ("edit", "create", "yes"),
        ("view", "list", "yes"),
        ("view", "create", "no"),
        ("edit", "escalate", "no"),
    ],
)
def test_the_clusters_own_roles_know_releases(
    cluster: Cluster, people: str, role: str, verb: str, allowed: str
) -> None:
    who = f"carol-{role}"
    bind = ("create", "rolebinding", who, f"--clusterrole={role}", f"--user={who}", "-n", people)
    fixtures.apply(cluster, json.loads(cluster.kubectl(*bind, "--dry-run=client", "-o", "json")))
    ask = ("auth", "can-i", verb, "modelreleases.modelrelease.dev", "--as", who, "-n", people)
    wait_until(
        "the aggregated role", lambda: cluster.kubectl(*ask, check=False).split()[-1],
        lambda answer: answer == allowed,
    )  # fmt: skip


def test_a_template_that_asks_for_the_node_is_refused_with_the_charts_value(
    release: Release,
) -> None:
    template = {"spec": {"hostPID": True, "containers": [{"name": "predictor", "command": ["sh"]}]}}
    release.apply("1", serving={"replicas": 1, "podTemplate": template})
    status = release.wait(
        "the refusal", lambda status: "podTemplates.allowed" in status.get("message", "")
    )
    assert (
        "spec.serving.podTemplate.spec.containers.command, "
        "spec.serving.podTemplate.spec.hostPID may not"
    ) in (status["message"])
    assert {each["type"]: each["reason"] for each in status["conditions"]}[
        "Stalled"
    ] == "SpecInvalid"
    assert not release.items("deployments")
