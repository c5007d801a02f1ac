"""The evidence of every gate as a table: shared by `why` and `replay`."""

from collections.abc import Iterator, Sequence

from modelrelease_operator.api.status import GateInterval, GateStatus
from modelrelease_operator.cli.common import table


def gates_table(gates: Sequence[GateStatus]) -> str:
    """Show both arms' counts, and how much of the needed evidence there is in either direction."""
    head = ["", "gate", "verdict", "canary bad", "stable bad", "to go back", "to go on"]
    return table([head, *(_row(gate) for gate in gates)], left=frozenset({0, 1, 2}))


def intervals(gates: Sequence[GateStatus]) -> Iterator[str]:
    """Say of each gate that has one how much worse the canary is, or why that is not shown."""
    for gate in gates:
        if gate.interval:
            yield f"{gate.name}: {_interval(gate.interval)}"
        elif gate.interval_withheld:
            yield f"{gate.name}: no interval is shown: {gate.interval_withheld}"


def _interval(interval: GateInterval) -> str:
    lower, upper, ratio = interval.lower, interval.upper, ""
    if interval.ratio_upper is not None:
        ratio = f"; canary over stable: {interval.ratio_lower:g} to {interval.ratio_upper:g}"
    elif interval.ratio_lower:
        ratio = f"; canary over stable: at least {interval.ratio_lower:g}"
    return (
        f"canary less stable, on average since the canary began: {lower:+g} to {upper:+g} points"
        f"{ratio}; {interval.confidence:g} % confidence at every look"
    )


def _row(gate: GateStatus) -> list[str]:
    return [
        "",
        gate.name,
        gate.verdict.value,
        f"{gate.canary_bad:,} of {gate.canary_total:,}",
        f"{gate.stable_bad:,} of {gate.stable_total:,}",
        f"{100 * gate.evidence_for_rollback:.0f} %",
        f"{100 * gate.evidence_for_promotion:.0f} %",
    ]
