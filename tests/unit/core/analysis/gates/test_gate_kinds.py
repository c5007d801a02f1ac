"""The door for kinds of gates: one that is put in is asked, judged,
watched and planned like any other.
"""

import pkgutil
import sys
from collections.abc import Callable
from datetime import datetime, timedelta
from importlib import import_module
from types import ModuleType
from typing import Any, cast

import pytest

from modelrelease_operator.api.gate_settings import GateSettings
from modelrelease_operator.api.spec import Gate, LatencyGate, ReleaseSpec
from modelrelease_operator.api.status import (
    CanaryStatus,
    GateStatus,
    StableStatus,
    Status,
    Streak,
    Verdict,
)
from modelrelease_operator.core.analysis import gates
from modelrelease_operator.core.analysis.assumptions import Values
from modelrelease_operator.core.analysis.gates.kind import GateKind
from modelrelease_operator.core.analysis.gates.registry import (
    KINDS,
    answer_of,
    assumed,
    kind_of,
    kinds_of,
    query_of,
    shown,
)
from modelrelease_operator.core.analysis.judge import judge
from modelrelease_operator.core.measurement.queries import QueryScope
from modelrelease_operator.core.query_results import QueryResult, ScalarResult
from testbed.builders import START, a_spec, a_target

STABLE = StableStatus(**a_target("1").parts(), since=START)
CANARY = CanaryStatus(**a_target("2").parts(), since=START)
PLACE = QueryScope(
    namespace="ml", release="qna", canary=CANARY, stable=STABLE, interval=timedelta(seconds=10)
)


class Burn(GateSettings):
    """Settings of a kind that nobody has: how fast an error budget burns."""

    kind = "burn"
    fastest: float = 2.0


class GateWithBurn(Gate):
    """A gate that may have it, as one more field of the spec."""

    burn: Burn | None = None


class BurnKind(GateKind[Burn]):
    """What such a gate asks."""

    has_tests = False
    own_queries = True
    form = "BURN, such as 1.5"

    def query(self, settings: Burn, query_scope: QueryScope) -> str:
        return f'burn{{revision="{query_scope.canary.revision}"}}'

    def queries(self, settings: Burn) -> tuple[str, ...]:
        return ("burn",)

    def answer(self, settings: Burn, query_scope: QueryScope, result: Any) -> QueryResult:
        return ScalarResult(value=float(result[0]["value"][1]))

    def streak_key(self, name: str, settings: Burn) -> str:
        return name

    def look_at(
        self,
        gate: Gate,
        settings: Burn,
        answer: QueryResult,
        streak: Streak,
        now: datetime,
        interval: timedelta,
    ) -> tuple[GateStatus, Streak]:
        slow = isinstance(answer, ScalarResult) and answer.value <= settings.fastest
        verdict = Verdict.PASS if slow else Verdict.FAIL
        return GateStatus(name=gate.name, verdict=verdict, message=f"burn: {verdict}"), streak

    def assumed(self, settings: Burn, *, stable_errors: float, canary_errors: float) -> Values:
        return Values(values=(1.0,))

    def plan_words(
        self, settings: Burn, look: timedelta, requests: Callable[[], str], errors: str
    ) -> str:
        return "needs one look"


@pytest.fixture
def spec(monkeypatch: pytest.MonkeyPatch) -> ReleaseSpec:
    """Put the kind in, as its field and its module do, and ask for it."""
    module = ModuleType(f"{gates.__name__}.burn")
    monkeypatch.setattr(module, "KIND", BurnKind(), raising=False)
    monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.setitem(KINDS, cast(type[GateSettings], Burn), kinds_of(GateWithBurn)[Burn])
    plain = a_spec()
    gate = GateWithBurn(name="budget", burn=Burn())
    return plain.but(analysis=plain.analysis.but(gates=(gate,)))


def test_every_kind_that_a_spec_may_have_has_its_module():
    assert set(Gate.kinds().values()) == set(KINDS)


def test_every_module_of_a_kind_has_its_field_in_the_spec():
    names = [module.name for module in pkgutil.iter_modules(gates.__path__)]
    modules = {name: import_module(f"{gates.__name__}.{name}") for name in names}
    assert {name for name, module in modules.items() if hasattr(module, "KIND")} == set(
        Gate.kinds()
    )


def test_a_kind_is_called_in_messages_as_people_write_its_field():
    aliases = {name: Gate.model_fields[name].alias for name in Gate.kinds()}
    assert aliases == {name: settings.kind for name, settings in Gate.kinds().items()}


def test_a_field_without_its_module_lets_nothing_start():
    with pytest.raises(ImportError, match=r"gates\.burn"):
        kinds_of(GateWithBurn)


def test_a_gate_of_two_kinds_is_refused_and_the_kinds_that_there_are_are_named(spec: ReleaseSpec):
    with pytest.raises(ValueError, match=r"exactly one of errorRate, latency, .*, burn"):
        GateWithBurn(name="budget", burn=Burn(), latency=LatencyGate())


def test_a_kind_that_is_put_in_is_asked_in_its_own_words(spec: ReleaseSpec):
    [gate] = spec.analysis.gates
    assert query_of(gate, PLACE) == 'burn{revision="rev2"}'
    assert shown(gate) == "`burn`"
    assert answer_of(gate, PLACE, [{"value": [0, "1.5"]}]) == ScalarResult(value=1.5)
    assert "answered nonsense to `burn`" in getattr(answer_of(gate, PLACE, []), "message", "")


@pytest.mark.parametrize(("burn", "verdict"), [(1.5, Verdict.PASS), (2.5, Verdict.FAIL)])
def test_a_kind_that_is_put_in_decides(spec: ReleaseSpec, burn: float, verdict: Verdict):
    judgement = judge(
        spec=spec,
        status=Status(stable=STABLE, canary=CANARY),
        metrics=(),
        next_weight=50,
        now=START,
        answers={"budget": ScalarResult(value=burn)},
    )
    assert judgement.verdict is verdict
    assert judgement.message == f"burn: {verdict}"


def test_a_kind_that_is_put_in_is_planned_and_simulated(spec: ReleaseSpec):
    [gate] = spec.analysis.gates
    assert assumed(spec, stable_errors=0.01, canary_errors=0.01) == {
        "budget": Values(values=(1.0,))
    }
    words = kind_of(gate).plan_words(gate.settings, timedelta(seconds=10), lambda: "", "1 %")
    assert words == "needs one look"
