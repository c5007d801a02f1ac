"""Counts values in the bins of the artifact's baseline: drift is measured without storing rows.

Rows are gathered and then counted together, all numeric features at once: to count one row alone
would cost more than to predict it. Written from the event loop's thread only, so nothing here has a
lock.
"""

import logging
from collections.abc import Iterator, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from modelrelease_contract import ArtifactManifest, Feature, Histogram
from modelrelease_contract import metrics as names
from modelrelease_serving.estimator import Answer, Row
from modelrelease_serving.logs import fields

GATHERED_ROWS: Final = 256

_LOG = logging.getLogger(__name__)

Counted = tuple[str, str, int]
"""Feature, bin (or kind of strangeness), count."""


class BinCounts:
    """What has been seen of each feature, and of the answers, since the start."""

    def __init__(self, manifest: ArtifactManifest, *, max_series: int) -> None:
        features = counted_features(manifest, max_series=max_series)
        histograms = manifest.baseline.features if manifest.baseline else {}
        by_name = {feature.name: index for index, feature in enumerate(manifest.features)}
        numeric = [feature for feature in features if not histograms[feature.name].labels]
        self._rows: list[Row] = []
        self._answers: list[Answer] = []
        self._numbers = _Numbers([histograms[feature.name] for feature in numeric], numeric)
        self._numeric = [by_name[feature.name] for feature in numeric]
        self._takes_whole_rows = self._numeric == list(range(len(manifest.features)))
        self._texts = [
            (by_name[feature.name], _Texts(histograms[feature.name], feature))
            for feature in features
            if histograms[feature.name].labels
        ]
        prediction = manifest.baseline.prediction if manifest.baseline else None
        self._counts_answers = prediction is not None
        is_text = bool(prediction and prediction.labels)
        self._number_answers = _Numbers([prediction] if prediction and not is_text else [], None)
        self._text_answers = _Texts(prediction, None) if prediction and is_text else None

    def add(self, rows: Sequence[Row], answers: Sequence[Answer]) -> None:
        """Take the rows of an answered request, to be counted soon."""
        self._rows += rows
        self._answers += answers
        if len(self._rows) >= GATHERED_ROWS:
            self._count()

    def features(self) -> Iterator[Counted]:
        """Yield the count of each bin of each feature."""
        self._count()
        yield from self._numbers.bins()
        for _, texts in self._texts:
            yield from texts.bins()

    def outside(self) -> Iterator[Counted]:
        """Yield how many values of each feature were none that training had seen, by kind."""
        self._count()
        yield from self._numbers.outside()
        for _, texts in self._texts:
            yield from texts.outside()

    def answers(self) -> Iterator[Counted]:
        """Yield the count of each bin of the answers."""
        self._count()
        yield from self._number_answers.bins()
        if self._text_answers is not None:
            yield from self._text_answers.bins()

    def _count(self) -> None:
        rows, self._rows = self._rows, []
        answers, self._answers = self._answers, []
        if not rows:
            return
        if self._numeric:
            self._numbers.add(np.array(self._numeric_part(rows), dtype=np.float64))
        for index, texts in self._texts:
            texts.add([row[index] for row in rows])
        self._count_answers(answers)

    def _numeric_part(self, rows: Sequence[Row]) -> Sequence[Row]:
        if self._takes_whole_rows:
            return rows
        return [self._numbers_of(row) for row in rows]

    def _numbers_of(self, row: Row) -> Row:
        return [row[index] for index in self._numeric]

    def _count_answers(self, answers: Sequence[Answer]) -> None:
        if self._text_answers is not None:
            self._text_answers.add(answers)
        elif self._counts_answers:
            try:
                column = np.array(answers, dtype=np.float64)
            except ValueError:
                self._counts_answers = False
                _LOG.warning(
                    "answers are not counted: they are texts, but the baseline has bins for numbers"
                )
                return
            self._number_answers.add(column[:, None])


