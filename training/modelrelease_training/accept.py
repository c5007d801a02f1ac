"""Whether a challenger may take the champion's place: one pure rule over answers to the same rows.

The difference of a metric between two models that answered the same rows is estimated with its
paired confidence interval, so what the rows have in common cancels.

* Area under the ROC curve: DeLong, DeLong and Clarke-Pearson, "Comparing the areas under two or
  more correlated receiver operating characteristic curves: a nonparametric approach", Biometrics 44
  (1988) 837-845, with the midranks of Sun and Xu, IEEE Signal Processing Letters 21 (2014)
  1389-1393.
* Accuracy and log loss are means over rows, so their difference is the mean of the rows'
  differences d: mean(d) -/+ z * sd(d) / sqrt(n), both ends moved by -skewness(d) * (2 z^2 + 1) / (6
  sqrt(n)) standard errors (Edgeworth's first term; Hall, "On the removal of skewness by
  transformation", JRSS B 54 (1992) 221-228). Without it a few very wrong rows of a bad model made
  it pass too often: 4.0 % instead of 2.5 % of comparisons at 600 rows. For accuracy this is
  McNemar's test (1947) with an interval.

The rule is one of non-inferiority: accepted where the lower bound of challenger minus champion is
above -margin, on a scale where larger is better, and the challenger itself is not below the floor.
"""

import math
from dataclasses import dataclass
from statistics import NormalDist
from typing import Final, Literal

import numpy as np

from modelrelease_training.data import Floats, Labels

Metric = Literal["roc_auc", "accuracy", "log_loss"]
SMALLEST: Final = 30
"""Rows of each label below which a normal approximation says nothing."""
_LEAST_PROBABILITY: Final = 1e-15
"""Log loss of a wrong certainty is infinite; scikit-learn clips about here too."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """What is asked of a challenger."""

    metric: Metric = "roc_auc"
    margin: float = 0.01
    """How much worse it may be, in the metric's own unit."""
    confidence: float = 0.95
    """Of the two-sided interval: its lower bound is wrong in (1 - confidence) / 2 of cases."""
    floor: float | None = None
    """The worst that is accepted whatever the champion does: a maximum for log loss."""

    def __post_init__(self) -> None:
        if not self.margin >= 0 or math.isinf(self.margin):
            msg = f"margin must be 0 or more, got {self.margin}"
            raise ValueError(msg)
        if not 0.5 <= self.confidence < 1:
            msg = f"confidence must be at least 0.5 and below 1, got {self.confidence}"
            raise ValueError(msg)


@dataclass(frozen=True, slots=True, kw_only=True)
class Acceptance:
    """The decision, and the interval of the gain that it rests on: above 0 is better."""

    accepted: bool
    reason: str
    interval: tuple[float, float]
    gain: float
    champion: float
    challenger: float
    """The metric's own values, as it is usually written: log loss is better when smaller."""
    metric: Metric
    rows: int


@dataclass(frozen=True, slots=True, kw_only=True)
class _Estimate:
    """Both values, the gain with its standard error, and the skewness of the rows' gains."""

    champion: float
    challenger: float
    gain: float
    error: float
    skewness: float


def accept(labels: Labels, champion: Floats, challenger: Floats, rule: Rule) -> Acceptance:
    """Decide whether the challenger may take the champion's place.

    `labels`, shape (n,), are 0 or 1; `champion` and `challenger`, shape (n,), are their
    probabilities of label 1 for the same rows. Raises ValueError when there are too few rows of a
    label to say anything.
    """
    _check(labels, champion, challenger)
    if rule.metric == "roc_auc":
        estimate = _auc(labels, champion, challenger)
    else:
        estimate = _mean(labels, champion, challenger, rule.metric)
    z = NormalDist().inv_cdf((1 + rule.confidence) / 2)
    move = estimate.skewness * (2 * z**2 + 1) / (6 * math.sqrt(len(labels)))
    interval = (
        estimate.gain - (z - move) * estimate.error,
        estimate.gain + (z + move) * estimate.error,
    )
    accepted, reason = _decide(estimate, interval, rule, rows=len(labels))
    return Acceptance(
        accepted=accepted,
        reason=reason,
        interval=interval,
        gain=estimate.gain,
        champion=estimate.champion,
        challenger=estimate.challenger,
        metric=rule.metric,
        rows=len(labels),
    )


