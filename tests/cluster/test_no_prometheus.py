"""Releases whose metrics come from the pods themselves: Prometheus is asked for nothing."""

import time

from examples.waiting import wait_until
from testbed.releases import SOON_SURE, Release, phase_is, rejected

PODS = {"source": "Pods"}
FIRST = 100
"""Requests of the canary, from which on it is to be taken back soon."""
SOON = 10.0
"""Seconds."""
SLACK = 25.0
"""Seconds that a busy machine and a test that looks once a second may add. By scrapes of 15 s it
takes longer than both.
"""


def test_a_good_version_is_promoted(release: Release) -> None:
    release.apply("1", analysis={**SOON_SURE, **PODS})
    release.serves("1")
    release.load(rps=60)
    with release.no_request_lost():
        release.apply("2")
        status = release.wait("canary 2 to be counted", lambda it: bool(it.get("samples")))
        release.serves("2")
    assert status["samples"]["source"] == "Pods"
    assert "Promoted" in release.reasons()


def test_a_version_that_fails_is_rolled_back_within_seconds(release: Release) -> None:
    release.apply("1", analysis=PODS)
    release.serves("1")
    release.load(rps=100)
    release.apply("3")
    release.wait("canary 3 to have clients", phase_is("Progressing", "RollingBack"))
    answered = wait_until(
        "the canary's first requests",
        lambda: release.stats().count(version="3"),
        lambda count: count >= FIRST or "rejected" in release.status(),
        every=0,
    )
    met = time.monotonic()
    status = release.wait("version 3 to be taken back", phase_is("RollingBack", "Stable"))
    took = time.monotonic() - met
    print(f"\nrolled back {took:.1f} s after {answered} requests of the canary")  # noqa: T201
    status = release.wait("version 3 to be rejected", rejected("3"))
    assert status["rejected"]["reason"] == "Regression"
    assert "canary 3 fails" in status["rejected"]["message"]
    assert took <= SOON + SLACK
