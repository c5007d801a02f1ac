"""Where the bins of a baseline begin and end, and counts of values in them.

Drift is seen only between bins, so a value that holds much of the mass must not share one with what
lies beside it: half of all features of real tables are flags, counts with many zeros, codes and
constants. Knows no file and no model.
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
"""Share of the rows from which a value has a bin of its own: -999 and its like hold little more."""
LEAST_ROWS_ALONE: Final = 25
"""Rows that it needs besides: chance makes too many values common below (benchmarks/drift.py)."""
MOST_VALUES_ALONE: Final = 5
"""A column with no more values than this has a bin for each."""
LEAST_ROWS: Final = 5
"""Rows from which a value may have a bin of its own (Cochran's rule for expected counts, 1954)."""
FLOAT32: Final = 2.0**-23
"""Relative distance of neighbouring 32-bit floats: a value that a client rounded is the same."""
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
"""Most rare texts that a baseline names, and their characters: beyond is free text, each new."""
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
    least: float = LEAST_ROWS
    if len(distinct) > MOST_VALUES_ALONE:
        least = max(LEAST_ROWS_ALONE, total * MASS)
    commonest = np.argsort(-counts, kind="stable")[:BINS]
    alone = np.sort(commonest[counts[commonest] >= least]).tolist()
    inner: list[float] = []
    for index in alone:
        inner.extend(_around(distinct, index))
    # Infinite values, which no request can hold but a file may, lie beyond the largest number.
    inner += [side * _LARGEST for side in (-1, 1) if (values == side * np.inf).any()]
    for first, last in zip([-1, *alone], [*alone, len(distinct)], strict=True):
        between = np.repeat(distinct[first + 1 : last], counts[first + 1 : last])
        outermost = first == -1 or last == len(distinct)
        least_bins = min(TAIL_BINS, len(between) // TAIL_ROWS) if outermost else 1
        inner += _quantiles(between, max(least_bins, round(len(between) * BINS / max(1, total))))
    return sorted({edge for edge in inner if np.isfinite(edge)})


def histogram(values: Floats, inner: Sequence[float]) -> Histogram:
    """Count `values`, shape (n,), between the inner edges; NaN counts as missing.

    Equal edges collapse into one.
    """
    distinct = sorted(set(inner))
    missing = np.isnan(values)
    # side="right" is bisect_right, the rule of the contract (Histogram.bin_of).
    bins = np.searchsorted(distinct, values[~missing], side="right")
    counts = np.bincount(bins, minlength=len(distinct) + 1).tolist()
    return Histogram(edges=tuple(distinct), counts=tuple(counts), missing=int(missing.sum()))


def text_histogram(values: Texts) -> Histogram:
    """Return a baseline of texts: bins for the commonest, for rare ones to share, for the rest.

    One half of the rows, drawn by a fixed seed, chooses the bins and the other is counted. Were
    both the same rows, the values that chance made common would be called common, and batches
    without drift would differ from that: with 5,000 values 100 of 100 did. Counted apart, the share
    of values that nobody has seen before is right as well.
    """
    order = np.random.default_rng(_SEED).permutation(len(values))
    choosing, counting = order[: len(order) // 2], order[len(order) // 2 :]
    counts = Counter(value for index in choosing if (value := values[index]) is not None)
    ranked = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    commonest = [
        label for label, rows in ranked[:MOST_LABELS] if rows >= LEAST_ROWS and label != OTHER
    ]
    rare = [item for item in ranked if item[0] not in commonest and len(item[0]) <= LONGEST_RARE]
    shared = _in_bins(dict(rare[:MOST_RARE]))
    # As many rows as hold a text that was seen once will hold one that was not (Good, Biometrika
    # 40, 1953).
    singletons = sum(rows == 1 for rows in counts.values())
    other_bins = max(1, min(MOST_OTHERS, singletons // SHARED_ROWS))
    names = [f"rare {index + 1}" for index in range(len(shared))] + [OTHER] * other_bins
    labels = (*commonest, *names)
    empty = Histogram(labels=labels, shared=shared, others=other_bins, counts=(0,) * len(labels))
    return count_texts([values[index] for index in counting], empty)


def count_texts(values: Iterable[str | None], bins: Histogram) -> Histogram:
    """Count texts in the bins of another histogram of texts."""
    places, counts, missing = bins.places, [0] * len(bins.labels), 0
    for value, rows in Counter(values).items():
        if value is None:
            missing = rows
            continue
        index = places.get(value)
        if index is None:
            index = bins.place_of_other(value)
        counts[index] += rows
    return bins.model_copy(update={"counts": tuple(counts), "missing": missing})


def _around(distinct: Floats, at: int) -> tuple[float, float]:
    """Return the edges of one value's bin: they part it from all others in `distinct`."""
    value = distinct[at]
    with np.errstate(over="ignore"):
        quarters = np.diff(distinct[max(0, at - 1) : at + 2]) / 4
        # The next code, day or count is another value, however large the numbers are.
        whole = 0.25 if value == np.floor(value) else np.inf
        rounding = abs(value) * FLOAT32 if value else NEAR_ZERO
        width = min(rounding, whole, *quarters)
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
    repeated_rows = rows - sum(1 for number in rare.values() if number == 1)
    if not repeated_rows:
        return ()
    bins = min(MOST_SHARED, max(1, repeated_rows // SHARED_ROWS))
    bins_of_texts: list[list[str]] = [[] for _ in range(bins)]
    rows_before = 0
    for value in sorted(rare):
        bins_of_texts[rows_before * bins // rows].append(value)
        rows_before += rare[value]
    return tuple(tuple(values) for values in bins_of_texts if values)
