"""People change their minds in the middle of a release."""

from functools import partial

import pytest

from examples.waiting import wait_until
from testbed.releases import PROMPTLY, SOON_SURE, Release, phase_is


@pytest.fixture(autouse=True)
def scraped_often(release: Release) -> None:
    """What a changed spec comes to is the same at any pace."""
    release.scraped_often()


@pytest.mark.alone
def test_a_spec_that_goes_back_to_stable_is_an_instant_rollback(release: Release) -> None:
    release.begins("1")
    release.load(rps=40)
    with release.no_request_lost():
        release.apply("2")
        release.wait("the canary to have traffic", phase_is("Progressing"))
        release.apply("1")
        status = release.wait("version 1 alone", phase_is("Stable"), within=PROMPTLY)
    assert status["stable"]["version"] == "1"
    assert "rejected" not in status
    assert "SpecReverted" in release.reasons()


@pytest.mark.alone
def test_a_spec_that_moves_on_rolls_the_old_canary_back_first(release: Release) -> None:
    release.begins("1")
    release.load(rps=60)
    with release.no_request_lost(except_by=("3",)):
        quick = {"weight": 50, "keepPrevious": "1s"}
        release.apply("3", canary=quick, analysis=SOON_SURE)
        release.wait("a canary", phase_is("Starting", "Progressing"))
        release.apply("2")
        release.serves("2")
    outcomes = [(entry["version"], entry["outcome"]) for entry in release.status()["history"]]
    assert outcomes[0] == ("2", "Promoted")
    assert outcomes[1][0] == "3"
    assert outcomes[1][1] in ("Superseded", "Regression")


def test_a_release_deleted_in_the_middle_leaves_nothing_behind(release: Release) -> None:
    release.begins("1")
    release.apply("2")
    release.wait("a canary", phase_is("Starting", "Progressing"))
    release.cluster.kubectl(
        "delete", "modelrelease", release.name, "-n", release.space, "--timeout=120s"
    )
    for kind in ("deployments", "services", "pods"):
        look = partial(release.items, kind)
        wait_until(f"no {kind}", look, lambda left: not left)


def test_what_the_operator_owns_is_put_right_when_somebody_else_changes_it(
    release: Release,
) -> None:
    release.begins("1")
    revision = release.status()["stable"]["revision"]
    kubectl, space = release.cluster.kubectl, release.space

    kubectl("patch", "service", "qna", "-n", space, "--type=merge", "-p",
            '{"spec": {"selector": {"modelrelease.dev/revision": "nowhere"}}}')  # fmt: skip
    wait_until(
        "the selector to be put back",
        lambda: release.read("service", "qna")["spec"]["selector"],
        lambda selector: selector["modelrelease.dev/revision"] == revision,
        within=PROMPTLY,
    )
    kubectl("scale", "deployment", f"qna-{revision}", "-n", space, "--replicas=0")
    wait_until(
        "the replicas to be put back",
        lambda: release.read("deployment", f"qna-{revision}"),
        lambda found: found["spec"]["replicas"] == 2,
        within=PROMPTLY,
    )
    kubectl("delete", "service", "qna-stable", "-n", space)
    wait_until(
        "the Service to be made again",
        lambda: [item["metadata"]["name"] for item in release.items("services")],
        lambda names: "qna-stable" in names,
        within=PROMPTLY,
    )


def test_a_paused_release_holds_and_goes_on_when_it_may(release: Release) -> None:
    release.begins("1")
    release.load(rps=60)
    release.apply("2", paused=True, analysis=SOON_SURE)
    status = release.wait(
        "the canary to be held", lambda status: "spec.paused" in status.get("message", "")
    )
    assert status["stable"]["version"] == "1"
    release.apply("2", paused=False)
    release.serves("2")
