"""Random numbers with exact laws, fast for any size, from a `random.Random` that is passed in.

No normal or Poisson stands in for a binomial here: the tails are what a test of bounds is about.
Small means are drawn by inversion. Large ones are halved first, by a variable whose law is known
(Ahrens and Dieter 1974; Devroye 1986, X.4.3), so the time grows with the logarithm of the size.
"""

import math
from random import Random

SMALL = 30.0
"""Means up to here are drawn by adding up probabilities:
exp(-30) and its like are far from underflow.
"""


def binomial(random: Random, count: int, share: float) -> int:
    """Draw how many of `count` independent trials succeed, each with probability `share`."""
    hits = 0
    while count > 0 and share > 0:
        if share >= 1:
            return hits + count
        if share > 0.5:
            return hits + count - binomial(random, count, 1 - share)
        if count * share <= SMALL:
            return hits + _few_hits(random, count, share)
        # The middle one of `count` sorted uniform numbers is a beta variable, and those on either
        # side of it are uniform again: only the side that holds `share` is left to be drawn.
        middle = count // 2 + 1
        at = random.betavariate(middle, count + 1 - middle)
        if at > share:
            count, share = middle - 1, share / at
        else:
            hits, count, share = hits + middle, count - middle, (share - at) / (1 - at)
    return hits


def poisson(random: Random, mean: float) -> int:
    """Draw how many independent arrivals there are when `mean` are expected."""
    arrivals = 0
    while mean > SMALL:
        # The time of the k-th arrival is a gamma variable; those before it are spread uniformly.
        kth = int(mean * 0.875)
        at = random.gammavariate(kth, 1.0)
        if at > mean:
            return arrivals + binomial(random, kth - 1, mean / at)
        arrivals, mean = arrivals + kth, mean - at
    if mean <= 0:
        return arrivals
    left, few, probability = random.random(), 0, math.exp(-mean)
    while left > probability and few < 1000:
        left -= probability
        few += 1
        probability *= mean / few
    return arrivals + few


def _few_hits(random: Random, count: int, share: float) -> int:
    odds, left, hits = share / (1 - share), random.random(), 0
    probability = math.exp(count * math.log1p(-share))
    while left > probability and hits < count:
        left -= probability
        hits += 1
        probability *= odds * (count - hits + 1) / hits
    return hits
