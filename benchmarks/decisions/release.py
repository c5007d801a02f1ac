"""Whole releases: from the first step to promotion, rollback, or a deadline without a verdict.

Ours takes its default steps, each gate with the margin of the weight that comes next. Flagger and
Argo take the steps of their documentation. Counts are drawn as each run goes along, because the
weight depends on what was decided before.
"""

from dataclasses import dataclass

import numpy as np

from benchmarks.decisions.rules import (
    ARGO_FAILURE_LIMIT,
    FLAGGER_THRESHOLD,
    OURS,
    share_bad,
    too_bad,
)
from benchmarks.decisions.traffic import POLL, Counts, Floats, Ints, generator
from benchmarks.decisions.vectorized import designs_of, gains, log_mean_exp
from modelrelease_operator.api.durations import parse_duration
from modelrelease_operator.api.spec import DEFAULT_STEPS, Canary
from modelrelease_operator.core.analysis.restart_schedule import EVERY, planned_copies
from modelrelease_operator.core.statistics.eprocess import (
    NON_INFERIORITY_GRID,
    POOLED_SHARE,
    REGRESSION_GRID,
    EProcess,
    Restarts,
)

WEIGHTS = np.array([step.weight / 100 for step in DEFAULT_STEPS])
BAKE = np.array([parse_duration(step.bake).total_seconds() / POLL for step in DEFAULT_STEPS])
DEADLINE = int(parse_duration(Canary().progress_deadline).total_seconds()) // POLL
MARGINS = np.array([OURS.margin_before(share).points for share in (*WEIGHTS[1:], 1.0)])

COPY_WEIGHTS = np.array(
    Restarts.plan(EProcess.regression(OURS.tolerated), planned=planned_copies(Canary())).weights
)
HOUR = int(EVERY.total_seconds()) // POLL

FLAGGER_WEIGHTS = np.array([0.1, 0.2, 0.3, 0.4, 0.5])
"""`stepWeight: 10`, `maxWeight: 50`: a step a minute."""
ARGO_WEIGHTS = np.array([0.2, 0.4, 0.6, 0.8])
"""`setWeight` 20, 40, 60, 80, each for ten minutes,
with the analysis in the background from 40 % on.
"""
ARGO_STEP, ARGO_INTERVAL = 600, 300

OPEN, PROMOTED, ROLLED_BACK = 0, 1, 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Situation:
    """The traffic of a release, at whatever weight."""

    rps: int
    base: float
    ratio: float

    @property
    def canary_rate(self) -> float:
        """Share of the canary's requests that go bad."""
        return min(1.0, self.base * self.ratio)


@dataclass(frozen=True, slots=True, kw_only=True)
class ReleaseSummary:
    """How the runs of one situation ended; medians are over all runs."""

    promoted: float
    rolled_back: float
    undecided: float
    minutes: float
    minutes_p90: float
    requests: float
    bad: float


def summary(
    outcomes: Ints, seconds: Floats, requests: Floats, bad_answers: Floats
) -> ReleaseSummary:
    """Sum up every run's outcome, and what it took until then."""
    return ReleaseSummary(
        promoted=float((outcomes == PROMOTED).mean()),
        rolled_back=float((outcomes == ROLLED_BACK).mean()),
        undecided=float((outcomes == OPEN).mean()),
        minutes=float(np.median(seconds)) / 60,
        minutes_p90=float(np.quantile(seconds, 0.9)) / 60,
        requests=float(np.median(requests)),
        bad=float(np.median(bad_answers)),
    )


