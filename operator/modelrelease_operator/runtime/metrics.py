"""The operator's own metrics: what each is called, what it means, and how a status becomes its value.

Listed in docs/reference/metrics.md, which a test holds against this module. Series are bounded: by the
gates of a spec, by closed lists of words, and by the worst features of the newest window.
"""

from collections.abc import Sequence

from prometheus_client import Counter, Gauge, Histogram

from modelrelease_contract.drift import FeatureDrift
from modelrelease_operator.api.status import Phase, Status, Target, Verdict

LABELS = ("release_namespace", "release")
"""Not `namespace`: Prometheus gives every series the namespace of the pod that exports it, the operator's."""
SHOWN_FEATURES = 10

INFO = Gauge("modelrelease_operator_info", "Always 1: missing where no operator runs.", ("version",))
PHASE = Gauge(
    "modelrelease_phase", "1 for the phase that a release is in, 0 for the others.", (*LABELS, "phase")
)
REVISION = Gauge(
    "modelrelease_revision",
    "Always 1: which revision and version is stable and which is the canary.",
    (*LABELS, "track", "revision", "model_version"),
)
WEIGHT = Gauge("modelrelease_requested_weight_percent", "Weight asked for the canary; 0 without one.", LABELS)
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
VERDICT = Gauge(
    "modelrelease_gate_verdict",
    "1 for the verdict of a gate, 0 for the others.",
    (*LABELS, "gate", "verdict"),
)
DECISIONS = Counter("modelrelease_decisions_total", "What was decided, by reason.", (*LABELS, "reason"))
DECIDED = Gauge(
    "modelrelease_decision_timestamp_seconds",
    "When something was last decided for this reason: what a dashboard marks.",
    (*LABELS, "reason"),
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
PASSES = Histogram("modelrelease_reconcile_seconds", "Time of one pass over a release.", ("outcome",))
ERRORS = Counter("modelrelease_reconcile_errors_total", "Passes that failed, by kind of error.", ("kind",))

REGISTRY_WRITES = Counter(
    "modelrelease_registry_writes_total",
    "Outcomes that the model registry was told, or not yet.",
    ("outcome",),
)

NOTIFICATIONS = Counter(
    "modelrelease_notifications_total", "Messages to the webhook: sent, failed or dropped.", ("outcome",)
)

OF_A_RELEASE = (
    PHASE, REVISION, WEIGHT, EFFECTIVE, STEP, STEPS, BLIND, REJECTED, EVIDENCE, VERDICT, DECISIONS,
    DECIDED, DRIFTED, RETRAINING, DRIFT_PSI, DRIFT_LIMIT, DRIFT_VALUES,
)  # fmt: skip
OF_A_GATE = (EVIDENCE, VERDICT)
OF_A_FEATURE = (DRIFT_PSI, DRIFT_LIMIT, DRIFT_VALUES)

Key = tuple[str, str]
"""Namespace and name of a release."""


def show(key: Key, status: Status) -> None:
    """Bring the gauges of one release up to its status."""
    for phase in Phase:
        PHASE.labels(*key, phase).set(phase is status.phase)
    canary = status.canary
    WEIGHT.labels(*key).set(status.weight)
    EFFECTIVE.labels(*key).set((canary and canary.effective_weight) or 0)
    STEP.labels(*key).set(canary.step + 1 if canary and canary.requested_weight else 0)
    STEPS.labels(*key).set(canary.steps if canary else 0)
    BLIND.labels(*key).set(canary.blind_seconds if canary else 0)
    REJECTED.labels(*key).set(status.rejected is not None)
    DRIFTED.labels(*key).set(status.drift is not None and status.drift.drifted)
    RETRAINING.labels(*key).set(status.retrain is not None and status.retrain.under_way)
    if status.drift is None:
        _remove(key, OF_A_FEATURE)
    _remove(key, (REVISION,))
    for track, target in (("stable", status.stable), ("canary", canary)):
        _show_revision(key, track, target)
    _remove(key, OF_A_GATE)
    # The gates of the last release stay in status until the next begins; here they would look alive.
    for gate in status.gates if canary else ():
        EVIDENCE.labels(*key, gate.name, "rollback").set(gate.evidence_for_rollback)
        EVIDENCE.labels(*key, gate.name, "promotion").set(gate.evidence_for_promotion)
        for verdict in Verdict:
            VERDICT.labels(*key, gate.name, verdict).set(verdict is gate.verdict)


def show_drift(key: Key, features: Sequence[FeatureDrift]) -> None:
    """Show the worst features of a window, given worst first; those of the window before are gone."""
    _remove(key, OF_A_FEATURE)
    for feature in features[:SHOWN_FEATURES]:
        DRIFT_VALUES.labels(*key, feature.name).set(feature.n)
        if feature.n:
            DRIFT_PSI.labels(*key, feature.name).set(feature.psi)
            DRIFT_LIMIT.labels(*key, feature.name).set(feature.threshold)


def forget(key: Key) -> None:
    """Take a deleted release out of the metrics."""
    _remove(key, OF_A_RELEASE)


def _show_revision(key: Key, track: str, target: Target | None) -> None:
    if target is not None:
        REVISION.labels(*key, track, target.revision, target.version).set(1)


def _remove(key: Key, metrics: Sequence[Gauge | Counter]) -> None:
    mine = dict(zip(LABELS, key, strict=True))
    for metric in metrics:
        metric.remove_by_labels(mine)
