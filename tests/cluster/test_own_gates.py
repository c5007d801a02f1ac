"""Gates in a person's own PromQL on a real Prometheus."""

from typing import Any

from tests.support.releases import Object, Release, rejected

MINE = 'predictions_total{namespace="{{namespace}}",revision="{{revision}}"'
COUNTS: dict[str, Any] = {
    "bad": f'{MINE},code=~"5.."}}',
    "total": f"{MINE}}}",
    "margin": {"ratio": 1.25, "points": 2},
}
"""The share of 5xx once more, as a person would write it for counters of their own."""
CANARY_EXISTS = 'count(model_version{namespace="{{namespace}}",revision="{{revision}}"})'


def analysis(*gates: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"interval": "3s", "gates": list(gates), **more}


def test_a_good_version_passes_counts_and_a_threshold_while_a_dry_run_only_watches(release: Release) -> None:
    release.begins("1")
    release.load(rps=80)
    gates = (
        {"name": "own-errors", "counts": COUNTS},
        {"name": "pods", "threshold": {"query": CANARY_EXISTS, "min": 1, "max": 2, "consecutive": 2}},
        {"name": "never", "threshold": {"query": CANARY_EXISTS, "max": 0, "consecutive": 1}, "dryRun": True},
    )
    release.apply("2", analysis=analysis(*gates))
    status = release.wait("the dry run to fail", lambda found: _gate(found, "never").get("verdict") == "Fail")
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


def _gate(status: Object, name: str) -> Object:
    return next((gate for gate in status.get("gates", []) if gate["name"] == name), {})
