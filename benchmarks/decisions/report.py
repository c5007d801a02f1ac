"""The figures as tables for people, or as JSON."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from itertools import product
from typing import Any

from benchmarks.decisions.cells import BASES, RATIOS, RPS, Figures, Measured
from benchmarks.decisions.release import ReleaseSummary
from benchmarks.decisions.rules import RULES
from benchmarks.decisions.run import Report
from benchmarks.decisions.targets import Target

NAMES = [rule.name for rule in RULES]
SHOWN_WEIGHT = 0.1
UNSAFE = 0.02
"""Beyond this many false rollbacks a rule's speed is no merit;
chance puts a rule of 1 % here rarely.
"""


def as_json(report: Report) -> dict[str, Any]:
    """Return every figure."""
    return {
        "runs": report.runs,
        "seed": report.seed,
        "versions": report.versions,
        "seconds": round(report.seconds, 1),
        "cells": [asdict(result.cell) | _as_dicts(result.by_rule) for result in report.cells],
        "releases": [
            asdict(situation) | _as_dicts(ends) for situation, ends in report.releases.items()
        ],
        "conditions": report.conditions,
        "latency_at_the_edge": report.edge,
        "by_decide": report.by_decide,
        "silence": report.silent,
        "missed": [asdict(cell) for cell in report.missed],
        "targets": [asdict(target) for target in report.targets],
    }


def _as_dicts(figures_of: Mapping[str, Figures | ReleaseSummary]) -> dict[str, Any]:
    return {name: asdict(figures) for name, figures in figures_of.items()}


def as_tables(report: Report) -> str:
    """Return the tables, each under its title."""
    parts = [
        _head(report),
        _titled(
            "False rollbacks of a healthy canary in an hour, % of runs", _healthy(report.cells)
        ),
        _titled(
            "Promotions of a canary at or beyond its margin, % of runs, highest of all weights\n"
            "(the others promote what they have not rolled back within the hour)",
            _promotions(report.cells),
        ),
        _titled(
            "Rolled back within the hour, % of runs, and median canary requests until then; weight "
            f"10 %\n(! where the rule rolls back more than {100 * UNSAFE:g} % of healthy canaries)",
            _sick(report.cells, _caught),
        ),
        _titled("Median time to rollback; weight 10 %", _sick(report.cells, _time)),
        _titled(
            "Median bad answers of the canary until its rollback, or in the hour; weight 10 %",
            _sick(report.cells, _bad_answers),
        ),
        _titled("The price of the tolerance, ours; weight 10 %", _price(report.cells)),
        _titled(
            "Whole releases: promoted % / rolled back % / median minutes / bad answers",
            _releases(report),
        ),
        _titled("False rollbacks under harder conditions, % of runs", _conditions(report)),
    ]
    if report.missed:
        title = (
            "x5 that is not caught within the hour: expected canary errors; % of runs caught and "
            "promoted;\ncaught with one thing changed; the most that any test with this alpha can "
            "find"
        )
        parts.append(_titled(title, _missed(report)))
    parts.append(_titled("Targets", "\n".join(_target(target) for target in report.targets)))
    return "\n\n".join(parts)


def _target(target: Target) -> str:
    mark = "met   " if target.met else "MISSED"
    return f"{mark}  {target.text}\n        {target.measured}"


def _head(report: Report) -> str:
    replayed = sum(result.replayed for result in report.cells)
    equal = sum(result.equal for result in report.cells)
    versions = ", ".join(f"{name} {version}" for name, version in report.versions.items())
    return (
        f"{report.runs} runs a cell, seed {report.seed}, {versions}; {report.seconds:.0f} s\n"
        f"replayed with the product's own classes: {replayed} runs, {equal} decided alike at the "
        "same polls\nwhole releases by decide(): "
        f"{'; '.join(f'{name}: {end}' for name, end in report.by_decide.items())}"
    )


def _titled(title: str, table: str) -> str:
    return f"## {title}\n\n{table}"


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Align columns: the first to the left, the others to the right."""
    lines = [list(head), *map(list, rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(_aligned(line, widths) for line in lines)


def _aligned(line: Sequence[str], widths: Sequence[int]) -> str:
    first = line[0].ljust(widths[0])
    others = (text.rjust(width) for text, width in zip(line[1:], widths[1:], strict=True))
    return "  ".join([first, *others]).rstrip()


def _short() -> list[str]:
    return [
        name.replace("ours, ", "o. ").replace("Flagger", "Flag.").replace("Kayenta", "Kay.")
        for name in NAMES
    ]


def _percent(share: float) -> str:
    return f"{100 * share:.1f}"


def _healthy(results: Sequence[Measured]) -> str:
    rows = []
    for result in results:
        if result.cell.ratio == 1:
            shares = [result.by_rule[name].rolled_back for name in NAMES]
            rows.append([_row_name(result), *map(_percent, shares)])
    return table(["", *_short()], rows)


def _row_name(result: Measured) -> str:
    return result.cell.name.rsplit(" ", 1)[0]


def _promotions(results: Sequence[Measured]) -> str:
    rows = []
    for rps, base, ratio in product(RPS, BASES, RATIOS):
        same = [
            result
            for result in results
            if (result.cell.rps, result.cell.base, result.cell.ratio) == (rps, base, ratio)
        ]
        if same and same[0].beyond:
            worst = (_worst_promotions(same, name) for name in NAMES)
            rows.append([f"{rps:>3} rps {100 * base:g} % x{ratio:g}", *map(_percent, worst)])
    return table(["", *_short()], rows)


def _worst_promotions(results: Sequence[Measured], name: str) -> float:
    return max(result.by_rule[name].promoted for result in results)


def _sick(results: Sequence[Measured], entry: Any) -> str:
    healthy = {
        (result.cell.rps, result.cell.base): result
        for result in results
        if _is_shown(result, healthy=True)
    }
    rows = []
    for result in results:
        if _is_shown(result, healthy=False):
            well = healthy[result.cell.rps, result.cell.base]
            row_name = (
                f"{result.cell.rps:>3} rps {100 * result.cell.base:g} % x{result.cell.ratio:g}"
            )
            rows.append([row_name] + [entry(result, well, name) for name in NAMES])
    return table(["", *_short()], rows)


def _is_shown(result: Measured, *, healthy: bool) -> bool:
    return math.isclose(result.cell.weight, SHOWN_WEIGHT) and (result.cell.ratio == 1) == healthy


def _caught(result: Measured, well: Measured, name: str) -> str:
    figures = result.by_rule[name]
    mark = "!" if well.by_rule[name].rolled_back > UNSAFE else ""
    return f"{mark}{100 * figures.rolled_back:.0f} {_count(figures.requests)}"


def _time(result: Measured, _: Measured, name: str) -> str:
    seconds = result.by_rule[name].seconds
    if seconds is None:
        return "-"
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} m"


def _bad_answers(result: Measured, _: Measured, name: str) -> str:
    return _count(result.by_rule[name].bad)


def _count(number: float | None) -> str:
    if number is None:
        return "-"
    return f"{number:.0f}" if number < 10_000 else f"{number / 1000:.0f}k"


def _price(results: Sequence[Measured]) -> str:
    rows = [_price_row(result) for result in results if _is_shown(result, healthy=False)]
    head = [
        "caught % and requests:",
        "default",
        "none",
        "two gates",
        "default/none",
        "two gates/none",
    ]
    return table([*head, "bad: default", "none", "two gates"], rows)


def _price_row(result: Measured) -> list[str]:
    cell, by_rule = result.cell, result.by_rule
    default, none, two_gates = (
        by_rule[name] for name in ("ours", "ours, no tolerance", "ours, two gates")
    )
    variants = (default, none, two_gates)
    shares = (f"{100 * variant.rolled_back:.0f} {_count(variant.requests)}" for variant in variants)
    return [
        f"{cell.rps:>3} rps {100 * cell.base:g} % x{cell.ratio:g}",
        *shares,
        _ratio(default.requests, none.requests),
        _ratio(two_gates.requests, none.requests),
        *(_count(variant.bad) for variant in variants),
    ]


def _ratio(requests: float | None, of: float | None) -> str:
    if requests is None or of is None:
        return "-"
    return f"{requests / of:.1f}"


def _releases(report: Report) -> str:
    names = list(next(iter(report.releases.values())))
    rows = []
    for situation, ends in report.releases.items():
        name = f"{situation.rps:>3} rps {100 * situation.base:g} % x{situation.ratio:g}"
        rows.append([name, *map(_end, ends.values())])
    return table(["", *names], rows)


def _end(end: ReleaseSummary) -> str:
    shares = f"{100 * end.promoted:.1f} / {100 * end.rolled_back:.1f}"
    return f"{shares} / {end.minutes:.0f} / {_count(end.bad)}"


def _conditions(report: Report) -> str:
    names = list(next(iter(report.conditions.values())))
    rows = []
    for condition, shares in report.conditions.items():
        rows.append([condition, *(_percent(shares[name]) for name in names)])
    edge = [
        "latency 20 % higher, both default gates",
        _percent(report.edge),
        *("" for _ in names[1:]),
    ]
    return table(["", *names], [*rows, edge])


def _missed(report: Report) -> str:
    names = list(report.missed[0].instead)
    rows = []
    for missed in report.missed:
        shares = (
            missed.caught,
            missed.promoted,
            *(missed.instead[name] for name in names),
            missed.possible,
            missed.possible_strict,
        )
        rows.append([missed.cell, f"{missed.expected_errors:.0f}", *map(_percent, shares)])
    return table(["", "errors", "caught", "promoted", *names, "possible", "p., no tolerance"], rows)
