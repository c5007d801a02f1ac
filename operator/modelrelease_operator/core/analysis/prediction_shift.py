"""Whether the canary answers differently than stable does on the same traffic.

Routing deals requests out at random, so both arms see the same data, and counts of their answers in
the same bins compare like counts of errors: the share in each bin, in both directions. That the
canary answers more often in a bin is a test as it is; less often is the same test with the arms
exchanged. Nothing here needs a baseline, and a drift of the data reaches both arms alike.

What this cannot see: errors that leave the distribution as it is. A model that learned flipped
labels of two equally common classes answers with the same shares (docs/explanation/decisions.md).
"""

from collections.abc import Iterable, Sequence

from modelrelease_operator.core.measurement.indicators import Indicator
from modelrelease_operator.core.observed import Counter


def prediction_bins(counters: Iterable[Counter]) -> list[str]:
    """Return the bins that both arms count their predictions in;
    nothing where they do not compare.
    """
    known = tuple(counters)
    return (
        []
        if why_not(known)
        else sorted({counter.bin for counter in known if counter.bin is not None})
    )


def why_not(counters: Iterable[Counter]) -> str | None:
    """Say why predictions do not compare, or return None."""
    layouts = {
        (counter.revision, counter.layout) for counter in counters if counter.layout is not None
    }
    if len({revision for revision, _ in layouts}) < 2:
        return "predictions are not compared: not both versions export bins of their predictions"
    if len({layout for _, layout in layouts}) > 1:
        return (
            "predictions are not compared: the artifacts of both versions have different bins "
            "(baseline.prediction); give the new one the old one's edges"
        )
    return None


def bin_indicators(bins: Sequence[str]) -> tuple[Indicator, ...]:
    """Return one indicator for each bin: a prediction that falls in it is what is counted."""
    return tuple(Indicator(key=f"bin/{name}", bin=name) for name in bins)
