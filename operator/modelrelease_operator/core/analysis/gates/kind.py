"""What a kind of gate is."""

from abc import ABC
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, ClassVar, Generic, TypeVar

from modelrelease_operator.api.gate_settings import GateSettings
from modelrelease_operator.api.spec import Gate
from modelrelease_operator.api.status import GateStatus, Streak, Verdict
from modelrelease_operator.core.analysis.assumptions import Assumption
from modelrelease_operator.core.analysis.gate_tests import GateTest, TestParameters
from modelrelease_operator.core.measurement.queries import QueryScope
from modelrelease_operator.core.observed import Counter
from modelrelease_operator.core.query_results import NotMeasured, QueryResult
from modelrelease_operator.core.statistics.eprocess import Tolerance

S = TypeVar("S", bound=GateSettings)
"""The settings of a kind, as the spec has them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WatchedShare:
    """A share that a version that was promoted is held against its predecessor's by."""

    key: str
    """Of the indicator, in the counts that status keeps."""
    what: str
    """Verb of the sentence."""
    notable: Tolerance | None
    """Beyond which it is suspicious; None: it is held against limits alone."""
    limits: tuple[float, ...] = ()
    """Shares that the predecessor kept, if it did."""
    both_ways: bool = False
    """Whether less is as suspicious as more."""

    @property
    def tests(self) -> int:
        """How many tests it takes: one for each direction, and one for each limit."""
        return (2 if self.both_ways else 1) + len(self.limits)


class GateKind(ABC, Generic[S]):
    """What one kind of gate asks; the answers given here are those of one on the servers' own
    counters.
    """

    has_tests: ClassVar[bool] = True
    """Whether it compares counts. One that does not looks at a number: `look_at`."""
    own_queries: ClassVar[bool] = False
    """Whether its query is a person's own, and not the servers' counters."""
    beside_servers: ClassVar[bool] = False
    """Whether its query is held against the servers' counters, so that each must be shown."""
    reads_bins: ClassVar[bool] = False
    """Whether the servers' counts of predictions by bin are read for it."""
    cuts_histograms: ClassVar[bool] = False
    """Whether its bounds are buckets of the servers' histograms of durations."""
    fixes_bounds: ClassVar[bool] = False
    """Whether its tests are cut at bounds that a look must show first: `bounds`."""
    form: ClassVar[str | None] = None
    """How a person says beforehand what it will see; None where other options say so."""

    # -- what is asked

    def query(self, settings: S, query_scope: QueryScope) -> str | None:
        """Return what is to be asked, or None where the servers' own counters answer."""
        return None

    def unasked(self, settings: S, query_scope: QueryScope) -> str | None:
        """Say why there is nothing to ask, or return None."""
        return None

    def queries(self, settings: S) -> tuple[str, ...]:
        """Return its queries as a person wrote them."""
        return ()

    def answer(self, settings: S, query_scope: QueryScope, result: Any) -> QueryResult:
        """Return what Prometheus' answer to the query means; whatever it raises is nonsense."""
        return NotMeasured(verdict=Verdict.UNAVAILABLE, message="it has no query")

    def metric(self, settings: S) -> str:
        """Return what the servers' histogram measures that it cuts; nothing for the time to
        answer.
        """
        return ""

    # -- its tests

    def bounds(self, settings: S, counters: Sequence[Counter], arms: tuple[str, str]) -> list[str]:
        """Return the bounds that are fixed at the first look that shows them;
        nothing while none does.
        """
        return []

    def unready(self, settings: S, counters: Sequence[Counter]) -> str | None:
        """Say why it cannot be compared at this look, or return None."""
        return None

    def gate_test(
        self,
        name: str,
        settings: S,
        bounds: tuple[str, ...],
        parameters: TestParameters,
        unready: str | None,
    ) -> GateTest | None:
        """Return its tests without evidence; None where it has none."""
        return None

    def warm_up(self, settings: S) -> timedelta:
        """Return for how long at each weight it leaves the canary out."""
        return timedelta(0)

    def look_at(
        self,
        gate: Gate,
        settings: S,
        answer: QueryResult,
        streak: Streak,
        now: datetime,
        interval: timedelta,
    ) -> tuple[GateStatus, Streak] | None:
        """Return what it says after one more look, and its looks in a row;
        None where it has tests.
        """
        return None

    def streak_key(self, name: str, settings: S) -> str | None:
        """Return where its looks in a row are kept; None where it has none."""
        return None

    # -- after a promotion

    def watched(
        self, name: str, settings: S, evidence: Mapping[str, Sequence[int]]
    ) -> Iterator[WatchedShare]:
        """Yield the shares by which a promoted version is watched;
        `evidence` has the counts by indicator.
        """
        yield from ()

    def broken(self, name: str, settings: S, streaks: Mapping[str, Streak]) -> str | None:
        """Say that its number is beyond its limits, or return None."""
        return None

    # -- before a release: `plan` and `simulate`

    def assumed(
        self, settings: S, *, stable_errors: float, canary_errors: float
    ) -> Assumption | None:
        """Return what it is taken to see; None where that is known from errors and latency."""
        return None

    def read_assumption(
        self, text: str, share: Callable[[str], float], number: Callable[[str], float]
    ) -> Assumption:
        """Read what a person says that it will see."""
        msg = f"{type(self).__name__} takes no assumption"
        raise NotImplementedError(msg)

    def calm_value(self, settings: S) -> float:
        """Return the number that its query gives as long as nothing is wrong."""
        msg = f"{type(self).__name__} looks at no number"
        raise NotImplementedError(msg)

    def looks_in_row(self, settings: S) -> int:
        """Return how many looks in a row it needs."""
        return 1

    def telling_seconds(self, settings: S) -> float | None:
        """Return a duration in seconds that a simulated histogram must be able to tell,
        if there is one.
        """
        return None

    def plan_words(
        self, settings: S, look: timedelta, requests: Callable[[], str], errors: str
    ) -> str:
        """Say what it needs in a plan; `requests` gives the canary requests by step,
        `errors` their share.
        """
        return ""