def counted_features(manifest: ArtifactManifest, *, max_series: int) -> list[Feature]:
    """Return the features whose bins are counted: the first within `max_series` series.

    A feature needs one series for each bin, one for missing values, and two for values out of
    range.
    """
    histograms = manifest.baseline.features if manifest.baseline else {}
    counted: list[Feature] = []
    series = 0
    candidates = [feature for feature in manifest.features if feature.name in histograms]
    for feature in candidates:
        series += len(histograms[feature.name].counts) + 3
        if series > max_series:
            break
        counted.append(feature)
    if len(counted) < len(candidates):
        _LOG.warning(
            "not every feature is counted: raise DRIFT_MAX_SERIES, or put those that matter first",
            extra=fields(counted=len(counted), features=len(candidates), max_series=max_series),
        )
    return counted


class _Numbers:
    """Bins of numeric features, as a table: a row for each, with a last bin for missing values."""

    def __init__(self, bins: Sequence[Histogram], features: Sequence[Feature] | None) -> None:
        width = max((len(histogram.edges) for histogram in bins), default=0)
        # Beyond its last edge a feature has none that any finite value reaches.
        self._edges = np.full((width, len(bins)), np.inf)
        for index, histogram in enumerate(bins):
            self._edges[: len(histogram.edges), index] = histogram.edges
        self._sizes = [len(histogram.counts) for histogram in bins]
        self._names = [""] * len(bins)
        if features is not None:
            self._names = [feature.name for feature in features]
        self._low, self._high = _ranges(features or [], len(bins))
        self._missing = width + 1
        # Bytes are added several times as fast as the machine's words.
        self._bin_type = np.uint8 if width < 256 else np.intp
        self._counts = np.zeros((len(bins), width + 2), dtype=np.int64)
        self._below, self._above = np.zeros((2, len(bins)), dtype=np.int64)

    def add(self, values: NDArray[np.float64]) -> None:
        """Count values, shape (rows, features); NaN is a missing one."""
        bins = np.zeros(values.shape, dtype=self._bin_type)
        for edges in self._edges:
            # As many edges as are not above the value: bisect_right, the contract's
            # Histogram.bin_of.
            bins += (values >= edges).view(np.uint8)
        counters = bins.astype(np.intp)
        counters[np.isnan(values)] = self._missing
        features, columns = self._counts.shape
        counters += np.arange(features) * columns
        self._counts += np.bincount(counters.ravel(), minlength=self._counts.size).reshape(
            features, columns
        )
        self._below += (values < self._low).sum(axis=0)
        self._above += (values > self._high).sum(axis=0)

    def bins(self) -> Iterator[Counted]:
        for name, size, counts in zip(self._names, self._sizes, self._counts.tolist(), strict=True):
            yield from ((name, str(index), counts[index]) for index in range(size))
            yield name, names.BIN_MISSING, counts[self._missing]

    def outside(self) -> Iterator[Counted]:
        for name, below, above in zip(
            self._names, self._below.tolist(), self._above.tolist(), strict=True
        ):
            yield name, names.OUTSIDE_BELOW, below
            yield name, names.OUTSIDE_ABOVE, above


def _ranges(
    features: Sequence[Feature], number: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    low, high = np.full(number, -np.inf), np.full(number, np.inf)
    for index, feature in enumerate(features):
        if feature.minimum is not None:
            low[index] = feature.minimum
        if feature.maximum is not None:
            high[index] = feature.maximum
    return low, high


class _Texts:
    """Bins of one categorical feature, or of answers that are classes."""

    def __init__(self, bins: Histogram, feature: Feature | None) -> None:
        self._name = feature.name if feature else ""
        self._index, self._bin_of_other = bins.places, bins.place_of_other
        categories = feature.categories if feature else ()
        self._categories = frozenset(categories or self._index)
        self._counts = [0] * len(bins.labels)
        self._missing = self._unseen = 0

    def add(self, values: Sequence[Answer | None]) -> None:
        for value in values:
            if value is None:
                self._missing += 1
                continue
            text = str(value)
            index = self._index.get(text)
            if index is None:
                index = self._bin_of_other(text)
            self._counts[index] += 1
            self._unseen += text not in self._categories

    def bins(self) -> Iterator[Counted]:
        yield from ((self._name, str(index), count) for index, count in enumerate(self._counts))
        yield self._name, names.BIN_MISSING, self._missing

    def outside(self) -> Iterator[Counted]:
        yield self._name, names.OUTSIDE_UNSEEN, self._unseen
