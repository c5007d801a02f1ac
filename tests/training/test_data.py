"""The world is one, seeds draw from it, and what is held out stays out."""

import math
from bisect import bisect_right

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelrelease_training.bins import histogram
from modelrelease_training.data import Data, feature_names, make_data, split, split_by_content
from modelrelease_training.evaluate import evaluate
from modelrelease_training.train import fit


def test_the_same_seed_draws_the_same_rows() -> None:
    one, two = make_data(seed=3, rows=300), make_data(seed=3, rows=300)
    assert np.array_equal(one.rows, two.rows)
    assert np.array_equal(one.labels, two.labels)


def test_another_seed_draws_other_rows_of_the_same_world() -> None:
    one, two = split(make_data(seed=3, rows=4000)), split(make_data(seed=4, rows=4000))
    assert not np.array_equal(one.training.rows, two.training.rows)
    there = evaluate(fit(one.training), two.held_out)
    assert there["roc_auc"] > 0.9
    assert there["accuracy"] > 0.8


def test_rows_have_one_column_for_each_name() -> None:
    data = make_data(seed=0, rows=200)
    assert data.rows.shape == (200, len(feature_names()))
    assert set(data.labels.tolist()) == {0, 1}


def test_a_split_keeps_every_row_once_and_a_fifth_apart() -> None:
    data = make_data(seed=0, rows=1000)
    parts = split(data)
    assert len(parts.held_out.labels) == 200
    assert np.array_equal(np.concatenate([parts.training.rows, parts.held_out.rows]), data.rows)


def test_too_few_rows_are_refused() -> None:
    with pytest.raises(ValueError, match=r"at least 200, .* got 199"):
        make_data(seed=0, rows=199)


def part(rows: int, *, labels: int = 2, empty: bool = False) -> Data:
    draw = np.random.default_rng(1)
    values = draw.normal(size=(rows, 2))
    if empty:
        values[:, 1] = np.nan
    return Data(rows=values, labels=np.arange(rows) % labels, names=("a", "b"))


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        (part(60), r"of 60 rows, \d+ are held out, and at least 20 are needed: bring more rows"),
        (part(300, labels=1), "to train on all have the label 0, and both labels are needed"),
        (
            part(300, empty=True),
            "column b has no value in any of the .* rows to train on: leave it out",
        ),
    ],
    ids=["few rows", "one label", "a column without a value"],
)
def test_rows_that_cannot_be_learned_from_say_what_is_lacking(data: Data, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        split_by_content(data)


@given(
    st.lists(st.floats(-5, 5) | st.just(float("nan")), max_size=30),
    st.lists(st.floats(-5, 5), max_size=9),
)
def test_a_histogram_counts_as_the_contract_says(values: list[float], edges: list[float]) -> None:
    counted = histogram(np.array(values, dtype=np.float64), edges)
    present = [value for value in values if not math.isnan(value)]
    expected = [0] * (len(counted.edges) + 1)
    for value in present:
        expected[bisect_right(counted.edges, value)] += 1
    assert list(counted.counts) == expected
    assert counted.missing == len(values) - len(present)
