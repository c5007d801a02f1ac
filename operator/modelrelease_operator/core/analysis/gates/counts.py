"""Gates with `counts`: a share that a person's own counters give, asked for each arm.

Both arms' counters are asked for at once, so that all are of one instant: requests that are counted
in one query and not yet in another would look like errors, or hide some.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from itertools import product
from operator import attrgetter
from typing import Any, Final

from typing_extensions import override

from modelrelease_operator.api.spec import CountsGate
from modelrelease_operator.api.status import Verdict
from modelrelease_operator.core.analysis.assumptions import Assumption, BadShares
from modelrelease_operator.core.analysis.gate_tests import GateTest, TestParameters
from modelrelease_operator.core.analysis.gates.kind import GateKind, WatchedShare
from modelrelease_operator.core.analysis.gates.share import limits, notable, share_test
from modelrelease_operator.core.analysis.own_counters import marked, sample_of
from modelrelease_operator.core.measurement.indicators import Indicator, own_indicator
from modelrelease_operator.core.measurement.queries import ARM, QueryScope, short
from modelrelease_operator.core.measurement.queries import KIND as KIND_LABEL
from modelrelease_operator.core.query_results import CounterSample, NotMeasured, QueryResult

PAIR: Final = 2.0
"""What one arm loses the other may win, so both counts of an event depend on each other: groups of
two, by which the evidence is divided (docs/explanation/decisions.md, "What breaks it")."""


class CountsKind(GateKind[CountsGate]):
    """The share of requests that a person's own counters count as bad."""

    own_queries = True
    form = "STABLE:CANARY, two shares of requests that are bad, such as 0.01:0.02"

    @override
    def query(self, settings: CountsGate, query_scope: QueryScope) -> str:
        arms = (("canary", query_scope.canary), ("stable", query_scope.stable))
        queries = (("bad", settings.bad), ("total", settings.total))
        parts = [
            marked(query_scope.render(query, arm), name, kind)
            for (name, arm), (kind, query) in product(arms, queries)
        ]
        return "\nor\n".join(parts)

    @override
    def queries(self, settings: CountsGate) -> tuple[str, ...]:
        return settings.bad, settings.total

    @override
    def answer(self, settings: CountsGate, query_scope: QueryScope, result: Any) -> QueryResult:
        return _tallies(settings, query_scope, result)

    @override
    def gate_test(
        self,
        name: str,
        settings: CountsGate,
        bounds: tuple[str, ...],
        parameters: TestParameters,
        unready: str | None,
    ) -> GateTest:
        if settings.paired:
            parameters = replace(parameters, dispersion=max(PAIR, parameters.dispersion))
        return share_test(name, settings, _indicator(name, settings), _bad(name), parameters)

    @override
    def watched(
        self, name: str, settings: CountsGate, evidence: Mapping[str, Sequence[int]]
    ) -> Iterator[WatchedShare]:
        yield WatchedShare(
            key=_indicator(name, settings).key,
            what=_bad(name),
            notable=notable(settings.tolerated) if settings.compare_with_stable else None,
            limits=limits(settings.max_percent),
        )

    @override
    def assumed(
        self, settings: CountsGate, *, stable_errors: float, canary_errors: float
    ) -> BadShares:
        return BadShares(stable=stable_errors, canary=canary_errors)

    @override
    def read_assumption(
        self, text: str, share: Callable[[str], float], number: Callable[[str], float]
    ) -> Assumption:
        return BadShares.read(text, share)

    @override
    def plan_words(
        self, settings: CountsGate, look: timedelta, requests: Callable[[], str], errors: str
    ) -> str:
        taken = f"taken to go bad as often as requests fail ({errors})"
        return f"needs canary requests, {requests()}; {taken}"


KIND = CountsKind()


def _indicator(name: str, settings: CountsGate) -> Indicator:
    return own_indicator(name, settings.bad, settings.total)


def _bad(name: str) -> str:
    return f"is bad by gate {name} for"


def _tallies(
    settings: CountsGate, query_scope: QueryScope, result: Iterable[dict[str, Any]]
) -> QueryResult:
    if query_scope.render(settings.total, query_scope.canary) == query_scope.render(
        settings.total, query_scope.stable
    ):
        message = (
            f"`{short(settings.total)}` asks the same of both arms, "
            f"which both have version {query_scope.canary.version}; use {{{{revision}}}}"
        )
        return NotMeasured(verdict=Verdict.UNAVAILABLE, message=message)
    samples: dict[Any, CounterSample] = {}
    for row in result:
        sample = _tallied(settings, query_scope, row["metric"], float(row["value"][1]))
        if isinstance(sample, NotMeasured):
            return sample
        key = (sample.revision, sample.bad, sample.pod, sample.labels)
        known = samples.setdefault(key, sample)
        samples[key] = max(known, sample, key=attrgetter("value"))
    for name, arm in (("canary", query_scope.canary), ("stable", query_scope.stable)):
        if not any(
            sample.revision == arm.revision and not sample.bad for sample in samples.values()
        ):
            message = f"`{short(settings.total)}` found nothing for {name} {arm.version} yet"
            return NotMeasured(verdict=Verdict.INSUFFICIENT, message=message)
    return tuple(samples.values())


def _tallied(
    settings: CountsGate, query_scope: QueryScope, labels: dict[str, str], value: float
) -> CounterSample | NotMeasured:
    bad = labels[KIND_LABEL] == "bad"
    query = f"`{short(settings.bad if bad else settings.total)}`"
    arm = {"canary": query_scope.canary, "stable": query_scope.stable}[labels[ARM]]
    return sample_of(labels, value, query, arm.revision, bad=bad)
