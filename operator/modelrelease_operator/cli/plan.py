"""`modelrelease plan`: what a release will take, and what it will catch."""

import argparse
import math
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

from modelrelease_contract.metrics import duration_buckets
from modelrelease_operator.api.durations import format_duration
from modelrelease_operator.api.prometheus import Source
from modelrelease_operator.api.spec import Gate
from modelrelease_operator.cli.common import (
    Commands,
    Manifest,
    NothingThere,
    add_output,
    command,
    indented,
    manifests,
    nothing_in,
    percent,
    show,
    table,
)
from modelrelease_operator.cli.traffic import add_traffic, latency_of, read_every, with_replicas
from modelrelease_operator.core.analysis.gates.registry import kind_of
from modelrelease_operator.core.analysis.judge import LOOK_OFTEN
from modelrelease_operator.core.whatif.end import IN_SHADOW, End
from modelrelease_operator.core.whatif.language import taken_for_granted
from modelrelease_operator.core.whatif.planning import (
    Conditions,
    Journey,
    Plan,
    StepPlan,
    between_looks,
    plan,
)
from modelrelease_operator.core.whatif.warnings import warnings_of

DETAILS = """\
Says for each step what a healthy canary needs to pass, and how soon one that
fails more often is caught there, with how many bad answers until then. The
figures come from the tests that the operator itself runs, and are near the
medians: `modelrelease simulate` shows the spread. Needs no cluster.

examples:
  modelrelease plan examples/releases/steps.yaml --rps 20
  modelrelease plan release.yaml --rps 200 --stable-error-rate 0.001 -o json
  kustomize build overlays/prod | modelrelease plan - --rps 20
"""

ENDS = {
    End.PROMOTED: "promoted",
    End.ROLLED_BACK: "rolled back in step",
    End.INCONCLUSIVE: "no verdict in step",
}

IN_THE_SHADOW = {
    End.ROLLED_BACK: "rolled back in the shadow",
    End.INCONCLUSIVE: "no verdict in the shadow",
}


def add(commands: Commands) -> None:
    """Add the command."""
    parser = command(
        commands, "plan", "show what a release will take, and what it will catch", DETAILS
    )
    parser.add_argument(
        "file", type=Path, metavar="FILE", help="YAML with ModelReleases; - for standard input"
    )
    add_traffic(parser)
    add_output(parser, "table")
    parser.set_defaults(run=_plan)


def _plan(parsed: argparse.Namespace) -> int:
    conditions = Conditions(
        rps=parsed.rps,
        stable_errors=parsed.stable_error_rate,
        bounds=duration_buckets(),
        latency=latency_of(parsed),
        pod_start=parsed.pod_start,
        scrape_interval=parsed.scrape_interval,
    )
    try:
        releases = with_replicas(manifests(parsed.file), parsed.replicas)
    except NothingThere:
        return nothing_in(parsed.file)
    plans = []
    for release in releases:
        every = read_every(release.spec, conditions.scrape_interval)
        assumed = replace(conditions, scrape_interval=every)
        plans.append((release, assumed, plan(release.spec, assumed)))
    if parsed.output != "table":
        show([_as_json(*planned) for planned in plans], parsed.output)
    else:
        print("\n\n".join(_as_text(*planned) for planned in plans))
    return 0


def _as_text(release: Manifest, conditions: Conditions, plan: Plan) -> str:
    parts = [
        f"{release.name}: {conditions.rps:g} requests a second, stable fails "
        f"{percent(conditions.stable_errors)} of them, a look every "
        f"{release.spec.analysis.interval}",
        indented(_who_reads(release, conditions), first=""),
        "",
        *_shadow_text(plan),
        _way_to_users(release, plan),
        "",
        "From start to end, for a canary that fails",
        _journeys_table(conditions, plan),
    ]
    if share := _share_text(plan):
        parts += ["", indented(share, first="")]
    if own := _own_gates(release, conditions, plan):
        parts += ["", *(indented(text, first="") for text in own)]
    for warning in warnings_of(release.spec, conditions, plan):
        parts += ["", indented(warning, first="! ")]
    return "\n".join(parts)


