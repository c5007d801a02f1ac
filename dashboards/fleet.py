"""All releases: where each stands, what needs somebody, and what serves."""

from functools import partial

from dashboards import board
from dashboards.board import Board, row_link, to
from dashboards.panels import (
    BAD,
    CALM,
    QUIET,
    WARN,
    Ask,
    Panel,
    Style,
    figure,
    lines,
    look,
    rows,
    stacked,
)
from dashboards.promql import Scope
from modelrelease_operator.api.status import Phase

FLEET = Scope(
    decided=('release_namespace=~"$namespace"',),
    served=('namespace=~"$namespace"', 'release!=""'),
    labels=("release_namespace", "release"),
)
BOTH = "release_namespace, release"
BY = f"max by ({BOTH})"
NAMED = "{{release_namespace}}/{{release}}"
MOST = 10
"""Releases that are drawn apart: of more, nobody tells the lines apart."""
UNDER_WAY = (
    Phase.PENDING, Phase.STARTING, Phase.SHADOWING, Phase.PROGRESSING, Phase.PROMOTING,
    Phase.ROLLING_BACK,
)  # fmt: skip
YES_NO = {"0": ("", QUIET), "1": ("yes", WARN)}
SMALL = partial(Style, unit="none", width=3, height=4, empty="0")
TO_RELEASE = {
    "release": row_link(
        "This release", board.RELEASE,
        namespace="${__data.fields.release_namespace}", release="${__data.fields.release}",
    )
}  # fmt: skip


def fleet() -> Board:
    """Return the dashboard of all releases."""
    return Board(
        file="fleet.json",
        uid=board.FLEET,
        title="Model releases",
        says="All releases: where each stands, what needs somebody, and what serves.",
        variables=[
            board.asked(
                "namespace", "Namespace", "release_namespace",
                of="modelrelease_phase", several=True,
            )
        ],
        parts=[
            ("", _now()),
            ("Each release", _each()),
            ("What happened", _happened()),
            ("What serves", _serves()),
        ],
        links=[("The operator", to(board.OPERATOR))],
        since="now-6h",
        refresh="30s",
    )  # fmt: skip


def _now() -> list[Panel]:
    def counted(title: str, says: str, condition: str, colour: str) -> Panel:
        return figure(
            title, says, Ask(f"count({condition})"),
            style=SMALL(colours={None: QUIET, 1.0: colour}),
        )  # fmt: skip

    def phase(*phases: Phase) -> str:
        of = FLEET.of_operator("modelrelease_phase", f'phase=~"{"|".join(phases)}"')
        return f"{BY} ({of}) == 1"

    def is_so(metric: str) -> str:
        return f"{BY} ({FLEET.of_operator(metric)}) == 1"

    unseen = f"{BY} ({FLEET.of_operator('modelrelease_canary_blind_seconds')}) > 0"
    return [
        counted("Releases", "All that there are.", phase(*Phase), "text"),
        counted("Under way", "Something starts, is judged, or goes back.", phase(*UNDER_WAY), CALM),
        counted("Wait for a person", "Paused: why says for what.", phase(Phase.PAUSED), "yellow"),
        counted(
            "Rejected", "The version that the spec asks for was rolled back.",
            is_so("modelrelease_rejected"), BAD,
        ),
        counted(
            "Drifted", "Data moved away from what the serving version was trained on.",
            is_so("modelrelease_drifted"), WARN,
        ),
        counted("Retraining", "A Job is under way.", is_so("modelrelease_retraining"), CALM),
        counted("Unseen", "No look at the canary could be used just now.", unseen, WARN),
        counted(
            "Failing", "Something fails again and again.", is_so("modelrelease_failing"), BAD
        ),
    ]  # fmt: skip


def _each() -> list[Panel]:
    def version(track: str) -> str:
        of = FLEET.of_operator("modelrelease_revision", f'track="{track}"')
        named = f'label_replace({of}, "{track}", "$1", "model_version", "(.*)")'
        return f"max by ({BOTH}, {track}) ({named})"

    def value(metric: str) -> str:
        return f"{BY} ({FLEET.of_operator(metric)})"

    return [
        rows(
            "Releases", "Where each release stands. A click on one opens its dashboard.",
            Ask(f"max by ({BOTH}, phase) ({FLEET.of_operator('modelrelease_phase')}) == 1"),
            Ask(version("stable")),
            Ask(version("canary")),
            Ask(value("modelrelease_effective_weight_percent")),
            Ask(value("modelrelease_rejected")),
            Ask(value("modelrelease_drifted")),
            Ask(value("modelrelease_failing")),
            columns={
                "release_namespace": "Namespace", "release": "Release", "phase": "Phase",
                "stable": "Stable", "canary": "Canary", "Value #D": "Weight",
                "Value #E": "Rejected", "Value #F": "Drifted", "Value #G": "Failing",
            },
            links=TO_RELEASE,
            looks={
                "Value #D": look(unit="percent"), "Value #E": look(words=YES_NO),
                "Value #F": look(words=YES_NO), "Value #G": look(words=YES_NO),
            },
            style=Style(unit="none", width=24, height=12, empty="there is no release"),
        )
    ]  # fmt: skip


