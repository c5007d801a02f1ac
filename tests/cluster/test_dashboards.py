"""Every question of every dashboard, and of every recording rule, is asked of the real Prometheus,
which scrapes the real operator and predictors, during and after a release with real traffic.
"""

import json
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import pytest
from kubernetes.client import ApiClient
from kubernetes.config import new_client_from_config

from cluster import Cluster
from dashboards.recording import RULES
from examples.waiting import wait_until
from testbed.releases import OPERATOR_SPACE, SOON_SURE, Release
from tests.support.dashboards import Question, boards, questions

QUERY = "/api/v1/namespaces/monitoring/services/prometheus:9090/proxy/api/v1/query"
DURING = (
    "release: variable gate",
    "release: panel Canary",
    "release: panel Evidence",
    "release: panel Verdicts",
    "release: panel Bad requests: $gate A",
    "release: panel Ratio",
    "release: panel Requests",
    "release: panel Errors",
    "release: panel Latency",
    "release: panel Predictions B",
    "drift: panel Predictions B",
    "fleet: panel Under way",
    "fleet: panel Releases C",
    "fleet: panel Weight of canaries",
    "operator: panel Lateness of looks, p95",
)
"""Asked while a canary is judged: afterwards there is none."""
QUIET = (
    "release: annotation Rollbacks",
    "release: annotation Waiting for a person",
    "release: annotation Drift",
    "release: annotation Retraining",
    "release: panel Bad requests: $gate B",
    "release: panel Pairs of the shadow",
    "release: panel Probes",
    "drift: annotation Drift",
    "drift: annotation Retraining",
    "drift: panel Last A",
    "drift: panel Distance of texts",
    "drift: panel Windows of texts",
    "drift: panel Texts",
    "fleet: panel Wait for a person",
    "fleet: panel Rejected",
    "fleet: panel Drifted",
    "fleet: panel Retraining",
    "fleet: panel Unseen",
    "fleet: panel Failing",
    "fleet: panel Alerts",
    "fleet: panel Cannot go on",
    "fleet: panel Errors",
    "operator: panel Failed passes",
    "operator: panel Model registry",
    "operator: panel Messages",
)
"""A good release without shadow, probes, texts or an absolute limit gives these nothing to show."""
OURS = 'max by (namespace, release) (predictions_total{namespace="$namespace",release="$release"})'


def recorded() -> list[Question]:
    """Return what the recording rules ask about every release, for the one of the test."""
    return [
        Question(
            board="recorded",
            where=rule.record,
            expr=f"({rule.expr}) and on (namespace, release) {OURS}",
            legend=frozenset({"namespace", "release"}),
        )
        for rule in RULES
    ]


@dataclass(frozen=True)
class Asked:
    """The cluster's Prometheus, about one release."""

    release: Release

    @cached_property
    def _client(self) -> ApiClient:
        """A client of our own: a kubectl for each of so many questions would take a core."""
        client: ApiClient = new_client_from_config(str(self.release.cluster.kubeconfig))
        return client

    def ask(self, question: Question) -> list[dict[str, Any]]:
        """Return the answer's rows, after a look at whether they have what the legend names."""
        of_operator = question.board == "operator"
        space = OPERATOR_SPACE if of_operator else self.release.space
        values = {"namespace": space, "release": self.release.name}
        # Releases are scraped every two seconds here, the operator every fifteen.
        expr = question.about(values, rate="1m" if of_operator else "20s")
        request = self._client.param_serialize(
            "GET", QUERY, query_params=[("query", expr)], auth_settings=["BearerToken"]
        )
        said = self._client.call_api(*request)
        assert said.status == 200, f"{question.name}: {said.read()!r}"
        answer = json.loads(said.read())
        assert answer["status"] == "success", question.name
        rows: list[dict[str, Any]] = answer["data"]["result"]
        assert all(question.legend <= set(row["metric"]) for row in rows), question.name
        return rows

    def all_answer(self, asked: list[Question]) -> None:
        """Wait until each question has had an answer: some are about the last minute alone."""
        silent = list(asked)

        def still_silent() -> list[str]:
            silent[:] = [question for question in silent if not self.ask(question)]
            return [question.name for question in silent]

        wait_until("every question to have an answer", still_silent, lambda name: not name, every=2)


@pytest.fixture(autouse=True)
def scraped_often(release: Release) -> None:
    """What panels show is the same at any pace."""
    release.scraped_often()


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

    prometheus, every = Asked(release), [*questions(), *recorded()]
    prometheus.all_answer([each for each in every if each.name.startswith(DURING)])
    release.apply("2", canary=quick)
    release.serves("2")
    prometheus.all_answer([each for each in every if not each.name.startswith((*DURING, *QUIET))])
    for each in every:
        assert prometheus.ask(each) is not None


def test_the_chart_ships_them_where_grafana_looks(cluster: Cluster) -> None:
    raw = cluster.kubectl(
        "get", "configmap", "-n", OPERATOR_SPACE, "-l", "grafana_dashboard=1", "-o", "json"
    )
    found = {
        file: json.loads(text)
        for item in json.loads(raw)["items"]
        for file, text in item["data"].items()
    }
    assert found == {f"modelrelease-{name}.json": board for name, board in boards().items()}
