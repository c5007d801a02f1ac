"""What many simulated releases say together."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import median

from modelrelease_operator.core.statistics.eprocess import ArmCounts, RateInterval, rate_interval
from modelrelease_operator.core.whatif.end import DECIDED, IN_SHADOW, End
from modelrelease_operator.core.whatif.simulation import SimulatedRun


@dataclass(frozen=True, slots=True, kw_only=True)
class Proportion:
    """How many of the runs ended in one way."""

    runs: int
    of: int

    @property
    def share(self) -> float:
        """As a share in [0, 1]."""
        return self.runs / self.of

    @property
    def interval(self) -> RateInterval:
        """Where the true share lies, with 95 % confidence."""
        return rate_interval(ArmCounts(total=self.of, bad=self.runs), 0.95)


@dataclass(frozen=True, slots=True, kw_only=True)
class Middle:
    """The medians of some runs; the spread is that of the middle 80 % of their times."""

    seconds: float
    canary_requests: float
    bad_answers: float
    fast: float
    slow: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Forecast:
    """Shares of the ends, and medians over all runs and over those of each end."""

    ends: dict[End, Proportion]
    overall: Middle
    by_end: dict[End, Middle]
    by_step: dict[End, list[int]]
    """For each end, how many runs ended in each step."""
    in_shadow: dict[End, int]
    """For each end, how many runs ended before the first user met the canary, in the shadow."""
    reasons: dict[End, str]
    """What was said in the run of median time."""


def forecast(outcomes: Sequence[SimulatedRun], *, steps: int) -> Forecast:
    """Sum up runs. Raises ValueError when there are none."""
    if not outcomes:
        msg = "at least one run is needed"
        raise ValueError(msg)
    groups = {end: _ending_in(end, outcomes) for end in DECIDED}
    ended = {end: runs for end, runs in groups.items() if runs}
    return Forecast(
        ends={end: Proportion(runs=len(runs), of=len(outcomes)) for end, runs in groups.items()},
        overall=_middle(outcomes),
        by_end={end: _middle(runs) for end, runs in ended.items()},
        by_step={end: _runs_by_step(runs, steps) for end, runs in ended.items()},
        in_shadow={end: sum(run.step == IN_SHADOW for run in runs) for end, runs in ended.items()},
        reasons={end: _typical(runs).message for end, runs in ended.items()},
    )


def _ending_in(end: End, runs: Iterable[SimulatedRun]) -> list[SimulatedRun]:
    return [run for run in runs if run.end is end]


def _runs_by_step(runs: Iterable[SimulatedRun], steps: int) -> list[int]:
    """Return for each step how many runs ended in it."""
    counts = Counter(run.step for run in runs)
    return [counts[step] for step in range(steps)]


def _middle(runs: Sequence[SimulatedRun]) -> Middle:
    times = sorted(run.seconds for run in runs)
    return Middle(
        seconds=median(times),
        canary_requests=median(run.canary_requests for run in runs),
        bad_answers=median(run.bad_answers for run in runs),
        fast=times[len(times) // 10],
        slow=times[-1 - len(times) // 10],
    )


def _typical(runs: Sequence[SimulatedRun]) -> SimulatedRun:
    return sorted(runs, key=lambda run: run.seconds)[len(runs) // 2]
