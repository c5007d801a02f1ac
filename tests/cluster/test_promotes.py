"""A good successor goes through its steps, becomes stable, and nobody notices."""

import json

import pytest

from testbed.releases import SOON_SURE, Release, phase_is


@pytest.mark.alone
def test_a_good_version_is_promoted_without_a_restart_and_without_a_lost_request(
    release: Release,
) -> None:
    release.begins("1")
    release.load(rps=100)
    stable_pods = release.pods("1")

    with release.no_request_lost():
        release.apply("2")
        status = release.wait("the canary at its last step", _step(1))
        canary_pods = release.pods("2")
        assert status["canary"]["requestedWeight"] == 50
        assert status["stable"]["version"] == "1"
        release.serves("2")
        promoted_pods = release.pods("2")

    assert canary_pods.items() <= promoted_pods.items(), "a canary pod was replaced on promotion"
    assert len(promoted_pods) == 2
    assert release.restarts() == 0
    assert stable_pods.keys().isdisjoint(promoted_pods)
    for reason in ("FirstVersionServes", "CanaryStarted", "StepStarted", "Promoting", "Promoted"):
        assert reason in release.reasons()


def test_kubectl_shows_where_a_release_stands(release: Release) -> None:
    release.begins("1")
    release.load(rps=60)
    release.apply("2", analysis=SOON_SURE)
    release.wait(
        "a verdict", lambda status: "verdict" in status and phase_is("Progressing")(status)
    )

    kubectl = release.cluster.kubectl
    header, row = kubectl("get", "modelreleases", "-n", release.space).splitlines()[:2]
    assert header.split() == ["NAME", "PHASE", "STABLE", "CANARY", "WEIGHT", "VERDICT", "AGE"]
    assert row.split()[:4] == ["qna", "Progressing", "1", "2"]
    wide = kubectl("get", "mrel", "-n", release.space, "-o", "wide").splitlines()[0]
    assert wide.split()[-2:] == ["EFFECTIVE", "MESSAGE"]

    kubectl(
        "wait", "-n", release.space, "modelrelease/qna", "--for=condition=Ready", "--timeout=600s"
    )
    found = release.get()
    assert found["status"]["observedGeneration"] == found["metadata"]["generation"]
    assert found["status"]["stable"]["version"] == "2"
    conditions = {each["type"]: each for each in found["status"]["conditions"]}
    assert conditions["Ready"]["status"] == "True"
    assert conditions["Reconciling"]["status"] == "False"
    assert conditions["Ready"]["observedGeneration"] == found["metadata"]["generation"]
    assert json.dumps(found["status"]["history"][0]).count("Promoted") == 1


def _step(index: int):
    return lambda status: status.get("canary", {}).get("step") == index
