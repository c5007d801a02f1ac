"""The interval of each gate as the operator's metrics show it."""

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


def shown(metric: str) -> list[float | None]:
    labels = {"release_namespace": KEY[0], "release": KEY[1], "gate": "errors"}
    return [REGISTRY.get_sample_value(metric, labels | {"end": end}) for end in ("lower", "upper")]


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
