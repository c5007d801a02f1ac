"""The operator itself: whether it acts, in time, and what it could not do."""

from functools import partial

from dashboards import board
from dashboards.board import Board, asked, to
from dashboards.panels import BAD, GOOD, QUIET, WARN, Ask, Panel, Style, figure, lines, states
from dashboards.promql import RATE, Scope

OURS = ('namespace="$namespace"', 'pod=~"$pod"')
OPERATORS = Scope(decided=OURS, served=OURS)
LATE, TOO_LATE = 60.0, 300.0
"""Seconds: from the second on the alert ModelReleaseOverdue fires and the liveness probe fails."""
SILENT, TOO_SILENT = 120.0, 300.0
"""Seconds: a bookmark comes about once a minute."""
SMALL = partial(Style, unit="none", width=4, height=4, empty="none")


def operators() -> Board:
    """Return the dashboard of the operator."""
    return Board(
        file="operator.json",
        uid=board.OPERATOR,
        title="Model releases: the operator",
        says="Whether operators act, in time, and what they could not do.",
        variables=[
            asked("namespace", "Namespace", "namespace", of="modelrelease_operator_info"),
            asked(
                "pod", "Pod", "pod", several=True,
                of='modelrelease_operator_info{namespace="$namespace"}',
            ),
        ],
        parts=[
            ("", _now()),
            ("Who acts", _acts()),
            ("In time", _in_time()),
            ("What could not be done", _failures()),
            ("What it costs", _costs()),
        ],
        links=[("All releases", to(board.FLEET))],
    )  # fmt: skip


def _of(metric: str, *matchers: str) -> str:
    return OPERATORS.of_operator(f"modelrelease_{metric}", *matchers)


def _now() -> list[Panel]:
    overdue, silence = f"max({_of('overdue_seconds')})", f"max({_of('watch_silence_seconds')})"
    late = f"rate({_of('look_lateness_seconds_bucket')}[5m])"
    failed = f"sum(increase({_of('reconcile_errors_total')}[10m]))"
    seconds = partial(Style, unit="s", width=4, height=4)
    return [
        figure(
            "Running", "Operators by version.",
            Ask(f"count by (version) ({_of('operator_info')})", "{{version}}"),
            style=SMALL(colours={None: "text"}),
        ),
        figure(
            "Acting",
            "Operators that hold their Lease, and how many must: one, or one for each shard.",
            Ask(f"sum({_of('operator_leader')})", "act"),
            Ask(f"max({_of('operator_shards')})", "must"),
            style=SMALL(colours={None: BAD, 1.0: GOOD}),
        ),
        figure(
            "Most overdue look", "By how much the most overdue look at any release is late.",
            Ask(overdue), style=seconds(colours={None: GOOD, LATE: WARN, TOO_LATE: BAD}),
        ),
        figure(
            "Quietest watch", "Since when the quietest watch of the API server has said nothing.",
            Ask(silence), style=seconds(colours={None: GOOD, SILENT: WARN, TOO_SILENT: BAD}),
        ),
        figure(
            "Lateness of looks, p95",
            "By how much 95 % of the looks at canaries of the last five minutes came late at most.",
            Ask(f"histogram_quantile(0.95, sum by (le) ({late}))"),
            style=seconds(empty="no canary", colours={None: GOOD, 5.0: WARN, LATE: BAD}),
        ),
        figure(
            "Failed passes", "Passes that failed in the last ten minutes.",
            Ask(failed),
            style=SMALL(empty="0", colours={None: GOOD, 1.0: WARN, 5.0: BAD}),
        ),
    ]  # fmt: skip


def _acts() -> list[Panel]:
    releases = f"count by (pod) (max by (pod, release_namespace, release) ({_of('phase')}))"
    return [
        states(
            "Lease", "Which operator acts. One that waits has its caches full.",
            Ask(f"max by (pod) ({_of('operator_leader')})", "{{pod}}"),
            style=Style(unit="none", width=12, words={"0": ("waits", QUIET), "1": ("acts", GOOD)}),
        ),
        lines(
            "Releases", "Releases that each operator decides about; with shards, its share.",
            Ask(releases, "{{pod}}"), style=Style(unit="short", width=12, low=0), steps=True,
        ),
    ]  # fmt: skip


