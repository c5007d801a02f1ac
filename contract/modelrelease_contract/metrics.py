"""Names of every metric and label that one part writes and another reads."""

PREDICTIONS_TOTAL = "predictions_total"
"""Counter of answered prediction requests: labels RELEASE, REVISION, MODEL_VERSION, CODE."""

PREDICTION_DURATION_SECONDS = "prediction_duration_seconds"
"""Histogram of the time to answer: labels RELEASE, REVISION, MODEL_VERSION."""

MODEL_VERSION_INFO = "model_version"
"""Gauge, always 1: labels RELEASE, REVISION, MODEL_VERSION."""

FEATURE_BIN_TOTAL = "feature_bin_total"
"""Counter of feature values by baseline bin: labels RELEASE, REVISION, FEATURE, BIN."""

FEATURE_OUTSIDE_TOTAL = "feature_outside_total"
"""Counter of values that training never saw, in bins, too: RELEASE, REVISION, FEATURE, KIND."""

PREDICTION_BIN_TOTAL = "prediction_bin_total"
"""Counter of predictions by baseline bin: labels RELEASE, REVISION, BIN."""

FEATURE_BASELINE_ROWS = "feature_baseline_rows"
"""Gauge, constant: held-out rows in each bin of the baseline: labels RELEASE, REVISION, FEATURE,
BIN.

Beside the counts, so that whoever reads Prometheus can measure drift without reaching the
artifact."""

PREDICTION_BASELINE_ROWS = "prediction_baseline_rows"
"""Gauge, constant: held-out predictions in each of the baseline's bins: RELEASE, REVISION, BIN."""

PREDICTION_BINS_INFO = "prediction_bins_info"
"""Gauge, always 1: labels RELEASE, REVISION, LAYOUT. Bins compare only between equal layouts."""

SAMPLED_REQUESTS_TOTAL = "sampled_requests_total"
"""Counter of requests that the predictor sampled, where it does: RELEASE, REVISION, OUTCOME."""

TEXT_DRIFT_SCORE = "text_drift_score"
"""Gauge of the drift service: cosine distance of the newest window: RELEASE, REVISION."""

TEXT_DRIFT_LIMIT = "text_drift_limit"
"""Gauge: distance that chance gives a window of that size: labels RELEASE, REVISION."""

TEXT_DRIFT_P_VALUE = "text_drift_p_value"
"""Gauge: how often chance gives the newest window's distance or more: labels RELEASE, REVISION."""

TEXT_DRIFTED = "text_drifted"
"""Gauge: 1 while the newest window drifted by a calibrated test, otherwise 0: RELEASE, REVISION."""

PROBE_PREDICTIONS_TOTAL = "probe_predictions_total"
"""Counter of probes, which no other count holds: labels as PREDICTIONS_TOTAL."""

PROBE_ANSWERS_TOTAL = "probe_answers_total"
"""Counter of a prober's probes: labels RELEASE, REVISION (the one that was asked), RESULT."""

PROBE_DURATION_SECONDS = "probe_duration_seconds"
"""Histogram of the time that a probe's answer took to come: labels RELEASE, REVISION."""

RELEASE = "release"
REVISION = "revision"
MODEL_VERSION = "model_version"
CODE = "code"
FEATURE = "feature"
BIN = "bin"
LAYOUT = "layout"
OUTCOME = "outcome"
KIND = "kind"
RESULT = "result"
NAMESPACE = "namespace"
POD = "pod"

PROBE_SAME = "same"
"""Value of RESULT for an answer that is the one recorded at training."""
PROBE_ANSWERED = "answered"
"""For an answer to a row of the other revision's artifact, which has no record of it."""
PROBE_DIFFERENT = "different"
"""For an answer other than the recorded one."""
PROBE_ERROR = "error"
"""For HTTP 5xx, no answer in time, no connection, or an answer that is none."""
PROBE_REFUSED = "refused"
"""For HTTP 4xx: the row does not fit. It is evidence for nothing."""
PROBE_RESULTS = (PROBE_SAME, PROBE_ANSWERED, PROBE_DIFFERENT, PROBE_ERROR, PROBE_REFUSED)

BIN_MISSING = "missing"
"""Value of BIN for a missing value; the other bins are "0", "1", ... in order."""

OUTSIDE_BELOW = "below"
"""Value of KIND for a number below the range of training."""
OUTSIDE_ABOVE = "above"
OUTSIDE_UNSEEN = "unseen"
"""Value of KIND for a category that training did not have."""


def duration_buckets() -> tuple[float, ...]:
    """Return the histogram's upper bounds in seconds: 1 ms to about 11 s, each 1.2 times the last.

    Exceedance counts at a bound are exact, so the ratio of neighbours is the finest slowdown that
    can be told apart (docs/explanation/decisions.md, "Latency is not independent from request to
    request").
    """
    return tuple(float(f"{0.001 * 1.2**power:.4g}") for power in range(52))
