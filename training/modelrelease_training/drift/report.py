"""What a check found, for machines and for people. Pure: figures in, words out."""

from typing import Any

from modelrelease_contract.drift import DriftVerdict, FeatureDrift
from modelrelease_training.drift.numeric import MINIMUM_ROWS, NumericDrift
from modelrelease_training.drift.text import TextDrift


def text_figures(drift: TextDrift) -> dict[str, Any]:
    """Return the figures of a check of texts, as JSON takes them."""
    centroid = drift.centroid
    return {
        "kind": "text",
        "n": drift.n,
        "centroid_distance": round(centroid.distance, 6),
        "threshold": drift.threshold,
        "over_threshold": drift.over_threshold,
        "calibrated": {
            "drift": drift.calibrated,
            "found_by": list(drift.found_by),
            "p_value": centroid.p_value,
            "expected_distance": round(centroid.expected, 6),
            "distance_limit": round(centroid.limit, 6),
        },
        "features": [_feature(feature) for feature in drift.features],
    }


def numeric_figures(drift: NumericDrift) -> dict[str, Any]:
    """Return the figures of a check of rows, as JSON takes them."""
    return {
        "kind": "numeric",
        "n": drift.n,
        "insufficient": drift.insufficient,
        "found_by": list(drift.found_by),
        "features": [_feature(feature) for feature in drift.features],
        "columns_without_baseline": list(drift.extra),
    }


def text_sentence(drift: TextDrift) -> str:
    """Return what a check of texts found, in one sentence."""
    centroid = drift.centroid
    distance = f"centroid distance {centroid.distance:.3f}"
    chance = f"chance gives {centroid.expected:.3f}, at most {centroid.limit:.3f}"
    by = f"; found by {', '.join(drift.found_by)}" if drift.calibrated else ""
    above = "above" if drift.over_threshold else "below"
    return (
        f"{drift.n:,} texts, {distance} ({above} {drift.threshold:g}; {chance}, "
        f"p={centroid.p_value:.2g}){by}"
    )


def numeric_sentence(drift: NumericDrift) -> str:
    """Return what a check of rows found, in one sentence."""
    by_name = {feature.name: feature for feature in drift.features}
    if drift.insufficient:
        most = max(feature.n for feature in drift.features)
        fact = f"{drift.n:,} rows hold {most:,} values of a column at most"
        return f"{fact}, and {MINIMUM_ROWS} are needed to say anything"
    if not drift.found_by:
        most_moved = max(drift.features, key=lambda feature: feature.psi / feature.threshold)
        return f"{drift.n:,} rows like the baseline; most moved is {_named(most_moved)}"
    worst = ", ".join(_named(by_name[name]) for name in drift.found_by[:3])
    more = f" and {len(drift.found_by) - 3} more" if len(drift.found_by) > 3 else ""
    return f"{drift.n:,} rows moved away from the baseline: {worst}{more}"


def table(features: tuple[FeatureDrift, ...]) -> str:
    """Return a line for each feature, those that drifted marked."""
    width = max(len(feature.name) for feature in features)
    return "\n".join(_line(feature, width) for feature in features)


def _line(feature: FeatureDrift, width: int) -> str:
    mark = "!" if feature.verdict is DriftVerdict.DRIFTED else " "
    figures = f"PSI {feature.psi:6.3f}  limit {feature.threshold:6.3f}  {feature.n:>8,} values"
    return f"  {mark} {feature.name:<{width}}  {figures}  {feature.verdict}"


def _named(feature: FeatureDrift) -> str:
    return f"{feature.name} (PSI {feature.psi:.2f}, limit {feature.threshold:.2f})"


def _feature(feature: FeatureDrift) -> dict[str, Any]:
    finite = feature.n > 0
    return {
        "name": feature.name,
        "psi": round(feature.psi, 6),
        "threshold": round(feature.threshold, 6) if finite else None,
        "n": feature.n,
        "verdict": str(feature.verdict),
    }
