"""The evidence of every gate as a table: shared by `why` and `replay`."""

from collections.abc import Sequence

from modelrelease_operator.api.status import GateStatus
from modelrelease_operator.cli.common import table


def gates_table(gates: Sequence[GateStatus]) -> str:
    """Show both arms' counts, and how much of the needed evidence there is in either direction."""
    head = ["", "gate", "verdict", "canary bad", "stable bad", "to go back", "to go on"]
    return table([head, *(_row(gate) for gate in gates)], left=frozenset({0, 1, 2}))


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
