"""One release: both arms side by side, the evidence, and what was decided."""

from functools import partial

from dashboards import board, promql
from dashboards.board import Board, marks, of_a_release, to, window
from dashboards.panels import (
    BAD,
    CALM,
    CANARY_COLOUR,
    GOOD,
    QUIET,
    STABLE_COLOUR,
    TEXT,
    WARN,
    Ask,
    Panel,
    Style,
    bars,
    figure,
    histogram,
    lines,
    states,
)
from dashboards.promql import ONE
from modelrelease_operator.api.status import Verdict

VERDICTS = {
    Verdict.INSUFFICIENT: QUIET,
    Verdict.PASS: GOOD,
    Verdict.UNAVAILABLE: "yellow",
    Verdict.FAIL: BAD,
}
"""With their colours. Their place is the number that a query makes of them."""
SMALL = partial(Style, unit="none", height=4)
BY_ARM = "{{track}} {{model_version}}"
GATE = 'gate=~"$gate"'
BAR: dict[float | None, str] = {None: "transparent", 1.0: BAD}


def release() -> Board:
    """Return the dashboard of one release."""
    gates = ONE.of_operator("modelrelease_evidence_ratio")
    return Board(
        file="release.json",
        uid=board.RELEASE,
        title="Model release",
        says="One release: both arms side by side, the evidence, and what was decided.",
        variables=[
            *of_a_release(),
            board.asked("gate", "Gate", "gate", of=gates, several=True),
            window(),
        ],
        parts=[
            ("", _now()),
            ("Both arms", _arms()),
            ("Evidence", _evidence()),
            ("What decides, by gate", _bounds()),
            ("Before users", _before_users()),
            ("Latency", _latency()),
            ("Data", _data()),
            ("Conditions", _conditions()),
        ],
        marks=marks(),
        links=[
            ("All releases", to(board.FLEET)),
            ("Drift of this release", to(board.DRIFT, **board.SAME_RELEASE)),
            ("The operator", to(board.OPERATOR)),
        ],
    )


def _now() -> list[Panel]:
    def version(track: str) -> Ask:
        of = ONE.of_operator("modelrelease_revision", f'track="{track}"')
        return Ask(f"max by (model_version) ({of})", "{{model_version}}")

    return [
        figure(
            "Phase", "Where the release stands.",
            Ask(f"max by (phase) ({ONE.of_operator('modelrelease_phase')}) == 1", "{{phase}}"),
            style=SMALL(width=4, empty="none", colours=TEXT), names=True,
        ),
        figure(
            "Stable", "The version that serves.", version("stable"),
            style=SMALL(width=3, empty="none", colours={None: STABLE_COLOUR}), names=True,
        ),
        figure(
            "Canary", "The version under test.", version("canary"),
            style=SMALL(width=3, empty="none", colours={None: CANARY_COLOUR}), names=True,
        ),
        figure(
            "Step", "The step that the canary is at, and how many there are.",
            Ask(f"max({ONE.of_operator('modelrelease_step')})", "at"),
            Ask(f"max({ONE.of_operator('modelrelease_steps')})", "of"),
            style=SMALL(width=3, colours=TEXT),
        ),
        figure(
            "Data", "Whether the data has drifted from what stable was trained on.",
            Ask(f"max({ONE.of_operator('modelrelease_drifted')})"),
            style=SMALL(width=4, words={"0": ("no drift known", GOOD), "1": ("drifted", WARN)}),
        ),
        figure(
            "Rejected", "Whether the version that the spec asks for was rolled back.",
            Ask(f"max({ONE.of_operator('modelrelease_rejected')})"),
            style=SMALL(
                width=4, words={"0": ("nothing", GOOD), "1": ("what the spec asks for", BAD)}
            ),
        ),
        figure(
            "Retraining", "Whether a Job that spec.retrain describes is under way.",
            Ask(f"max({ONE.of_operator('modelrelease_retraining')})"),
            style=SMALL(width=3, words={"0": ("none", "text"), "1": ("under way", CALM)}),
        ),
    ]  # fmt: skip


