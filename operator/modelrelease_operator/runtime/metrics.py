"""The operator's own metrics: what each is called and means, and its value from a status.

Listed in docs/reference/metrics.md, which a test holds against this module. Series are bounded: by
the gates of a spec, by closed lists of words, and by the worst features of the newest window.
"""

import math
from collections.abc import Mapping, Sequence
from itertools import product

from prometheus_client import Counter, Gauge, Histogram

from modelrelease_contract.drift import FeatureDrift
from modelrelease_operator.api.status import Condition, GateStatus, Status, Verdict
from modelrelease_operator.core.lines import Lines
from modelrelease_operator.runtime.namespaced_name import NamespacedName

LABELS = ("release_namespace", "release")
"""Not `namespace`: Prometheus gives every series that of its pod, which is the operator's."""
SHOWN_FEATURES = 10

INFO = Gauge(
    "modelrelease_operator_info", "Always 1: missing where no operator runs.", ("version",)
)
PHASE = Gauge(
    "modelrelease_phase",
    "Always 1: the phase that a release is in. The others have no series.",
    (*LABELS, "phase"),
)
REVISION = Gauge(
    "modelrelease_revision",
    "Always 1: which revision and version is stable and which is the canary.",
    (*LABELS, "track", "revision", "model_version"),
)
WEIGHT = Gauge(
    "modelrelease_requested_weight_percent", "Weight asked for the canary; 0 without one.", LABELS
)
EFFECTIVE = Gauge(
    "modelrelease_effective_weight_percent",
    "Share of this step's requests that the canary answered, counted; 0 without a canary.",
    LABELS,
)
STEP = Gauge("modelrelease_step", "Step that the canary is at, from 1; 0 without one.", LABELS)
STEPS = Gauge("modelrelease_steps", "Steps of the present release; 0 without a canary.", LABELS)
BLIND = Gauge(
    "modelrelease_canary_blind_seconds",
    "Time in which no look at the canary could be used; 0 while it can be seen, and without one.",
    LABELS,
)
REJECTED = Gauge(
    "modelrelease_rejected", "1 while the spec asks for a revision that was rolled back.", LABELS
)
EVIDENCE = Gauge(
    "modelrelease_evidence_ratio",
    "Evidence of a gate as a share of what is needed; 1 decides.",
    (*LABELS, "gate", "direction"),
)
DIFFERENCE = Gauge(
    "modelrelease_gate_difference_points",
    "Ends of the interval of the canary's share of bad requests less stable's, percentage points.",
    (*LABELS, "gate", "end"),
)
RATIO = Gauge(
    "modelrelease_gate_ratio",
    "Ends of the interval of the canary's share of bad requests over stable's; +Inf for no end.",
    (*LABELS, "gate", "end"),
)
BAD = Gauge(
    "modelrelease_gate_bad_percent",
    "Share of bad requests that a gate counted of each arm since the canary began, percent.",
    (*LABELS, "gate", "track"),
)
BOUND = Gauge(
    "modelrelease_gate_bound_points",
    (
        "Difference beyond which a gate rolls back (tolerated) and below which it lets go on "
        "(margin), beside what stable does, percentage points."
    ),
    (*LABELS, "gate", "bound"),
)
LIMIT = Gauge(
    "modelrelease_gate_limit_percent",
    "Share of bad requests that a gate allows the canary whatever stable does, percent.",
    (*LABELS, "gate"),
)
VERDICT = Gauge(
    "modelrelease_gate_verdict",
    "1 for the verdict of a gate, 0 for the others.",
    (*LABELS, "gate", "verdict"),
)
DECISIONS = Counter(
    "modelrelease_decisions_total", "What was decided, by reason.", (*LABELS, "reason")
)
DECIDED = Gauge(
    "modelrelease_decision_timestamp_seconds",
    "When something was last decided for this reason: what a dashboard marks.",
    (*LABELS, "reason"),
)
CONDITION = Gauge(
    "modelrelease_condition",
    "1 while a condition is True, 0 while it is not, with the reason that it gives.",
    (*LABELS, "type", "reason"),
)
FAILING = Gauge(
    "modelrelease_failing", "1 while something about a release fails again and again.", LABELS
)
DRIFTED = Gauge("modelrelease_drifted", "1 while the condition Drifted is True.", LABELS)
RETRAINING = Gauge("modelrelease_retraining", "1 while a retraining is under way.", LABELS)
DRIFT_PSI = Gauge(
    "modelrelease_drift_psi",
    "Population stability index of the worst features in the last complete window of stable.",
    (*LABELS, "feature"),
)
DRIFT_LIMIT = Gauge(
    "modelrelease_drift_limit_psi",
    "Population stability index above which the feature has drifted in that window.",
    (*LABELS, "feature"),
)
DRIFT_VALUES = Gauge(
    "modelrelease_drift_values",
    "Values of the feature that were counted in that window.",
    (*LABELS, "feature"),
)
RECONCILE_SECONDS = Histogram(
    "modelrelease_reconcile_seconds", "Time of one pass over a release.", ("outcome",)
)
LATENESS = Histogram(
    "modelrelease_look_lateness_seconds",
    "By how much a look at a canary came later than it was due.",
    buckets=(0.1, 0.25, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 5.0, 10.0, 30.0, 60.0),
)
ERRORS = Counter(
    "modelrelease_reconcile_errors_total", "Passes that failed, by kind of error.", ("kind",)
)

