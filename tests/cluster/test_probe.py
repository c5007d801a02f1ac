"""Where no user calls, probes are the evidence, and everything that is said says so."""

import pytest

from examples.waiting import wait_until
from testbed.releases import SOON_SURE, Release, rejected

PROBED = {**SOON_SURE, "probe": {"rate": 20}}


@pytest.fixture(autouse=True)
def scraped_often(release: Release) -> None:
    """Probes are counted by the prober, whose pace is not the pods'."""
    release.scraped_often()


def test_a_version_that_nobody_calls_is_promoted_on_probes_and_leaves_no_prober(
    release: Release,
) -> None:
    release.begins("1")
    release.apply("2", analysis=PROBED)
    status = release.wait("probes to be counted", _probes_are_counted)
    assert {gate["name"] for gate in status["gates"]} == {"errors", "probe/errors"}
    assert "0 of the 100" in status["message"] or "no request" in status["message"]
    assert "effectiveWeight" not in status["canary"], "probes are no users"

    release.serves("2")
    told = release.status()["history"][0]
    assert (told["outcome"], told["version"]) == ("Promoted", "2")
    assert "probes and not users proved steps 1, 2 of 2" in told["message"]
    assert "probes decided and not users" in release.events()
    wait_until("the prober to be gone", release.probers, lambda found: not found)
    assert release.restarts() == 0


def test_a_version_that_nobody_calls_and_that_fails_is_rolled_back_by_probes(
    release: Release,
) -> None:
    release.begins("1")
    release.apply("3", analysis={"interval": "3s", "probe": {"rate": 40}})
    status = release.wait("version 3 to be rejected", rejected("3"))
    assert status["rejected"]["reason"] == "Regression"
    assert "canary 3 fails" in status["rejected"]["message"]
    assert "probes, stable 0.0 % of" in status["rejected"]["message"]
    assert status["stable"]["version"] == "1"
    wait_until("the prober to be gone", release.probers, lambda found: not found)


def test_a_version_that_nobody_calls_is_not_promoted_without_probes(release: Release) -> None:
    release.begins("1")
    release.apply(
        "2", analysis=SOON_SURE, canary={**release.spec["canary"], "progressDeadline": "40s"}
    )
    status = release.wait(
        "the deadline to ask a person", lambda found: found.get("phase") == "Paused"
    )
    assert status["stable"]["version"] == "1"
    assert "no verdict within 40s" in status["message"]
    assert not release.probers()


def _probes_are_counted(status: dict[str, list[dict[str, object]]]) -> bool:
    totals = {gate["name"]: gate["canaryTotal"] for gate in status.get("gates", [])}
    return bool(totals.get("probe/errors"))
