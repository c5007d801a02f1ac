"""Recording rules: what dashboards ask about one release, kept for every one of them.

A question that looks through the counters of all pods is asked once a minute then, and its answers
can be had over months.
"""

from dataclasses import dataclass
from typing import Final

from dashboards import promql
from dashboards.promql import EVERY

GROUP: Final = "modelrelease-recorded"
OVER: Final = "5m"
DRIFT_OVER: Final = "1h"


@dataclass(frozen=True, slots=True)
class Rule:
    """One series that is recorded."""

    record: str
    """Named as Prometheus recommends: level, metric, operations."""
    expr: str


RULES: Final = (
    Rule(f"release:predictions:rate{OVER}", promql.requests(EVERY, over=OVER)),
    Rule(f"release:predictions_errors:ratio_rate{OVER}", promql.errors(EVERY, over=OVER)),
    Rule(
        f"release:prediction_duration_seconds:p95_rate{OVER}",
        promql.latency(EVERY, 0.95, over=OVER),
    ),
    Rule(f"release:feature_psi:increase{DRIFT_OVER}", promql.feature_psi(EVERY, over=DRIFT_OVER)),
)


def text() -> str:
    """Return the rules as Prometheus reads them."""
    lines = [
        "# Made by `make dashboards`; tested by tests/cluster/recording-rules.test.yaml.",
        "groups:",
        f"- name: {GROUP}",
        "  rules:",
    ]
    for rule in RULES:
        lines += [f"  - record: {rule.record}", "    expr: |-", f"      {rule.expr}"]
    return "\n".join(lines) + "\n"
