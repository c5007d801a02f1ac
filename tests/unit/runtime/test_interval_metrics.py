"""What each gate found, and what it is held against, as the operator's metrics show it."""

import math
from collections.abc import Iterator

import pytest
from prometheus_client import REGISTRY

from modelrelease_operator.api.status import (
    CanaryStatus,
    GateInterval,
    GateStatus,
    Status,
    Verdict,
)
from modelrelease_operator.core.lines import Lines
from modelrelease_operator.runtime import metrics
from testbed.builders import START, a_target

KEY = ("ml", "with-an-interval")
CANARY = CanaryStatus(**a_target("2").parts(), since=START)
INTERVAL = GateInterval(lower=-0.2, upper=0.5, ratio_lower=0.4, ratio_upper=2.5, confidence=99)


@pytest.fixture(autouse=True)
def forgotten() -> Iterator[None]:
    yield
    metrics.forget(KEY)


def show(interval: GateInterval | None, *, canary: CanaryStatus | None = CANARY) -> None:
    gate = GateStatus(name="errors", verdict=Verdict.PASS, message="", interval=interval)
    metrics.show(KEY, Status(canary=canary, gates=(gate,)))


GATE_LABELS = {"release_namespace": KEY[0], "release": KEY[1], "gate": "errors"}


def by(metric: str, label: str, *values: str) -> list[float | None]:
    return [REGISTRY.get_sample_value(metric, GATE_LABELS | {label: value}) for value in values]


def shown(metric: str) -> list[float | None]:
    return by(metric, "end", "lower", "upper")


def shares() -> list[float | None]:
    return by("modelrelease_gate_bad_percent", "track", "stable", "canary")


def bounds() -> list[float | None]:
    return by("modelrelease_gate_bound_points", "bound", "tolerated", "margin")


def limit() -> float | None:
    return REGISTRY.get_sample_value("modelrelease_gate_limit_percent", GATE_LABELS)


def test_both_ends_of_difference_and_ratio_are_shown():
    show(INTERVAL)
    assert shown("modelrelease_gate_difference_points") == [-0.2, 0.5]
    assert shown("modelrelease_gate_ratio") == [0.4, 2.5]


def test_a_ratio_without_an_upper_end_is_infinite():
    show(INTERVAL.but(ratio_upper=None))
    assert shown("modelrelease_gate_ratio") == [0.4, math.inf]


@pytest.mark.parametrize("over", ["interval", "canary"])
def test_what_is_over_is_shown_no_more(over: str):
    show(INTERVAL)
    show(None if over == "interval" else INTERVAL, canary=None if over == "canary" else CANARY)
    assert shown("modelrelease_gate_difference_points") == [None, None]
    assert shown("modelrelease_gate_ratio") == [None, None]


def test_the_share_of_an_arm_that_counted_nothing_is_not_shown():
    gate = GateStatus(name="errors", verdict=Verdict.PASS, message="", canary_percent=0.5)
    metrics.show(KEY, Status(canary=CANARY, gates=(gate,)))
    assert shares() == [None, 0.5]


def test_tolerance_margin_and_limit_are_shown_where_a_gate_has_them():
    metrics.show_lines(KEY, {"errors": Lines(tolerated=1.0, margin=0.5)})
    assert (bounds(), limit()) == ([1.0, 0.5], None)
    metrics.show_lines(KEY, {"errors": Lines(limit=2.0)})
    assert (bounds(), limit()) == ([None, None], 2.0)


def test_nothing_is_held_against_anything_once_the_canary_is_gone():
    metrics.show_lines(KEY, {"errors": Lines(tolerated=1.0, margin=0.5, limit=2.0)})
    metrics.show(KEY, Status())
    assert (bounds(), limit()) == ([None, None], None)
