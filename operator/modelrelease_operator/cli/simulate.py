"""`modelrelease simulate`: the same decisions on a fake clock, many times."""

import argparse
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from random import Random
from typing import Any

from modelrelease_contract.metrics import duration_buckets
from modelrelease_operator.api.durations import format_duration
from modelrelease_operator.cli.assumptions import add_gates, given_to, sentences
from modelrelease_operator.cli.common import (
    Commands,
    Manifest,
    NothingThere,
    add_output,
    command,
    duration,
    indented,
    manifests,
    nothing_in,
    percent,
    positive,
    share,
    show,
    table,
)
from modelrelease_operator.cli.report import ONE_REPORT, Watched, add_report
from modelrelease_operator.cli.traffic import (
    add_traffic,
    latency_of,
    read_every,
    whole,
    with_replicas,
)
from modelrelease_operator.core.whatif.end import End
from modelrelease_operator.core.whatif.fleet import Scrapes
from modelrelease_operator.core.whatif.forecast import Forecast, Middle, forecast
from modelrelease_operator.core.whatif.language import taken_for_granted
from modelrelease_operator.core.whatif.simulation import (
    MOST_OF_A_SHARE,
    Scenario,
    SimulatedRun,
    simulate,
)

DETAILS = """\
Runs the operator's own decisions on a fake clock against clients that come by
chance, and says how often such a canary is promoted, rolled back or left to a
person. The same seed gives the same answer.

What a gate's own queries will give nobody knows beforehand: it is assumed, and
said, unless --gate tells. By default counts go bad as often as requests fail,
both versions answer alike, and a threshold's number stays at its limit.

examples:
  modelrelease simulate release.yaml --rps 20 --canary-error-rate 0.02
  modelrelease simulate release.yaml --rps 20 --latency-ratio 1.5 -o json
  modelrelease simulate release.yaml --rps 20 --canary-error-rate 0.05 \\
      --onset 30m --runs 500 --seed 1
  modelrelease simulate release.yaml --rps 20 --gate refunds=0.01:0.03 \\
      --gate answers=0.2 --gate queue=0.4,0.4,0.9
"""

SAID = {End.PROMOTED: "promoted", End.ROLLED_BACK: "rolled back", End.INCONCLUSIVE: "inconclusive"}


def add(commands: Commands) -> None:
    """Add the command."""
    parser = command(
        commands, "simulate", "release many times on a fake clock, and count the ends", DETAILS
    )
    parser.add_argument(
        "file", type=Path, metavar="FILE", help="YAML with ModelReleases; - for standard input"
    )
    add_traffic(parser)
    parser.add_argument(
        "--canary-error-rate",
        type=share,
        metavar="SHARE",
        help="share of the canary's that fail (default: stable's)",
    )
    parser.add_argument(
        "--latency-ratio", type=positive, default=1.0, metavar="RATIO",
        help="the canary takes so many times as long as stable (default: 1)",
    )  # fmt: skip
    parser.add_argument(
        "--disagreement", type=share, default=0.0, metavar="SHARE",
        help="share of the canary's answers that differ from stable's, as canary.shadow compares "
        "them (default: 0)",
    )  # fmt: skip
    parser.add_argument(
        "--share-ratio", type=_share_ratio, default=1.0, metavar="RATIO",
        help="what a gateway gives the canary of the share that its weight says (default: 1)",
    )  # fmt: skip
    add_gates(parser)
    parser.add_argument(
        "--onset", type=duration, default="0s", metavar="DURATION",
        help="the canary is like stable until it has had clients for so long (default: 0s)",
    )  # fmt: skip
    parser.add_argument(
        "--runs", type=whole, default=200, metavar="N", help="releases to simulate (default: 200)"
    )
    parser.add_argument("--seed", type=int, default=1, metavar="N", help="(default: 1)")
    add_output(parser, "table")
    add_report(parser, "the first of the runs")
    parser.set_defaults(run=_simulate)


def _share_ratio(text: str) -> float:
    ratio = positive(text)
    if ratio > MOST_OF_A_SHARE:
        msg = f"must be at most {MOST_OF_A_SHARE:g}, got {text}"
        raise argparse.ArgumentTypeError(msg)
    return ratio


def _simulate(parsed: argparse.Namespace) -> int:
    scenario = Scenario(
        rps=parsed.rps,
        stable_errors=parsed.stable_error_rate,
        canary_errors=parsed.stable_error_rate
        if parsed.canary_error_rate is None
        else parsed.canary_error_rate,
        bounds=duration_buckets(),
        latency=latency_of(parsed),
        latency_ratio=parsed.latency_ratio,
        disagreement=parsed.disagreement,
        share_ratio=parsed.share_ratio,
        onset=parsed.onset,
        scrapes=Scrapes(interval=parsed.scrape_interval.total_seconds()),
        pod_start=parsed.pod_start,
    )
    try:
        releases = with_replicas(manifests(parsed.file), parsed.replicas)
    except NothingThere:
        return nothing_in(parsed.file)
    if parsed.report and len(releases) > 1:
        print(f"modelrelease simulate: {ONE_REPORT}", file=sys.stderr)
        return 2
    results = []
    for release, given in zip(releases, given_to(releases, parsed.gate), strict=True):
        every = read_every(release.spec, parsed.scrape_interval)
        scrapes = replace(scenario.scrapes, interval=every.total_seconds())
        scene = replace(scenario, given=given, scrapes=scrapes)
        outcomes = list(_outcomes(release, scene, runs=parsed.runs, seed=parsed.seed))
        if parsed.report:
            _report(parsed, release, scene)
        results.append((scene, release, forecast(outcomes, steps=len(release.spec.canary.plan))))
    if parsed.output != "table":
        results_shown = [
            _as_json(parsed, scene, release, summary) for scene, release, summary in results
        ]
        show(results_shown, parsed.output)
    else:
        print("\n\n".join(_as_text(scene, release, summary) for scene, release, summary in results))
    return 0


