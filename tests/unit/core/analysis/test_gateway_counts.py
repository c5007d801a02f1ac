"""A gateway's counters are older than the release: what a process shows first is of the past."""

import json
from collections.abc import Iterable
from datetime import timedelta

from modelrelease_operator.api.status import CanaryStatus, StableStatus, Status, Verdict
from modelrelease_operator.core.analysis.judge import Judgement, judge
from modelrelease_operator.core.observed import Counter
from testbed.builders import START, a_spec, a_target

SPEC = a_spec(analysis={"gates": [{"name": "errors", "errorRate": {}}]})
PODS = {"rev1": frozenset({"qna-rev1-a"}), "rev2": frozenset({"qna-rev2-a"})}
SECONDS = 15


class Looks:
    """Looks at a gateway's counters every scrape, remembering as the operator does."""

    def __init__(self) -> None:
        self.status = Status(
            stable=StableStatus(**a_target("1").parts(), since=START),
            canary=CanaryStatus(**a_target("2").parts(), since=START),
        )
        self.now = START

    def look(self, *processes: tuple[str, int, int, int]) -> Judgement:
        """Look; a process is its name, good requests of both arms, and what the canary failed."""
        self.now += timedelta(seconds=SECONDS)
        found = judge(
            spec=SPEC, status=self.status, metrics=tuple(self._counters(processes)),
            next_weight=50, now=self.now, pods=PODS,
        )  # fmt: skip
        status = self.status.but(evidence=found.evidence, gates=found.gates)
        self.status = Status.parse(json.loads(json.dumps(status.to_dict())))
        return found

    def _counters(self, processes: Iterable[tuple[str, int, int, int]]) -> Iterable[Counter]:
        at = self.now.timestamp()
        for pod, stable, canary, failed in processes:
            for revision, code, value in (
                ("rev1", "200", stable), ("rev2", "200", canary), ("rev2", "502", failed),
            ):  # fmt: skip
                yield Counter(
                    revision=revision, pod=pod, code=code, value=value, at=at, lasting=True
                )


def test_what_an_earlier_canary_failed_is_not_this_ones():
    looking = Looks()
    for n in range(1, 4):
        found = looking.look(("gateway-0", 10_000 + 900 * n, 5_000 + 100 * n, 700))
    assert (found.gates[0].canary_total, found.gates[0].canary_bad) == (100, 0)


def test_a_process_that_is_shown_later_brings_no_past():
    looking = Looks()
    for n in range(1, 4):
        looking.look(("gateway-0", 900 * n, 100 * n, 0))
    for n in range(4, 7):
        found = looking.look(
            ("gateway-0", 900 * n, 100 * n, 0), ("gateway-1", 50_000 + n, 9_000 + n, 4_000)
        )
    assert found.gates[0].canary_bad == 0
    assert found.gates[0].canary_total is not None
    assert found.gates[0].canary_total < 1_000


def test_a_canary_that_fails_by_the_gateways_count_is_convicted():
    looking = Looks()
    for n in range(1, 8):
        found = looking.look(("gateway-0", 10_000 + 900 * n, 90 * n, 700 + 10 * n))
    assert found.verdict is Verdict.FAIL
    assert "canary 2 fails 10.0 %" in found.message
    assert found.effective_weight == 10.0


def test_a_gateway_that_is_not_shown_moves_nothing():
    looking = Looks()
    looking.look(("gateway-0", 900, 100, 0))
    found = looking.look()
    assert found.verdict is Verdict.INSUFFICIENT
    assert not found.sighted