class VectorizedRelease:
    """The runs that are under way, one row each."""

    def __init__(self, situation: Situation, runs: int, seed: int) -> None:
        self.situation = situation
        self.random = generator(seed, "release", situation)
        designs, copies = len(REGRESSION_GRID), len(COPY_WEIGHTS)
        self.plan, self.shifted = np.zeros((2, runs, designs))
        # What the evidence was when each copy started: from there on, the copies gain alike.
        self.plan_from, self.shifted_from = np.zeros((2, runs, copies, designs))
        self.promote = np.zeros((runs, len(NON_INFERIORITY_GRID)))
        self.step, self.entered, self.stepped, self.last_n, self.last_x, self.outcome = np.zeros(
            (6, runs), dtype=np.int64
        )
        # Sums of n_c, x, n_s and y; what they were when each copy started; stable's newest counts,
        # and those before each copy started.
        self.sums, self.newest_s = (
            np.zeros((runs, 4), dtype=np.int64),
            np.zeros((runs, 2), dtype=np.int64),
        )
        self.sums_from = np.zeros((runs, copies, 4), dtype=np.int64)
        self.before = np.zeros((runs, copies, 2), dtype=np.int64)
        self.copies, self.copied = np.ones(runs, dtype=np.int64), np.zeros(runs, dtype=np.int64)
        self.requests, self.bad, self.seconds, self.evidence = np.zeros((4, runs))

    def look(self, poll: int) -> bool:
        """Draw one poll's counts for every open run and decide; return whether any run is left."""
        rows = np.flatnonzero(self.outcome == OPEN)
        if not rows.size:
            return False
        self._start_hourly(rows, poll)
        now = self._draw(WEIGHTS[self.step[rows]])
        line, margin = OURS.tolerated, OURS.margin
        designs = designs_of(REGRESSION_GRID, line.ratio)
        before = Counts(n_c=self.last_n[rows], x=self.last_x[rows], n_s=now.n_s, y=now.y)
        self.plan[rows] += gains(line.ratio, line.points, designs, now)
        self.shifted[rows] += gains(line.ratio, line.points, designs, before)
        self.promote[rows] += gains(
            margin.ratio,
            MARGINS[self.step[rows]],
            designs_of(NON_INFERIORITY_GRID, margin.ratio),
            now,
        )
        self.last_n[rows], self.last_x[rows] = now.n_c, now.x
        self.newest_s[rows] = np.stack([now.n_s, now.y], axis=1)
        self.sums[rows] += np.stack([now.n_c, now.x, now.n_s, now.y], axis=1)
        self.stepped[rows] += now.n_c
        self.requests[rows] += now.n_c
        self.bad[rows] += now.x
        self.seconds[rows] = (poll + 1) * POLL
        self.newest = Counts(n_c=now.n_c[None], x=now.x[None], n_s=now.n_s[None], y=now.y[None])
        self._decide(rows, poll + 1)
        return True

    def _decide(self, rows: Ints, polls: int) -> None:
        self.evidence[rows] = self._confirmed(rows)
        back = self.evidence[rows] >= -np.log(OURS.alpha)
        proven = (log_mean_exp(self.promote[rows]) >= -np.log(OURS.beta)) & (
            self.stepped[rows] >= OURS.min_requests
        )
        on = rows[~back & proven & (polls - self.entered[rows] >= BAKE[self.step[rows]])]
        self.outcome[rows[back]] = ROLLED_BACK
        self.outcome[on[self.step[on] == len(WEIGHTS) - 1]] = PROMOTED
        on = on[self.outcome[on] == OPEN]
        self.step[on] += 1
        self.entered[on] = polls
        # A step has its own evidence for promotion, and no pair of intervals reaches across it.
        self.promote[on], self.stepped[on], self.last_n[on], self.last_x[on] = 0.0, 0, 0, 0
        self._start_copy(on, polls)

    def _confirmed(self, rows: Ints) -> Floats:
        """Return the smaller of both plans, as far as the sums bear it out."""
        plan, shifted = self.plan[rows, None] - self.plan_from[rows], self.shifted[rows, None]
        evidence = np.minimum(
            self._log(rows, plan), self._log(rows, shifted - self.shifted_from[rows])
        )
        positive = evidence > 0
        for side in self._covers(rows[positive]):
            gained = gains(
                OURS.tolerated.ratio,
                OURS.tolerated.points,
                designs_of(REGRESSION_GRID, OURS.tolerated.ratio),
                side,
            )
            evidence[positive] = np.minimum(
                evidence[positive], POOLED_SHARE * self._log(rows[positive], gained)
            )
        return evidence

    def _covers(self, rows: Ints) -> tuple[Counts, Counts, Counts, Counts]:
        """Return each copy's sums as `Pooled.covers` does."""
        n_c, x, n_s, y = np.moveaxis(self.sums[rows, None] - self.sums_from[rows], -1, 0)
        last_n, last_x = self.last_n[rows, None], self.last_x[rows, None]
        before_n, before_y = np.moveaxis(self.before[rows], -1, 0)
        newest_n, newest_y = self.newest_s[rows, None, 0], self.newest_s[rows, None, 1]
        shorter_n = n_s - np.minimum(n_s, newest_n)
        shorter = Counts(
            n_c=n_c, x=x, n_s=shorter_n, y=np.minimum(shorter_n, y - np.minimum(y, newest_y))
        )
        earlier = Counts(
            n_c=n_c - np.minimum(n_c, last_n), x=x - np.minimum(x, last_x), n_s=n_s, y=y
        )
        later = Counts(n_c=n_c, x=x, n_s=n_s + before_n, y=y + before_y)
        led_n = later.n_s - np.minimum(later.n_s, newest_n)
        led = Counts(
            n_c=n_c, x=x, n_s=led_n, y=np.minimum(led_n, later.y - np.minimum(later.y, newest_y))
        )
        return earlier, later, shorter, led

    def _log(self, rows: Ints, gained: Floats) -> Floats:
        """Return the logarithm of the weighted mean over all copies;
        one that has not started counts 1.
        """
        started = np.arange(len(COPY_WEIGHTS)) < self.copies[rows, None]
        by_copy = np.where(started[..., None], gained, 0.0)
        logs = by_copy + np.log(len(COPY_WEIGHTS) * COPY_WEIGHTS)[:, None]
        return log_mean_exp(logs.reshape(len(rows), logs.shape[1] * logs.shape[2]))

    def _start_copy(self, rows: Ints, poll: int) -> None:
        rows = rows[self.copies[rows] < len(COPY_WEIGHTS)]
        self.plan_from[rows, self.copies[rows]] = self.plan[rows]
        self.shifted_from[rows, self.copies[rows]] = self.shifted[rows]
        self.sums_from[rows, self.copies[rows]] = self.sums[rows]
        self.before[rows, self.copies[rows]] = self.newest_s[rows]
        self.copies[rows] += 1
        self.copied[rows] = poll

    def _start_hourly(self, rows: Ints, poll: int) -> None:
        """Start one more copy an hour after the last, and keep one for each step to come."""
        spare = len(COPY_WEIGHTS) - self.copies[rows] - (len(WEIGHTS) - 1 - self.step[rows])
        self._start_copy(rows[(spare > 0) & (poll - self.copied[rows] >= HOUR)], poll)

    def _draw(self, weights: Floats) -> Counts:
        arrivals, random = self.situation.rps * POLL, self.random

        def arm(share: Floats, rate: float) -> tuple[Ints, Ints]:
            failures = random.poisson(arrivals * share * rate)
            return failures + random.poisson(arrivals * share * (1 - rate)), failures

        n_c, x = arm(weights, self.situation.canary_rate)
        n_s, y = arm(1 - weights, self.situation.base)
        return Counts(n_c=n_c, x=x, n_s=n_s, y=y)


