"""An operator installed by somebody who may do nothing outside one namespace."""

import json
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from cluster import Cluster, shell, toolchain
from cluster.imageset import REPOSITORY
from examples import fixtures
from modelrelease_operator.cli import main
from testbed.releases import OPERATOR_SPACE, SOON_SURE, Release

# The operator for all namespaces would act here, too.
pytestmark = pytest.mark.alone
DEPLOYMENT = "deployment/modelrelease-operator"
TENANT, ELSEWHERE = "tenant", "not-the-tenants"


@dataclass(frozen=True)
class Tenant:
    """Somebody who owns one namespace, and their operator."""

    cluster: Cluster
    space: str

    def helm(self, *arguments: str) -> None:
        """Run Helm with no more rights than the tenant has."""
        rights = ["--kubeconfig", str(self.cluster.kubeconfig), "--kube-as-user", TENANT]
        shell.run([toolchain.helm(), *arguments, "--namespace", self.space, *rights])

    def may(self, verb: str, resource: str, space: str) -> str:
        """Return yes or no for the operator's account."""
        account = f"system:serviceaccount:{self.space}:{TENANT}"
        asked = ("auth", "can-i", verb, resource, "--as", account, "-n", space)
        return self.cluster.kubectl(*asked, check=False).split()[-1]


@pytest.fixture
def tenant(cluster: Cluster, space: str) -> Iterator[Tenant]:
    """An operator of the tenant's in the test's namespace; that for all namespaces rests."""
    installed = cluster.kubectl("get", DEPLOYMENT, "-n", OPERATOR_SPACE, "-o", "json")
    (container,) = json.loads(installed)["spec"]["template"]["spec"]["containers"]
    serving = next(
        each["value"] for each in container["env"] if each["name"] == "MODELRELEASE_SERVING_IMAGE"
    )
    repository, _, tag = container["image"].rpartition(":")
    for make in (
        ("create", "role", "owner", "--verb=*", "--resource=*.*"),
        ("create", "rolebinding", "owner", "--role=owner", f"--user={TENANT}"),
    ):
        cluster.kubectl(*make, "-n", space)
    found = Tenant(cluster, space)
    cluster.kubectl("scale", DEPLOYMENT, "-n", OPERATOR_SPACE, "--replicas=0")
    try:
        found.helm(
            "install", TENANT, str(REPOSITORY / "charts/modelrelease"), "--wait", "--timeout=10m",
            "--set", f"clusterScoped=false,watchNamespaces={{{space}}},serving.image={serving}",
            "--set", f"image.repository={repository},image.tag={tag}",
            "--set", "prometheus.url=http://prometheus.monitoring:9090",
        )  # fmt: skip
        yield found
        found.helm("uninstall", TENANT, "--wait")
    finally:
        cluster.kubectl("scale", DEPLOYMENT, "-n", OPERATOR_SPACE, "--replicas=1")
        cluster.kubectl("rollout", "status", DEPLOYMENT, "-n", OPERATOR_SPACE, "--timeout=600s")


@pytest.fixture
def elsewhere(cluster: Cluster, store: str) -> Iterator[Release]:
    """A release in a namespace of somebody else."""
    fixtures.apply(cluster, fixtures.namespace(ELSEWHERE))
    yield Release(cluster=cluster, space=ELSEWHERE, store=store)
    cluster.kubectl("delete", "namespace", ELSEWHERE, "--wait=false")


