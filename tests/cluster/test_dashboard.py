"""Every question of the dashboard is asked of the real Prometheus,
after a release with real traffic.
"""

import json
from typing import Any
from urllib.parse import quote

import pytest

from cluster import Cluster
from examples.waiting import wait_until
from testbed.releases import OPERATOR_SPACE, SOON_SURE, Release
from tests.support.dashboard import Question, dashboard, questions

PROXY = "/api/v1/namespaces/monitoring/services/prometheus:9090/proxy/api/v1/query?query="
DURING = (
    "panel Canary A",
    "panel Evidence",
    "panel Verdicts",
    "panel Requests",
    "panel Errors",
    "panel Latency",
    "panel Difference",
    "panel Ratio",
)
"""Asked while a canary is judged: afterwards there is none."""
QUIET = ("annotation Rollbacks", "annotation Waiting for a person", "annotation Drift")
"""A good release gives these nothing to show."""


@pytest.fixture(autouse=True)
def scraped_often(release: Release) -> None:
    """What panels show is the same at any pace."""
    release.scraped_often()


def ask(release: Release, question: Question) -> list[dict[str, Any]]:
    expr = question.about(release.space, release.name, window="1m", rate="20s")
    answer = json.loads(release.cluster.kubectl("get", "--raw", PROXY + quote(expr)))
    assert answer["status"] == "success", question.where
    rows: list[dict[str, Any]] = answer["data"]["result"]
    assert all(question.legend <= set(row["metric"]) for row in rows), question.where
    return rows


def all_answer(release: Release, asked: list[Question]) -> None:
    """Wait until each question has had an answer: some are about the last minute alone."""
    silent = list(asked)

    def still_silent() -> list[str]:
        silent[:] = [question for question in silent if not ask(release, question)]
        return [question.where for question in silent]

    wait_until("every question to have an answer", still_silent, lambda where: not where, every=2)


def test_every_panel_has_data_during_and_after_a_release(release: Release) -> None:
    drift = {"window": "15s", "minSamples": 300}
    quick = release.spec["canary"]
    release.apply("1", drift=drift)
    release.serves("1")
    release.load(rps=60)
    # As long as the questions take.
    long = [{"weight": 33, "bake": "5s"}, {"weight": 50, "bake": "1h"}]
    release.apply("2", canary={**quick, "steps": long}, analysis=SOON_SURE)
    release.wait(
        "the canary at its last step", lambda status: status.get("canary", {}).get("step") == 1
    )

    every = questions()
    all_answer(release, [each for each in every if each.where.startswith(DURING)])
    release.apply("2", canary=quick)
    release.serves("2")
    all_answer(release, [each for each in every if not each.where.startswith((*DURING, *QUIET))])
    for each in every:
        assert ask(release, each) is not None


def test_the_chart_ships_it_where_grafana_looks(cluster: Cluster) -> None:
    raw = cluster.kubectl(
        "get", "configmap", "-n", OPERATOR_SPACE, "-l", "grafana_dashboard=1", "-o", "json"
    )
    (found,) = json.loads(raw)["items"]
    assert json.loads(found["data"]["modelrelease.json"]) == dashboard()
