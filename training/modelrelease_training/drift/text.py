"""Whether texts mean something else than those of the baseline.

Two answers stand side by side. The distance between the centroids, against a fixed threshold, is
what people know; how far it gets by chance depends on the number of texts, and 0.12 needs between a
third and two thirds of the traffic to change. So the distance is also compared with what
relabelling the texts gives (a permutation test), and the texts' topics, likeness, script and length
are counted in bins and judged as numeric features are. docs/reference/drift.md has figures.

Knows no encoder and no file.
"""

import math
import unicodedata
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import numpy as np
from numpy.typing import NDArray
from sklearn.cluster import KMeans

from modelrelease_contract.artifact import Histogram
from modelrelease_contract.drift import Calibration, DriftVerdict, FeatureDrift, assess
from modelrelease_training.bins import edges, histogram
from modelrelease_training.drift.errors import DriftError

Vectors = NDArray[np.float32]

THRESHOLD: Final = 0.12
"""Cosine distance of centroids that is called drift by convention."""
ALPHA: Final = 0.002
"""Probability that one check of texts without drift says drift, all its tests together."""
CENTROID_SHARE: Final = 0.5
"""Share of it that the permutation test may use; the histograms divide the rest."""
SMALLEST_ALPHA: Final = 1e-4
"""Below it a permutation test takes minutes."""
PRACTICAL_DISTANCE: Final = 0.002
"""Distance beyond chance's that is worth a word: about 1 in 20 texts on a new topic."""
MINIMUM_BASELINE: Final = 100
MINIMUM_WINDOW: Final = 50
"""Texts below which nothing is counted in bins: the permutation test alone speaks."""
KEPT: Final = 2000
"""Texts of a baseline that are kept, and texts of a batch that are compared."""

TOPIC, LIKENESS, SCRIPT, LENGTH = "text:topic", "text:likeness", "text:script", "text:length"