LEADER = Gauge(
    "modelrelease_operator_leader",
    "1 for the operator that acts, 0 for one that waits for the Lease.",
)
SHARDS = Gauge(
    "modelrelease_operator_shards",
    "How many operators share the namespaces: so many must act; 1 without shards.",
)
OVERDUE = Gauge(
    "modelrelease_overdue_seconds",
    "By how much the most overdue look at any release is late; 0 for none.",
)
WATCH_SILENCE = Gauge(
    "modelrelease_watch_silence_seconds",
    (
        "Since when the quietest watch of the API server has said nothing; bookmarks come about "
        "once a minute."
    ),
)
EVENTS_LOST = Counter(
    "modelrelease_events_lost_total", "Events that the API server refused to record."
)

REGISTRY_WRITES = Counter(
    "modelrelease_registry_writes_total",
    "Outcomes that the model registry was told, or not yet.",
    ("outcome",),
)

NOTIFICATIONS = Counter(
    "modelrelease_notifications_total",
    "Messages to the webhook: sent, failed or dropped.",
    ("outcome",),
)

OF_A_RELEASE = (
    PHASE, REVISION, WEIGHT, EFFECTIVE, STEP, STEPS, BLIND, REJECTED, EVIDENCE, VERDICT,
    DIFFERENCE, RATIO, BAD, BOUND, LIMIT, DECISIONS, DECIDED, CONDITION, FAILING, DRIFTED,
    RETRAINING, DRIFT_PSI, DRIFT_LIMIT, DRIFT_VALUES,
)  # fmt: skip

SINGLE = (WEIGHT, EFFECTIVE, STEP, STEPS, BLIND, REJECTED, DRIFTED, RETRAINING)
"""Those of a release that have one series."""

Series = dict[tuple[str, ...], float]
"""By further labels: values."""


def show(key: NamespacedName, status: Status) -> None:
    """Bring the gauges of one release up to its status."""
    _replace(PHASE, key, {(status.phase,): 1})
    canary = status.canary
    _show_single(
        key,
        (
            status.weight,
            (canary and canary.effective_weight) or 0,
            canary.step + 1 if canary and canary.requested_weight else 0,
            canary.steps if canary else 0,
            canary.blind_seconds if canary else 0,
            status.rejected is not None,
            status.drift is not None and status.drift.drifted,
            status.retrain is not None and status.retrain.under_way,
        ),
    )
    if status.drift is None:
        show_drift(key, ())
    arms = (("stable", status.stable), ("canary", canary))
    _replace(
        REVISION,
        key,
        {
            (track, target.revision, target.version): 1
            for track, target in arms
            if target is not None
        },
    )
    if not canary:
        show_lines(key, {})
    # The gates of the last release stay in status until the next begins; here they would look
    # alive.
    _show_words(key, status.conditions, status.gates if canary else ())
    if not canary:
        # Thousands are at rest, and are seldom looked at.
        _words.pop(key, None)


