"""The figures as tables for people, or as JSON."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from typing import Any

from benchmarks.decisions.cells import BASES, RATIOS, RPS, Measured
from benchmarks.decisions.rules import RULES
from benchmarks.decisions.run import Report

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
        "cells": [
            {
                **asdict(result.cell),
                **{name: asdict(found) for name, found in result.by_rule.items()},
            }
            for result in report.cells
        ],
        "releases": [
            {**asdict(situation), **{name: asdict(end) for name, end in ends.items()}}
            for situation, ends in report.releases.items()
        ],
        "conditions": report.conditions,
        "latency_at_the_edge": report.edge,
        "by_decide": report.by_decide,
        "silence": report.silent,
        "missed": [asdict(cell) for cell in report.missed],
        "targets": [asdict(target) for target in report.targets],
    }


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
            _sick(report.cells, _bad),
        ),
        _titled("The price of the tolerance, ours; weight 10 %", _price(report.cells)),
        _titled(
            "Whole releases: promoted % / rolled back % / median minutes / bad answers",
            _releases(report),
        ),
        _titled("False rollbacks under harder conditions, % of runs", _conditions(report)),
        _titled(
            "x5 that is not caught within the hour: expected canary errors; % of runs caught and "
            "promoted;\ncaught with one thing changed; the most that any test with this alpha can "
            "find",
            _missed(report),
        )
        if report.missed
        else "",
        _titled("Targets", "\n".join(_target(target) for target in report.targets)),
    ]
    return "\n\n".join(part for part in parts if part)


def _target(target: Any) -> str:
    return f"{'met   ' if target.met else 'MISSED'}  {target.text}\n        {target.measured}"


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
    every = [list(head), *(list(row) for row in rows)]
    widths = [max(len(row[column]) for row in every) for column in range(len(head))]
    return "\n".join(
        "  ".join(
            text.ljust(width) if column == 0 else text.rjust(width)
            for column, (text, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in every
    )


def _short() -> list[str]:
    return [
        name.replace("ours, ", "o. ").replace("Flagger", "Flag.").replace("Kayenta", "Kay.")
        for name in NAMES
    ]


def _percent(share: float) -> str:
    return f"{100 * share:.1f}"


def _healthy(results: Sequence[Measured]) -> str:
    rows = [
        [_place(result)] + [_percent(result.by_rule[name].rolled_back) for name in NAMES]
        for result in results
        if result.cell.ratio == 1
    ]
    return table(["", *_short()], rows)


def _place(result: Measured) -> str:
    return result.cell.name.rsplit(" ", 1)[0]


def _promotions(results: Sequence[Measured]) -> str:
    rows = []
    for rps in RPS:
        for base in BASES:
            for ratio in RATIOS:
                same = [
                    result
                    for result in results
                    if (result.cell.rps, result.cell.base, result.cell.ratio) == (rps, base, ratio)
                ]
                if same and same[0].beyond:
                    worst = [
                        max(result.by_rule[name].promoted for result in same) for name in NAMES
                    ]
                    rows.append(
                        [f"{rps:>3} rps {100 * base:g} % x{ratio:g}", *map(_percent, worst)]
                    )
    return table(["", *_short()], rows)


def _sick(results: Sequence[Measured], entry: Any) -> str:
    healthy = {
        (result.cell.rps, result.cell.base): result
        for result in results
        if _shown(result, healthy=True)
    }
    rows = []
    for result in results:
        if _shown(result, healthy=False):
            well = healthy[result.cell.rps, result.cell.base]
            place = f"{result.cell.rps:>3} rps {100 * result.cell.base:g} % x{result.cell.ratio:g}"
            rows.append([place] + [entry(result, well, name) for name in NAMES])
    return table(["", *_short()], rows)


def _shown(result: Measured, *, healthy: bool) -> bool:
    return math.isclose(result.cell.weight, SHOWN_WEIGHT) and (result.cell.ratio == 1) == healthy


def _caught(result: Measured, well: Measured, name: str) -> str:
    found = result.by_rule[name]
    mark = "!" if well.by_rule[name].rolled_back > UNSAFE else ""
    return f"{mark}{100 * found.rolled_back:.0f} {_count(found.requests)}"


def _time(result: Measured, _: Measured, name: str) -> str:
    seconds = result.by_rule[name].seconds
    if seconds is None:
        return "-"
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} m"


def _bad(result: Measured, _: Measured, name: str) -> str:
    return _count(result.by_rule[name].bad)


def _count(number: float | None) -> str:
    if number is None:
        return "-"
    return f"{number:.0f}" if number < 10_000 else f"{number / 1000:.0f}k"


def _price(results: Sequence[Measured]) -> str:
    rows = []
    for result in results:
        if _shown(result, healthy=False):
            found = [
                result.by_rule[name] for name in ("ours", "ours, no tolerance", "ours, two gates")
            ]
            place = f"{result.cell.rps:>3} rps {100 * result.cell.base:g} % x{result.cell.ratio:g}"
            shares = [
                f"{100 * figures.rolled_back:.0f} {_count(figures.requests)}" for figures in found
            ]
            by_ratio = [
                f"{other.requests / found[1].requests:.1f}"
                if other.requests is not None and found[1].requests is not None
                else "-"
                for other in (found[0], found[2])
            ]
            rows.append([place, *shares, *by_ratio, *(_count(figures.bad) for figures in found)])
    head = [
        "caught % and requests:",
        "default",
        "none",
        "two gates",
        "default/none",
        "two gates/none",
    ]
    return table([*head, "bad: default", "none", "two gates"], rows)


def _releases(report: Report) -> str:
    names = list(next(iter(report.releases.values())))
    rows = [
        [f"{situation.rps:>3} rps {100 * situation.base:g} % x{situation.ratio:g}"]
        + [
            (
                f"{100 * end.promoted:.1f} / {100 * end.rolled_back:.1f} / {end.minutes:.0f} / "
                f"{_count(end.bad)}"
            )
            for end in ends.values()
        ]
        for situation, ends in report.releases.items()
    ]
    return table(["", *names], rows)


def _conditions(report: Report) -> str:
    names = list(next(iter(report.conditions.values())))
    rows = [
        [place, *(_percent(shares[name]) for name in names)]
        for place, shares in report.conditions.items()
    ]
    edge = [
        "latency 20 % higher, both default gates",
        _percent(report.edge),
        *("" for _ in names[1:]),
    ]
    return table(["", *names], [*rows, edge])


def _missed(report: Report) -> str:
    names = list(report.missed[0].instead)
    rows = [
        [
            cell.cell,
            f"{cell.expected_errors:.0f}",
            _percent(cell.caught),
            _percent(cell.promoted),
            *(_percent(cell.instead[name]) for name in names),
            _percent(cell.possible),
            _percent(cell.possible_strict),
        ]
        for cell in report.missed
    ]
    return table(["", "errors", "caught", "promoted", *names, "possible", "p., no tolerance"], rows)
