"""What is suspicious of a version just promoted, gate by gate: what its predecessor did not do."""

from typing import Any

import pytest

from modelrelease_operator.api.spec import ReleaseSpec
from modelrelease_operator.api.status import Crashes, Evidence, Streak
from modelrelease_operator.core.analysis.gates.threshold import key_of
from modelrelease_operator.core.measurement.indicators import own_indicator
from modelrelease_operator.core.release.watch import suspicion
from testbed.builders import a_spec

REFUNDS = {"bad": "refunds{revision='{{revision}}'}", "total": "orders{revision='{{revision}}'}"}
COUNTS: dict[str, Any] = {"name": "refunds", "counts": REFUNDS}
PREDICTIONS: dict[str, Any] = {"name": "shift", "predictions": {}}
THRESHOLD: dict[str, Any] = {
    "name": "p99",
    "threshold": {"query": "p99", "max": 0.5, "consecutive": 3},
}


def asking(gate: dict[str, Any], **changes: Any) -> ReleaseSpec:
    return a_spec(analysis={"gates": [{**gate, **changes}]})


def of_counts(new: tuple[int, int], old: tuple[int, int]) -> Evidence:
    return counted(own_indicator("refunds", REFUNDS["bad"], REFUNDS["total"]).key, new, old)


def counted(key: str, new: tuple[int, int], old: tuple[int, int]) -> Evidence:
    return Evidence(step={key: [*new, 0, 0]}, release={key: [0, 0, *old]})


def told(spec: ReleaseSpec, evidence: Evidence) -> str | None:
    return suspicion(spec, evidence, Crashes())


def test_a_version_that_is_bad_by_a_persons_counts_is_suspected():
    found = told(asking(COUNTS), of_counts((2_000, 400), (2_000, 20)))
    assert found == (
        "it is bad by gate refunds for 20.00 % of 2,000 requests, its predecessor 1.00 % of "
        "2,000 requests"
    )


@pytest.mark.parametrize("new", [(2_000, 20), (2_000, 40), (50, 50), (2_000, 0)])
def test_a_version_that_is_as_bad_as_its_predecessor_by_a_persons_counts_is_not(
    new: tuple[int, int],
):
    assert told(asking(COUNTS), of_counts(new, (2_000, 20))) is None


def test_a_version_beyond_a_limit_of_counts_that_its_predecessor_kept_is_suspected():
    spec = asking(
        {"name": "refunds", "counts": {**REFUNDS, "compareWithStable": False, "maxPercent": 2}}
    )
    assert told(spec, of_counts((5_000, 250), (5_000, 50))) is not None
    assert told(spec, of_counts((5_000, 250), (5_000, 250))) is None, (
        "its predecessor was beyond it too"
    )
    assert told(spec, of_counts((5_000, 60), (5_000, 0))) is None, (
        "it is held against the limit alone"
    )


@pytest.mark.parametrize(("new", "old"), [(900, 100), (100, 900)], ids=["more", "less"])
def test_a_version_that_predicts_otherwise_than_its_predecessor_did_is_suspected(
    new: int, old: int
):
    found = told(asking(PREDICTIONS), counted("bin/yes", (1_000, new), (1_000, old)))
    assert found is not None
    assert found.startswith("it predicts yes for ")


def test_a_version_that_predicts_as_its_predecessor_did_is_not():
    assert told(asking(PREDICTIONS), counted("bin/yes", (10_000, 5_300), (10_000, 5_000))) is None


def test_a_version_that_predicts_otherwise_is_not_suspected_where_no_gate_asks():
    spec = a_spec(analysis={"gates": [{"name": "errors", "errorRate": {}}]})
    assert told(spec, counted("bin/yes", (1_000, 900), (1_000, 100))) is None


@pytest.mark.parametrize(("looks", "suspected"), [(-3, True), (-2, False), (3, False)])
def test_a_number_beyond_its_limit_for_as_many_looks_as_the_gate_asks_is_suspicious(
    looks: int, suspected: bool
):
    spec = asking(THRESHOLD)
    asked = spec.analysis.gates[0].threshold
    assert asked
    evidence = Evidence(streaks={key_of("p99", asked): Streak(looks=looks)})
    assert (told(spec, evidence) is not None) is suspected


@pytest.mark.parametrize("gate", [COUNTS, PREDICTIONS, THRESHOLD], ids=lambda gate: gate["name"])
def test_a_gate_that_is_only_shown_raises_no_suspicion(gate: dict[str, Any]):
    spec = a_spec(
        analysis={"gates": [{**gate, "dryRun": True}, {"name": "errors", "errorRate": {}}]}
    )
    asked = spec.analysis.gates[0].threshold
    evidence = of_counts((2_000, 2_000), (2_000, 0))
    step = {**evidence.step, "bin/yes": [1_000, 900, 0, 0]}
    release = {**evidence.release, "bin/yes": [0, 0, 1_000, 100]}
    streaks = {key_of("p99", asked): Streak(looks=-9)} if asked else {}
    assert told(spec, Evidence(step=step, release=release, streaks=streaks)) is None


def test_more_gates_make_no_suspicion_likelier():
    crowd = {f"bin/{name}": [400, 10, 0, 0] for name in range(100)}
    alone, among = asking(COUNTS), a_spec(analysis={"gates": [COUNTS, PREDICTIONS]})
    # The fewest that are suspicious alone.
    evidence = next(it for bad in range(400) if told(alone, it := of_counts((400, bad), (400, 4))))
    crowded = evidence.model_copy(update={"step": {**evidence.step, **crowd}})
    assert told(alone, crowded) is not None
    assert told(among, crowded) is None
