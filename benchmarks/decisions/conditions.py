"""Healthy canaries under conditions that the tables' independent requests do not have.

In every row both arms fail alike, so every rollback is false: requests that fail in groups, an
incident that both arms share, arms that are scraped at different moments.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from itertools import product

import numpy as np

from benchmarks.decisions.rules import OURS, RULES
from benchmarks.decisions.traffic import POLL, Cell, Counts, Floats, Ints, draw_with, generator
from benchmarks.decisions.vectorized import (
    BLOCK,
    NEVER,
    default_policy,
    first,
    plan_logs,
    regression_logs,
    rollback_polls,
)
from modelrelease_operator.api.spec import DEFAULT_STEPS
from modelrelease_operator.core.statistics.eprocess import Tolerance

CELL = Cell(rps=200, base=0.01, ratio=1.0, weight=0.1)
QUIET = Cell(rps=200, base=0.001, ratio=1.0, weight=0.1)
COMPARED_RULES = (
    "ours",
    "Flagger, 2x base",
    "Flagger, tuned",
    "Argo, tuned",
    "Kayenta, 10 min",
    "z, tuned",
)
SLOW_SHARES = (0.5, 0.1, 0.05, 0.01)
"""Requests above each of stable's quantiles that the latency gate compares at."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Condition:
    """One row: what it is, its traffic, and what the rules know of it."""

    name: str
    cell: Cell
    draw: Callable[[int, np.random.Generator], Counts]
    group: int = 1
    """How many requests fail together."""


def grouped(runs: int, random: np.random.Generator, *, group: int, sticky: bool) -> Counts:
    """Let requests fail in groups: each group in one arm,
    or each of its requests routed by itself.
    """
    shape, arrivals, cell = (runs, CELL.polls), CELL.rps * POLL, CELL
    good_c = random.poisson(arrivals * cell.weight * (1 - cell.base), shape)
    good_s = random.poisson(arrivals * (1 - cell.weight) * (1 - cell.base), shape)
    if sticky:
        x = group * random.poisson(arrivals * cell.weight * cell.base / group, shape)
        y = group * random.poisson(arrivals * (1 - cell.weight) * cell.base / group, shape)
    else:
        failures = group * random.poisson(arrivals * cell.base / group, shape)
        x = random.binomial(failures, cell.weight)
        y = failures - x
    return Counts(n_c=good_c + x, x=x, n_s=good_s + y, y=y)


