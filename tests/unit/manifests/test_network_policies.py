"""The policies that people apply themselves name the pods that the operator makes, and their ports.

Whether a network keeps to them is its own affair: the clusters here have none that does.
"""

from pathlib import Path
from typing import Any

import pytest
import yaml

from modelrelease_operator.api import names
from modelrelease_operator.api.probe import Probe
from modelrelease_operator.core.desired import Desired, DesiredProber, DesiredWorkload
from modelrelease_operator.manifests import Owner, render
from modelrelease_operator.manifests.reader import reader_job
from testbed.builders import a_target

FILE = Path(__file__).parents[3] / "examples/network/policies.yaml"
POLICIES: dict[str, dict[str, Any]] = {
    policy["metadata"]["name"]: policy["spec"] for policy in yaml.safe_load_all(FILE.read_text())
}
OWNER = Owner(namespace="ml", name="qna", uid="uid-1")


def templates() -> dict[str, dict[str, Any]]:
    """Return a pod template of each kind of pod that takes part in a release."""
    stable, canary = a_target("1"), a_target("2")
    run = DesiredWorkload(target=stable, replicas=3, track="stable")
    alone = Desired(running=(run,), routed=frozenset({"rev1"}), stable="rev1")
    probing = Desired(probing=DesiredProber(stable=stable, canary=canary, settings=Probe()))
    (predictor,) = (obj for obj in render(OWNER, alone) if obj["kind"] == "Deployment")
    (prober,) = render(OWNER, probing)
    objects = {"predictors": predictor, "probers": prober, "readers": reader_job(OWNER, stable)}
    return {kind: obj["spec"]["template"] for kind, obj in objects.items()}


def selects(policy: dict[str, Any], labels: dict[str, str]) -> bool:
    (expression,) = policy["podSelector"]["matchExpressions"]
    assert expression["operator"] == "Exists"
    return expression["key"] in labels


@pytest.mark.parametrize("kind", ["predictors", "probers", "readers"])
def test_each_kind_of_pod_has_one_policy(kind: str):
    labels = templates()[kind]["metadata"]["labels"]
    chosen = [name for name, policy in POLICIES.items() if selects(policy, labels)]
    assert chosen == [f"modelrelease-{kind}"]


@pytest.mark.parametrize("kind", ["predictors", "probers"])
def test_what_is_let_in_is_the_port_that_is_served(kind: str):
    ports = {
        port["containerPort"]
        for container in templates()[kind]["spec"]["containers"]
        for port in container["ports"]
    }
    (rule,) = POLICIES[f"modelrelease-{kind}"]["ingress"]
    assert {each["port"] for each in rule["ports"]} == ports


def test_nobody_calls_who_only_reads():
    assert "ports" not in templates()["readers"]["spec"]["containers"][0]
    assert POLICIES["modelrelease-readers"]["ingress"] == []


def test_who_fetches_may_ask_for_names_and_reach_the_store_but_no_credentials_of_nodes():
    for name, policy in POLICIES.items():
        ports = {each["port"] for rule in policy["egress"] for each in rule["ports"]}
        assert {53, 443, 8080} <= ports, name
        blocks = [peer["ipBlock"] for rule in policy["egress"] for peer in rule["to"]
                  if "ipBlock" in peer]  # fmt: skip
        assert [block["except"] for block in blocks] == [
            ["169.254.0.0/16"], ["fe80::/10", "fd00:ec2::254/128"],
        ]  # fmt: skip


def test_who_compares_two_versions_may_ask_both():
    for kind in ("predictors", "probers"):
        to = [peer for rule in POLICIES[f"modelrelease-{kind}"]["egress"] for peer in rule["to"]]
        assert {"matchExpressions": [{"key": names.LABEL_RELEASE, "operator": "Exists"}]} in [
            peer.get("podSelector") for peer in to
        ]
