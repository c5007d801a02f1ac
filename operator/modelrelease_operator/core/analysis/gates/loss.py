"""Gates with `loss`: the share of requests that no server of an arm has answered.

The gateway counts what it sent to each arm, the arm's servers what they answered. What it answered
with 5xx beyond what they count as 5xx is lost (`core.measurement.losses`): a process that died, a
connection that was refused, a time-out. All is asked in one query, so that one server answers it
from one state.
"""

from collections.abc import Callable, Iterable, Iterator
from datetime import timedelta
from typing import Any, Final, NamedTuple

from typing_extensions import override

from modelrelease_contract import metrics as words
from modelrelease_operator.api import names
from modelrelease_operator.api.routing import CountingGateway
from modelrelease_operator.api.spec import LossGate
from modelrelease_operator.api.status import Target, Verdict
from modelrelease_operator.core.analysis.assumptions import Assumption, BadShares
from modelrelease_operator.core.analysis.gate_tests import GateTest, TestParameters
from modelrelease_operator.core.analysis.gates.kind import GateKind
from modelrelease_operator.core.analysis.gates.share import share_test
from modelrelease_operator.core.analysis.own_counters import marked, sample_of
from modelrelease_operator.core.measurement.indicators import Indicator, gateway_indicator
from modelrelease_operator.core.measurement.queries import ARM, QueryScope
from modelrelease_operator.core.measurement.queries import KIND as KIND_LABEL
from modelrelease_operator.core.query_results import CounterSample, NotMeasured, QueryResult
from modelrelease_operator.serving_runtimes import runtime_of
from modelrelease_operator.traffic.gateway_counters import (
    COUNTING,
    GatewayCounters,
    counting_by,
    why_not_counting,
)

LOSES = "loses"
LOST_TOGETHER: Final = 10.0
"""Requests are lost in groups: all that a process had in hand when it died. This divides the
evidence for a rollback, as it does of slow ones (docs/explanation/decisions.md, "What breaks it").
"""
AGE: Final = "age"
EARLIER: Final = "/earlier"
"""Ends the name of a process at an earlier moment: it may begin anew without the one of now."""


class _Kind(NamedTuple):
    """What a part of the query selects."""

    bad: bool
    by_server: bool


KINDS: Final = {
    "sent": _Kind(bad=False, by_server=False),
    "failed": _Kind(bad=True, by_server=False),
    "served": _Kind(bad=False, by_server=True),
    "admitted": _Kind(bad=True, by_server=True),
}
"""By mark of a series: the requests that the gateway sent to an arm and those of them that failed,
and what the arm's servers answered, and admit to have failed.
"""


class LossKind(GateKind[LossGate]):
    """The share of requests that are in no count of the arm's servers."""

    own_queries = True
    beside_servers = True
    form = "STABLE:CANARY, two shares of requests that are lost, such as 0:0.02"

    @override
    def unasked(self, settings: LossGate, query_scope: QueryScope) -> str | None:
        if _gateway(settings, query_scope):
            return _other_server(query_scope)
        return why_not_counting(query_scope.controllers)

    @override
    def query(self, settings: LossGate, query_scope: QueryScope) -> str:
        gateway = _gateway(settings, query_scope)
        if gateway is None:
            return ""
        arms = _services(query_scope)
        parts = [
            part
            for name, (target, service) in arms.items()
            for part in _of_arm(name, target, service, settings, query_scope, COUNTING[gateway])
        ]
        return "\nor\n".join(parts)

    @override
    def queries(self, settings: LossGate) -> tuple[str, ...]:
        gateway = settings.gateway
        return (COUNTING[gateway].requests_total,) if gateway else ("the gateway's counters",)

    @override
    def answer(self, settings: LossGate, query_scope: QueryScope, result: Any) -> QueryResult:
        samples, oldest = [], dict.fromkeys(_services(query_scope), 0.0)
        for row in result:
            labels, value = row["metric"], float(row["value"][1])
            if labels[KIND_LABEL] == AGE:
                oldest[labels[ARM]] = max(oldest[labels[ARM]], value)
                continue
            sample = _sample(query_scope, labels, value)
            if isinstance(sample, NotMeasured):
                return sample
            samples.append(sample)
        why = _old(settings, query_scope, oldest) or _unshown(settings, query_scope, samples)
        return NotMeasured(verdict=Verdict.INSUFFICIENT, message=why) if why else tuple(samples)

    @override
    def gate_test(
        self,
        name: str,
        settings: LossGate,
        bounds: tuple[str, ...],
        parameters: TestParameters,
        unready: str | None,
    ) -> GateTest:
        indicator = _indicator(name, settings)
        return share_test(name, settings, indicator, LOSES, parameters, together=LOST_TOGETHER)

    @override
    def assumed(
        self, settings: LossGate, *, stable_errors: float, canary_errors: float
    ) -> BadShares:
        return BadShares(stable=0.0, canary=0.0)

    @override
    def read_assumption(
        self, text: str, share: Callable[[str], float], number: Callable[[str], float]
    ) -> Assumption:
        return BadShares.read(text, share)

    @override
    def plan_words(
        self, settings: LossGate, look: timedelta, requests: Callable[[], str], errors: str
    ) -> str:
        return f"needs canary requests, {requests()}; it is taken that none is lost"


