"""What is counted of a fault. Pure."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Final

from benchmarks.rollouts.figures import Counts, failures, total

WAITING: Final = "waits"
"""For the cluster, as the operator says: nothing is held against the version."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ending:
    """One release under a fault, from the moment when its version was applied."""

    title: str
    version: str
    outcome: str
    seconds: float
    before: Counts
    after: Counts
    faulty: tuple[str, ...] = ()
    """Versions whose own wrong answers are nobody else's."""
    sentence: str = ""

    @property
    def requests(self) -> int:
        """How many were answered, or failed, meanwhile."""
        return total(self.after) - total(self.before)

    @property
    def failed(self) -> dict[str, int]:
        """Return what failed meanwhile, by words, without what a faulty version answered."""
        by_others = {key: n for key, n in self.after.items() if key[0] not in self.faulty}
        return failures(self.before, by_others)


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """What came of one fault."""

    fault: str
    does: str
    must: Mapping[str, int]
    """How many releases must end how."""
    ended: Mapping[str, int]
    seconds: float
    """From the first version that was applied to the last ending."""
    requests: int
    failed: Mapping[str, int] = field(default_factory=dict)
    """Requests of releases that failed, by words; a faulty version's own answers left out."""
    beside: int | None = None
    """Requests that failed at the same pods without the operator; None: there were none."""
    loses: str = ""
    """Whose requests must fail by what the fault is; empty: none may."""
    notes: tuple[str, ...] = ()

    @property
    def lost(self) -> int:
        """How many requests of releases failed."""
        return sum(self.failed.values())

    @property
    def as_expected(self) -> bool:
        """Whether each release ended as it must, and no request failed that need not."""
        return dict(self.ended) == dict(self.must) and (bool(self.loses) or not self.lost)

    def as_dict(self) -> dict[str, Any]:
        """Return everything as JSON can hold it."""
        return {**asdict(self), "notes": list(self.notes)}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Row":
        """Read what `as_dict` wrote."""
        return cls(**{**values, "notes": tuple(values["notes"])})


def row_of(
    fault: str,
    does: str,
    endings: list[Ending],
    *,
    must: Mapping[str, int],
    beside: int | None = None,
    loses: str = "",
    notes: tuple[str, ...] = (),
) -> Row:
    """Sum up the releases of a fault."""
    ended: dict[str, int] = {}
    failed: dict[str, int] = {}
    for ending in endings:
        ended[ending.outcome] = ended.get(ending.outcome, 0) + 1
        for words, count in ending.failed.items():
            failed[words] = failed.get(words, 0) + count
    return Row(
        fault=fault,
        does=does,
        must=dict(must),
        ended=ended,
        seconds=max((ending.seconds for ending in endings), default=0.0),
        requests=sum(ending.requests for ending in endings),
        failed=failed,
        beside=beside,
        loses=loses,
        notes=notes,
    )
