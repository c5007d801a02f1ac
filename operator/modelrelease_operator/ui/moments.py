"""What was seen of releases over time: a status holds the present alone.

Bounded twice, by release and over all of them. What has to go goes from the past by halves: a
release that lasts a week is still seen from its beginning, in fewer points.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final, NamedTuple

from modelrelease_operator.api.spec import ReleaseSpec
from modelrelease_operator.api.status import GateStatus, Status
from modelrelease_operator.core.lines import Lines, lines_of

MOST_OF_ONE: Final = 400
"""Moments that are kept of one release: more than a picture has room for."""
MOST_OF_ALL: Final = 40_000


class GateFigures(NamedTuple):
    """What one gate showed; None where it showed nothing of the kind."""

    canary: float | None
    stable: float | None
    """Percent of each arm's requests that are bad, since the canary began."""
    lower: float | None
    upper: float | None
    """Interval of the canary less stable, in percentage points."""
    tolerated: float | None
    margin: float | None
    """The same difference, from which on and up to which something is proven."""
    limit: float | None
    value: float | None
    """What the query of a threshold gave."""
    back: float
    on: float
    """0 to 1: how much of the evidence that is needed to go back, and to go on, is there."""

    @classmethod
    def of(cls, gate: GateStatus, lines: Lines) -> "GateFigures":
        """Read them from a gate's status."""
        interval = gate.interval
        return cls(
            canary=gate.canary_percent,
            stable=gate.stable_percent,
            lower=interval.lower if interval else None,
            upper=interval.upper if interval else None,
            tolerated=lines.tolerated,
            margin=lines.margin,
            limit=lines.limit,
            value=gate.value,
            back=gate.evidence_for_rollback,
            on=gate.evidence_for_promotion,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Moment:
    """One release at one time."""

    at: float
    """Unix seconds."""
    phase: str
    canary: str | None
    """The canary's revision."""
    asked: int
    counted: float | None
    """Weight that was asked for, and the share of requests that was counted; percent."""
    pairs: int | None
    gates: dict[str, GateFigures]

    @classmethod
    def of(cls, spec: ReleaseSpec | None, status: Status, at: datetime) -> "Moment":
        """Read it from a status."""
        canary = status.canary
        lines = lines_of(spec, status) if spec and status.gates else {}
        return cls(
            at=at.timestamp(),
            phase=status.phase,
            canary=canary.revision if canary else None,
            asked=status.weight,
            counted=canary.effective_weight if canary else None,
            pairs=canary.shadow.pairs if canary and canary.shadow else None,
            gates={
                gate.name: GateFigures.of(gate, lines.get(gate.name, Lines()))
                for gate in status.gates
            },
        )

    def tells(self, before: "Moment") -> bool:
        """Return whether it tells anything that the one before did not."""
        return self._figures() != before._figures()

    def _figures(self) -> tuple[Any, ...]:
        return self.phase, self.canary, self.asked, self.counted, self.pairs, self.gates


@dataclass(slots=True)
class Past:
    """What was seen of one release, the oldest first."""

    moments: list[Moment] = field(default_factory=list)
    since: float | None = None
    """From when on it was seen, in unix seconds."""

    def add(self, moment: Moment) -> None:
        """Add what is seen now. What changes nothing is not kept."""
        if self.since is None:
            self.since = moment.at
        if self.moments and not moment.tells(self.moments[-1]):
            return
        self.moments.append(moment)
        if len(self.moments) > MOST_OF_ONE:
            self.thin()

    def thin(self) -> None:
        """Drop every second moment of the older half, but never one at which the phase changed."""
        half = len(self.moments) // 2
        older = [
            moment
            for index, moment in enumerate(self.moments[:half])
            if index % 2 == 0 or moment.phase != self.moments[index - 1].phase
        ]
        kept = [*older, *self.moments[half:]]
        # Where phases change at every look there is nothing to thin: the oldest go.
        self.moments = kept if len(kept) < len(self.moments) else self.moments[half:]


@dataclass(slots=True)
class Pasts:
    """The past of all releases, by their uid: a namesake that was made anew has none."""

    by_uid: dict[str, Past] = field(default_factory=dict)
    most: int = MOST_OF_ALL

    def of(self, uid: str) -> Past:
        """Return what was seen of one release."""
        return self.by_uid.setdefault(uid, Past())

    def add(self, uid: str, moment: Moment) -> None:
        """Add what is seen of one release now."""
        self.of(uid).add(moment)
        while sum(len(past.moments) for past in self.by_uid.values()) > self.most:
            longest = max(self.by_uid.values(), key=lambda past: len(past.moments))
            if len(longest.moments) == 1:
                # More releases than moments may be kept: what they were at first goes.
                longest.moments.clear()
                continue
            longest.thin()

    def forget(self, uid: str) -> None:
        """Forget a release that is gone."""
        self.by_uid.pop(uid, None)


def in_columns(moments: Sequence[Moment]) -> dict[str, Any]:
    """Return moments as columns, as pictures are drawn from them; null where nothing was shown."""
    names = list(dict.fromkeys(name for moment in moments for name in moment.gates))
    return {
        "at": [moment.at for moment in moments],
        "phase": [moment.phase for moment in moments],
        "asked": [moment.asked for moment in moments],
        "counted": [moment.counted for moment in moments],
        "pairs": [moment.pairs for moment in moments],
        "gates": {name: _columns_of(name, moments) for name in names},
    }


def _columns_of(name: str, moments: Sequence[Moment]) -> dict[str, list[float | None]]:
    rows = [moment.gates.get(name) for moment in moments]
    return {
        column: [getattr(row, column) if row else None for row in rows]
        for column in GateFigures._fields
    }
