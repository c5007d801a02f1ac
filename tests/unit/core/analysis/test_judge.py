"""What a look finds: verdicts, their sentences, and the memory that they are made from."""

import json
from collections.abc import Iterable, Sequence
from typing import Any

import pytest

from modelrelease_operator.api.spec import ReleaseSpec
from modelrelease_operator.api.status import (
    CanaryStatus,
    Evidence,
    Phase,
    StableStatus,
    Status,
    Verdict,
)
from modelrelease_operator.core.analysis.judge import Judgement, judge
from modelrelease_operator.core.observed import Counter, Metrics, MetricsUnavailable
from testbed.builders import START, a_spec, a_target, seconds
from testbed.world import Behaviour, a_serving_world, a_world_in

STABLE = StableStatus(**a_target("1").parts(), since=START)
CANARY = CanaryStatus(**a_target("2").parts(), since=START)
ERRORS = {"analysis": {"gates": [{"name": "errors", "errorRate": {}}]}}
LATENCY = {"analysis": {"gates": [{"name": "latency", "latency": {"warmUp": "0s"}}]}}


def codes(revision: str, total: int, bad: int = 0, pod: str = "a") -> list[Counter]:
    return [
        Counter(revision=revision, pod=f"{revision}-{pod}", code="200", value=total - bad),
        Counter(revision=revision, pod=f"{revision}-{pod}", code="500", value=bad),
    ]


def buckets(revision: str, total: int, **within: int) -> list[Counter]:
    """Build a histogram from counts such as `ms50=90`: 90 of the requests took 50 ms at most."""
    bounds = {str(int(name[2:]) / 1000): count for name, count in within.items()} | {"+Inf": total}
    return [
        Counter(revision=revision, pod=f"{revision}-a", bound=b, value=v) for b, v in bounds.items()
    ]


def by_revision(pods: Iterable[str]) -> dict[str, frozenset[str]]:
    """Sort pods by their names, which begin with their revision's."""
    names = list(pods)
    revisions = {name.partition("-")[0] for name in names}
    return {each: frozenset(it for it in names if it.startswith(f"{each}-")) for each in revisions}


class Looks:
    """Looks one after the other, remembering through JSON as the operator does."""

    def __init__(self, spec: ReleaseSpec, next_weight: int = 50) -> None:
        self.spec, self.next_weight, self.now = spec, next_weight, START
        self.status = Status(stable=STABLE, canary=CANARY)

    def look(self, metrics: Metrics, pods: Iterable[str] = ()) -> Judgement:
        found = judge(
            spec=self.spec,
            status=self.status,
            metrics=metrics,
            next_weight=self.next_weight,
            now=self.now,
            pods=by_revision(pods),
        )
        status = self.status.model_copy(update={"evidence": found.evidence, "gates": found.gates})
        self.status = Status.parse(json.loads(json.dumps(status.to_dict())))
        return found


def looks_at(*looks: Sequence[Counter], spec: dict[str, Any] | None = None) -> Judgement:
    looking = Looks(a_spec(**(spec or ERRORS)))
    for metrics in looks:
        found = looking.look(tuple(metrics))
    return found


ZERO = [*codes("rev1", 0), *codes("rev2", 0)]


def both(stable: tuple[int, int], canary: tuple[int, int]) -> list[Counter]:
    return [*codes("rev1", *stable), *codes("rev2", *canary)]