def _decide(
    estimate: _Estimate, interval: tuple[float, float], rule: Rule, *, rows: int
) -> tuple[bool, str]:
    (low, high), challenger = interval, estimate.challenger
    bounds = (
        f"{rule.confidence:.0%} interval of its gain in {rule.metric} [{low:+.4f}, {high:+.4f}]"
    )
    if rule.floor is not None and _below(challenger, rule.floor, rule.metric):
        side = "above" if rule.metric == "log_loss" else "below"
        return False, f"{rule.metric} {challenger:.4f} is {side} the floor {rule.floor:g}"
    if low > -rule.margin or (low == high == 0 and rule.margin == 0):
        return True, f"{bounds} lies above -{rule.margin:g}"
    if high < -rule.margin:
        return False, f"it is worse: {bounds} lies below -{rule.margin:g}"
    return False, f"{bounds} reaches below -{rule.margin:g}{_advice(estimate, low, rule, rows)}"


def _advice(estimate: _Estimate, low: float, rule: Rule, rows: int) -> str:
    """Say how many rows would settle it: the interval's width goes with 1/sqrt(rows)."""
    if estimate.gain <= -rule.margin or estimate.error == 0:
        return ""
    enough_rows = rows * ((estimate.gain - low) / (estimate.gain + rule.margin)) ** 2
    return f"; about {math.ceil(enough_rows / 100) * 100} rows like these {rows} would tell"


def _below(value: float, floor: float, metric: Metric) -> bool:
    return value > floor if metric == "log_loss" else value < floor


def _check(labels: Labels, champion: Floats, challenger: Floats) -> None:
    if not len(labels) == len(champion) == len(challenger):
        msg = (
            f"{len(labels)} labels need as many answers, got {len(champion)} and {len(challenger)}"
        )
        raise ValueError(msg)
    for name, probabilities in (("champion", champion), ("challenger", challenger)):
        if not np.isfinite(probabilities).all():
            msg = f"the {name} answered with a number that is not finite"
            raise ValueError(msg)
    counts = np.bincount(labels, minlength=2)
    if counts.min() < SMALLEST:
        msg = f"{counts[0]} rows of label 0 and {counts[1]} of label 1"
        raise ValueError(f"a comparison needs at least {SMALLEST} rows of each label, got {msg}")


def _mean(labels: Labels, champion: Floats, challenger: Floats, metric: Metric) -> _Estimate:
    of_champion = _per_row(labels, champion, metric)
    of_challenger = _per_row(labels, challenger, metric)
    gains = of_challenger - of_champion if metric == "accuracy" else of_champion - of_challenger
    gain, spread = float(gains.mean()), float(gains.std(ddof=1))
    return _Estimate(
        champion=float(of_champion.mean()),
        challenger=float(of_challenger.mean()),
        gain=gain,
        error=spread / math.sqrt(len(gains)),
        skewness=float(((gains - gain) ** 3).mean() / spread**3) if spread else 0.0,
    )


def _per_row(labels: Labels, probabilities: Floats, metric: Metric) -> Floats:
    if metric == "accuracy":
        return np.asarray((probabilities > 0.5) == labels, dtype=np.float64)
    of_true_label = np.where(labels == 1, probabilities, 1 - probabilities)
    return np.asarray(-np.log(np.clip(of_true_label, _LEAST_PROBABILITY, 1)), dtype=np.float64)


def _auc(labels: Labels, champion: Floats, challenger: Floats) -> _Estimate:
    """Estimate by DeLong.

    With m positives X_i and n negatives Y_j, V10_i is the share of negatives below X_i and V01_j
    the share of positives above Y_j, ties counting half; the area is the mean of either. The
    variance of the difference of two areas is S10/m + S01/n, the sample variances of the
    differences of V10 and of V01.
    """
    of_champion, of_challenger = _placements(labels, champion), _placements(labels, challenger)
    areas = float(of_champion[0].mean()), float(of_challenger[0].mean())
    variance = sum(
        np.var(new - old, ddof=1) / len(new)
        for old, new in zip(of_champion, of_challenger, strict=True)
    )
    return _Estimate(
        champion=areas[0],
        challenger=areas[1],
        gain=areas[1] - areas[0],
        error=math.sqrt(variance),
        skewness=0.0,
    )


def _placements(labels: Labels, probabilities: Floats) -> tuple[Floats, Floats]:
    """Return V10, shape (m,), and V01, shape (n,)."""
    positive, negative = probabilities[labels == 1], probabilities[labels == 0]
    return _share_below(negative, positive), 1 - _share_below(positive, negative)


def _share_below(reference: Floats, values: Floats) -> Floats:
    """Return for each value the share of `reference` below it, ties counting half."""
    ordered = np.sort(reference)
    below = np.searchsorted(ordered, values, "left")
    not_above = np.searchsorted(ordered, values, "right")
    return np.asarray((below + not_above) / (2 * len(ordered)), dtype=np.float64)