def test_with_roles_in_one_namespace_a_release_is_promoted_and_no_other_namespace_is_touched(
    tenant: Tenant, release: Release, elsewhere: Release, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    elsewhere.apply("1")
    release.scraped_often()
    release.begins("1")
    release.load(rps=80)
    release.apply("2", analysis=SOON_SURE)
    release.serves("2")
    assert elsewhere.status() == {}, "no operator has looked at it"
    assert not elsewhere.items("deployments,services")

    assert tenant.may("patch", "deployments", tenant.space) == "yes"
    for verb, resource in (
        ("list", "modelreleases.modelrelease.dev"), ("get", "pods"), ("patch", "deployments"),
        ("get", "namespaces"), ("list", "customresourcedefinitions"), ("get", "secrets"),
    ):  # fmt: skip
        assert tenant.may(verb, resource, ELSEWHERE) == "no", (verb, resource)

    # The policies that people apply themselves: no network here keeps to any.
    policies = str(REPOSITORY / "examples/network/policies.yaml")
    taken = tenant.cluster.kubectl("apply", "--dry-run=server", "-n", tenant.space, "-f", policies)
    assert taken.count(" created (server dry run)") == 3

    # Found by `modelrelease doctor`, as somebody who owns the namespace alone would look.
    monkeypatch.setattr(
        "kubernetes.aio.config.kube_config.KUBE_CONFIG_DEFAULT_LOCATION",
        str(tenant.cluster.kubeconfig),
    )
    place = ["-n", tenant.space, "--lease-namespace", tenant.space]
    main(["doctor", *place, "-o", "json"])
    told = [
        finding["says"]
        for finding in json.loads(capsys.readouterr().out)
        if finding["check"] == "operator's rights"
    ]
    assert [sentence.partition(":")[0] for sentence in told] == [
        "it may not list customresourcedefinitions and watch customresourcedefinitions and list "
        "namespaces and watch namespaces",
        "it may not get gateways and get gatewayclasses",
        "it may not get customresourcedefinitions httproutes.gateway.networking.k8s.io",
    ]
    log = tenant.cluster.kubectl("logs", f"deployment/{TENANT}-operator", "-n", tenant.space)
    assert log.count("this operator works with less: it may not") == len(told)


ASK = """
import sys, urllib.error, urllib.request
asked = urllib.request.Request("http://localhost:9090/metrics")
if sys.argv[1:]:
    asked.add_header("Authorization", "Bearer " + sys.argv[1])
try:
    with urllib.request.urlopen(asked, timeout=60) as answer:
        print(answer.status, answer.read().decode())
except urllib.error.HTTPError as refused:
    print(refused.code, refused.read().decode())
"""
READER, NOBODY = "metrics-reader", "metrics-nobody"
READERS = f"{OPERATOR_SPACE}-modelrelease-metrics-reader"


@pytest.fixture
def behind_a_door(cluster: Cluster, space: str) -> Iterator[None]:
    """The operator's metrics behind authentication; of two accounts one may read them."""
    cluster.install_operator("metrics.authentication=true")
    for account in (READER, NOBODY):
        cluster.kubectl("create", "serviceaccount", account, "-n", space)
    account = f"--serviceaccount={space}:{READER}"
    cluster.kubectl("create", "clusterrolebinding", READER, f"--clusterrole={READERS}", account)
    yield
    cluster.kubectl("delete", "clusterrolebinding", READER)
    cluster.install_operator()


@pytest.mark.usefixtures("behind_a_door")
def test_metrics_behind_authentication_are_shown_to_the_token_of_who_may_get_them(
    cluster: Cluster, space: str
) -> None:
    def asked(*token: str) -> tuple[str, str]:
        inside = ("exec", "-n", OPERATOR_SPACE, DEPLOYMENT, "--")
        code, _, text = cluster.kubectl(*inside, "python3", "-c", ASK, *token).partition(" ")
        return code, text

    def token_of(account: str) -> str:
        return cluster.kubectl("create", "token", account, "-n", space).strip()

    assert asked()[0] == "401"
    assert asked("no.such.token")[0] == "401"
    code, text = asked(token_of(NOBODY))
    assert code == "403"
    assert f"system:serviceaccount:{space}:{NOBODY} may not get the path /metrics" in text
    code, text = asked(token_of(READER))
    assert code == "200"
    assert "modelrelease_operator_info" in text
