"""Decay is called only when few labels and bad luck cannot explain it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest

from modelrelease_training.decay import MINIMUM, Joined, join, judge, wilson_upper


def seen(correct: int, total: int) -> Joined:
    return Joined(correct=correct, total=total, unanswered=0)


@given(st.integers(1, 2000).flatmap(lambda total: st.tuples(st.integers(0, total), st.just(total))))
def test_the_limit_is_that_of_scipy(counts: tuple[int, int]):
    interval = binomtest(*counts).proportion_ci(0.90, method="wilson")
    assert wilson_upper(*counts) == pytest.approx(interval.high, abs=1e-9)


def test_a_model_that_lost_ten_points_has_decayed():
    found = judge(seen(800, 1000), recorded=0.90)
    assert found.decayed
    assert "80.0 % of 1,000" in found.reason
    assert "90.0 % recorded" in found.reason


def test_a_loss_within_the_margin_is_no_decay():
    assert not judge(seen(885, 1000), recorded=0.90).decayed


def test_bad_luck_with_few_labels_is_no_decay():
    assert not judge(seen(83, 100), recorded=0.90).decayed


def test_too_few_labels_say_nothing():
    found = judge(seen(0, MINIMUM - 1), recorded=0.90)
    assert not found.decayed
    assert not found.enough
    assert f"{MINIMUM} are needed" in found.reason


def test_labels_find_their_predictions_by_id_and_row():
    answers = {("a", 0): "1", ("a", 1): "0", ("b", 0): "1"}
    labels = [(("a", 0), "1"), (("a", 1), "1"), (("c", 0), "1")]
    assert join(answers, labels) == Joined(correct=1, total=2, unanswered=1)


def test_a_corrected_label_counts_once():
    assert join({("a", 0): "1"}, [(("a", 0), "0"), (("a", 0), "1")]) == seen(1, 1)
