"""Where the bins of a baseline begin and end, and counts of values in them. Knows no file and no
model.

Drift is seen only between bins, so a value that holds much of the mass must not share one with what
lies beside it: half of all features of real tables are flags, counts with many zeros, codes and
constants.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from modelrelease_contract.artifact import Histogram

Floats = NDArray[np.float64]
Texts = Sequence[str | None]

BINS: Final = 10
"""Bins are of about one in so many rows, and so many values may have bins of their own."""
MASS: Final = 0.05
"""Share of the rows from which a value has a bin of its own:
sentinels such as -999 hold little more.
"""
SURE: Final = 25
"""Rows that it needs besides: of fewer,
values that chance made common are too many (benchmarks/drift.py).
"""
FEW: Final = 5
"""A column with no more values than this has a bin for each."""
SEEN: Final = 5
"""Rows from which a value may have a bin of its own (Cochran's rule for expected counts, 1954)."""
FLOAT32: Final = 2.0**-23
"""Relative distance of neighbouring 32-bit floats:
what a client may change by rounding is no other value.
"""
NEAR_ZERO: Final = 1e-9
MOST_LABELS: Final = 20
MOST_SHARED: Final = 10
MOST_OTHERS: Final = 8
TAIL_BINS: Final = 4
TAIL_ROWS: Final = 20
"""What lies beyond all values with bins of their own is cut into so many bins of so many rows, if
it has them: the amounts of the one in ten that has any."""
SHARED_ROWS: Final = 10
"""Rows that a bin of rare texts should expect."""
MOST_RARE: Final = 10_000
LONGEST_RARE: Final = 256
"""Rare texts that a baseline names at most, and their characters:
beyond is free text, where each is new.
"""
OTHER: Final = "other"
_LARGEST: Final = float(np.finfo(np.float64).max)
_SEED: Final = 20_240_901


def edges(values: Floats) -> list[float]:
    """Return the inner edges of the bins for `values`, shape (n,): at most 33 of them.

    A value with much of the mass has a bin of its own, from just below to just above it, and bins
    on both sides; a constant has three. What lies between two such values is cut into equally full
    bins: nine deciles where no value stands out. Infinite values have bins, too.
    """
    distinct, counts = np.unique(values[np.isfinite(values)], return_counts=True)
    total = int(counts.sum())
    least = SEEN if len(distinct) <= FEW else max(SURE, total * MASS)
    commonest = np.argsort(-counts, kind="stable")[:BINS]
    alone = np.sort(commonest[counts[commonest] >= least]).tolist()
    inner = [edge for at in alone for edge in _around(distinct, at)]
    # Infinite values, which no request can hold but a file may, lie beyond the largest number.
    inner += [side * _LARGEST for side in (-1, 1) if (values == side * np.inf).any()]
    for first, last in zip([-1, *alone], [*alone, len(distinct)], strict=True):
        rest = np.repeat(distinct[first + 1 : last], counts[first + 1 : last])
        outermost = first == -1 or last == len(distinct)
        least_bins = min(TAIL_BINS, len(rest) // TAIL_ROWS) if outermost else 1
        inner += _quantiles(rest, max(least_bins, round(len(rest) * BINS / max(1, total))))
    return sorted({edge for edge in inner if np.isfinite(edge)})


def histogram(values: Floats, inner: Sequence[float]) -> Histogram:
    """Count `values`, shape (n,), between the inner edges; NaN counts as missing.

    Equal edges collapse into one.
    """
    found = sorted(set(inner))
    missing = np.isnan(values)
    # side="right" is bisect_right, the rule of the contract (Histogram.bin_of).
    bins = np.searchsorted(found, values[~missing], side="right")
    counts = np.bincount(bins, minlength=len(found) + 1).tolist()
    return Histogram(edges=tuple(found), counts=tuple(counts), missing=int(missing.sum()))


def text_histogram(values: Texts) -> Histogram:
    """Return a baseline of texts: bins for the commonest, some that rare ones share, some for the
    rest.

    One half of the rows, drawn by a fixed seed, chooses the bins and the other is counted. Were
    both the same rows, the values that chance made common would be called common, and batches
    without drift would differ from that: with 5,000 values 100 of 100 did. Counted apart, the share
    of values that nobody has seen before is right as well.
    """
    order = np.random.default_rng(_SEED).permutation(len(values))
    choosing, counting = order[: len(order) // 2], order[len(order) // 2 :]
    known = Counter(value for at in choosing if (value := values[at]) is not None)
    ranked = sorted(known.items(), key=lambda item: (-item[1], item[0]))
    alone = [label for label, rows in ranked[:MOST_LABELS] if rows >= SEEN and label != OTHER]
    rare = [item for item in ranked if item[0] not in alone and len(item[0]) <= LONGEST_RARE]
    shared = _in_bins(dict(rare[:MOST_RARE]))
    # As many rows as hold a text that was seen once will hold one that was not (Good, Biometrika
    # 40, 1953).
    once = sum(rows == 1 for rows in known.values())
    others = max(1, min(MOST_OTHERS, once // SHARED_ROWS))
    names = [f"rare {at + 1}" for at in range(len(shared))] + [OTHER] * others
    labels = (*alone, *names)
    empty = Histogram(labels=labels, shared=shared, others=others, counts=(0,) * len(labels))
    return count_texts([values[at] for at in counting], empty)


def count_texts(values: Iterable[str | None], bins: Histogram) -> Histogram:
    """Count texts in the bins of another histogram of texts."""
    places, counts, missing = bins.places, [0] * len(bins.labels), 0
    for value, rows in Counter(values).items():
        if value is None:
            missing = rows
            continue
        at = places.get(value)
        counts[bins.place_of_other(value) if at is None else at] += rows
    return bins.model_copy(update={"counts": tuple(counts), "missing": missing})


def _around(distinct: Floats, at: int) -> tuple[float, float]:
    """Return the edges of the bin of one value:
    near enough to part it from all others that were seen.
    """
    value = distinct[at]
    with np.errstate(over="ignore"):
        quarters = np.diff(distinct[max(0, at - 1) : at + 2]) / 4
        # The next code, day or count is another value, however large the numbers are.
        whole = 0.25 if value == np.floor(value) else np.inf
        width = min(abs(value) * FLOAT32 if value else NEAR_ZERO, whole, *quarters)
        return float(value - width), float(max(value + width, np.nextafter(value, np.inf)))


def _quantiles(values: Floats, bins: int) -> list[float]:
    """Return the edges that cut values, in ascending order, into equally full bins."""
    if bins < 2:
        return []
    with np.errstate(over="ignore", invalid="ignore"):
        return [float(edge) for edge in np.quantile(values, np.arange(1, bins) / bins)]


def _in_bins(rare: dict[str, int]) -> tuple[tuple[str, ...], ...]:
    """Cut rare texts, in alphabetical order, into bins that expect about as many rows each.

    Neighbours are often of one kind: codes with one prefix, days of one month.
    """
    rows = sum(rare.values())
    again = rows - sum(1 for number in rare.values() if number == 1)
    if not again:
        return ()
    bins = min(MOST_SHARED, max(1, again // SHARED_ROWS))
    found: list[list[str]] = [[] for _ in range(bins)]
    before = 0
    for value in sorted(rare):
        found[before * bins // rows].append(value)
        before += rare[value]
    return tuple(tuple(values) for values in found if values)
