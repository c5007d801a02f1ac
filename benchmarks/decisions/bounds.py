"""What the best of all tests could find: the measure for a target that is missed.

With stable's rate known for certain and a single look at the end, the canary's number of errors
tells everything, and refusing the largest numbers is the most powerful test there is (Neyman and
Pearson). No rule that keeps false rollbacks within alpha finds more, however it looks.
"""

import math


def most_that_can_be_caught(*, expected_bad: float, tolerated_bad: float, alpha: float) -> float:
    """Return that test's power, given the errors expected of the sick canary and of one just
    tolerated.
    """
    count, below = 0, 0.0
    while 1 - below > alpha:
        below += _poisson(count, tolerated_bad)
        count += 1
    # All of `count` and above are refused, and `count - 1` as often as alpha has left for it.
    last = count - 1
    spare = alpha - (1 - below)
    sure = 1 - math.fsum(_poisson(number, expected_bad) for number in range(count))
    return sure + _poisson(last, expected_bad) * spare / _poisson(last, tolerated_bad)


def _poisson(number: int, mean: float) -> float:
    return math.exp(number * math.log(mean) - mean - math.lgamma(number + 1))