def _report(parsed: argparse.Namespace, release: Manifest, scenario: Scenario) -> None:
    """Write the first run as a report: the same run as the first that is counted."""
    seen = Watched(release.name, release.namespace, release.spec)
    run = simulate(release.spec, scenario, _random(parsed.seed, 0), watch=seen.watch)
    about = f"{scenario.rps:g} requests a second, {_about(scenario)}"
    seen.write(
        parsed.report,
        f"as run 1 of seed {parsed.seed} of a simulation, which was {SAID[run.end]}: {about}",
    )


def _random(seed: int, run: int) -> Random:
    """Return the chance of one run: each has its own, so that more runs only add to others."""
    return Random(f"{seed}/{run}")


def _outcomes(
    release: Manifest, scenario: Scenario, *, runs: int, seed: int
) -> Iterator[SimulatedRun]:
    """Run every release; say on standard error how far it is when that takes long."""
    began = reported = time.monotonic()
    for run in range(runs):
        yield simulate(release.spec, scenario, _random(seed, run))
        now = time.monotonic()
        if now - reported > 2:
            reported = now
            left = (now - began) / (run + 1) * (runs - run - 1)
            remaining = format_duration(timedelta(seconds=left))
            print(
                f"{release.name}: {run + 1} of {runs} runs, about {remaining} left", file=sys.stderr
            )


def _as_text(scenario: Scenario, release: Manifest, summary: Forecast) -> str:
    rows = [["", "share", "95 % confidence", "time", "requests", "bad answers"]]
    for end, ended in summary.ends.items():
        sure = ended.interval
        row = [
            SAID[end],
            f"{100 * ended.share:.1f} %",
            f"{100 * sure.lower:.1f} to {100 * sure.upper:.1f} %",
        ]
        rows.append([*row, *_figures(summary.by_end.get(end))])
    rows.append(["all", "", "", *_figures(summary.overall)])
    parts = [
        f"{release.name}: {scenario.rps:g} requests a second, {summary.ends[End.PROMOTED].of} "
        "runs; medians of the canary's figures",
        _about(scenario),
        *(indented(text, first="", then="  ") for text in _gates(scenario, release)),
        "",
        table(rows, left=frozenset({0})),
    ]
    for end, counts in summary.by_step.items():
        if end is not End.PROMOTED:
            where = _where(summary.in_shadow[end], counts)
            parts += ["", f"{SAID[end]}: {where}; such as", indented(summary.reasons[end])]
    return "\n".join(parts)


def _where(in_shadow: int, by_step: list[int]) -> str:
    places = [f"{in_shadow} in the shadow"] if in_shadow else []
    places += [f"{count} in step {step}" for step, count in enumerate(by_step, start=1) if count]
    return ", ".join(places)


def _about(scenario: Scenario) -> str:
    text = (
        f"stable fails {percent(scenario.stable_errors)}, the canary "
        f"{percent(scenario.canary_errors)}"
    )
    if scenario.latency_ratio != 1:
        text += f" and takes x{scenario.latency_ratio:g} as long"
    if scenario.disagreement:
        text += f" and answers {percent(scenario.disagreement)} otherwise"
    if scenario.share_ratio != 1:
        text += f" and is dealt x{scenario.share_ratio:g} of its weight by a gateway"
    if scenario.onset:
        text += f", from {format_duration(scenario.onset)} after its first clients"
    every = format_duration(timedelta(seconds=scenario.scrapes.interval))
    return f"{text}; each pod is read every {every}"


def _gates(scenario: Scenario, release: Manifest) -> list[str]:
    own = sentences(scenario.assumptions(release.spec), scenario.given)
    return [*own, *taken_for_granted(release.spec)]


def _figures(middle: Middle | None) -> list[str]:
    if middle is None:
        return ["", "", ""]
    time_taken = format_duration(timedelta(seconds=middle.seconds))
    return [time_taken, f"{middle.canary_requests:,.0f}", f"{middle.bad_answers:,.0f}"]


def _as_json(
    parsed: argparse.Namespace, scenario: Scenario, release: Manifest, summary: Forecast
) -> dict[str, Any]:
    return {
        "name": release.name,
        "runs": parsed.runs,
        "seed": parsed.seed,
        "assumed": _gates(scenario, release),
        **{end.value: ended.share for end, ended in summary.ends.items()},
        "median_seconds": summary.overall.seconds,
        "median_canary_requests": summary.overall.canary_requests,
        "median_bad_answers": summary.overall.bad_answers,
        "confidence_95": {
            end.value: [round(ended.interval.lower, 4), round(ended.interval.upper, 4)]
            for end, ended in summary.ends.items()
        },
        "by_end": {
            end.value: {
                "median_seconds": middle.seconds,
                "fastest_tenth_seconds": middle.fast,
                "slowest_tenth_seconds": middle.slow,
                "median_canary_requests": middle.canary_requests,
                "median_bad_answers": middle.bad_answers,
                "by_step": summary.by_step[end],
                "in_shadow": summary.in_shadow[end],
            }
            for end, middle in summary.by_end.items()
        },
    }