def _arms() -> list[Panel]:
    def weight(kind: str) -> str:
        return f"max({ONE.of_operator(f'modelrelease_{kind}_weight_percent')})"

    return [
        lines(
            "Requests", "Answered requests a second.",
            Ask(promql.requests(ONE), BY_ARM), style=Style(unit="reqps", low=0),
        ),
        lines(
            "Errors", "Share of requests that were answered with 5xx.",
            Ask(promql.errors(ONE), BY_ARM), style=Style(unit="percentunit", low=0),
        ),
        lines(
            "Weight of the canary",
            "Asked for, and counted from the requests that each arm answered in this step.",
            Ask(weight("requested"), "requested"), Ask(weight("effective"), "effective"),
            style=Style(unit="percent", low=0, high=100), steps=True,
        ),
    ]  # fmt: skip


def _evidence() -> list[Panel]:
    def evidence(direction: str) -> Ask:
        of = ONE.of_operator("modelrelease_evidence_ratio", f'direction="{direction}"')
        return Ask(f"max by (gate) ({of})", "{{gate}}")

    words = {str(n): (verdict, VERDICTS[verdict]) for n, verdict in enumerate(VERDICTS, 1)}
    said = promql.one_of("modelrelease_gate_verdict", list(VERDICTS), "verdict", ["gate"], ONE)
    return [
        lines(
            "Evidence for a rollback",
            "Share of the evidence needed, by gate. All gates together decide, so one alone may "
            "stay below 1.",
            evidence("rollback"),
            style=Style(unit="percentunit", low=0, high=1.05, colours=BAR),
        ),
        lines(
            "Evidence for going on",
            "Share of the evidence needed, by gate, at the present weight. Every gate must reach "
            "1.",
            evidence("promotion"),
            style=Style(unit="percentunit", low=0, high=1.05, colours=BAR | {1.0: GOOD}),
        ),
        states(
            "Verdicts", "What each gate said at each look.",
            Ask(said, "{{gate}}"), style=Style(unit="none", words=words),
        ),
    ]  # fmt: skip


def _bounds() -> list[Panel]:
    def of(metric: str, label: str) -> Ask:
        selected = ONE.of_operator(f"modelrelease_gate_{metric}", GATE)
        by = f"max by (gate, {label})" if label else "max by (gate)"
        return Ask(f"{by} ({selected})", f"{{{{{label}}}}}" if label else "limit")

    return [
        lines(
            "Canary less stable: $gate",
            "Both ends of the interval that decides: how much more often the canary goes bad than "
            "stable, on average since it began. Rolled back once the lower end is above what is "
            "tolerated; goes on once the upper end is below the margin. A gate that compares "
            "nothing has none of these.",
            of("difference_points", "end"), of("bound_points", "bound"),
            style=Style(unit="percent", width=12, repeat="gate"),
            dashes={"^tolerated$": BAD, "^margin$": GOOD},
        ),
        lines(
            "Bad requests: $gate",
            "Share that the gate counted of each arm since the canary began, and what it allows "
            "whatever stable does.",
            of("bad_percent", "track"), of("limit_percent", ""),
            style=Style(unit="percent", width=12, low=0, repeat="gate"),
            dashes={"^limit$": BAD},
        ),
        lines(
            "Ratio",
            "How many times as often the canary goes bad as stable: both ends of each gate's "
            "interval. An upper end of infinity is not drawn.",
            Ask(of("ratio", "end").expr, "{{gate}} {{end}}"),
            style=Style(unit="none", width=24, low=0, colours={None: "transparent", 1.0: "text"}),
        ),
    ]  # fmt: skip