def _in_time() -> list[Panel]:
    looks = f"sum by (le) (rate({_of('look_lateness_seconds_bucket')}[{RATE}]))"
    passes = f"sum by (outcome, le) (rate({_of('reconcile_seconds_bucket')}[{RATE}]))"
    counted = f"sum by (outcome) (rate({_of('reconcile_seconds_count')}[{RATE}]))"
    return [
        lines(
            "Lateness of looks",
            "By how much looks at canaries came later than they were due: half, 95 % and 99 % of "
            "them at most.",
            *(
                Ask(f"histogram_quantile({share}, {looks})", name)
                for share, name in (("0.5", "median"), ("0.95", "p95"), ("0.99", "p99"))
            ),
            style=Style(unit="s", low=0, empty="no canary"),
        ),
        lines(
            "Passes", "Passes over a release a second, by outcome.",
            Ask(counted, "{{outcome}}"), style=Style(unit="ops", low=0),
        ),
        lines(
            "Time of a pass", "95 % of the passes took at most as long, by outcome.",
            Ask(f"histogram_quantile(0.95, {passes})", "{{outcome}}"),
            style=Style(unit="s", low=0),
        ),
        lines(
            "Overdue", "By how much the most overdue look at any release is late, by operator.",
            Ask(f"max by (pod) ({_of('overdue_seconds')})", "{{pod}}"),
            style=Style(unit="s", width=12, low=0, colours={None: "transparent", TOO_LATE: BAD}),
        ),
        lines(
            "Silence of watches",
            "Since when the quietest watch of the API server has said nothing, by operator.",
            Ask(f"max by (pod) ({_of('watch_silence_seconds')})", "{{pod}}"),
            style=Style(unit="s", width=12, low=0, colours={None: "transparent", TOO_SILENT: BAD}),
        ),
    ]  # fmt: skip


def _failures() -> list[Panel]:
    def increase(metric: str, label: str) -> Ask:
        return Ask(
            f"sum by ({label}) (increase({_of(metric)}[{RATE}]))", f"{{{{{label}}}}}"
        )  # fmt: skip

    counts = partial(Style, unit="short", low=0)
    return [
        lines(
            "Failed passes", "Passes that failed, by kind of error.",
            increase("reconcile_errors_total", "kind"), style=counts(width=6, empty="none"),
        ),
        lines(
            "Lost Events", "Events that the API server refused to record.",
            increase("events_lost_total", "pod"), style=counts(width=6),
        ),
        lines(
            "Model registry", "Outcomes that the registry was told, or not yet.",
            increase("registry_writes_total", "outcome"),
            style=counts(width=6, empty="nothing is recorded"),
        ),
        lines(
            "Messages", "Messages to the webhook, by what became of them.",
            increase("notifications_total", "outcome"),
            style=counts(width=6, empty="no message was sent"),
        ),
    ]  # fmt: skip


def _costs() -> list[Panel]:
    def of(metric: str) -> str:
        return OPERATORS.of_servers(metric)

    reasons = f"sum by (reason) (increase({_of('decisions_total')}[{RATE}]))"
    return [
        lines(
            "Processor", "Cores that each operator uses.",
            Ask(f"sum by (pod) (rate({of('process_cpu_seconds_total')}[{RATE}]))", "{{pod}}"),
            style=Style(unit="short", low=0),
        ),
        lines(
            "Memory", "Resident memory of each operator.",
            Ask(f"max by (pod) ({of('process_resident_memory_bytes')})", "{{pod}}"),
            style=Style(unit="bytes", low=0),
        ),
        lines(
            "Decisions", "What was decided, by reason.",
            Ask(reasons, "{{reason}}"), style=Style(unit="short", low=0, empty="nothing"),
        ),
    ]  # fmt: skip