def _who_reads(release: Manifest, conditions: Conditions) -> str:
    """Say who is asked for the metrics, and how often each pod is read."""
    every, analysis = format_duration(conditions.scrape_interval), release.spec.analysis
    if analysis.source is Source.PODS:
        return f"Looks read the pods themselves, every {every} at least"
    text = f"Prometheus scrapes each pod every {every}"
    if analysis.source or analysis.prometheus:
        return text
    return (
        f"{text}; where the operator has none, looks read the pods themselves, every "
        f"{format_duration(LOOK_OFTEN)} at least (analysis.source: Pods plans for that)"
    )


def _own_gates(release: Manifest, conditions: Conditions, plan: Plan) -> list[str]:
    look = between_looks(release.spec, conditions)
    gates = (gate for gate in release.spec.analysis.gates if kind_of(gate).form)
    own = [_own_gate(gate, look, conditions, plan) for gate in gates]
    return [*own, *taken_for_granted(release.spec)]


def _own_gate(gate: Gate, look: timedelta, conditions: Conditions, plan: Plan) -> str:
    """Say what a gate needs whose figures nobody knows beforehand, and what is taken for them."""
    lead = f"gate {gate.name}: "
    if gate.dry_run:
        return f"{lead}only shown (dryRun), so nothing waits for it"

    def requests() -> str:
        return ", ".join(
            f"{_count(step.by_gate[gate.name])} in step {number}"
            for number, step in enumerate(plan.steps, start=1)
        )

    errors = percent(conditions.stable_errors)
    return lead + kind_of(gate).plan_words(gate.settings, look, requests, errors)


def _shadow_text(plan: Plan) -> list[str]:
    """Say how canaries leave the shadow, each in a line."""
    if plan.shadow is None:
        return []
    rate = plan.shadow.copies_per_second
    asked = "example requests" if plan.shadow.by_examples else "copies"
    lines = [
        f"In the shadow, before the first user, at {rate:g} {asked} a second, a canary that fails"
    ]
    rows = []
    for end in plan.shadow.ends:
        who = "as often as stable" if end.ratio == 1 else f"x{end.ratio:g}"
        what = "is taken back" if end.caught else "goes on to users"
        pairs = f"{_count(end.pairs)} pairs"
        rows.append([f"  {who}", what, "after", pairs, _time(end.time)])
    return [*lines, table(rows, left=frozenset({0, 1, 2})), ""]


def _share_text(plan: Plan) -> str:
    """Say when a canary that is not dealt its weight is noticed, where that is checked."""
    notices = [
        f"{_count(notice.requests)} requests of both arms in step {number} ({_time(notice.time)})"
        for number, notice in enumerate(plan.share, start=1)
    ]
    if not notices:
        return ""
    return (
        f"share: a canary that answers half of its weight is noticed after {', '.join(notices)}, "
        "and nothing goes on then; callers that reach stable past the gateway look like that "
        "(canary.shareCheck: false, where there are such)"
    )


def _way_to_users(release: Manifest, plan: Plan) -> str:
    """Say what each step needs and catches, or how every request moves at once."""
    canary = release.spec.canary
    if not canary.switches:
        return _steps_table(plan)
    dark, kept = _time(plan.steps[0].time), canary.keep_previous
    catches = [
        f"x{catch.ratio:g} after {_time(catch.time)} ({_count(catch.bad_answers)} bad answers)"
        for catch in plan.steps[0].catches
        if catch.time
    ]
    found = ", ".join(catches) or "none of those below"
    return indented(
        f"blue/green: at full strength in the dark for {dark} at least, then every request at "
        f"once. The version before stays warm for {kept}, and takes everything back from one that "
        f"fails so many times as often: {found}. It is judged by what stable did before, so an "
        "outage of both looks like the new version's fault",
        first="",
    )


def _steps_table(plan: Plan) -> str:
    catches = plan.steps[0].catches
    head = ["step", "weight", "requests", "time", *(f"fails x{catch.ratio:g}" for catch in catches)]
    rows = [[str(number), *_step_row(step)] for number, step in enumerate(plan.steps, start=1)]
    body = table([head, *rows])
    # Groups of columns end where their last column ends.
    healthy = "healthy needs".rjust(body.index("time") + len("time"))
    caught = "caught after (bad answers)".rjust(max(map(len, body.splitlines())) - len(healthy))
    return f"{healthy}{caught}\n{body}"