def _before_users() -> list[Panel]:
    pairs = f"increase({ONE.of_servers('shadow_pairs_total')}[$__rate_interval])"
    copies = f"rate({ONE.of_servers('shadow_predictions_total')}[$__rate_interval])"
    probes = f"rate({ONE.of_servers('probe_answers_total')}[$__rate_interval])"
    return [
        lines(
            "Pairs of the shadow",
            "What came of copies of stable's requests; docs/reference/metrics.md has the words.",
            Ask(f"sum by (result) ({pairs})", "{{result}}"),
            style=Style(unit="short", low=0, empty="this release has no shadow"),
        ),
        lines(
            "Copies", "Copies of requests that the canary answered, a second, by status code.",
            Ask(f"sum by (model_version, code) ({copies})", "{{model_version}} {{code}}"),
            style=Style(unit="reqps", low=0, empty="this release has no shadow"),
        ),
        lines(
            "Probes",
            "Example rows that the prober asked both arms, a second, by what came of them.",
            Ask(f"sum by (track, result) ({ONE.tracked(probes)})", "{{track}} {{result}}"),
            style=Style(unit="reqps", low=0, empty="this release asks for no probes"),
        ),
    ]  # fmt: skip


def _latency() -> list[Panel]:
    said = {
        0.5: ("median", "Time that half of the answered requests took at most."),
        0.95: ("p95", "Time that 95 % of the answered requests took at most."),
        0.99: ("p99", "Time that 99 % of the answered requests took at most."),
    }
    return [
        lines(
            f"Latency, {name}", says,
            Ask(promql.latency(ONE, quantile), BY_ARM), style=Style(unit="s", low=0),
        )
        for quantile, (name, says) in said.items()
    ]  # fmt: skip


def predictions(width: int) -> Panel:
    """Return the panel of what both arms predict."""

    def share(track: str) -> Ask:
        rows = f"increase({ONE.of_servers('prediction_bin_total')}[$window])"
        counted = f"{rows} * on (revision) group_left () {ONE.revisions(track=track)}"
        every = f"on () group_left () sum({counted})"
        return Ask(f"sum by (bin) ({counted}) / {every}", track)

    return histogram(
        "Predictions", "Share of each arm's predictions in each bin of its baseline, over $window.",
        share("stable"), share("canary"), bins="bin", style=Style(unit="percentunit", width=width),
    )  # fmt: skip


def last_window(width: int) -> Panel:
    """Return the panel of the last window that the operator judged."""
    index, limit = (
        f"max by (feature) ({ONE.of_operator(f'modelrelease_drift_{name}')})"
        for name in ("psi", "limit_psi")
    )
    return bars(
        "Last complete window",
        "Stability index of the worst features as the operator judged them, as a share of each "
        "one's limit.",
        Ask(f"{index} / {limit}", "{{feature}}"),
        style=Style(
            unit="percentunit", width=width, low=0, high=2, empty="no window is complete",
            colours={None: GOOD, 1.0: WARN},
        ),
    )  # fmt: skip


def _data() -> list[Panel]:
    return [last_window(12), predictions(12)]


def _conditions() -> list[Panel]:
    holds = f"max by (type, reason) ({ONE.of_operator('modelrelease_condition')})"
    return [
        states(
            "Conditions", "Each condition with the reason that it gives, while it is true.",
            Ask(f"{holds} == 1", "{{type}}: {{reason}}"),
            style=Style(unit="none", width=16, words={"1": ("true", CALM)}),
        ),
        lines(
            "Unseen",
            "For how long no look at the canary could be used; at analysis.maxBlind it leaves the "
            "Service.",
            Ask(f"max({ONE.of_operator('modelrelease_canary_blind_seconds')})", "unseen"),
            style=Style(unit="s", width=4, low=0), steps=True,
        ),
        figure(
            "Failing",
            "Whether something about the release fails again and again; the condition Reconciling "
            "says what.",
            Ask(f"max({ONE.of_operator('modelrelease_failing')})"),
            style=Style(unit="none", width=4, words={"0": ("no", GOOD), "1": ("yes", BAD)}),
        ),
    ]  # fmt: skip
