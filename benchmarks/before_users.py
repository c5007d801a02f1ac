"""What a comparison in the shadow changes: minutes, and bad answers that users get.

    python -m benchmarks.before_users [--runs N] [--rps N] [-o json] [--into FILE]

Simulated releases (`modelrelease simulate`) of the same canaries with and without
`canary.shadow`, side by side. A bad canary that a user has met, or a healthy one that is taken
back, ends the program with 1 where the release had a shadow.
"""

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from random import Random
from statistics import median
from typing import Any

from benchmarks.doc_markers import put
from modelrelease_contract.metrics import duration_buckets
from modelrelease_operator.api.spec import ReleaseSpec
from modelrelease_operator.core.whatif.end import End
from modelrelease_operator.core.whatif.fleet import Scrapes
from modelrelease_operator.core.whatif.simulation import Scenario, SimulatedRun, simulate

STABLE_ERRORS = 0.01
LIMIT_PERCENT = 0.2
"""Of the answers that may differ."""
CANARIES: dict[str, dict[str, float]] = {
    "healthy": {},
    "fails twice as often": {"canary_errors": 2 * STABLE_ERRORS},
    "answers 1 % otherwise": {"disagreement": 0.01},
    "twice as slow": {"latency_ratio": 2.0},
}
HEALTHY = "healthy"


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """Medians of one kind of canary."""

    canary: str
    shadow: bool
    runs: int
    promoted: int
    taken_back_unmet: int
    """Before any user had met it."""
    taken_back: int
    minutes: float
    user_requests: float
    bad_answers: float

    @property
    def right(self) -> bool:
        """Whether a release with a shadow did what it promises."""
        if not self.shadow:
            return True
        right = self.promoted if self.canary == HEALTHY else self.taken_back_unmet
        return right == self.runs


def rows(runs: int, rps: float) -> Iterator[Row]:
    """Simulate every kind of canary, with a shadow and without."""
    for canary, parts in CANARIES.items():
        for shadow in (True, False):
            yield _row(canary, _outcomes(parts, rps, shadow=shadow, runs=runs), shadow=shadow)


def _outcomes(
    parts: dict[str, float], rps: float, *, shadow: bool, runs: int
) -> list[SimulatedRun]:
    canary = {"shadow": {"maxDisagreementPercent": LIMIT_PERCENT}} if shadow else {}
    raw: dict[str, Any] = {"model": {"uri": "https://store/qna/2"}, "canary": canary}
    spec = ReleaseSpec.parse(raw, strict=True)
    scenario = Scenario(
        rps=rps,
        stable_errors=STABLE_ERRORS,
        canary_errors=parts.get("canary_errors", STABLE_ERRORS),
        disagreement=parts.get("disagreement", 0.0),
        latency_ratio=parts.get("latency_ratio", 1.0),
        bounds=duration_buckets(),
        scrapes=Scrapes(interval=15.0),
    )
    return [simulate(spec, scenario, Random(f"1/{run}")) for run in range(runs)]


def _row(canary: str, outcomes: Sequence[SimulatedRun], *, shadow: bool) -> Row:
    back = [run for run in outcomes if run.end is End.ROLLED_BACK]
    return Row(
        canary=canary,
        shadow=shadow,
        runs=len(outcomes),
        promoted=sum(run.end is End.PROMOTED for run in outcomes),
        taken_back_unmet=sum(not run.canary_requests for run in back),
        taken_back=len(back),
        minutes=median(run.seconds for run in outcomes) / 60,
        user_requests=median(run.canary_requests for run in outcomes),
        bad_answers=median(run.bad_answers for run in outcomes),
    )


def as_markdown(table: Sequence[Row]) -> str:
    """Return the rows as a table."""
    lines = [
        "| canary | shadow | promoted | taken back | of these unmet by users | minutes | "
        "users' requests to it | bad answers to users |",
        "|---|---|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {row.canary} | {'yes' if row.shadow else 'no'} | {row.promoted} of {row.runs} | "
        f"{row.taken_back} of {row.runs} | {row.taken_back_unmet} | {row.minutes:.1f} | "
        f"{row.user_requests:,.0f} | {row.bad_answers:,.0f} |"
        for row in table
    ]
    return "\n".join(lines)


def main() -> int:
    """Print the table; return 1 where a shadow did not do what it promises."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.before_users", description=__doc__)
    parser.add_argument("--runs", type=int, default=20, help="of each kind (default: 20)")
    parser.add_argument("--rps", type=float, default=20.0, help="requests a second (default: 20)")
    parser.add_argument("-o", "--output", choices=["table", "json"], default="table")
    parser.add_argument("--into", type=Path, metavar="FILE", help="put the table there, too")
    options = parser.parse_args()
    table = list(rows(options.runs, options.rps))
    if options.output == "json":
        print(json.dumps([asdict(row) for row in table]))
    else:
        print(as_markdown(table))
    if options.into:
        put(options.into, as_markdown(table), mark="before-users")
    return 0 if all(row.right for row in table) else 1


if __name__ == "__main__":
    sys.exit(main())
