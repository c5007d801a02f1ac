"""The data of one release: how far it moved from what its stable version was trained on."""

from functools import partial

from dashboards import board, promql
from dashboards.board import Board, marks, of_a_release, to, window
from dashboards.panels import (
    CALM,
    GOOD,
    WARN,
    Ask,
    Panel,
    Style,
    figure,
    histogram,
    lines,
)
from dashboards.promql import LEAST_VALUES, ONE
from dashboards.release import last_window, predictions

FEATURE = 'feature=~"$feature"'
TEXTS = "nothing counts texts for this release"
SMALL = partial(Style, unit="none", height=4)


def drift() -> Board:
    """Return the dashboard of one release's data."""
    return Board(
        file="drift.json",
        uid=board.DRIFT,
        title="Model release: drift",
        says="One release's data beside what its stable version was trained on.",
        variables=[
            *of_a_release(),
            board.asked(
                "feature", "Feature", "feature",
                of=ONE.of_servers("feature_baseline_rows"), several=True,
            ),
            window(),
        ],
        parts=[
            ("", _now()),
            ("As the operator judges it", _judged()),
            ("As Prometheus counts it, over $window", _counted()),
            ("Values by bin", _bins()),
            ("Texts", _texts()),
        ],
        marks=marks("Promotions", "Drift", "Retraining"),
        links=[
            ("All releases", to(board.FLEET)),
            ("This release", to(board.RELEASE, **board.SAME_RELEASE)),
        ],
        since="now-24h",
        refresh="1m",
    )  # fmt: skip


def _now() -> list[Panel]:
    drifted = f"max({ONE.of_operator('modelrelease_drifted')})"
    index, limit, values = (
        f"max by (feature) ({ONE.of_operator(f'modelrelease_drift_{name}')})"
        for name in ("psi", "limit_psi", "values")
    )
    reasons = ONE.of_operator(
        "modelrelease_decision_timestamp_seconds", 'reason=~"Drifted|DriftEnded|Retrain.+"'
    )
    return [
        figure(
            "Data", "The condition Drifted: enough of the last windows were above a limit.",
            Ask(drifted),
            style=SMALL(width=4, words={"0": ("no drift known", GOOD), "1": ("drifted", WARN)}),
        ),
        figure(
            "Worst feature", "The feature that was furthest in the last complete window.",
            Ask(f"topk(1, {index} / {limit})", "{{feature}}"),
            style=SMALL(width=6, empty="no window is complete", colours={None: "text"}),
            names=True,
        ),
        figure(
            "Share of its limit", "How far that feature was; at 100 % its window drifted.",
            Ask(f"max({index} / {limit})"),
            style=Style(
                unit="percentunit", width=4, height=4, empty="-", colours={None: GOOD, 1.0: WARN}
            ),
        ),
        figure(
            "Values", "The fewest that any of the worst features had in that window.",
            Ask(f"min({values})"),
            style=SMALL(width=3, empty="-", colours={None: "text"}),
        ),
        figure(
            "Retraining", "Whether a Job that spec.retrain describes is under way.",
            Ask(f"max({ONE.of_operator('modelrelease_retraining')})"),
            style=SMALL(width=3, words={"0": ("none", "text"), "1": ("under way", CALM)}),
        ),
        figure(
            "Last", "What was last decided about drift and retraining, and when.",
            Ask(f"topk(1, max by (reason) ({reasons})) * 1000", "{{reason}}"),
            style=Style(
                unit="dateTimeFromNow", width=4, height=4, empty="nothing", colours={None: "text"}
            ),
        ),
    ]  # fmt: skip


def _judged() -> list[Panel]:
    index, limit = (
        Ask(f"max by (feature) ({ONE.of_operator(f'modelrelease_drift_{name}', FEATURE)})", says)
        for name, says in (("psi", "{{feature}}"), ("limit_psi", "limit of {{feature}}"))
    )
    values = ONE.of_operator("modelrelease_drift_values", FEATURE)
    return [
        lines(
            "Stability index and limit",
            "Population stability index of each complete window, of the ten worst features, with "
            "the limit that each was held to: it depends on how many values were counted.",
            index, limit,
            style=Style(unit="none", width=12, low=0, empty="no window is complete"),
            dashes={"^limit of ": WARN}, steps=True,
        ),
        last_window(6),
        lines(
            "Values of a window", "Values of each of the worst features in each complete window.",
            Ask(f"max by (feature) ({values})", "{{feature}}"),
            style=Style(unit="short", width=6, low=0, empty="no window is complete"), steps=True,
        ),
    ]  # fmt: skip


def _counted() -> list[Panel]:
    outside = f"increase({ONE.of_servers('feature_outside_total', FEATURE)}[$window])"
    every = f"increase({ONE.of_servers('feature_bin_total', FEATURE)}[$window])"
    return [
        lines(
            "Stability index",
            "Population stability index of stable's data against its baseline. Nothing is drawn "
            f"below {LEAST_VALUES} values. No limit is drawn, because it depends on the operator's "
            "windows.",
            Ask(promql.feature_psi(ONE, FEATURE), "{{feature}}"),
            style=Style(unit="none", width=12, low=0),
        ),
        lines(
            "Outside of training",
            "Share of values below or above the range of training, and of categories that it did "
            "not have.",
            Ask(
                f"sum by (feature, kind) ({outside}) / on (feature) group_left () "
                f"sum by (feature) ({every})",
                "{{feature}} {{kind}}",
            ),
            style=Style(unit="percentunit", width=12, low=0),
        ),
    ]  # fmt: skip


def _bins() -> list[Panel]:
    stable = ONE.revisions(track="stable")
    rows = f"increase({ONE.of_servers('feature_bin_total', FEATURE)}[$window])"
    known = ONE.of_servers("feature_baseline_rows", FEATURE)

    def share(counted: str) -> str:
        of_stable = f"{counted} * on (revision) group_left () {stable}"
        return f"sum by (bin) ({of_stable}) / on () group_left () sum({of_stable})"

    baseline = share(f"max by (revision, feature, bin) ({known})")
    return [
        histogram(
            "Values: $feature",
            "Share of stable's values in each bin of its baseline over $window, beside that of the "
            "held-out rows.",
            Ask(share(rows), "seen"), Ask(baseline, "baseline"),
            bins="bin", style=Style(unit="percentunit", width=24, repeat="feature"),
        ),
        predictions(24),
    ]  # fmt: skip


def _texts() -> list[Panel]:
    def of(metric: str) -> str:
        return f"max by (revision) ({ONE.of_servers(f'text_drift_{metric}')})"

    windows = f"increase({ONE.of_servers('text_drift_windows_total')}[$window])"
    texts = f"rate({ONE.of_servers('text_drift_texts_total')}[$__rate_interval])"
    return [
        lines(
            "Distance of texts",
            "Cosine distance of the newest window's centroid from the baseline's, and from which "
            "distance on the permutation test speaks.",
            Ask(of("score"), "distance {{revision}}"), Ask(of("limit"), "limit {{revision}}"),
            style=Style(unit="none", width=8, low=0, empty=TEXTS), dashes={"^limit ": WARN},
            steps=True,
        ),
        lines(
            "Windows of texts", "Complete windows over $window, by verdict.",
            Ask(f"sum by (verdict) ({windows})", "{{verdict}}"),
            style=Style(unit="short", width=8, low=0, empty=TEXTS),
        ),
        lines(
            "Texts", "Texts that were encoded and counted, a second.",
            Ask(f"sum by (revision) ({texts})", "{{revision}}"),
            style=Style(unit="cps", width=8, low=0, empty=TEXTS),
        ),
    ]  # fmt: skip
