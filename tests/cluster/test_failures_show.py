"""What a real API server refuses is told in its own words, and nothing is half made."""

from typing import Any

from examples import fixtures
from testbed.releases import FAST, Release

TYPO = {"podTemplate": {"spec": {"tolerations": [{"key": "gpu", "operator": "Sometimes"}]}}}
"""The schema of releases lets it through;
the Deployment is refused, since there is no such operator.
"""


def is_stalled(reason: str) -> Any:
    def check(status: dict[str, Any]) -> bool:
        return any(
            it["type"] == "Stalled" and it["status"] == "True" and it["reason"] == reason
            for it in status.get("conditions", ())
        )

    return check


def test_a_pod_template_that_does_not_fit_is_a_condition_and_nothing_is_made(
    release: Release,
) -> None:
    release.apply("1", serving={**FAST["serving"], **TYPO})
    status = release.wait("the refusal", is_stalled("ApplyRefused"))
    assert "tolerations" in status["message"]
    assert "{" not in status["message"].split("tolerations")[0], (
        "a sentence, and not the server's JSON"
    )
    assert "ApplyRefused" in release.reasons()
    assert not release.items("deployments")
    assert not release.items("services")
    release.apply("1", serving=FAST["serving"])
    release.serves("1")


def test_a_new_version_that_does_not_fit_leaves_the_old_one_alone(release: Release) -> None:
    release.begins("1")
    release.apply("2", serving={**FAST["serving"], **TYPO})
    status = release.wait("the refusal", is_stalled("ApplyRefused"))
    assert status["phase"] == "Stable"
    assert status["stable"]["version"] == "1"
    assert "canary" not in status
    assert "CanaryStarted" not in release.reasons()
    release.apply("1", serving=FAST["serving"])
    release.serves("1")


def test_a_quota_without_services_is_told(release: Release) -> None:
    quota = {
        "apiVersion": "v1", "kind": "ResourceQuota",
        "metadata": {"name": "no-services", "namespace": release.space},
        "spec": {"hard": {"services": "0"}},
    }  # fmt: skip
    fixtures.apply(release.cluster, quota)
    release.apply("1")
    status = release.wait("the refusal", is_stalled("ApplyRefused"))
    assert "exceeded quota" in status["message"]
    release.cluster.kubectl("delete", "resourcequota", "no-services", "-n", release.space)
    release.serves("1")