def ours(situation: Situation, runs: int, seed: int) -> ReleaseSummary:
    """Release by our rules with the default steps."""
    release = VectorizedRelease(situation, runs, seed)
    for poll in range(DEADLINE):
        if not release.look(poll):
            break
    return summary(release.outcome, release.seconds, release.requests, release.bad)


def flagger(situation: Situation, runs: int, seed: int, limit: float) -> ReleaseSummary:
    """Release by Flagger: a failed check holds the weight for a minute,
    the fifth rolls back a tick later.
    """
    random = generator(seed, "flagger", situation)
    step, failures, outcomes = np.zeros((3, runs), dtype=np.int64)
    requests, bad_answers, seconds = np.zeros((3, runs))
    while (rows := np.flatnonzero(outcomes == OPEN)).size:
        arrivals = 60 * situation.rps * FLAGGER_WEIGHTS[step[rows]]
        x = random.poisson(arrivals * situation.canary_rate)
        n_c = x + random.poisson(arrivals * (1 - situation.canary_rate))
        requests[rows] += n_c
        bad_answers[rows] += x
        seconds[rows] += 60
        # A tick looks at the failures of those before it, and only then at the metrics.
        spoilt = failures[rows] >= FLAGGER_THRESHOLD
        outcomes[rows[spoilt]] = ROLLED_BACK
        failed = too_bad(share_bad(x, n_c), limit) & ~spoilt
        failures[rows[failed]] += 1
        passed = rows[~failed & ~spoilt]
        step[passed] += 1
        outcomes[passed[step[passed] == len(FLAGGER_WEIGHTS)]] = PROMOTED
    return summary(outcomes, seconds, requests, bad_answers)


def argo(situation: Situation, runs: int, seed: int, limit: float) -> ReleaseSummary:
    """Release by Argo Rollouts: measure the last scrape every five minutes;
    the fourth failure aborts.
    """
    random = generator(seed, "argo", situation)
    failures, outcomes = np.zeros((2, runs), dtype=np.int64)
    requests, bad_answers, seconds = np.zeros((3, runs))
    for begun in range(0, ARGO_STEP * len(ARGO_WEIGHTS), ARGO_INTERVAL):
        rows = np.flatnonzero(outcomes == OPEN)
        arrivals = situation.rps * ARGO_WEIGHTS[begun // ARGO_STEP]
        spans = arrivals * np.array([ARGO_INTERVAL - POLL, POLL])
        x = random.poisson(spans * situation.canary_rate, (rows.size, 2))
        n_c = x + random.poisson(spans * (1 - situation.canary_rate), (rows.size, 2))
        requests[rows] += n_c.sum(axis=1)
        bad_answers[rows] += x.sum(axis=1)
        seconds[rows] += ARGO_INTERVAL
        ends = begun + ARGO_INTERVAL
        if ARGO_STEP <= ends < ARGO_STEP * len(ARGO_WEIGHTS):
            failures[rows] += too_bad(share_bad(x[:, 1], n_c[:, 1]), limit)
        outcomes[rows[failures[rows] > ARGO_FAILURE_LIMIT]] = ROLLED_BACK
    outcomes[outcomes == OPEN] = PROMOTED
    return summary(outcomes, seconds, requests, bad_answers)
