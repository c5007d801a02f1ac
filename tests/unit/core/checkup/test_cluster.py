"""What is concluded about a cluster from what could be read of it."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml

from modelrelease_operator.core.checkup.cluster import (
    OLDEST_MINOR,
    LeaseSeen,
    about_lease,
    about_policy,
    about_version,
)
from modelrelease_operator.core.checkup.finding import Result, Unseen

NOW = datetime(2026, 11, 30, 12, tzinfo=UTC)
FORBIDDEN = Unseen(why="the API server answered 403: you may not", refused=True)


def lease(seconds_ago: float, holder: str = "operator-1") -> dict[str, Any]:
    at = NOW - timedelta(seconds=seconds_ago)
    spec = {"holderIdentity": holder, "renewTime": at.isoformat(), "leaseDurationSeconds": 10}
    return {"spec": spec}


def looked(
    first: dict[str, Any] | Unseen | None, again: dict[str, Any] | Unseen | None = None
) -> tuple[Result, str]:
    seen = LeaseSeen(namespace="kube-system", first=first, again=again, now=NOW)
    finding = about_lease(seen)
    return finding.result, finding.says


def test_the_oldest_version_is_the_charts():
    chart = Path(__file__).parents[4] / "charts/modelrelease/Chart.yaml"
    assert yaml.safe_load(chart.read_text())["kubeVersion"] == f">=1.{OLDEST_MINOR}.0-0"


@pytest.mark.parametrize(
    ("version", "result"),
    [
        ({"major": "1", "minor": "36", "gitVersion": "v1.36.0"}, Result.OK),
        ({"major": "1", "minor": "29+"}, Result.OK),
        ({"major": "1", "minor": "28"}, Result.WRONG),
        ({"major": "2", "minor": "0"}, Result.UNSEEN),
        ({}, Result.UNSEEN),
        (Unseen(why="no route to host"), Result.WRONG),
        (FORBIDDEN, Result.UNSEEN),
    ],
)
def test_versions(version: dict[str, Any] | Unseen, result: Result):
    assert about_version(version).result is result


def test_an_operator_that_renewed_a_moment_ago_acts():
    assert looked(lease(2)) == (
        Result.OK,
        "operator-1 acts, and renewed Lease kube-system/modelrelease-operator 2s ago",
    )


@pytest.mark.parametrize("seconds_ago", [300, -300], ids=["behind", "ahead"])
def test_a_clock_that_differs_calls_no_operator_dead(seconds_ago: float):
    result, says = looked(lease(seconds_ago), lease(seconds_ago - 6))
    assert result is Result.OK
    assert "its clock and this machine's differ" in says


def test_a_lease_that_nobody_renews_is_wrong_and_says_since_when():
    result, says = looked(lease(300), lease(300))
    assert result is Result.WRONG
    assert "2026-11-30T11:55:00+00:00: no operator acts" in says


def test_a_lease_that_could_be_read_only_once_is_not_judged():
    assert looked(lease(300), FORBIDDEN)[0] is Result.UNSEEN


def test_a_lease_given_back_is_held_by_nobody():
    assert looked(lease(2, holder=""))[0] is Result.WRONG


def test_a_lease_that_is_not_there_or_may_not_be_read_are_told_apart():
    assert looked(None)[0] is Result.WRONG
    assert looked(FORBIDDEN) == (Result.UNSEEN, FORBIDDEN.why)


POLICY = {"metadata": {"name": "pods"}}


def binding(*actions: str) -> dict[str, Any]:
    return {"spec": {"policyName": "pods", "validationActions": [*actions]}}


@pytest.mark.parametrize(
    ("policies", "bindings", "result"),
    [
        ([POLICY], [binding("Deny")], Result.OK),
        ([POLICY], [binding("Audit")], Result.WARNING),
        ([POLICY], [], Result.WARNING),
        ([], [binding("Deny")], Result.WARNING),
        (None, None, Result.WARNING),
        (FORBIDDEN, [], Result.UNSEEN),
        ([POLICY], FORBIDDEN, Result.UNSEEN),
    ],
)
def test_a_policy_counts_only_where_a_binding_denies(policies: Any, bindings: Any, result: Result):
    assert about_policy(policies, bindings).result is result


def test_a_cluster_that_knows_no_policies_is_not_sent_to_the_chart():
    """Kubernetes 1.29, where the chart makes none whatever its values say."""
    found = about_policy(None, None)
    assert (found.result, found.remedy) == (
        Result.WARNING, "upgrade the cluster to 1.30, and then the chart: it makes one there",
    )  # fmt: skip
