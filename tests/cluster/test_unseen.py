"""A canary that Prometheus does not show keeps no users, and comes back when it can be seen."""

from testbed.releases import SOON_SURE, Release, phase_is

OFTEN = {"prometheus.io/scrape-interval": "5s"}
"""How often pods are scraped is not what this test is about."""


def test_a_canary_that_cannot_be_seen_leaves_the_service_and_comes_back(release: Release) -> None:
    seen = {"podTemplate": {"metadata": {"annotations": dict(OFTEN)}}}
    # One replica: the canary's one pod is all that is ever started of it.
    release.apply("1", serving={**release.spec["serving"], "replicas": 1, **seen})
    release.serves("1")
    release.load(rps=60)
    hidden = {**release.spec["serving"], "podTemplate": {
        "metadata": {"annotations": {**OFTEN, "prometheus.io/scrape": "false"}}
    }}  # fmt: skip
    release.apply("2", serving=hidden, analysis={**SOON_SURE, "maxBlind": "20s"})
    release.wait("canary 2 to have clients", phase_is("Progressing"))

    status = release.wait("the canary to leave the Service", phase_is("Paused"))
    assert "left the Service" in status["message"]
    assert "ready pods" in status["message"], "the sentence says what is not seen"
    selector = release.read("service", "qna")["spec"]["selector"]
    assert selector["modelrelease.dev/revision"] == status["stable"]["revision"]
    assert "CanaryUnseen" in release.reasons()
    assert release.pods("2"), "its pods wait warm"

    names = list(release.pods("2"))
    release.cluster.kubectl(
        "annotate", "pods", "-n", release.space, *names, "prometheus.io/scrape=true", "--overwrite"
    )
    release.wait(
        "the canary to be back in the Service", phase_is("Progressing", "Promoting", "Stable")
    )
    release.serves("2")
    assert "CanarySeen" in release.reasons()
