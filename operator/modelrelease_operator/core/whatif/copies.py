"""What comes of copies in a simulated release: stable's pods ask, compare and count; or a prober,
whose examples are taken to be as hard as users' requests.

Failures, latencies and differences are independent from request to request, which is the worst case
for pairs: what makes one request hard for both arms only makes the canary easier to judge.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from random import Random
from statistics import NormalDist

from modelrelease_contract import shadow as words
from modelrelease_operator.api.shadow import Shadow
from modelrelease_operator.core.observed import PairCounter
from modelrelease_operator.core.statistics.random_variates import binomial, poisson
from modelrelease_operator.core.whatif.fleet import Chance, Group, Increments

PAIR = "pair"
"""Kind of these counters."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PairLaw:
    """How pairs come out. Shares in [0, 1]."""

    stable_errors: float
    canary_errors: float
    different: float
    """Share of the pairs of good answers that differ."""
    slower_ratio: float
    slower_seconds: float
    median: float
    p99: float
    stretch: float
    """The canary takes so many times as long as stable."""

    def draw(self, random: Random, pairs: int, asked_again: int) -> Increments:
        """Return what so many pairs add to the counters,
        of which stable was asked again for some.
        """
        stable_bad = binomial(random, pairs, self.stable_errors)
        both = binomial(random, stable_bad, self.canary_errors)
        canary = binomial(random, pairs - stable_bad, self.canary_errors)
        good = pairs - stable_bad - canary
        different = binomial(random, good, self.different)
        slower = [self._slower(random) for _ in range(asked_again)]
        counts = {
            words.SAME: good - different,
            words.DIFFERENT: different,
            words.CANARY_FAILED: canary,
            words.STABLE_FAILED: stable_bad - both,
            words.BOTH_FAILED: both,
            words.NOISE_SAME: asked_again,
            words.CANARY_SLOWER: slower.count(words.CANARY_SLOWER),
            words.STABLE_SLOWER: slower.count(words.STABLE_SLOWER),
            words.ALIKE: slower.count(words.ALIKE),
        }
        return {(PAIR, result): count for result, count in counts.items()}

    def _slower(self, random: Random) -> str:
        spread = math.log(self.p99 / self.median) / NormalDist().inv_cdf(0.99)
        stable = random.lognormvariate(math.log(self.median), spread)
        canary = self.stretch * random.lognormvariate(math.log(self.median), spread)
        if self._is_slower(canary, stable):
            return words.CANARY_SLOWER
        return words.STABLE_SLOWER if self._is_slower(stable, canary) else words.ALIKE

    def _is_slower(self, one: float, other: float) -> bool:
        return one > self.slower_ratio * other and one > other + self.slower_seconds


@dataclass(kw_only=True)
class Copies:
    """The pods that copy requests, scraped as one."""

    shadow: Shadow
    law: PairLaw
    rate: float
    """Copies a second."""
    pods: int
    random: Random
    now: float
    by: Chance
    group: Group = field(init=False)
    unasked: float = 0.0
    """The part of a copy that stable is to be asked again and was not."""

    def __post_init__(self) -> None:
        now = self.now
        self.group = Group(name="stable", size=self.pods, ready_at=now, born=now, until=now)
        # The counters are there, with 0, before the first copy.
        self.group.count(self.law.draw(self.random, 0, 0))
        self.group.begin_scrapes(self.by.scrapes, self.random, now)

    def let_pass(self, until: float) -> None:
        """Copy requests until a moment."""
        self.group.scrape_before(until, self._draw, self.by)

    def counters(self, server: int) -> Iterable[PairCounter]:
        """Return what a server shows of them."""
        _, _, counters = self.group.shown.get(server, (0.0, 0.0, {}))
        for (kind, result), count in counters.items():
            if kind == PAIR:
                yield PairCounter(process=self.group.name, result=result, value=count)

    def _draw(self, group: Group, until: float) -> None:
        if until <= group.until:
            return
        pairs = poisson(self.random, self.rate * (until - group.until))
        self.unasked += pairs * self.shadow.noise_percent / 100
        again = int(self.unasked)
        self.unasked -= again
        group.count(self.law.draw(self.random, pairs, again))
        group.until = until