def _happened() -> list[Panel]:
    told = FLEET.of_operator("modelrelease_decision_timestamp_seconds")
    stalled = FLEET.of_operator("modelrelease_condition", 'type="Stalled"')
    phases = FLEET.of_operator("modelrelease_phase")
    alerts = 'ALERTS{alertname=~"ModelRelease.+",alertstate="firing"}'
    weight = FLEET.of_operator("modelrelease_effective_weight_percent")
    return [
        rows(
            "Newest decisions", "What was decided last, over all releases.",
            Ask(f"topk(30, max by ({BOTH}, reason) ({told})) * 1000"),
            columns={
                "Value": "When", "release_namespace": "Namespace", "release": "Release",
                "reason": "Reason",
            },
            looks={"Value": look(unit="dateTimeAsIso")},
            links=TO_RELEASE, descending="Value",
            style=Style(unit="none", width=12, height=10, empty="nothing"),
        ),
        rows(
            "Alerts", "Rules of the chart that fire now.",
            Ask(f"max by (alertname, severity, {BOTH}) ({alerts})"),
            columns={
                "alertname": "Alert", "severity": "Severity", "release_namespace": "Namespace",
                "release": "Release",
            },
            links=TO_RELEASE,
            style=Style(
                unit="none", width=6, height=10,
                empty="none fires, or the rules are not loaded (alerts.enabled)",
            ),
        ),
        rows(
            "Cannot go on", "Releases that are stalled, with the reason.",
            Ask(f"max by ({BOTH}, reason) ({stalled}) == 1"),
            columns={"release_namespace": "Namespace", "release": "Release", "reason": "Reason"},
            links=TO_RELEASE, style=Style(unit="none", width=6, height=10, empty="none"),
        ),
        stacked(
            "Phases", "Releases by phase.",
            Ask(f"count by (phase) (max by ({BOTH}, phase) ({phases}) == 1)", "{{phase}}"),
            style=Style(unit="short", width=12, low=0),
        ),
        lines(
            "Weight of canaries", "Share of requests that each canary answered, counted.",
            Ask(f"topk({MOST}, {BY} ({weight}) > 0)", NAMED),
            style=Style(unit="percent", width=12, low=0, high=100, empty="there is no canary"),
            steps=True,
        ),
    ]  # fmt: skip


def _serves() -> list[Panel]:
    served = "namespace, release"
    named = "{{namespace}}/{{release}}"
    every = f"sum by ({served}) (rate({FLEET.of_servers('predictions_total')}[$__rate_interval]))"
    failed = FLEET.of_servers("predictions_total", 'code=~"5.."')
    bad = f"sum by ({served}) (rate({failed}[$__rate_interval]))"
    index, limit = (
        f"max by ({BOTH}, feature) ({FLEET.of_operator(f'modelrelease_drift_{name}')})"
        for name in ("psi", "limit_psi")
    )
    return [
        lines(
            "Requests", f"Answered requests a second, of the {MOST} releases with the most.",
            Ask(f"topk({MOST}, {every})", named), style=Style(unit="reqps", low=0),
        ),
        lines(
            "Errors",
            f"Share of requests that were answered with 5xx, of the {MOST} releases with the "
            "largest.",
            Ask(f"topk({MOST}, {bad} / {every} > 0)", named),
            style=Style(unit="percentunit", low=0, empty="none"),
        ),
        lines(
            "Drift",
            "Worst feature of the last complete window as a share of its limit, of the "
            f"{MOST} releases with the largest.",
            Ask(f"topk({MOST}, {BY} ({index} / {limit}))", NAMED),
            style=Style(
                unit="percentunit", low=0, empty="no window is complete",
                colours={None: "transparent", 1.0: WARN},
            ),
        ),
    ]  # fmt: skip