@pytest.mark.parametrize(
    ("stable", "canary", "verdict"),
    [
        pytest.param(
            (30_000, 30), (10_000, 10), Verdict.PASS, id="passes with much evidence of no harm"
        ),
        pytest.param((3_000, 3), (1_000, 300), Verdict.FAIL, id="fails with much evidence of harm"),
        pytest.param(
            (300, 0), (99, 0), Verdict.INSUFFICIENT, id="waits for the least number of requests"
        ),
        pytest.param(
            (300, 3), (150, 2), Verdict.INSUFFICIENT, id="waits when both would fit the counts"
        ),
        pytest.param(
            (30_000, 9_000), (10_000, 3_000), Verdict.PASS, id="passes when both fail alike"
        ),
        pytest.param(
            (0, 0), (10_000, 0), Verdict.INSUFFICIENT, id="waits when stable answered nothing"
        ),
        pytest.param(
            (30_000, 0), (0, 0), Verdict.INSUFFICIENT, id="waits when the canary answered nothing"
        ),
    ],
)
def test_the_verdict_follows_the_counts(
    stable: tuple[int, int], canary: tuple[int, int], verdict: Verdict
):
    # The second look of a regression confirms it against what stable did next.
    later = both((stable[0] * 2, stable[1] * 2), (canary[0] * 2, canary[1] * 2))
    found = looks_at(
        ZERO, both(stable, canary), later if verdict is Verdict.FAIL else both(stable, canary)
    )
    assert found.verdict is verdict
    assert found.gates[0].verdict is verdict


def test_the_first_look_only_records_however_long_the_pods_have_served():
    found = looks_at(both((1_000_000, 500_000), (1_000_000, 0)))
    assert found.verdict is Verdict.INSUFFICIENT
    assert (found.gates[0].stable_total, found.gates[0].canary_total) == (0, 0)


def test_the_worst_gate_speaks_for_all():
    gates = [{"name": "loose", "errorRate": {}}, {"name": "slow", "latency": {}}]
    metrics = [*both((30_000, 0), (10_000, 0))]
    found = looks_at(ZERO, metrics, spec={"analysis": {"gates": gates}})
    assert [gate.verdict for gate in found.gates] == [Verdict.PASS, Verdict.INSUFFICIENT]
    assert found.verdict is Verdict.INSUFFICIENT
    assert found.message == found.gates[1].message


def test_one_failing_gate_among_passing_ones_fails_the_look_and_is_named():
    gates = [
        {"name": "errors", "errorRate": {}},
        {"name": "again", "errorRate": {"maxPercent": 50}},
    ]
    found = looks_at(
        ZERO, both((3_000, 3), (1_000, 300)), both((6_000, 6), (2_000, 600)),
        spec={"analysis": {"gates": gates}},
    )  # fmt: skip
    assert found.verdict is Verdict.FAIL
    assert [gate.verdict for gate in found.gates].count(Verdict.FAIL) == 1


def test_gates_share_one_probability_so_a_silent_one_delays_the_conviction():
    def convicted_after(*gates: dict[str, Any]) -> int:
        looking = Looks(a_spec(analysis={"gates": list(gates)}))
        for n in range(500):
            if looking.look(tuple(both((300 * n, 0), (100 * n, 2 * n)))).verdict is Verdict.FAIL:
                return n
        raise AssertionError(gates)

    errors = {"name": "errors", "errorRate": {}}
    silent = [{"name": f"silent{number}", "latency": {}} for number in range(9)]
    assert convicted_after(errors) < convicted_after(errors, *silent)


def test_sentences_hold_the_figures_that_a_person_on_call_needs():
    found = looks_at(ZERO, both((3_000, 30), (1_000, 30)), both((36_500, 365), (1_204, 36)))
    assert (
        "canary 2 fails 3.0 % of 1,204 requests, stable 1.0 % of 36,500 requests" in found.message
    )


@pytest.mark.parametrize(
    ("looks", "ending"),
    [
        pytest.param([both((90, 0), (40, 0))], "40 of the 100 canary requests needed", id="few"),
        pytest.param([both((3_000, 0), (500, 0))], "% of the evidence needed to go on", id="some"),
        pytest.param(
            [both((30_000, 0), (9_000, 0))], "within the margin with 95 % confidence", id="enough"
        ),
        pytest.param(
            [both((900, 0), (300, 90)), both((1800, 0), (600, 180))],
            "worse than 1.1 times stable's plus 0.05 points, with 99 % confidence",
            id="worse",
        ),
    ],
)
def test_every_verdict_says_why(looks: list[list[Counter]], ending: str):
    assert looks_at(ZERO, *looks).message.endswith(ending)


