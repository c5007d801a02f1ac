"""What a check found, for machines and for people. Pure: figures in, words out."""

from typing import Any

from modelrelease_contract.drift import DriftVerdict, FeatureDrift
from modelrelease_training.drift.numeric import MINIMUM_ROWS, NumericDrift
from modelrelease_training.drift.text import TextDrift


def text_figures(found: TextDrift) -> dict[str, Any]:
    """Return the figures of a check of texts, as JSON takes them."""
    centroid = found.centroid
    return {
        "kind": "text",
        "n": found.n,
        "centroid_distance": round(centroid.distance, 6),
        "threshold": found.threshold,
        "over_threshold": found.over_threshold,
        "calibrated": {
            "drift": found.calibrated,
            "found_by": list(found.found_by),
            "p_value": centroid.p_value,
            "expected_distance": round(centroid.expected, 6),
            "distance_limit": round(centroid.limit, 6),
        },
        "features": [_feature(each) for each in found.features],
    }


def numeric_figures(found: NumericDrift) -> dict[str, Any]:
    """Return the figures of a check of rows, as JSON takes them."""
    return {
        "kind": "numeric",
        "n": found.n,
        "insufficient": found.insufficient,
        "found_by": list(found.found_by),
        "features": [_feature(each) for each in found.features],
        "columns_without_baseline": list(found.extra),
    }


def text_sentence(found: TextDrift) -> str:
    """Return what a check of texts found, in one sentence."""
    centroid = found.centroid
    distance = f"centroid distance {centroid.distance:.3f}"
    chance = f"chance gives {centroid.expected:.3f}, at most {centroid.limit:.3f}"
    by = f"; found by {', '.join(found.found_by)}" if found.calibrated else ""
    above = "above" if found.over_threshold else "below"
    return (
        f"{found.n:,} texts, {distance} ({above} {found.threshold:g}; {chance}, "
        f"p={centroid.p_value:.2g}){by}"
    )


def numeric_sentence(found: NumericDrift) -> str:
    """Return what a check of rows found, in one sentence."""
    known = {each.name: each for each in found.features}
    if found.insufficient:
        most = max(each.n for each in found.features)
        few = f"{found.n:,} rows hold {most:,} values of a column at most"
        return f"{few}, and {MINIMUM_ROWS} are needed to say anything"
    if not found.found_by:
        most_moved = max(found.features, key=lambda each: each.psi / each.threshold)
        return f"{found.n:,} rows like the baseline; most moved is {_named(most_moved)}"
    worst = ", ".join(_named(known[name]) for name in found.found_by[:3])
    more = f" and {len(found.found_by) - 3} more" if len(found.found_by) > 3 else ""
    return f"{found.n:,} rows moved away from the baseline: {worst}{more}"


def table(features: tuple[FeatureDrift, ...]) -> str:
    """Return a line for each feature, those that drifted marked."""
    width = max(len(each.name) for each in features)
    return "\n".join(
        f"  {'!' if each.verdict is DriftVerdict.DRIFTED else ' '} {each.name:<{width}}  PSI "
        f"{each.psi:6.3f}  limit {each.threshold:6.3f}  {each.n:>8,} values  {each.verdict}"
        for each in features
    )


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
