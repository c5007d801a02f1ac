"""What the windows of the stable version say together: drifted or not, in a sentence that names
features.

Drift is raised when the newest window drifted and enough of the last ones did, and it ends when as
many windows in a row did not: a feature at its limit must not send an Event every ten minutes. A
window with too few values neither raises nor ends anything. Input drift reaches both revisions
alike, so nothing here blames a canary.
"""

from collections.abc import Iterable

from modelrelease_contract.drift import DriftVerdict, FeatureDrift
from modelrelease_operator.api.drift import WORST_FEATURES, Drift, DriftStatus, FeatureStatus
from modelrelease_operator.api.spec import ReleaseSpec
from modelrelease_operator.api.status import CanaryStatus, Reason, Status
from modelrelease_operator.core.drift.windows import PREDICTIONS
from modelrelease_operator.core.observed import Observed, Window
from modelrelease_operator.core.scope import Scope

LETTERS = {DriftVerdict.DRIFTED: "D", DriftVerdict.STABLE: "S", DriftVerdict.INSUFFICIENT: "I"}


def update_drift(scope: Scope) -> Scope:
    """Take in the windows that closed since the last pass,
    and notice where drift begins or ends.
    """
    stable, settings = scope.status.stable, scope.spec.drift
    if not settings.enabled or stable is None:
        return scope if scope.status.drift is None else scope.with_status(drift=None)
    before = scope.status.drift
    if before is None or before.revision != stable.revision:
        before = DriftStatus(revision=stable.revision)
    after = with_windows(
        before, scope.observed.drift.get(stable.revision, ()), settings, stable.version
    )
    if after is scope.status.drift:
        return scope
    scope = scope.with_status(drift=after)
    if after.drifted == before.drifted:
        return scope
    reason = Reason.DRIFTED if after.drifted else Reason.DRIFT_ENDED
    return scope.noticing(reason, after.message, warning=after.drifted)


def with_windows(
    before: DriftStatus, windows: Iterable[Window], settings: Drift, version: str = "?"
) -> DriftStatus:
    """Return what is known after the windows that closed since; the same object when none did."""
    after = before
    for window in windows:
        if after.at is None or window.ended > after.at:
            after = _pushed(after, window, settings, version)
    if after.drifted and not (before.drifted or after.windows.endswith("D")):
        # Several at once, as after a promotion: drift that is over by now is not raised any more.
        return after.but(drifted=False)
    if after is before and not before.message:
        message = f"no window of {settings.window} of version {version} is complete yet"
        return before.but(message=message)
    return after


def is_news(before: DriftStatus, after: DriftStatus) -> bool:
    """Return whether status must be written:
    figures that moved a little can wait for the next pass.
    """
    return (before.drifted, before.windows, before.revision) != (
        after.drifted,
        after.windows,
        after.revision,
    )


def condition(status: Status) -> tuple[str, Reason, str] | None:
    """Return status, reason and sentence of the condition `Drifted`, or None where nobody asks."""
    drift = status.drift
    if drift is None:
        return None
    if drift.drifted:
        return "True", Reason.DRIFTED, drift.message
    if drift.windows.endswith(("S", "D")):
        return "False", Reason.NOT_DRIFTED, drift.message
    return (
        "Unknown",
        Reason.INSUFFICIENT_DATA if drift.baseline else Reason.NO_BASELINE,
        drift.message,
    )


def hold(spec: ReleaseSpec, status: Status, canary: CanaryStatus, observed: Observed) -> str | None:
    """Return why drift holds the promotion, or None.

    A canary that was trained on data like today's is the remedy: it is not held by what its
    predecessor was trained on.
    """
    drift = status.drift
    if not (spec.drift.enabled and spec.drift.hold_promotion and drift and drift.drifted):
        return None
    own = observed.drift.get(canary.revision, ())
    if own and own[-1].verdict is DriftVerdict.STABLE:
        return None
    return (
        f"the promotion of canary {canary.version} is held, without blame: "
        f"{drift.message}; annotate approve={canary.revision} to promote it all the same "
        "(spec.drift.holdPromotion)"
    )


def _pushed(before: DriftStatus, window: Window, settings: Drift, version: str) -> DriftStatus:
    letters = (before.windows + LETTERS[window.verdict])[-settings.sustained.windows :]
    judged = letters.replace("I", "")[-settings.sustained.at_least :]
    drifted = before.drifted
    if letters.endswith("D") and letters.count("D") >= settings.sustained.at_least:
        drifted = True
    elif judged == "S" * settings.sustained.at_least:
        drifted = False
    worst = tuple(_stored(feature) for feature in window.features[:WORST_FEATURES] if feature.n)
    return DriftStatus(
        revision=before.revision,
        drifted=drifted,
        baseline=bool(window.features),
        windows=letters,
        at=window.ended,
        features=worst,
        message="; ".join(
            text
            for text in (_message(window, letters, drifted, settings, version), window.problem)
            if text
        ),
    )


def _message(window: Window, letters: str, drifted: bool, settings: Drift, version: str) -> str:
    count, total = letters.count("D"), len(letters)
    share = f"{count} of the last {total} windows of {settings.window} drifted"
    if window.drifted:
        named = ", ".join(_figures(feature) for feature in window.drifted[:3])
        more = len(window.drifted) - 3
        named += f" and {more} more" if more > 0 else ""
        need = "" if drifted else f", {settings.sustained.at_least} are needed to say so"
        return f"data moved away from what version {version} was trained on: {named}; {share}{need}"
    if window.verdict is DriftVerdict.STABLE:
        first = window.features[0]
        calm = (
            f"version {version} meets data like its training data: most moved is {_figures(first)}"
        )
        return f"{calm}; {share}" if drifted else calm
    if not window.features and window.problem:
        return f"drift of version {version} is unavailable"
    if not window.features:
        return (
            f"no baseline is shown for version {version}: its artifact has none, its predictor "
            "is older than this operator, or its pods are not read"
        )
    most = max(feature.n for feature in window.features)
    few = f"{most:,} of the {settings.min_samples:,} values needed came in {settings.window}"
    few += "; a longer spec.drift.window gathers more"
    return f"{few}; {share}" if drifted else few


def _figures(feature: FeatureDrift) -> str:
    name = "the predictions" if feature.name == PREDICTIONS else feature.name
    return (
        f"{name} with PSI {feature.psi:.2f} (limit {feature.threshold:.2f}, {feature.n:,} values)"
    )


def _stored(feature: FeatureDrift) -> FeatureStatus:
    return FeatureStatus(
        name=feature.name,
        psi=round(feature.psi, 4),
        threshold=round(feature.threshold, 4),
        values=feature.n,
        verdict=feature.verdict,
    )