def test_progress_towards_promotion_is_never_full_before_the_verdict_is_pass():
    looking = Looks(a_spec(**ERRORS))
    looking.look(tuple(ZERO))
    for count in range(1, 60):
        gate = looking.look(tuple(both((300 * count, 0), (100 * count, 0)))).gates[0]
        assert (gate.evidence_for_promotion == 1.0) == (gate.verdict is Verdict.PASS), count
    assert gate.verdict is Verdict.PASS


def test_a_higher_next_weight_asks_for_more():
    def passes_at(next_weight: int) -> int:
        looking = Looks(a_spec(**ERRORS), next_weight=next_weight)
        looking.look(tuple(ZERO))
        for count in range(1, 1000):
            if (
                looking.look(tuple(both((300 * count, 0), (100 * count, 0)))).verdict
                is Verdict.PASS
            ):
                return count
        raise AssertionError(next_weight)

    assert passes_at(10) < passes_at(50) < passes_at(100)


def test_unavailable_metrics_keep_all_that_is_known_and_say_what_is_missing():
    looking = Looks(a_spec(**ERRORS))
    for metrics in (ZERO, both((300, 0), (100, 0))):
        before = looking.look(tuple(metrics))
    found = looking.look(
        MetricsUnavailable(message="Prometheus at http://p does not answer (ReadTimeout)")
    )
    assert found.verdict is Verdict.UNAVAILABLE
    assert found.evidence == before.evidence
    assert found.gates[0].canary_total == 100, "the figures of the last good look stay to be read"
    assert found.message == (
        "metrics are unavailable, so nothing moves: Prometheus at http://p does not answer "
        "(ReadTimeout)"
    )


@pytest.mark.parametrize(
    ("counter", "sentence"),
    [
        ({"value": float("nan"), "code": "200"}, "a counter of pod x of revision rev2 is nan"),
        ({"value": float("inf"), "code": "200"}, "is inf, which is no number of requests"),
        ({"value": -1.0, "code": "200"}, "is -1.0, which is no number of requests"),
        ({"value": 1.5, "code": "200"}, "is 1.5, which is no number of requests"),
        ({"value": 1.0, "bound": "quick"}, "has a bucket le='quick', which is no number"),
    ],
    ids=["NaN", "infinity", "negative", "fraction", "a bucket that is no number"],
)
@pytest.mark.parametrize("spec", [ERRORS, LATENCY], ids=["errors", "latency"])
def test_nonsense_makes_a_look_unavailable(
    counter: dict[str, Any], sentence: str, spec: dict[str, Any]
):
    looking = Looks(a_spec(**spec))
    looking.look(tuple(ZERO))
    wrong = Counter(**{"revision": "rev2", "pod": "x", **counter})
    found = looking.look((*both((30_000, 0), (10_000, 0)), wrong))
    assert found.verdict is Verdict.UNAVAILABLE
    assert sentence in found.message


def test_nonsense_of_a_revision_that_is_not_compared_is_nobodys_business():
    wrong = Counter(revision="rev7", pod="x", code="200", value=float("nan"))
    assert looks_at(ZERO, [*both((30_000, 0), (10_000, 0)), wrong]).verdict is Verdict.PASS


def test_a_pod_that_two_jobs_scrape_is_counted_once_by_its_newer_sample():
    newer = codes("rev2", 1_000, 10)
    found = looks_at(ZERO, [*codes("rev1", 3_000), *codes("rev2", 900, 9), *newer])
    assert (found.gates[0].canary_total, found.gates[0].canary_bad) == (1_000, 10)
    turned = looks_at(ZERO, [*codes("rev1", 3_000), *newer, *codes("rev2", 900, 9)])
    assert turned.gates == found.gates


