"""Drift starts one Job, also when the operator dies at that moment; a person starts another."""

import json
from typing import Any

import pytest

from examples import fixtures
from examples.waiting import wait_until
from testbed.releases import OPERATOR_SPACE, Release
from tests.cluster.test_drift import MOVED, QUICK

TELL = """
import os, time
time.sleep(5)
features = os.environ["MODELRELEASE_DRIFTED_FEATURES"]
open("/dev/termination-log", "w").write(f"{os.environ['MODELRELEASE_RETRAIN_CAUSE']} {features}")
"""
REFUSE = "raise SystemExit('version 9 is no better than the champion')"
RESOURCES = {"requests": {"cpu": "20m", "memory": "64Mi"}}


def retrain(code: str, **parts: Any) -> dict[str, Any]:
    return {
        "image": fixtures.SERVING_IMAGE, "command": ["python", "-c", code], "resources": RESOURCES,
        "cooldown": "1h", **parts,
    }  # fmt: skip


@pytest.mark.alone
def test_drift_starts_one_job_although_the_operator_dies_at_that_moment(release: Release) -> None:
    release.apply("1", drift=QUICK, retrain=retrain(TELL))
    release.serves("1")
    release.load(rps=60, shifts=MOVED)
    request = release.wait("a retraining to be asked for", lambda status: bool(asked(status)))
    kill_the_operator(release)
    ended = release.wait("the retraining to end", lambda status: "outcome" in asked(status))
    found = asked(ended)
    assert found["request"] == asked(request)["request"]
    assert (found["outcome"], found["cause"]) == ("Succeeded", "Drifted")
    assert 'Drifted ["feature_03"' in found["message"]
    release.wait("drift that goes on", lambda status: status["drift"]["windows"].endswith("DDD"))
    (job,) = release.items("jobs")
    assert job["metadata"]["name"] == found["job"]
    assert asked(release.status())["request"] == found["request"], "the cool-down was not kept"
    assert release.reasons().count("RetrainSucceeded") == 1


def test_a_person_starts_one_and_a_job_that_refuses_has_failed_with_its_own_words(
    release: Release,
) -> None:
    release.apply("1", retrain=retrain(REFUSE))
    release.serves("1")
    annotate(release, "1")
    first = asked(release.wait("the first to end", lambda status: "outcome" in asked(status)))
    assert (first["outcome"], first["cause"]) == ("Failed", "Asked")
    assert "version 9 is no better than the champion" in first["message"]
    assert "RetrainFailed" in release.reasons()
    annotate(release, "1/again")
    release.wait(
        "the second to end",
        lambda status: asked(status)["request"] != first["request"] and "outcome" in asked(status),
    )
    wait_until(
        "the first Job to be gone",
        lambda: len(release.items("jobs")),
        lambda count: count == 1,
    )


def test_a_job_that_cannot_be_made_stops_nothing_else(release: Release) -> None:
    broken = {"spec": {"containers": [{"name": "side"}]}}
    release.apply("1", retrain=retrain(REFUSE, podTemplate=broken))
    release.serves("1")
    annotate(release, "1")
    status = release.wait("the refusal", lambda status: asked(status).get("outcome") == "Failed")
    assert "was refused" in asked(status)["message"]
    assert {each["type"]: each["status"] for each in status["conditions"]}["Ready"] == "True"


def asked(status: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = status.get("retrain", {})
    return found


def annotate(release: Release, about: str) -> None:
    release.cluster.kubectl(
        "annotate", "modelrelease", release.name, "-n", release.space,
        f"modelrelease.dev/retrain={about}",
        "--overwrite",
    )  # fmt: skip


def kill_the_operator(release: Release) -> None:
    """Take its pod away without a goodbye, and wait until another answers."""
    pods = ("pod", "-n", OPERATOR_SPACE, "-l", "app.kubernetes.io/name=modelrelease-operator")
    before = names_of(release, pods)
    release.cluster.kubectl("delete", *pods, "--grace-period=0", "--force")
    wait_until(
        "another operator",
        lambda: names_of(release, pods),
        lambda now: bool(now - before),
    )


def names_of(release: Release, pods: tuple[str, ...]) -> set[str]:
    found = json.loads(release.cluster.kubectl("get", *pods, "-o", "json"))
    return {pod["metadata"]["name"] for pod in found["items"]}
