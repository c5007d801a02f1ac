"""What was recorded of a release: its raw counters at every look of a span of time."""

from dataclasses import dataclass, field, replace
from datetime import datetime

from modelrelease_operator.core.observed import Counter
from modelrelease_operator.core.query_results import QueryResults


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """Every counter at one moment."""

    at: datetime
    counters: tuple[Counter, ...]
    answers: QueryResults = field(default_factory=dict)
    """What the gates' own queries gave at that moment."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Recording:
    """What was recorded of one release, all revisions."""

    looks: tuple[Look, ...]
    versions: dict[str, str]
    """By revision, in the order of appearance: the model version that its pods told."""

    def requests_at(self, revision: str, look: int) -> int:
        """Return what the counters of a revision had reached at a look."""
        counters = self.looks[look].counters
        mine = (
            counter.value for counter in counters if counter.revision == revision and counter.code
        )
        return int(sum(mine))

    def first(self, revision: str) -> int | None:
        """Return the first look that shows a revision; None when no look does."""
        return next(
            (index for index, look in enumerate(self.looks) if _shows(look, revision)), None
        )

    def until_last_of(self, revision: str) -> "Recording":
        """Return the recording without what comes after a revision was last seen."""
        last = max(
            (index for index, look in enumerate(self.looks) if _shows(look, revision)), default=-1
        )
        return replace(self, looks=self.looks[: last + 1])


def _shows(look: Look, revision: str) -> bool:
    return any(counter.revision == revision for counter in look.counters)
