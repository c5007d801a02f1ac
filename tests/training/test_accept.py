"""A challenger is accepted only where the rows say that it is not worse than the margin allows."""

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, log_loss, roc_auc_score

from modelrelease_training.accept import Metric, Rule, accept
from modelrelease_training.data import Floats, Labels

METRICS: list[Metric] = ["roc_auc", "accuracy", "log_loss"]
VALUE: dict[str, Any] = {"roc_auc": roc_auc_score, "log_loss": log_loss}
VALUE["accuracy"] = lambda labels, answers: accuracy_score(labels, answers > 0.5)


def world(seed: int, rows: int = 1000, noise: float = 0.3) -> tuple[Labels, Floats, Floats]:
    """Return labels, and the answers of two equally good models whose mistakes have much in
    common.
    """
    draw = np.random.default_rng(seed)
    logits = draw.normal(scale=2, size=rows)
    labels = (draw.random(rows) < 1 / (1 + np.exp(-logits))).astype(np.int64)
    one, two = (1 / (1 + np.exp(-logits - draw.normal(scale=noise, size=rows))) for _ in range(2))
    return labels, one, two


def bootstrap(labels: Labels, one: Floats, two: Floats, metric: str) -> float:
    """Return the standard error of the gain by the paired bootstrap (Efron 1979):
    another way to the same.
    """
    draw, gains = np.random.default_rng(0), []
    for _ in range(600):
        which = draw.integers(0, len(labels), len(labels))
        gains.append(
            VALUE[metric](labels[which], two[which]) - VALUE[metric](labels[which], one[which])
        )
    return float(np.std(gains))


@pytest.mark.parametrize("metric", METRICS)
def test_the_values_are_those_of_scikit_learn(metric: Metric) -> None:
    labels, one, two = world(1)
    found = accept(labels, one, two, Rule(metric=metric))
    assert found.champion == pytest.approx(VALUE[metric](labels, one))
    assert found.challenger == pytest.approx(VALUE[metric](labels, two))
    sign = -1 if metric == "log_loss" else 1
    assert found.gain == pytest.approx(sign * (found.challenger - found.champion))


@pytest.mark.parametrize("metric", METRICS)
def test_the_interval_agrees_with_the_paired_bootstrap(metric: Metric) -> None:
    labels, one, two = world(2)
    low, high = accept(labels, one, two, Rule(metric=metric)).interval
    # The correction for skewness moves both ends alike, so the width is that of the normal
    # interval.
    assert (high - low) / 2 / 1.96 == pytest.approx(bootstrap(labels, one, two, metric), rel=0.15)


def test_ties_count_half() -> None:
    labels, one, _ = world(3)
    rounded = np.round(one, 1)
    found = accept(labels, rounded, np.full(len(labels), 0.5), Rule())
    assert found.champion == pytest.approx(roc_auc_score(labels, rounded))
    assert found.challenger == 0.5


@pytest.mark.parametrize("metric", METRICS)
def test_a_model_that_is_worse_by_the_margin_is_accepted_as_seldom_as_promised(
    metric: Metric,
) -> None:
    """At the edge of the rule: the true gain is -margin,
    so at most 2.5 % of all comparisons may accept.
    """
    labels, one, _ = world(0, rows=200_000)
    draw = np.random.default_rng(5)
    worse = 1 / (1 + np.exp(-np.log(one / (1 - one)) - draw.normal(scale=1.5, size=len(one))))
    edge = -accept(labels, one, worse, Rule(metric=metric, margin=1)).gain
    assert edge > 0
    rule, accepted, times = Rule(metric=metric, margin=edge), 0, 1000
    for _ in range(times):
        which = draw.integers(0, len(labels), 600)
        accepted += accept(labels[which], one[which], worse[which], rule).accepted
    # 2.5 % and three standard errors of a thousand comparisons, and of the normal approximation.
    assert accepted / times < 0.025 + 3 * math.sqrt(0.025 / times)