def _show_words(
    key: NamespacedName, conditions: tuple[Condition, ...], gates: tuple[GateStatus, ...]
) -> None:
    """Show conditions and gates, which most passes leave as they were."""
    if _words.get(key) == (conditions, gates):
        return
    holds: Series = {
        (condition.type, condition.reason): condition.status == "True" for condition in conditions
    }
    _replace(CONDITION, key, holds)
    evidence: Series = {(gate.name, "rollback"): gate.evidence_for_rollback for gate in gates}
    evidence |= {(gate.name, "promotion"): gate.evidence_for_promotion for gate in gates}
    _replace(EVIDENCE, key, evidence)
    _show_intervals(key, gates)
    _show_shares(key, gates)
    verdicts: Series = {
        (gate.name, verdict): verdict is gate.verdict for gate, verdict in product(gates, Verdict)
    }
    _replace(VERDICT, key, verdicts)
    _words[key] = (conditions, gates)


def _show_single(key: NamespacedName, values: tuple[float, ...]) -> None:
    """Bring those up to date that have one series for each release."""
    before = _singles.get(key)
    if before == values:
        return
    for number, (metric, value) in enumerate(zip(SINGLE, values, strict=True)):
        if before is None or before[number] != value:
            metric.labels(*key).set(value)
    _singles[key] = values


def _show_intervals(key: NamespacedName, gates: Sequence[GateStatus]) -> None:
    """Show the interval of each gate that has one."""
    difference: Series = {}
    ratio: Series = {}
    for gate in gates:
        if interval := gate.interval:
            upper = math.inf if interval.ratio_upper is None else interval.ratio_upper
            difference |= {(gate.name, "lower"): interval.lower}
            difference |= {(gate.name, "upper"): interval.upper}
            ratio |= {(gate.name, "lower"): interval.ratio_lower, (gate.name, "upper"): upper}
    _replace(DIFFERENCE, key, difference)
    _replace(RATIO, key, ratio)


def _show_shares(key: NamespacedName, gates: Sequence[GateStatus]) -> None:
    """Show the share of bad requests of both arms, of each gate that counts any."""
    shares: Series = {}
    for gate in gates:
        for track, percent in (("stable", gate.stable_percent), ("canary", gate.canary_percent)):
            if percent is not None:
                shares[gate.name, track] = percent
    _replace(BAD, key, shares)


def show_lines(key: NamespacedName, lines: Mapping[str, Lines]) -> None:
    """Show what each gate holds the canary against, by the gate's name."""
    bounds: Series = {}
    limits: Series = {}
    for gate, drawn in lines.items():
        for bound, points in (("tolerated", drawn.tolerated), ("margin", drawn.margin)):
            if points is not None:
                bounds[gate, bound] = points
        if drawn.limit is not None:
            limits[gate,] = drawn.limit
    _replace(BOUND, key, bounds)
    _replace(LIMIT, key, limits)


def show_drift(key: NamespacedName, features: Sequence[FeatureDrift]) -> None:
    """Show a window's worst features, worst first, in place of those of the window before."""
    worst = features[:SHOWN_FEATURES]
    _replace(DRIFT_VALUES, key, {(feature.name,): feature.n for feature in worst})
    _replace(DRIFT_PSI, key, {(feature.name,): feature.psi for feature in worst if feature.n})
    _replace(
        DRIFT_LIMIT, key, {(feature.name,): feature.threshold for feature in worst if feature.n}
    )


def forget(key: NamespacedName) -> None:
    """Take a deleted release out of the metrics."""
    mine = dict(zip(LABELS, key, strict=True))
    for metric in OF_A_RELEASE:
        metric.remove_by_labels(mine)
        _shown.pop((metric._name, key), None)
    _singles.pop(key, None)
    _words.pop(key, None)


_singles: dict[NamespacedName, tuple[float, ...]] = {}
"""By release: what those show that have one series."""
_words: dict[NamespacedName, tuple[tuple[Condition, ...], tuple[GateStatus, ...]]] = {}
"""By release: the conditions and gates that are shown."""
_shown: dict[tuple[str, NamespacedName], Series] = {}
"""By metric and release: the series that are there. The metric would look through all."""


def _replace(metric: Gauge, key: NamespacedName, values: Series) -> None:
    """Make these the only series of one release; those with their value already stay."""
    name = (metric._name, key)
    before = _shown.get(name, {})
    if before == values:
        return
    for gone in before.keys() - values.keys():
        metric.remove(*key, *gone)
    for labels, value in values.items():
        if before.get(labels) != value:
            metric.labels(*key, *labels).set(value)
    _shown[name] = values
