"""What a person knows of gates beyond errors and latency, and what is assumed instead."""

import argparse
from collections.abc import Iterable, Mapping, Sequence
from itertools import chain

from modelrelease_operator.api.spec import Gate
from modelrelease_operator.cli.common import Manifest, number, percent, share
from modelrelease_operator.core.analysis.assumptions import (
    BINS,
    Assumption,
    Assumptions,
    BadShares,
    Shift,
)
from modelrelease_operator.core.analysis.gates.registry import kind_of
from modelrelease_operator.errors import Invalid


def add_gates(parser: argparse.ArgumentParser) -> None:
    """Add the argument."""
    parser.add_argument(
        "--gate", type=_named, action="append", default=[], metavar="NAME=VALUE",
        help="what a gate sees: STABLE:CANARY for counts (two shares that are bad), a share of "
             "answers "
        "that move for predictions, VALUE,VALUE,... look by look for a threshold; may be repeated",
    )  # fmt: skip


def _named(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not (name and equals and value):
        msg = f"must be NAME=VALUE with the name of a gate, got {text!r}"
        raise argparse.ArgumentTypeError(msg)
    return name, value


def given_to(
    releases: Iterable[Manifest], texts: Sequence[tuple[str, str]]
) -> list[dict[str, Assumption]]:
    """Return what each release's gates are given; raise Invalid for a gate that none has."""
    gates = [_gates_by_name(release) for release in releases]
    for name, value in texts:
        owners = [by_name[name] for by_name in gates if name in by_name]
        if not any(kind_of(gate).form for gate in owners):
            raise Invalid(_no_such_gate(name, value, gates, known=bool(owners)))
    return [_assumptions_of(by_name, texts) for by_name in gates]


def _gates_by_name(release: Manifest) -> dict[str, Gate]:
    return {gate.name: gate for gate in release.spec.analysis.gates}


def _assumptions_of(
    gates: Mapping[str, Gate], texts: Iterable[tuple[str, str]]
) -> dict[str, Assumption]:
    """Return what one release's gates are given, by name of the gate."""
    return {
        name: _read(gates[name], value)
        for name, value in texts
        if name in gates and kind_of(gates[name]).form
    }


def _no_such_gate(
    name: str, value: str, gates: Iterable[Mapping[str, Gate]], *, known: bool
) -> str:
    every_gate = chain.from_iterable(by_name.values() for by_name in gates)
    open_ones = sorted({gate.name for gate in every_gate if kind_of(gate).form})
    names = ", ".join(open_ones) or "none: there is no gate with counts, predictions or threshold"
    why = (
        "what this gate sees follows from errors and latency, which have options of their own"
        if known
        else "no such gate"
    )
    return f"--gate {name}={value}: {why}; it may name {names}"


def _read(gate: Gate, text: str) -> Assumption:
    kind = kind_of(gate)
    try:
        return kind.read_assumption(text, share, number)
    except argparse.ArgumentTypeError as problem:
        known = f"gate {gate.name} has {gate.settings.kind} and takes {kind.form}"
        msg = f"--gate {gate.name}={text}: {known}; {problem}"
        raise Invalid(msg) from problem


def sentences(assumptions: Assumptions, given: Assumptions) -> list[str]:
    """Say what each gate is given to look at, and which of that nobody said."""
    return [
        f"gate {name}: {_shown(assumption)}" + ("" if name in given else " (assumed)")
        for name, assumption in assumptions.items()
    ]


def _shown(assumption: Assumption) -> str:
    if isinstance(assumption, BadShares):
        return (
            f"bad for {percent(assumption.stable)} of stable's requests, "
            f"{percent(assumption.canary)} of the "
            "canary's"
        )
    if isinstance(assumption, Shift):
        if assumption.share:
            return (
                f"{percent(assumption.share)} of the canary's answers move to one of {BINS} equal "
                "bins"
            )
        return f"both versions answer alike, in {BINS} equal bins"
    *first, last = (f"{value:g}" for value in assumption.values)
    return f"{', '.join(first)}, then {last} at every look" if first else f"{last} at every look"
