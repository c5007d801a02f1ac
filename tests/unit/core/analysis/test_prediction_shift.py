"""A canary that answers differently than stable on the same traffic, through judge(),
as it is stored.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from modelrelease_operator.api.spec import Gate, PredictionsGate, ReleaseSpec
from modelrelease_operator.api.status import CanaryStatus, GateStatus, StableStatus, Status, Verdict
from modelrelease_operator.core.analysis.judge import judge
from modelrelease_operator.core.analysis.prediction_shift import prediction_bins, why_not
from modelrelease_operator.core.observed import Counter
from testbed.builders import START, a_spec, a_target

EVEN = (0.1,) * 10
EDGES = (0.28, 0.07, 0.06, 0.045, 0.04, 0.04, 0.045, 0.05, 0.07, 0.3)
"""As the demo's model answers: sure of itself, and of both classes alike."""
COLLAPSED = (0.0,) * 9 + (1.0,)
GATE = {"name": "answers", "predictions": {}}


class Traffic:
    """Counters of both arms' predictions, which grow with draws from known distributions."""

    def __init__(
        self, seed: int, stable: Sequence[float], canary: Sequence[float], weight: float = 0.2
    ) -> None:
        self.random = np.random.default_rng(seed)
        self.shares = {"rev1": np.array(stable), "rev2": np.array(canary)}
        self.weights = {"rev1": 1 - weight, "rev2": weight}
        self.counts = {name: np.zeros(10, dtype=int) for name in self.shares}
        self.layouts = {"rev1": "same", "rev2": "same"}
        self.status = Status(
            stable=StableStatus(**a_target("1").parts(), since=START),
            canary=CanaryStatus(**a_target("2").parts(), since=START),
        )
        self.spec: ReleaseSpec = a_spec(analysis={"gates": [GATE]})

    def look(self, rows: int) -> GateStatus:
        """Serve so many rows and judge; the status goes through JSON."""
        for name, shares in self.shares.items():
            served = self.random.binomial(rows, self.weights[name])
            self.counts[name] += self.random.multinomial(served, shares)
        found = judge(
            spec=self.spec, status=self.status, metrics=self.counters(), next_weight=50, now=START
        )
        kept = self.status.model_copy(update={"evidence": found.evidence, "gates": found.gates})
        self.status = Status.parse(kept.to_dict())
        return found.gates[0]

    def counters(self) -> tuple[Counter, ...]:
        found = []
        for name, counts in self.counts.items():
            found += [
                Counter(revision=name, pod=name, bin=str(place), value=float(value))
                for place, value in enumerate(counts)
            ]
            found.append(Counter(revision=name, pod=name, layout=self.layouts[name], value=1.0))
            found.append(Counter(revision=name, pod=name, code="200", value=float(counts.sum())))
        return tuple(found)

    def verdicts(self, looks: int, rows: int) -> list[Verdict]:
        return [self.look(rows).verdict for _ in range(looks)]


@pytest.mark.parametrize("shares", [EVEN, EDGES], ids=["even", "at the edges"])
def test_a_canary_that_answers_alike_passes_and_is_never_rolled_back(shares: Sequence[float]):
    for seed in range(20):
        verdicts = Traffic(seed, shares, shares).verdicts(looks=40, rows=500)
        assert Verdict.FAIL not in verdicts, f"seed {seed}"
        assert verdicts[-1] is Verdict.PASS


@pytest.mark.parametrize(
    ("canary", "what"),
    [
        (COLLAPSED, "in bin 9"),
        ((0.25, 0.25, 0.0625, 0.0625, 0.0625, 0.0625, 0.0625, 0.0625, 0.0625, 0.0625), "in bin "),
    ],
    ids=["one answer for everything", "two bins at two and a half times"],
)
def test_a_canary_that_answers_otherwise_is_found_with_the_bin(canary: Sequence[float], what: str):
    for seed in range(10):
        traffic = Traffic(seed, EVEN, canary)
        verdicts = traffic.verdicts(looks=20, rows=500)
        assert Verdict.FAIL in verdicts
    said = traffic.status.gates[0].message
    assert said.startswith("canary 2 predicts in bin ")
    assert what in said