KIND = LossKind()


def _indicator(name: str, settings: LossGate) -> Indicator:
    gateway = settings.gateway or "any"
    return gateway_indicator(name, gateway, settings.delay.span.total_seconds())


def _gateway(settings: LossGate, query_scope: QueryScope) -> CountingGateway | None:
    return settings.gateway or counting_by(query_scope.controllers)


def _services(query_scope: QueryScope) -> dict[str, tuple[Target, str]]:
    _, stable, canary = names.service_names(query_scope.release)
    return {"canary": (query_scope.canary, canary), "stable": (query_scope.stable, stable)}


def _of_arm(
    arm: str,
    target: Target,
    service: str,
    settings: LossGate,
    query_scope: QueryScope,
    gateway: GatewayCounters,
) -> Iterator[str]:
    """Yield what is asked of one arm: the gateway's counts and the servers' total as they were, and
    the servers' failures as they are.
    """
    earlier = f"offset {round(settings.delay.span.total_seconds())}s"
    sent = gateway.requests(query_scope.namespace, service)
    failures = gateway.failures(query_scope.namespace, service)
    served, admitted = _served(target, query_scope)
    yield marked(f"{sent} {earlier}", arm, "sent")
    for failed in failures:
        yield marked(f"{failed} {earlier}", arm, "failed")
    yield marked(f"{served} {earlier}", arm, "served")
    yield marked(admitted, arm, "admitted")
    yield marked(f"max(time() - timestamp({served}))", arm, AGE)


def _served(target: Target, query_scope: QueryScope) -> tuple[str, str]:
    """Return what selects the requests that an arm's servers answered, and answered with 5xx."""
    whose = (
        f'namespace="{query_scope.namespace}",{words.RELEASE}="{query_scope.release}",'
        f'{words.REVISION}="{target.revision}"'
    )
    failed = f'{words.CODE}=~"5.."'
    return (
        f"{words.PREDICTIONS_TOTAL}{{{whose}}}",
        f"{words.PREDICTIONS_TOTAL}{{{whose},{failed}}}",
    )


def _other_server(query_scope: QueryScope) -> str | None:
    """Say that a server is not the predictor, whose counters alone are read here, or return None.

    Other servers' series name no revision, and many count outcomes in words.
    """
    for target in (query_scope.canary, query_scope.stable):
        server = runtime_of(target.recipe)
        if not server.metrics.labelled:
            return (
                f"losses are told by the predictor's own counters, and version {target.version} is "
                f"served by {server.name}: take the gate out, or count the gateway's 5xx by a gate "
                "with counts"
            )
    return None


def _sample(
    query_scope: QueryScope, labels: dict[str, str], value: float
) -> CounterSample | NotMeasured:
    kind = KINDS[labels[KIND_LABEL]]
    target, _ = _services(query_scope)[labels[ARM]]
    sample = sample_of(labels, value, "the loss gate", target.revision, bad=kind.bad)
    if isinstance(sample, NotMeasured):
        return sample
    past = EARLIER if kind == KINDS["served"] else ""
    return CounterSample(
        revision=sample.revision, bad=kind.bad, by_server=kind.by_server,
        pod=f"{sample.pod}{past}", labels=sample.labels, value=value,
    )  # fmt: skip


def _old(settings: LossGate, query_scope: QueryScope, oldest: dict[str, float]) -> str | None:
    """Say that a server's counts may be older than the gateway's, or return None."""
    delay = settings.delay.span.total_seconds()
    for name, (target, _) in _services(query_scope).items():
        if oldest[name] > delay:
            return (
                f"the newest sample of a server of {name} {target.version} is {oldest[name]:.0f} s "
                f"old, and loss.delay is {delay:.0f} s: set it to more than the time between two "
                "scrapes, if this stays"
            )
    return None


def _unshown(
    settings: LossGate, query_scope: QueryScope, samples: Iterable[CounterSample]
) -> str | None:
    """Say that the gateway's counters are not there, or return None."""
    stable = query_scope.stable
    if any(each.revision == stable.revision and not each.by_server for each in samples):
        return None
    gateway = _gateway(settings, query_scope)
    how = COUNTING[gateway].how if gateway else ""
    counter = COUNTING[gateway].requests_total if gateway else ""
    return (
        f"`{counter}` shows nothing for stable {stable.version} yet; it is read from {how}, which "
        "Prometheus must scrape"
    )