def test_a_model_as_good_is_accepted_when_there_are_rows_enough() -> None:
    accepted = [accept(*world(seed, rows=4000), Rule()).accepted for seed in range(100)]
    assert sum(accepted) >= 95


def test_few_rows_refuse_a_model_as_good_and_say_how_many_would_tell() -> None:
    found = accept(*world(4, rows=200, noise=1.0), Rule(margin=0.005))
    assert not found.accepted
    assert "reaches below -0.005; about" in found.reason
    assert "rows like these 200 would tell" in found.reason


def test_a_model_that_learned_the_opposite_is_refused_as_worse() -> None:
    labels, one, _ = world(5)
    found = accept(labels, one, 1 - one, Rule())
    assert not found.accepted
    assert found.reason.startswith("it is worse: 95% interval of its gain in roc_auc [-0.")
    assert found.interval[1] < -0.01


def test_a_better_model_is_accepted_with_an_interval_above_nothing() -> None:
    labels, one, _ = world(6, noise=0)
    blurred = 1 / (
        1 + np.exp(-np.log(one / (1 - one)) - np.random.default_rng(1).normal(scale=2, size=1000))
    )
    found = accept(labels, blurred, one, Rule(margin=0))
    assert found.accepted
    assert found.interval[0] > 0


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("margin", [0.0, 0.01])
def test_the_same_model_again_is_accepted(metric: Metric, margin: float) -> None:
    labels, one, _ = world(7)
    found = accept(labels, one, one, Rule(metric=metric, margin=margin))
    assert found.accepted
    assert found.interval == (0.0, 0.0)


def test_a_floor_refuses_what_is_no_worse_than_a_bad_champion() -> None:
    labels, one, _ = world(8)
    bad = np.random.default_rng(2).random(len(one))
    rule = Rule(floor=0.7)
    found = accept(labels, bad, bad, rule)
    assert not found.accepted
    assert "is below the floor 0.7" in found.reason
    assert accept(labels, bad, one, rule).accepted


def test_a_floor_of_log_loss_is_a_maximum() -> None:
    labels, one, two = world(9)
    rule = Rule(metric="log_loss", margin=0.1, floor=0.6)
    assert accept(labels, one, two, rule).accepted
    assert "is above the floor 0.1" in accept(labels, one, two, replace(rule, floor=0.1)).reason


def test_a_wrong_certainty_costs_much_and_not_everything() -> None:
    labels, one, _ = world(10)
    sure = np.where(labels == 1, 0.0, 1.0)
    found = accept(labels, one, sure, Rule(metric="log_loss"))
    assert not found.accepted
    assert math.isfinite(found.challenger)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        pytest.param(
            lambda y, a, b: (y[:9], a, b), "9 labels need as many answers", id="other rows"
        ),
        pytest.param(
            lambda y, a, b: (y, a, np.full_like(b, np.nan)), "the challenger answered", id="NaN"
        ),
        pytest.param(
            lambda y, a, b: (y * 0, a, b), "1000 rows of label 0 and 0 of label 1", id="one label"
        ),
        pytest.param(
            lambda y, a, b: (y[:20], a[:20], b[:20]), "at least 30 rows of each", id="few rows"
        ),
    ],
)
def test_what_cannot_be_compared_is_an_error_and_no_decision(change: Any, words: str) -> None:
    labels, one, two = change(*world(11))
    with pytest.raises(ValueError, match=words):
        accept(labels, one, two, Rule())


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"margin": -0.1}, "margin must be 0 or more, got -0.1"),
        ({"margin": math.nan}, "margin must be 0 or more, got nan"),
        ({"confidence": 1.0}, "below 1, got 1.0"),
        ({"confidence": 0.1}, "at least 0.5"),
    ],
)
def test_a_rule_that_makes_no_sense_is_refused(values: dict[str, float], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Rule(**values)  # type: ignore[arg-type]