def test_a_restarted_process_neither_loses_nor_doubles_a_request():
    found = looks_at(
        ZERO, both((900, 0), (300, 5)), both((1_800, 0), (40, 2)), both((2_700, 0), (90, 3))
    )
    assert (found.gates[0].canary_total, found.gates[0].canary_bad) == (390, 8)


def test_a_pod_that_comes_later_counts_from_its_first_request():
    later = [*both((900, 0), (300, 0)), *codes("rev2", 20, 1, pod="new")]
    found = looks_at(ZERO, both((900, 0), (300, 0)), later)
    assert (found.gates[0].canary_total, found.gates[0].canary_bad) == (320, 1)


def test_a_pod_missing_for_some_looks_is_counted_once_when_it_is_back():
    pair = [*both((900, 0), (300, 0)), *codes("rev2", 50, pod="b")]
    gone = both((1_800, 0), (600, 0))
    back = [*both((2_700, 0), (900, 0)), *codes("rev2", 80, pod="b")]
    start = [*ZERO, *codes("rev2", 0, pod="b")]
    assert looks_at(start, pair, gone, gone, back).gates[0].canary_total == 980


def test_an_empty_answer_while_pods_are_ready_is_not_the_start_of_counting():
    looking = Looks(a_spec(**ERRORS))
    found = looking.look((), pods={"rev1-a", "rev2-a"})
    assert found.verdict is Verdict.INSUFFICIENT
    assert found.message == "waiting for the metrics of 2 of 2 ready pods (rev1-a)"
    looking.look(tuple(both((1_000_000, 90_000), (0, 0))), pods={"rev1-a", "rev2-a"})
    found = looking.look(tuple(both((1_000_300, 90_000), (100, 0))), pods={"rev1-a", "rev2-a"})
    assert (found.gates[0].stable_total, found.gates[0].stable_bad) == (300, 0)


def test_the_next_step_starts_its_own_count_and_keeps_what_speaks_against_the_canary():
    looking = Looks(a_spec(**ERRORS))
    for metrics in (ZERO, both((900, 0), (300, 1)), both((1_800, 0), (600, 2))):
        before = looking.look(tuple(metrics))
    evidence = looking.status.evidence.next_step()
    looking.status = looking.status.model_copy(update={"evidence": evidence})
    assert not any(key.startswith("promote/") for key in evidence.processes)
    kept = {k: v for k, v in before.evidence.processes.items() if not k.startswith("promote/")}
    assert evidence.processes == kept
    assert {key.partition("/")[0] for key in kept} == {"rollback", "interval"}
    recorded = looking.look(tuple(both((2_700, 0), (1_000, 9))))
    assert recorded.evidence.step["errors"] == [0, 0, 0, 0], (
        "the interval that straddles two weights"
    )
    found = looking.look(tuple(both((3_600, 0), (1_100, 9))))
    assert found.evidence.step["errors"] == [100, 0, 900, 0]
    assert found.evidence.release["errors"] == [700, 2, 2_700, 0]


def test_evidence_and_counters_are_stored_together():
    looking = Looks(a_spec(**ERRORS))
    looking.look(tuple(ZERO))
    found = looking.look(tuple(both((900, 9), (300, 3))))
    assert found.evidence.counters == {
        "rev1|rev1-a|code=200": 891, "rev1|rev1-a|code=500": 9,
        "rev2|rev2-a|code=200": 297, "rev2|rev2-a|code=500": 3,
    }  # fmt: skip
    assert found.evidence.release["errors"] == [300, 3, 900, 9]


