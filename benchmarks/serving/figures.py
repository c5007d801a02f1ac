"""What was measured, and what it comes to: medians over rounds, ratios, goals. Pure."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any, Final, Self

from benchmarks.serving.candidates import Candidate, Role, Work

MANY: Final = 32
"""Connections under load."""
ONE: Final = 1
"""A lonely client."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """What came of some seconds of load."""

    requests_per_second: float
    p50_ms: float
    p99_ms: float
    cpu_us: float
    """CPU time of the server and its helpers for each answered request, in microseconds."""
    errors: int
    probe_ms: float
    """Time of a fixed piece of work on the server's core, meanwhile."""
    foreign_share: float
    """Share of the server's core that others used or that was stolen."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Visit:
    """One candidate in one round: started, compared, loaded, ended."""

    candidate: str
    round: int
    start_seconds: float
    """From the start of the process to the first right answer."""
    import_seconds: float
    resident_mb: float
    """Resident memory of the server and its helpers after the load."""
    processes: int
    worst_difference: float | None
    """From scikit-learn, over all rows that were compared; None for a constant answer."""
    loads: Mapping[int, Load]
    """By number of connections."""

    def as_dict(self) -> dict[str, Any]:
        """Return everything as JSON can hold it."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Read what `as_dict` wrote."""
        loads = {int(connections): Load(**load) for connections, load in values["loads"].items()}
        return cls(**{**values, "loads": loads})


@dataclass(frozen=True, slots=True)
class Spread:
    """A median, and the lowest and highest beside it."""

    middle: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Self:
        """Summarise at least one value."""
        return cls(median(values), min(values), max(values))


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """All visits to one candidate."""

    candidate: Candidate
    visits: tuple[Visit, ...]

    def rate(self, connections: int) -> Spread:
        """Requests answered in a second."""
        return Spread.of([load.requests_per_second for load in self._loads(connections)])

    def p50_ms(self, connections: int) -> float:
        """Median over rounds of the median latency."""
        return median(load.p50_ms for load in self._loads(connections))

    def p99_ms(self, connections: int) -> float:
        """Median over rounds of the 99th percentile of the latency."""
        return median(load.p99_ms for load in self._loads(connections))

    def cpu_us(self, connections: int) -> float:
        """Median over rounds of the CPU time of a request, in microseconds."""
        return median(load.cpu_us for load in self._loads(connections))

    def probe_ms(self, connections: int) -> float:
        """Median over rounds of the speed probe."""
        return median(load.probe_ms for load in self._loads(connections))

    @property
    def errors(self) -> int:
        """All that went wrong under load, in all rounds."""
        return sum(load.errors for load in self._all_loads())

    @property
    def foreign_share(self) -> float:
        """The highest share of the server's core that others used in a round."""
        return max(load.foreign_share for load in self._all_loads())

    def _all_loads(self) -> Iterator[Load]:
        for visit in self.visits:
            yield from visit.loads.values()

    @property
    def resident_mb(self) -> float:
        """Median over rounds."""
        return median(visit.resident_mb for visit in self.visits)

    @property
    def start_seconds(self) -> float:
        """Median over rounds."""
        return median(visit.start_seconds for visit in self.visits)

    @property
    def import_seconds(self) -> float:
        """Median over rounds."""
        return median(visit.import_seconds for visit in self.visits)

    @property
    def processes(self) -> int:
        """Most that were seen."""
        return max(visit.processes for visit in self.visits)

    @property
    def worst_difference(self) -> float | None:
        """Largest difference from scikit-learn in any round; None for a constant answer."""
        return max(
            (v.worst_difference for v in self.visits if v.worst_difference is not None),
            default=None,
        )

    def _loads(self, connections: int) -> list[Load]:
        return [visit.loads[connections] for visit in self.visits]


def summaries(candidates: Sequence[Candidate], visits: Sequence[Visit]) -> dict[str, Summary]:
    """Gather the visits by candidate, in the candidates' order; leave out those never visited."""
    by_name = {}
    for candidate in candidates:
        own = tuple(visit for visit in visits if visit.candidate == candidate.name)
        if own:
            by_name[candidate.name] = Summary(candidate=candidate, visits=own)
    return by_name


def fastest_rival(by_name: Mapping[str, Summary], work: Work) -> Summary | None:
    """Return the rival with the most answers a second at 32 connections, tuned or not;
    None without any.
    """
    return max(_rivals(by_name, work), key=lambda summary: summary.rate(MANY).middle, default=None)


def quickest_rival(by_name: Mapping[str, Summary], work: Work) -> Summary | None:
    """Return the rival with the lowest p99 at 32 connections; None without any."""
    return min(_rivals(by_name, work), key=lambda summary: summary.p99_ms(MANY), default=None)


def _rivals(by_name: Mapping[str, Summary], work: Work) -> list[Summary]:
    """Return those who answered at all: one that starved has no latency to compare with."""
    rivals = (summary for summary in by_name.values() if summary.candidate.role is Role.RIVAL)
    return [
        rival for rival in rivals if rival.candidate.work is work and rival.rate(MANY).middle > 0
    ]
