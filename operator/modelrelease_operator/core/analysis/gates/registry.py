"""The kinds of gates that there are, and the one place that tells them apart."""

from collections.abc import Sequence
from functools import lru_cache
from importlib import import_module
from typing import Any

from modelrelease_operator.api.gate_settings import GateSettings
from modelrelease_operator.api.spec import Gate, ReleaseSpec
from modelrelease_operator.api.status import Evidence, Verdict
from modelrelease_operator.core.analysis.assumptions import Assumption
from modelrelease_operator.core.analysis.gate_tests import GateTest, TestParameters
from modelrelease_operator.core.analysis.gates.kind import GateKind
from modelrelease_operator.core.analysis.probes import gates_of, is_of_probes
from modelrelease_operator.core.measurement.queries import QueryScope, short
from modelrelease_operator.core.observed import Counter
from modelrelease_operator.core.query_results import NotMeasured, QueryResult


def kinds_of(gate: type[Gate]) -> dict[type[GateSettings], GateKind[Any]]:
    """Return every kind that a gate may be of, by its settings: `KIND` of the module called as its
    field.

    Raises ImportError or AttributeError for a field without such a module: a defect of this
    program, which therefore does not start.
    """
    return {
        settings: import_module(f"{__package__}.{field}").KIND
        for field, settings in gate.kinds().items()
    }


KINDS = kinds_of(Gate)


def kind_of(gate: Gate) -> GateKind[Any]:
    """Return what kind of gate this is."""
    return KINDS[type(gate.settings)]


def query_of(gate: Gate, query_scope: QueryScope) -> str | None:
    """Return what is to be asked for a gate,
    or None for one that the servers' own counters answer.
    """
    return kind_of(gate).query(gate.settings, query_scope)


def shown(gate: Gate) -> str:
    """Return a gate's queries as a sentence names them."""
    return " and ".join(f"`{short(query)}`" for query in kind_of(gate).queries(gate.settings))


def answer_of(gate: Gate, query_scope: QueryScope, result: Any) -> QueryResult:
    """Return what Prometheus' answer means; anything that is not understood is no answer."""
    try:
        return kind_of(gate).answer(gate.settings, query_scope, result)
    except (LookupError, ValueError, TypeError, AttributeError) as problem:
        message = f"Prometheus answered nonsense to {shown(gate)}: {problem!r}"
        return NotMeasured(verdict=Verdict.UNAVAILABLE, message=message[:500])


def assumed(
    spec: ReleaseSpec, *, stable_errors: float, canary_errors: float
) -> dict[str, Assumption]:
    """Return what is assumed of each gate that looks at more than errors and latency."""
    assumptions = {}
    for gate in spec.analysis.gates:
        kind = kind_of(gate)
        assumption = kind.assumed(
            gate.settings, stable_errors=stable_errors, canary_errors=canary_errors
        )
        if assumption is not None:
            assumptions[gate.name] = assumption
    return assumptions


def gate_tests_of(
    spec: ReleaseSpec,
    evidence: Evidence,
    counters: Sequence[Counter],
    arms: tuple[str, str],
    next_weight: int,
) -> tuple[Evidence, tuple[GateTest, ...]]:
    """Set up every gate's tests with the evidence stored so far; `arms` are canary and stable.

    Bounds are fixed at the first look that shows them, such as one at which stable's histogram can
    be cut. Their buckets are read from then on, so the gate leaves out the interval that is open.
    """
    gates = gates_of(spec)
    evidence = _with_bounds(evidence, gates, counters, arms)
    parameters = TestParameters.of(spec, evidence, next_weight)
    gate_tests = []
    for gate in gates:
        unready = kind_of(gate).unready(gate.settings, counters)
        gate_test = _gate_test(gate, tuple(evidence.bounds.get(gate.name, ())), parameters, unready)
        if gate_test:
            gate_tests.append(gate_test.from_state(evidence.processes))
    return evidence, tuple(gate_tests)


def _with_bounds(
    evidence: Evidence, gates: Sequence[Gate], counters: Sequence[Counter], arms: tuple[str, str]
) -> Evidence:
    """Return the evidence with the bounds of every gate that has none yet,
    where this look shows them.
    """
    bounds: dict[str, list[str]] = dict(evidence.bounds)
    for gate in gates:
        kind = kind_of(gate)
        if bounds.get(gate.name) or not kind.fixes_bounds:
            continue
        mine = [counter for counter in counters if counter.probe == is_of_probes(gate.name)]
        bounds[gate.name] = kind.bounds(gate.settings, mine, arms)
    if bounds == evidence.bounds:
        return evidence
    fixed = {name for name, chosen in bounds.items() if chosen and not evidence.bounds.get(name)}
    return evidence.but(bounds=bounds, recut=sorted({*evidence.recut, *fixed}))


@lru_cache(maxsize=1024)
def _gate_test(
    gate: Gate, bounds: tuple[str, ...], parameters: TestParameters, unready: str | None
) -> GateTest | None:
    """Return a gate's tests without evidence, or None for one that has none.

    Kept, because they are the same look after look, and the same for releases that are alike.
    """
    kind = kind_of(gate)
    gate_test = kind.gate_test(gate.name, gate.settings, bounds, parameters, unready)
    if gate_test is None:
        return None
    gate_test = gate_test.of_probes if is_of_probes(gate.name) else gate_test
    return gate_test.but(dry_run=gate.dry_run, warm_up=kind.warm_up(gate.settings))
