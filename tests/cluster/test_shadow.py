"""Before the first user: stable's own pods compare a canary's answers with theirs."""

from typing import Any

import pytest

from testbed.releases import FAST, Release, phase_is, rejected


def shadowed(release: Release, **shadow: Any) -> None:
    """Have canaries of a release compared first, as fast as the evidence allows."""
    release.spec["canary"] = {
        **FAST["canary"],
        "shadow": {"copiesPerSecond": 50, "pairs": 500, **shadow},
    }


def compared(status: dict[str, Any]) -> bool:
    """Return whether the release has left the shadow with a canary that passed."""
    known = status.get("canary", {}).get("shadow", {})
    return status.get("phase") != "Shadowing" and bool(known.get("passed"))


@pytest.mark.alone
def test_a_good_version_meets_its_first_user_after_it_was_compared(release: Release) -> None:
    shadowed(release)
    release.begins("1")
    release.load(rps=60)
    stable_pods = release.pods("1")
    with release.no_request_lost():
        release.apply("2")
        release.wait("version 2 to be compared", phase_is("Shadowing"))
        status = release.wait("version 2 to leave the shadow", compared)
        release.wait("its first users", phase_is("Progressing"))
    assert status["canary"]["shadow"]["pairs"] >= 500
    assert status["canary"]["shadow"]["counts"]["different"] > 0, "it is another model"
    assert not set(stable_pods) - set(release.pods("1")), "stable was restarted for it"
    reasons = release.reasons()
    assert "ShadowPassed" in reasons
    assert reasons.index("ShadowStarted") < reasons.index("StepStarted")


@pytest.mark.parametrize(
    ("version", "shadow", "says"),
    [
        ("3", {}, "canary 3 fails"),
        ("4", {"noisePercent": 50}, "canary 4 was the slower one on"),
        ("2", {"maxDisagreementPercent": 0.2, "tolerance": 0.001}, "otherwise than stable"),
    ],
    ids=["fails", "is slow", "answers otherwise"],
)
def test_no_user_meets_one_that(
    release: Release, version: str, shadow: dict[str, Any], says: str
) -> None:
    shadowed(release, **shadow)
    release.begins("1")
    release.load(rps=60)
    release.apply(version)
    status = release.wait(f"version {version} to be rejected", rejected(version))
    assert status["rejected"]["reason"] == "Regression"
    assert status["rejected"]["message"].startswith("in the shadow, ")
    assert says in status["rejected"]["message"]
    assert release.stats().count(version=version) == 0, "users met it"
    assert status["stable"]["version"] == "1"


def test_without_users_nothing_is_proven_and_a_person_is_asked(release: Release) -> None:
    shadowed(release, deadline="40s")
    release.begins("1")
    release.apply("2")
    status = release.wait(
        "a person to be asked",
        lambda status: "annotate approve=" in status.get("message", ""),
    )
    assert status["phase"] == "Shadowing"
    waiting = next(each for each in status["conditions"] if each["type"] == "WaitingForPerson")
    assert waiting["status"] == "True"
    revision = status["canary"]["revision"]
    release.annotate(approve=revision)
    release.wait("the first users to meet it", phase_is("Progressing", "Paused", "Promoting"))
