"""Blue/green: no user meets a canary in the dark, then every request moves at once."""

from typing import Any

import pytest

from testbed.releases import FAST, Release, rejected


def switching(release: Release, **canary: Any) -> None:
    """Have versions take over at once, and the old one stay for long enough to go back to."""
    steps = [{"weight": 100, "bake": "20s"}]
    release.spec["canary"] = {**FAST["canary"], "steps": steps, "keepPrevious": "3m", **canary}
    release.scraped_often()


@pytest.mark.alone
def test_every_request_moves_at_once_after_the_shadow_and_none_is_lost(release: Release) -> None:
    switching(release, shadow={"copiesPerSecond": 50, "pairs": 500}, keepPrevious="30s")
    release.begins("1")
    release.load(rps=60)
    with release.no_request_lost():
        release.apply("2")
        status = release.wait("version 2 in the dark", in_the_dark)
        assert status["weight"] == 0
        assert release.stats().count(version="2") == 0, "users met it"
        release.serves("2")
        at_the_switch = release.stats()
        assert len(release.pods("2")) == len(release.pods("1")) == FAST["serving"]["replicas"]
        release.wait("the way back to be closed", lambda seen: "previous" not in seen)
    after = release.stats()
    assert after.count(version="2") > at_the_switch.count(version="2")
    assert not release.pods("1")


def test_a_version_that_fails_with_users_alone_is_taken_back_beside_the_past(
    release: Release,
) -> None:
    switching(release, approval="Manual")
    release.begins("1")
    release.load(rps=60)
    release.apply("3")
    status = release.wait("a person to be asked", is_asked)
    assert "canary 3 is at full strength in the dark; annotate approve=" in status["message"]
    assert release.stats().count(version="3") == 0, "users met it"
    release.annotate(approve=status["canary"]["revision"])
    status = release.wait("version 3 to be taken back", rejected("3"))
    assert (
        "beside what version 1 did before the promotion: it fails" in status["rejected"]["message"]
    )
    assert status["stable"]["version"] == "1"
    release.wait("its pods to be gone", lambda _: not release.pods("3"))


def in_the_dark(status: dict[str, Any]) -> bool:
    """Return whether the canary has passed the shadow and waits at full strength."""
    return status.get("phase") == "Progressing" and "stepSince" in status.get("canary", {})


def is_asked(status: dict[str, Any]) -> bool:
    asked: bool = status.get("canary", {}).get("question") == "WaitingForApproval"
    return asked