_CLUSTERS: Final = 16
_TEXTS_PER_CLUSTER: Final = 10
_REPEATS: Final = 4
"""Relabellings that may come as far as the batch by chance before the test keeps silent."""
_CHUNK: Final = 500
_SCRIPT_LETTERS: Final = 200
_SCRIPTS: Final = (
    "LATIN", "CYRILLIC", "GREEK", "CJK", "HIRAGANA", "KATAKANA", "HANGUL",
    "ARABIC", "HEBREW", "DEVANAGARI", "THAI", "none", "other",
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Reference:
    """What texts looked like, as directions and as counts in bins."""

    vectors: Vectors
    """Shape (kept texts, dimension), each of length 1."""
    clusters: Vectors
    """Centres of topics, shape (topics, dimension), each of length 1."""
    histograms: Mapping[str, Histogram]
    """Of TOPIC, LIKENESS, SCRIPT and LENGTH: texts that the clusters were not fitted to."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CentroidTest:
    """How far the centroid of a batch is from the baseline's, and how far chance would take it."""

    distance: float
    expected: float
    """Mean distance when the texts of both are mixed: a batch of this size without drift."""
    limit: float
    """Distance above which the test speaks."""
    p_value: float
    drifted: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class TextDrift:
    """What one batch of texts says."""

    n: int
    threshold: float
    centroid: CentroidTest
    features: tuple[FeatureDrift, ...]

    @property
    def over_threshold(self) -> bool:
        """Whether the centroids are further apart than the fixed threshold."""
        return self.centroid.distance > self.threshold

    @property
    def calibrated(self) -> bool:
        """Whether a test that knows the size of the batch found drift."""
        return bool(self.found_by)

    @property
    def found_by(self) -> tuple[str, ...]:
        """The tests that found drift."""
        drifted = tuple(
            feature.name for feature in self.features if feature.verdict is DriftVerdict.DRIFTED
        )
        return ("text:centroid", *drifted) if self.centroid.drifted else drifted


def reference(texts: Sequence[str], vectors: Vectors, *, seed: int = 0) -> Reference:
    """Return what is kept of `texts` and their `vectors`, shape (texts, dimension).

    Raises DriftError for fewer than MINIMUM_BASELINE texts.
    """
    if len(texts) < MINIMUM_BASELINE:
        msg = (
            f"a baseline needs at least {MINIMUM_BASELINE} texts, got {len(texts)}: give more of "
            "them"
        )
        raise DriftError(msg)
    order = np.random.default_rng(seed).permutation(len(texts))
    fitting, counting = order[: len(order) // 2], order[len(order) // 2 :]
    distinct = len({texts[index] for index in fitting})
    topics = min(_CLUSTERS, max(1, distinct // _TEXTS_PER_CLUSTER))
    centres = (
        KMeans(n_clusters=topics, n_init=4, random_state=seed)
        .fit(vectors[fitting])
        .cluster_centers_
    )
    clusters = _unit(centres)
    held_out, lengths = vectors[counting], _lengths([texts[index] for index in counting])
    nearest = held_out @ clusters.T
    scripts = Counter(script(texts[index]) for index in counting)
    topic_counts = np.bincount(nearest.argmax(axis=1), minlength=topics)
    likeness = nearest.max(axis=1).astype(np.float64)
    return Reference(
        vectors=vectors,
        clusters=clusters,
        histograms={
            TOPIC: Histogram(
                labels=tuple(str(topic) for topic in range(topics)),
                counts=tuple(topic_counts.tolist()),
            ),
            LIKENESS: histogram(likeness, edges(likeness)),
            SCRIPT: Histogram(labels=_SCRIPTS, counts=tuple(scripts[name] for name in _SCRIPTS)),
            LENGTH: histogram(lengths, edges(lengths)),
        },
    )


def compare(
    baseline: Reference,
    texts: Sequence[str],
    vectors: Vectors,
    *,
    threshold: float = THRESHOLD,
    alpha: float = ALPHA,
) -> TextDrift:
    """Compare one batch of at least one text with the baseline.

    Raises ValueError for an alpha outside [SMALLEST_ALPHA, 0.5).
    """
    if not SMALLEST_ALPHA <= alpha < 0.5:
        msg = f"the probability of a false alarm must be from {SMALLEST_ALPHA} to 0.5, got {alpha}"
        raise ValueError(msg)
    counts = count(baseline, texts, vectors)
    baselines = {name: [*bins.counts, bins.missing] for name, bins in baseline.histograms.items()}
    calibration = Calibration(
        alpha=alpha * (1 - CENTROID_SHARE), windows=1, minimum_sample=MINIMUM_WINDOW
    )
    return TextDrift(
        n=len(texts),
        threshold=threshold,
        centroid=centroid_test(baseline.vectors, vectors, tail=alpha * CENTROID_SHARE),
        features=assess(
            {name: [*bin_counts, 0] for name, bin_counts in counts.items()}, baselines, calibration
        ),
    )


def count(baseline: Reference, texts: Sequence[str], vectors: Vectors) -> dict[str, list[int]]:
    """Return how many texts fall in each bin of each of the baseline's histograms."""
    nearest = vectors @ baseline.clusters.T
    scripts = Counter(script(text) for text in texts)
    likeness = nearest.max(axis=1).astype(np.float64)
    return {
        TOPIC: np.bincount(nearest.argmax(axis=1), minlength=len(baseline.clusters)).tolist(),
        LIKENESS: list(histogram(likeness, baseline.histograms[LIKENESS].edges).counts),
        SCRIPT: [scripts[name] for name in _SCRIPTS],
        LENGTH: list(histogram(_lengths(texts), baseline.histograms[LENGTH].edges).counts),
    }


def centroid_test(baseline: Vectors, batch: Vectors, *, tail: float, seed: int = 0) -> CentroidTest:
    """Compare the cosine distance of two centroids with that of relabelled texts.

    Under no drift every choice of which texts are the batch is as likely, so the share of
    relabellings that come as far is a p-value whatever the encoder and the size of the batch.
    At most KEPT texts of each side are compared. The distance has to exceed what chance gives by
    PRACTICAL_DISTANCE, too: with thousands of texts any nothing is certain.
    """
    rng = np.random.default_rng(seed)
    baseline, batch = _at_most(baseline, rng), _at_most(batch, rng)
    n, pooled = len(batch), np.concatenate((baseline, batch))
    total = pooled.sum(axis=0)
    distance = float(_distances(batch.sum(axis=0)[None], total)[0])
    repeats = math.ceil(_REPEATS / tail)
    null = np.concatenate(
        [
            _distances(
                _random_choices(rng, min(_CHUNK, repeats - start), len(pooled), n) @ pooled, total
            )
            for start in range(0, repeats, _CHUNK)
        ]
    )
    p_value = float((1 + np.count_nonzero(null >= distance)) / (1 + repeats))
    expected = float(null.mean())
    limit = max(float(np.quantile(null, 1 - tail)), expected + PRACTICAL_DISTANCE)
    return CentroidTest(
        distance=distance,
        expected=expected,
        limit=limit,
        p_value=p_value,
        drifted=p_value <= tail and distance > limit,
    )


def script(text: str) -> str:
    """Return the script of most letters at the text's beginning: LATIN, CJK, ..., none, other."""
    letters = Counter(_script_of(letter) for letter in text[:_SCRIPT_LETTERS] if letter.isalpha())
    return letters.most_common(1)[0][0] if letters else "none"


@lru_cache(maxsize=4096)
def _script_of(letter: str) -> str:
    word = unicodedata.name(letter, "other").split(maxsplit=1)[0].partition("-")[0]
    return word if word in _SCRIPTS else "other"


def _lengths(texts: Sequence[str]) -> NDArray[np.float64]:
    return np.array([len(text) for text in texts], dtype=np.float64)


def _unit(vectors: NDArray[np.floating]) -> Vectors:
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.asarray(vectors / np.maximum(lengths, 1e-12), dtype=np.float32)


def _at_most(vectors: Vectors, rng: np.random.Generator) -> Vectors:
    if len(vectors) <= KEPT:
        return vectors
    sample: Vectors = rng.choice(vectors, KEPT, replace=False, shuffle=False)
    return sample


def _random_choices(rng: np.random.Generator, rows: int, size: int, n: int) -> Vectors:
    """Return `rows` random choices of n of `size` texts, as rows of ones and zeros."""
    order = np.argpartition(rng.random((rows, size), dtype=np.float32), n - 1, axis=1)[:, :n]
    membership = np.zeros((rows, size), dtype=np.float32)
    np.put_along_axis(membership, order, 1, axis=1)
    return membership


def _distances(sums: Vectors, total: Vectors) -> NDArray[np.float64]:
    """Return the cosine distance between each sum of some texts and the sum of all others."""
    parts, rests = sums.astype(np.float64), (total - sums).astype(np.float64)
    lengths = np.linalg.norm(parts, axis=1) * np.linalg.norm(rests, axis=1)
    return np.asarray(1 - (parts * rests).sum(axis=1) / np.maximum(lengths, 1e-12))
