"""Says whether a model answers worse than when it was trained, once true labels are known.

Labels arrive late, so answers and labels are joined by the prediction's id. Pure: nothing is read
here.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from statistics import NormalDist
from typing import Final

CONFIDENCE: Final = 0.95
MARGIN: Final = 0.02
"""Loss of accuracy that is nobody's concern: two points."""
MINIMUM: Final = 100
"""Labelled answers below which nothing is said."""

Key = tuple[str, int]
"""Id of a prediction, and the row's place in its request."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Joined:
    """Answers whose labels are known."""

    correct: int
    total: int
    unanswered: int
    """Labels of predictions that were not sampled, or of another model."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Decay:
    """What was found, and the figures that it rests on. Shares are between 0 and 1."""

    decayed: bool
    enough: bool
    reason: str
    labelled: int
    unanswered: int
    accuracy: float | None
    upper: float | None
    """Upper limit of the accuracy now, with `CONFIDENCE`."""
    recorded: float


def join(predictions: Mapping[Key, str], labels: Iterable[tuple[Key, str]]) -> Joined:
    """Count the labels whose prediction is known, and how many of those predictions were right.

    Both are the model's own names of classes (labels.py). A label given twice counts once: the last
    one stands, since corrections come after what they correct.
    """
    final = dict(labels)
    answered = {key: label for key, label in final.items() if key in predictions}
    correct = sum(predictions[key] == label for key, label in answered.items())
    return Joined(correct=correct, total=len(answered), unanswered=len(final) - len(answered))


def judge(
    joined: Joined, *, recorded: float, margin: float = MARGIN, minimum: int = MINIMUM
) -> Decay:
    """Compare accuracy now with the accuracy recorded at training.

    Decayed means that even the upper limit of today's accuracy (Wilson 1927, one-sided) lies more
    than `margin` below the recorded one, so that few labels or bad luck raise no alarm.
    """
    if joined.total < minimum:
        reason = f"only {joined.total} labelled predictions; {minimum} are needed to judge"
        return _decay(joined, recorded, reason=reason, decayed=False)
    accuracy = joined.correct / joined.total
    upper = wilson_upper(joined.correct, joined.total)
    decayed = upper < recorded - margin
    percent, most = f"{100 * accuracy:.1f} %", f"at most {100 * upper:.1f} %"
    fact = f"{percent} of {joined.total:,} labelled predictions are right ({most})"
    reference = (
        f"the {100 * recorded:.1f} % recorded at training, of which {100 * margin:g} points may be "
        "lost"
    )
    side = "below" if decayed else "within"
    reason = f"{fact}, {side} {reference}"
    return _decay(joined, recorded, reason=reason, decayed=decayed, accuracy=accuracy, upper=upper)


def wilson_upper(correct: int, total: int, confidence: float = CONFIDENCE) -> float:
    """Return the one-sided upper Wilson limit of a share: E. B. Wilson, JASA 22 (1927), 209-212."""
    z = NormalDist().inv_cdf(confidence)
    share = correct / total
    centre = share + z * z / (2 * total)
    spread = z * math.sqrt(share * (1 - share) / total + z * z / (4 * total * total))
    return (centre + spread) / (1 + z * z / total)


def _decay(
    joined: Joined,
    recorded: float,
    *,
    reason: str,
    decayed: bool,
    accuracy: float | None = None,
    upper: float | None = None,
) -> Decay:
    return Decay(
        decayed=decayed,
        enough=accuracy is not None,
        reason=reason,
        labelled=joined.total,
        unanswered=joined.unanswered,
        accuracy=accuracy,
        upper=upper,
        recorded=recorded,
    )