def test_a_bin_that_the_canary_no_longer_uses_is_evidence_too():
    stable = (0.4, *(0.6 / 9,) * 9)
    canary = (0.0, *(1 / 9,) * 9)
    traffic = Traffic(1, stable, canary)
    assert Verdict.FAIL in traffic.verdicts(looks=20, rows=500)
    assert "predicts in bin 0 for 0.0 %" in traffic.status.gates[0].message


def test_counts_are_shown_as_they_are_in_both_directions():
    traffic = Traffic(1, (0.4, *(0.6 / 9,) * 9), (0.0, *(1 / 9,) * 9))
    traffic.verdicts(looks=20, rows=500)
    (gate,) = traffic.status.gates
    assert gate.canary_total < gate.stable_total
    assert gate.canary_bad == 0


def test_flipped_labels_of_two_equal_classes_cannot_be_seen_in_the_distribution():
    """Written down, so that nobody trusts this gate with it: examples and probes have to."""
    flipped = tuple(reversed(EDGES))
    assert Verdict.FAIL not in Traffic(3, EDGES, flipped).verdicts(looks=40, rows=1000)


def test_a_model_retrained_on_the_same_world_is_not_rolled_back():
    retrained = (0.286, 0.077, 0.067, 0.046, 0.039, 0.038, 0.037, 0.048, 0.075, 0.287)
    for seed in range(10):
        assert Verdict.FAIL not in Traffic(seed, EDGES, retrained).verdicts(looks=40, rows=1000)


def test_bins_that_differ_are_not_compared_and_the_gate_says_what_to_do():
    traffic = Traffic(1, EVEN, COLLAPSED)
    traffic.layouts["rev2"] = "other"
    gate = traffic.look(1000)
    assert gate.verdict is Verdict.INSUFFICIENT
    assert "have different bins" in gate.message
    assert set(traffic.verdicts(looks=10, rows=1000)) == {Verdict.INSUFFICIENT}


def test_a_version_without_bins_is_not_compared():
    traffic = Traffic(1, EVEN, EVEN)
    counters = [
        each for each in traffic.counters() if each.layout is None or each.revision == "rev1"
    ]
    assert prediction_bins(counters) == []
    assert "not both versions export bins" in str(why_not(counters))


def test_what_came_before_the_first_comparison_is_not_counted():
    traffic = Traffic(1, EVEN, EVEN)
    traffic.counts["rev2"] += 1000 * np.eye(10, dtype=int)[0]
    assert Verdict.FAIL not in traffic.verdicts(looks=5, rows=500)


def test_a_gate_that_is_added_in_the_middle_starts_with_nothing():
    traffic = Traffic(1, EVEN, EVEN)
    traffic.spec = a_spec(analysis={"gates": [{"name": "errors", "errorRate": {}}]})
    traffic.verdicts(looks=3, rows=500)
    traffic.spec = a_spec(analysis={"gates": [{"name": "errors", "errorRate": {}}, GATE]})
    traffic.look(500)
    assert traffic.status.gates[1].canary_total == 0


def test_the_evidence_of_the_gate_stays_small():
    traffic = Traffic(1, EVEN, EVEN)
    traffic.verdicts(looks=30, rows=500)
    stored = traffic.status.evidence.model_dump_json()
    assert len(stored) < 16_000


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"margin": {"ratio": 1.1, "points": 10}}, "stricter"),
        ({"tolerated": {"ratio": 1, "points": 20}}, "stricter"),
    ],
)
def test_a_margin_inside_the_tolerance_is_refused(changes: dict[str, Any], words: str):
    with pytest.raises(ValueError, match=words):
        PredictionsGate.model_validate(changes)


def test_a_gate_asks_one_thing():
    with pytest.raises(ValueError, match="exactly one of errorRate, latency, predictions"):
        Gate.model_validate({"name": "a", "predictions": {}, "latency": {}})
