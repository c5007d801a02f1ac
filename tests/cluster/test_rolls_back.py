"""A bad successor is found out and taken back, and the sentence says why."""

import pytest

from testbed.releases import Release, rejected


@pytest.mark.alone
def test_a_version_that_fails_is_rolled_back_and_no_other_request_is_lost(release: Release) -> None:
    release.begins("1")
    release.load(rps=100)
    stable_pods = release.pods("1")

    with release.no_request_lost(except_by=("3",)):
        release.apply("3")
        status = release.wait("version 3 to be rejected", rejected("3"))
        release.wait("its pods to be gone", lambda _: not release.pods("3"))

    assert status["stable"]["version"] == "1"
    assert status["rejected"]["reason"] == "Regression"
    assert "canary 3 fails" in status["rejected"]["message"]
    assert "99 % confidence" in status["rejected"]["message"]
    assert release.pods("1") == stable_pods, "stable was touched by the rollback"
    ready = next(each for each in status["conditions"] if each["type"] == "Ready")
    assert (ready["status"], ready["reason"]) == ("False", "Rejected")
    assert [reason for reason in release.reasons() if reason == "Regression"] == ["Regression"]

    bad = release.stats().count(version="3", outcome="500")
    # One in ten of a third of 100 requests a second, for three scrapes of 15 s: 172 are expected,
    # 23 more or less by which connections are kept to the canary. A busy machine has as long again.
    assert 0 < bad < 400, "bad answers that reached clients before the rollback"


def test_a_slow_version_is_rolled_back(release: Release) -> None:
    release.begins("1")
    release.load(rps=50)
    release.apply("4")
    status = release.wait("version 4 to be rejected", rejected("4"))
    assert "takes over" in status["rejected"]["message"]
    assert status["stable"]["version"] == "1"


def test_an_artifact_that_cannot_be_trusted_never_takes_traffic(release: Release) -> None:
    """Not alone: nothing that clients meet changes, so a busy machine loses none of them."""
    release.begins("1")
    release.load(rps=20)
    with release.no_request_lost():
        # Its recorded answers do not come back.
        is_refused(release, "5", says="example")
        # A file was changed after the manifest was written.
        is_refused(release, "6", says="sha256")


def is_refused(release: Release, version: str, *, says: str) -> None:
    release.apply(version)
    status = release.wait(f"version {version} to be rejected", rejected(version))
    assert status["rejected"]["reason"] == "ArtifactRefused"
    assert says in status["rejected"]["message"]
    assert release.stats().count(version=version) == 0
