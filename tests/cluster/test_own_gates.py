"""Gates in a person's own PromQL on a real Prometheus, and one that wants to know who asks."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cluster import Cluster
from examples import fixtures
from testbed.releases import Object, Release, rejected
from tests.support import guard

MINE = 'predictions_total{namespace="{{namespace}}",revision="{{revision}}"'
COUNTS: dict[str, Any] = {
    "bad": f'{MINE},code=~"5.."}}',
    "total": f"{MINE}}}",
    "margin": {"ratio": 1.25, "points": 2},
}
"""The share of 5xx once more, as a person would write it for counters of their own."""
CANARY_EXISTS = 'count(model_version{namespace="{{namespace}}",revision="{{revision}}"})'
GUARD = "prometheus-guard"
TOKEN = "only-for-this-test"


@pytest.fixture(autouse=True)
def scraped_often(release: Release) -> None:
    """How a person's own queries are judged is the same at any pace."""
    release.scraped_often()


def analysis(*gates: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"interval": "3s", "gates": list(gates), **more}


def test_a_good_version_passes_counts_and_a_threshold_while_a_dry_run_only_watches(
    release: Release,
) -> None:
    release.begins("1")
    release.load(rps=80)
    gates = (
        {"name": "own-errors", "counts": COUNTS},
        {
            "name": "pods",
            "threshold": {"query": CANARY_EXISTS, "min": 1, "max": 2, "consecutive": 2},
        },
        {
            "name": "never",
            "threshold": {"query": CANARY_EXISTS, "max": 0, "consecutive": 1},
            "dryRun": True,
        },
    )
    release.apply("2", analysis=analysis(*gates))
    status = release.wait(
        "the dry run to fail", lambda found: _gate(found, "never").get("verdict") == "Fail"
    )
    assert status["phase"] == "Progressing", "a dry run decides nothing"
    assert _gate(status, "pods")["value"] >= 1
    release.serves("2")
    found = _gate(release.status(), "own-errors")
    assert found["verdict"] == "Pass"
    assert found["canaryTotal"] > 100
    assert "is bad by gate own-errors for 0.0 % of" in found["message"]


def test_a_version_that_fails_is_rolled_back_by_counts_of_ones_own(release: Release) -> None:
    release.begins("1")
    release.load(rps=80)
    release.apply("3", analysis=analysis({"name": "own-errors", "counts": COUNTS}))
    status = release.wait("version 3 to be rejected", rejected("3"))
    assert status["rejected"]["reason"] == "Regression"
    assert "canary 3 is bad by gate own-errors for" in status["rejected"]["message"]


def test_a_version_beyond_a_threshold_is_rolled_back_after_looks_in_a_row(release: Release) -> None:
    release.begins("1")
    release.load(rps=20)
    gate = {"name": "none", "threshold": {"query": CANARY_EXISTS, "max": 0, "consecutive": 2}}
    release.apply("2", analysis=analysis(gate))
    status = release.wait("version 2 to be rejected", rejected("2"))
    assert "gate none: 1 is not at most 0, 2 of 2 looks in a row" in status["rejected"]["message"]


@pytest.fixture
def allowed(cluster: Cluster) -> Iterator[None]:
    """Let the operator read the Secrets that releases name, for one test."""
    cluster.install_operator("prometheus.allowSecretRefs=true")
    yield
    cluster.install_operator()


@pytest.mark.usefixtures("allowed")
@pytest.mark.alone
def test_a_prometheus_behind_a_token_is_read_with_the_token_of_a_secret(release: Release) -> None:
    fixtures.apply(release.cluster, *_guarded_prometheus(release.space))
    release.cluster.kubectl(
        "rollout", "status", "-n", release.space, f"deployment/{GUARD}", "--timeout=600s"
    )
    release.begins("1")
    release.load(rps=80)
    prometheus = {
        "url": f"http://{GUARD}.{release.space}", "bearerTokenSecretRef": {"name": GUARD,
        "key": "token"},
    }  # fmt: skip
    fixtures.apply(release.cluster, _secret(release.space, "another"))
    release.apply(
        "2", analysis=analysis({"name": "own-errors", "counts": COUNTS}, prometheus=prometheus)
    )
    status = release.wait(
        "the refusal to be told", lambda found: found.get("verdict") == "Unavailable"
    )
    assert "401" in status["message"]
    assert TOKEN not in str(release.get())
    assert status["phase"] == "Progressing"

    fixtures.apply(release.cluster, _secret(release.space, TOKEN))
    release.serves("2")
    assert TOKEN not in str(release.get())
    assert TOKEN not in release.operator_log()


def test_without_the_right_to_read_secrets_the_message_names_the_charts_value(
    release: Release,
) -> None:
    release.begins("1")
    fixtures.apply(release.cluster, _secret(release.space, TOKEN))
    prometheus = {
        "url": "http://elsewhere",
        "bearerTokenSecretRef": {"name": GUARD, "key": "token"},
    }
    release.apply(
        "2", analysis=analysis({"name": "errors", "errorRate": {}}, prometheus=prometheus)
    )
    status = release.wait("that to be told", lambda found: found.get("verdict") == "Unavailable")
    assert "prometheus.allowSecretRefs=true" in status["message"]


def _gate(status: Object, name: str) -> Object:
    return next((gate for gate in status.get("gates", []) if gate["name"] == name), {})


def _secret(space: str, token: str) -> Object:
    meta = {"name": GUARD, "namespace": space}
    return {"apiVersion": "v1", "kind": "Secret", "metadata": meta, "stringData": {"token": token}}


def _guarded_prometheus(space: str) -> list[Object]:
    """Return a proxy that passes requests on to the cluster's Prometheus when they carry the
    token.
    """
    config = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": GUARD, "namespace": space},
        "data": {"guard.py": Path(guard.__file__).read_text()},
    }
    command = ["python", "/guard/guard.py", TOKEN, "http://prometheus.monitoring:9090"]
    container = {
        "name": GUARD, "image": fixtures.OPERATOR_IMAGE, "command": command,
        "volumeMounts": [{"name": "guard", "mountPath": "/guard"}],
    }  # fmt: skip
    volumes = [{"name": "guard", "configMap": {"name": GUARD}}]
    pod = fixtures.pod(container, 8080, "/-/open", volumes)
    return [config, fixtures.deployment(GUARD, space, pod), fixtures.service(GUARD, space, 8080)]
