"""How often drift is cried without drift, and how soon it is found: 200 seeds of simulated traffic.

Sixteen features and the predictions, each with a baseline of drawn rows in the deciles of the true
distribution; traffic from the same distribution, or moved by half a standard deviation in one
feature.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np
import pytest
from scipy.stats import norm

from modelrelease_operator.api.drift import Drift, DriftStatus
from modelrelease_operator.core.drift.sustained import with_windows
from modelrelease_operator.core.drift.windows import PREDICTIONS, BinSample, Memory, look
from testbed.builders import START

NAMES = (*(f"feature_{index:02d}" for index in range(16)), PREDICTIONS)
MOVED = "feature_03"
EDGES = norm.ppf(np.linspace(0.1, 0.9, 9))
EVEN = np.full(10, 0.1)
HALF_A_DEVIATION = np.diff(norm.cdf(EDGES, loc=0.5), prepend=0, append=1)
MINUTE = timedelta(minutes=1)


@dataclass
class Pods:
    """Counters that grow with rows of a known distribution,
    beside the baseline that they came with.
    """

    seed: int
    baseline_rows: int = 1000
    moved: bool = False

    def __post_init__(self) -> None:
        self.random = np.random.default_rng(self.seed)
        self.baseline = self.random.multinomial(self.baseline_rows, EVEN, size=len(NAMES))
        self.counts = np.zeros_like(self.baseline)

    def serve(self, rows: int) -> None:
        for index, name in enumerate(NAMES):
            shares = HALF_A_DEVIATION if self.moved and name == MOVED else EVEN
            self.counts[index] += self.random.multinomial(rows, shares)

    def samples(self) -> list[BinSample]:
        return [
            BinSample(
                revision="rev1",
                pod=pod,
                feature=name,
                bin=str(place),
                value=float(table[row, place]),
            )
            for pod, table in ((None, self.baseline), ("a", self.counts))
            for row, name in enumerate(NAMES)
            for place in range(10)
        ]


@dataclass
class Watch:
    """The operator's looks at one revision."""

    pods: Pods
    asked: Drift
    rps: float
    looks: int = 5
    """In a window."""
    now: datetime = START

    def __post_init__(self) -> None:
        self.memory = look(
            Memory(opened=START), self.pods.samples(), settings=self.asked, now=START
        )
        self.status = DriftStatus(revision="rev1")

    def watch(self, minutes: float) -> "Watch":
        every = self.asked.span / self.looks
        for _ in range(round(minutes * MINUTE / every)):
            self.now += every
            self.pods.serve(round(self.rps * every.total_seconds()))
            self.memory = look(self.memory, self.pods.samples(), settings=self.asked, now=self.now)
            self.status = with_windows(self.status, self.memory.windows, self.asked, "7")
        return self


@pytest.mark.parametrize(
    ("asked", "rps", "baseline_rows"),
    [
        (Drift(), 1.0, 1000),
        (Drift(window="1m"), 10.0, 1000),
        (Drift(), 50.0, 10_000),
    ],
    ids=[
        "600 values in 10 minutes against 1,000 rows",
        "600 values a minute against 1,000 rows",
        "30,000 values in 10 minutes against 10,000 rows",
    ],
)
def test_thirty_minutes_without_drift_raise_nothing_in_200_seeds(
    asked: Drift, rps: float, baseline_rows: int
) -> None:
    alarms = [
        seed
        for seed in range(200)
        if "D"
        in Watch(Pods(seed, baseline_rows), asked, rps, looks=1).watch(minutes=30).status.windows
    ]
    assert alarms == [], "a single drifted window would be too many, though it takes two to raise"


@pytest.mark.parametrize("rps", [2.0, 20.0])
def test_half_a_deviation_in_one_feature_is_found_with_its_name_within_thirty_minutes(
    rps: float,
) -> None:
    """It begins at the worst moment: a third into a window,
    whose first part still looks as before.
    """
    for seed in range(50):
        watch = Watch(Pods(seed), Drift(), rps).watch(minutes=14)
        assert not watch.status.drifted
        watch.pods.moved = True
        watch.watch(minutes=30)
        assert watch.status.drifted, f"seed {seed}: {watch.status.message}"
        assert watch.status.features[0].name == MOVED
        assert MOVED in watch.status.message


def test_drift_that_ends_is_taken_back_with_two_calm_windows() -> None:
    watch = Watch(Pods(seed=1, moved=True), Drift(), rps=5.0).watch(minutes=20)
    assert watch.status.drifted
    watch.pods.moved = False
    assert watch.watch(minutes=10).status.drifted, "one calm window is not enough"
    assert not watch.watch(minutes=10).status.drifted
    assert watch.status.windows == "DDSS"