def _step_row(step: StepPlan) -> list[str]:
    got = f"{step.effective:.0f} %"
    weight = got if abs(step.effective - step.weight) < 0.5 else f"{step.weight} → {got}"
    return [
        weight,
        _count(step.requests),
        _time(step.time),
        *(
            f"{_time(catch.time)} ({_count(catch.bad_answers)})" if catch.time else "never"
            for catch in step.catches
        ),
    ]


def _journeys_table(conditions: Conditions, plan: Plan) -> str:
    rows = [["", "ends", "after", "requests", "bad answers"]]
    for journey in plan.journeys:
        who = "as often as stable" if journey.ratio == 1 else f"x{journey.ratio:g}"
        rate = percent(min(1.0, journey.ratio * conditions.stable_errors))
        end = ENDS[journey.end]
        if journey.step == IN_SHADOW:
            end = IN_THE_SHADOW[journey.end]
        elif journey.end is not End.PROMOTED:
            end = f"{end} {journey.step + 1}"
        rows.append(
            [
                f"  {who} ({rate})",
                end,
                _time(journey.time),
                f"{round(journey.requests):,}",
                f"{round(journey.bad_answers):,}",
            ]
        )
    return table(rows, left=frozenset({0, 1}))


def _time(span: timedelta | None) -> str:
    return "never" if span is None else format_duration(span)


def _count(value: float) -> str:
    if value == math.inf:
        return "no end"
    for least, size, unit in ((1e9, 1e9, "G"), (1e6, 1e6, "M"), (1e4, 1e3, "k")):
        if value >= least:
            return f"{value / size:.3g}{unit}"
    return f"{math.ceil(value)}"


def _as_json(release: Manifest, conditions: Conditions, plan: Plan) -> dict[str, Any]:
    return {
        "name": release.name,
        "rps": conditions.rps,
        "source": release.spec.analysis.source,
        "read_every_seconds": conditions.scrape_interval.total_seconds(),
        "stable_error_rate": conditions.stable_errors,
        "shadow": _shadow_json(plan),
        "steps": [_step_json(number, step) for number, step in enumerate(plan.steps, start=1)],
        "share_check": [
            {
                "step": number,
                "requests": _finite(notice.requests),
                "seconds": _seconds(notice.time),
            }
            for number, notice in enumerate(plan.share, start=1)
        ],
        "assumed": _own_gates(release, conditions, plan),
        "outcomes": [_journey_json(journey) for journey in plan.journeys],
        "warnings": list(warnings_of(release.spec, conditions, plan)),
    }


def _step_json(number: int, step: StepPlan) -> dict[str, Any]:
    return {
        "step": number,
        "requested_weight": step.weight,
        "effective_weight": round(step.effective, 1),
        "canary_replicas": step.replicas,
        "healthy_canary_requests": _finite(step.requests),
        "healthy_canary_requests_by_gate": {
            name: _finite(count) for name, count in step.by_gate.items()
        },
        "waits_for": step.limiter.value,
        "healthy_seconds": _seconds(step.time),
        "healthy_seconds_so_far": _seconds(step.so_far),
        "regressions": [
            {
                "ratio": catch.ratio,
                "canary_requests": _finite(catch.requests),
                "seconds": _seconds(catch.time),
                "bad_answers": _finite(catch.bad_answers),
            }
            for catch in step.catches
        ],
    }


def _shadow_json(plan: Plan) -> dict[str, Any] | None:
    if plan.shadow is None:
        return None
    return {
        "copies_per_second": plan.shadow.copies_per_second,
        "asked": "example requests" if plan.shadow.by_examples else "copies",
        "ends": [
            {
                "ratio": end.ratio,
                "taken_back": end.caught,
                "pairs": _finite(end.pairs),
                "seconds": _seconds(end.time),
            }
            for end in plan.shadow.ends
        ],
    }


def _journey_json(journey: Journey) -> dict[str, Any]:
    return {
        "ratio": journey.ratio,
        "end": journey.end,
        "step": journey.step + 1,
        "in_shadow": journey.step == IN_SHADOW,
        "seconds": _seconds(journey.time),
        "canary_requests": round(journey.requests),
        "bad_answers": round(journey.bad_answers, 1),
    }


def _finite(value: float) -> float | None:
    """JSON knows no infinity: null means never."""
    return None if value == math.inf else math.ceil(value)


def _seconds(span: timedelta | None) -> float | None:
    return None if span is None else span.total_seconds()