def incident(runs: int, random: np.random.Generator) -> Counts:
    """Let both arms fail five times as often from the 20th to the 30th minute."""
    rate = np.full(CELL.polls, CELL.base)
    rate[1200 // POLL : 1800 // POLL] *= 5
    return draw_with(CELL, runs, random, rate, rate)


def outage_seen_late(runs: int, random: np.random.Generator, *, lag: float) -> Counts:
    """Let both arms jump to 20 % bad two to three minutes in,
    and show stable's counts `lag` seconds late.
    """
    polls = np.arange(CELL.polls)
    begins = 120 + 60 * random.random((runs, 1))

    def rates(late: float) -> Floats:
        after = np.clip(((polls + 1) * POLL - late - begins) / POLL, 0, 1)
        return np.asarray(QUIET.base + after * (0.2 - QUIET.base))

    return draw_with(QUIET, runs, random, rates(0.0), rates(lag))


def ramp(runs: int, random: np.random.Generator) -> Counts:
    """Let both arms go from 0.1 to 1 % bad during the hour,
    while the weight takes its four steps.
    """
    rate = np.linspace(QUIET.base, 10 * QUIET.base, QUIET.polls)
    weight = np.repeat(
        [step.weight / 100 for step in DEFAULT_STEPS], QUIET.polls // len(DEFAULT_STEPS)
    )
    return draw_with(QUIET, runs, random, rate, rate, weight)


def _groups_that_fail(group: int, sticky: bool) -> Condition:
    routing = "in one arm" if sticky else "each routed by itself"
    return Condition(
        name=f"{group} fail together, {routing}",
        cell=CELL,
        group=group,
        draw=partial(grouped, group=group, sticky=sticky),
    )


def conditions() -> tuple[Condition, ...]:
    """Return the rows in their order."""
    groups = [_groups_that_fail(*pair) for pair in product((3, 10), (True, False))]
    late = [
        Condition(
            name=f"both jump to 20 %, stable {lag} s late",
            cell=QUIET,
            draw=partial(outage_seen_late, lag=lag),
        )
        for lag in (0, 5, 9)
    ]
    return (
        Condition(name="independent requests", cell=CELL, draw=draw_even),
        *groups,
        Condition(name="both arms x5 for 10 minutes", cell=CELL, draw=incident),
        Condition(name="both rise tenfold as the weight steps up", cell=QUIET, draw=ramp),
        *late,
    )


def draw_even(runs: int, random: np.random.Generator) -> Counts:
    """Draw the traffic of the tables."""
    rate = np.full(CELL.polls, CELL.base)
    return draw_with(CELL, runs, random, rate, rate)


def false_rollbacks(condition: Condition, runs: int, seed: int) -> dict[str, float]:
    """Return each rule's share of rollbacks, and ours without its guards or told of the groups."""
    counts = condition.draw(runs, generator(seed, condition.name))
    shares = {
        rule.name: _share(rule.rollback(counts, condition.cell))
        for rule in RULES
        if rule.name in COMPARED_RULES
    }
    shares["ours, unconfirmed"] = _share(unconfirmed(counts))
    policy = default_policy(dispersion=float(condition.group))
    shares["ours, told of groups"] = _share(rollback_polls(counts, policy))
    return shares


def unconfirmed(counts: Counts) -> Ints:
    """Return when ours would roll back without the second test that confirms the first."""
    parts = (counts.part(slice(start, start + BLOCK)) for start in range(0, counts.runs, BLOCK))
    return np.concatenate([first(plan_logs(part, OURS.tolerated) >= OURS.bar) for part in parts])


def _share(when: Ints) -> float:
    return float((when < NEVER).mean())


def at_the_edge(runs: int, seed: int) -> float:
    """Return false rollbacks by both default gates of a canary slower by just what is tolerated.

    At stable's quantiles, each held against the bound that the canary is allowed, both arms then
    have the same share of slow requests: the latency gate's hypothesis at its worst.
    """
    blocks = [_edge_block(min(BLOCK, runs - start), seed, start) for start in range(0, runs, BLOCK)]
    return float(np.concatenate(blocks).mean())


def _edge_block(
    runs: int, seed: int, start: int
) -> np.ndarray[tuple[int, ...], np.dtype[np.bool_]]:
    random = generator(seed, "edge", start)
    errors = regression_logs(draw_even(runs, random), OURS.tolerated, first_copy=OURS.first_copy)
    between = -np.diff([1.0, *SLOW_SHARES, 0.0])

    def arm(share: float) -> Ints:
        bins = random.poisson(CELL.rps * POLL * share * between, (runs, CELL.polls, len(between)))
        return np.asarray(np.cumsum(bins[..., ::-1], axis=-1)[..., ::-1])

    canary, stable = arm(CELL.weight), arm(1 - CELL.weight)
    line = Tolerance(ratio=1.0, points=0.0)
    cuts = [
        Counts(n_c=canary[..., 0], x=canary[..., cut], n_s=stable[..., 0], y=stable[..., cut])
        for cut in range(1, len(between))
    ]
    slow = [regression_logs(counts, line, first_copy=OURS.first_copy) for counts in cuts]
    latency = np.logaddexp.reduce(slow) - np.log(len(slow))
    together = np.logaddexp(errors, latency) - np.log(2)
    return np.asarray((together >= -np.log(OURS.alpha)).any(axis=1))