def test_a_restart_at_every_look_changes_nothing():
    looks = [tuple(both((90 * n, n), (30 * n, n // 7))) for n in range(60)]
    restarted, kept = Looks(a_spec(**ERRORS)), Status(stable=STABLE, canary=CANARY)
    for metrics in looks:
        found = judge(spec=restarted.spec, status=kept, metrics=metrics, next_weight=50, now=START)
        kept = kept.model_copy(update={"evidence": found.evidence, "gates": found.gates})
        assert restarted.look(metrics) == found


def test_requests_that_fail_alone_are_not_held_together():
    """The dispersion is 1 by default: every failing request counts in full."""
    looking = Looks(a_spec(**ERRORS))
    looking.look(tuple(ZERO))
    found = looking.look(tuple(both((900, 0), (300, 10))))
    found = looking.look(tuple(both((1_800, 0), (600, 20))))
    assert found.verdict is Verdict.FAIL


SLOW_START = [
    *buckets("rev1", 0, ms10=0, ms20=0, ms50=0, ms100=0),
    *buckets("rev2", 0, ms10=0, ms20=0),
]


def histograms(stable: int, canary: int, *, canary_within_50: int) -> list[Counter]:
    return [
        *buckets("rev1", stable, ms10=stable // 2, ms20=stable, ms50=stable, ms100=stable),
        *buckets("rev2", canary, ms10=0, ms20=0, ms50=canary_within_50, ms100=canary),
    ]


def test_latency_is_cut_at_stables_own_quantiles_once_and_for_all():
    looking = Looks(a_spec(**LATENCY))
    looking.look(tuple(histograms(50, 0, canary_within_50=0)))
    assert looking.status.evidence.bounds == {"latency": []}, "too few to be cut"
    looking.look(tuple(histograms(1_000, 0, canary_within_50=0)))
    assert looking.status.evidence.bounds == {"latency": ["0.01>0.02", "0.02>0.05"]}
    slower = [*buckets("rev1", 90_000, ms10=0, ms20=0, ms50=0, ms100=90_000), *buckets("rev2", 9)]
    looking.look(tuple(slower))
    assert looking.status.evidence.bounds == {"latency": ["0.01>0.02", "0.02>0.05"]}


def alike(stable: int, canary: int, *, slow: int) -> list[Counter]:
    """Both arms of one latency, but for so many slow requests of the canary."""
    fast = canary - slow
    return [
        *buckets("rev1", stable, ms10=stable // 2, ms20=stable, ms50=stable, ms100=stable),
        *buckets("rev2", canary, ms10=fast // 2, ms20=fast, ms50=fast, ms100=canary),
    ]


def test_pods_that_are_new_at_a_weight_are_not_judged_by_their_latency_until_they_are_warm():
    looking = Looks(a_spec(analysis={"gates": [{"name": "latency", "latency": {"warmUp": "15s"}}]}))
    canary = CANARY.model_copy(update={"step_since": START})
    looking.status = looking.status.model_copy(update={"canary": canary})
    for n in range(1, 4):
        found = looking.look(tuple(alike(1_000 * n, 250 * n, slow=250 * n)))
    assert found.verdict is Verdict.INSUFFICIENT
    assert found.message == "latency counts in 15s, from warm pods"
    looking.now += seconds(16)
    for n in range(4, 30):
        found = looking.look(tuple(alike(1_000 * n, 250 * n, slow=750)))
    assert found.verdict is Verdict.PASS, (
        "what was slow while they were new is not held against them"
    )


def test_one_stall_of_a_pod_is_not_taken_for_a_slow_version():
    looking = Looks(a_spec(**LATENCY))
    for n in range(1, 8):
        found = looking.look(tuple(alike(1_000 * n, 250 * n, slow=0)))
    found = looking.look(tuple(alike(8_000, 2_000, slow=30)))
    assert found.verdict is not Verdict.FAIL
    assert found.gates[0].evidence_for_rollback < 1


def test_a_latency_gate_that_cannot_be_cut_yet_waits_and_says_so():
    found = looks_at(histograms(10, 0, canary_within_50=0), histograms(50, 200,
    canary_within_50=200),
                     spec=LATENCY)  # fmt: skip
    assert found.verdict is Verdict.INSUFFICIENT
    assert "canary requests needed" in found.message


def test_a_slow_canary_fails_with_both_latencies_in_the_sentence():
    looking = Looks(a_spec(**LATENCY))
    for n in range(1, 5):
        found = looking.look(tuple(histograms(1_000 * n, 300 * n, canary_within_50=0)))
    assert found.verdict is Verdict.FAIL
    assert "canary 2 takes over 50 ms for 100.0 % of" in found.message
    assert "stable over 20 ms for 0.0 % of" in found.message
    assert found.message.endswith("worse than stable's latency times 1.2, with 99 % confidence")


def test_the_effective_weight_is_counted_also_without_a_gate_on_errors():
    looking = Looks(a_spec(**LATENCY))
    for n in range(1, 4):
        found = looking.look(tuple(histograms(1_000 * n, 250 * n, canary_within_50=250 * n)))
    assert found.effective_weight == 20.0


def limited(**error_rate: Any) -> dict[str, Any]:
    return {"analysis": {"gates": [{"name": "slo", "errorRate": {"maxPercent": 2, **error_rate}}]}}


@pytest.mark.parametrize("compare", [True, False])
def test_a_canary_beyond_the_limit_fails_while_stable_keeps_it(compare: bool):
    wide = {"tolerated": {"ratio": 50, "points": 20}, "margin": {"ratio": 50, "points": 20}}
    spec = limited(compareWithStable=compare, **wide)
    found = looks_at(ZERO, both((9_000, 90), (3_000, 300)), spec=spec)
    assert found.verdict is Verdict.FAIL
    assert found.message.endswith("worse than the limit of 2 %, with 99 % confidence")


@pytest.mark.parametrize("compare", [True, False])
def test_a_limit_that_stable_breaks_too_freezes_and_blames_nobody(compare: bool):
    found = looks_at(
        ZERO, both((9_000, 900), (3_000, 300)), spec=limited(compareWithStable=compare)
    )
    assert found.verdict is Verdict.INSUFFICIENT
    assert found.message.endswith(
        "stable itself breaks the limit, so nobody is blamed and nothing moves"
    )


def test_a_limit_that_stable_alone_breaks_moves_nothing_either():
    found = looks_at(ZERO, both((90_000, 9_000), (30_000, 0)), spec=limited())
    assert found.verdict is Verdict.INSUFFICIENT
    assert found.message.endswith(
        "stable itself breaks the limit, so nobody is blamed and nothing moves"
    )


def test_the_least_number_of_requests_is_waited_for_when_the_evidence_is_there_before():
    few = {"analysis": {**ERRORS["analysis"], "minRequests": 20_000}}
    found = looks_at(ZERO, both((30_000, 30), (10_000, 10)), spec=few)
    assert found.verdict is Verdict.INSUFFICIENT
    assert found.gates[0].evidence_for_promotion == 0.5
    assert found.message.endswith("10000 of the 20000 canary requests needed")


def test_a_frozen_limit_does_not_protect_a_canary_that_is_worse_than_stable():
    found = looks_at(
        ZERO,
        both((9_000, 900), (3_000, 1_500)),
        both((18_000, 1_800), (6_000, 3_000)),
        spec=limited(),
    )
    assert found.verdict is Verdict.FAIL
    assert "worse than 1.1 times stable's plus 0.05 points" in found.message


def test_a_limit_on_latency_names_the_limit():
    limit = {"compareWithStable": False, "maxSeconds": 0.04, "maxPercent": 5, "warmUp": "0s"}
    gate = {"name": "slo", "latency": limit}
    looking = Looks(a_spec(analysis={"gates": [gate]}))
    for n in range(1, 4):
        found = looking.look(tuple(histograms(1_000 * n, 300 * n, canary_within_50=0)))
    assert found.verdict is Verdict.FAIL
    assert found.message.endswith("worse than the limit of 5 % above 0.04 s, with 99 % confidence")


def test_a_gate_that_is_edited_in_the_middle_starts_its_evidence_anew():
    looking = Looks(a_spec(**ERRORS))
    for metrics in (ZERO, both((900, 0), (300, 2)), both((1_800, 0), (600, 3))):
        looking.look(tuple(metrics))
    looser = {"tolerated": {"ratio": 2, "points": 5}, "margin": {"ratio": 3, "points": 9}}
    looking.spec = a_spec(analysis={"gates": [{"name": "errors", "errorRate": looser}]})
    found = looking.look(tuple(both((1_800, 0), (600, 3))))
    assert found.gates[0].evidence_for_rollback == 0.0


def test_without_a_canary_there_is_nothing_to_judge():
    with pytest.raises(ValueError, match="nothing to judge without a canary"):
        judge(spec=a_spec(), status=Status(stable=STABLE), metrics=(), next_weight=50, now=START)


def test_in_the_world_restarted_containers_change_no_count():
    world = a_world_in_a_long_step()
    before = world.served["rev2"]
    world.restart_containers("rev2")
    world.steps(3)
    errors = next(gate for gate in world.status.gates if gate.name == "errors")
    assert errors.canary_total > 0
    assert errors.canary_total <= world.served["rev2"]
    assert errors.canary_total >= before - 2_000


def a_world_in_a_long_step() -> Any:
    plan = {"steps": [{"weight": 25, "bake": "1h"}], "progressDeadline": "9h"}
    return a_world_in(Phase.PROGRESSING, canary=plan).steps(6)


def test_in_the_world_every_request_of_a_long_step_is_counted_once():
    world = a_world_in_a_long_step()
    evidence: Evidence = world.status.evidence
    canary, _, stable, _ = evidence.step["errors"]
    serving = a_serving_world(behaviours={"rev1": Behaviour()}).served["rev1"]
    assert 0 < canary < world.served["rev2"]
    assert 0 < stable < world.served["rev1"] - serving


def test_a_pod_that_is_none_of_the_release_s_is_no_evidence():
    """Any pod of the namespace may export series with the release's labels."""
    looking = Looks(a_spec(**ERRORS))
    pods = {"rev1-a", "rev2-a"}
    foreign = [
        *codes("rev2", 90_000, 90_000, pod="intruder"),
        *codes("rev1", 500_000, pod="intruder"),
    ]
    looking.look((*ZERO, *foreign), pods=pods)
    more = [*codes("rev2", 99_000, 99_000, pod="intruder"), *codes("rev1", 900_000, pod="intruder")]
    found = looking.look((*both((900, 1), (300, 1)), *more), pods=pods)
    gate = found.gates[0]
    assert (gate.canary_total, gate.canary_bad, gate.stable_total, gate.stable_bad) == (
        300,
        1,
        900,
        1,
    )


def test_a_pod_that_was_ready_and_is_so_no_more_is_still_counted():
    looking = Looks(a_spec(**ERRORS))
    start = [*ZERO, *codes("rev2", 0, pod="b")]
    looking.look(tuple(start), pods={"rev1-a", "rev2-a", "rev2-b"})
    later = [*both((900, 0), (300, 0)), *codes("rev2", 40, 3, pod="b")]
    found = looking.look(tuple(later), pods={"rev1-a", "rev2-a"})
    assert (found.gates[0].canary_total, found.gates[0].canary_bad) == (340, 3)


def test_what_was_not_counted_yet_is_not_said_to_have_answered_nothing():
    """Between two scrapes a canary answers thousands of requests that nobody has seen."""
    found = looks_at(both((900, 0), (0, 0)))
    assert (
        found.message
        == "no request of canary 2 was counted yet: 0 of the 100 canary requests needed"
    )
