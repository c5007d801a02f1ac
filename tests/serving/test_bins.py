"""Bins count what the contract says, whatever the number of rows that are counted together."""

import logging
from bisect import bisect_right
from collections import Counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelrelease_contract import (
    ArtifactManifest,
    Baseline,
    Examples,
    Feature,
    Histogram,
    ModelFile,
)
from modelrelease_contract.artifact import FeatureKind
from modelrelease_serving.bins import BinCounts, counted_features

EDGES = {"age": (1.0, 5.0, 9.0), "income": (0.0,)}
CITIES = ("a", "b", "other")


def manifest_of(prediction: Histogram | None = None) -> ArtifactManifest:
    features = {
        name: Histogram(edges=edges, counts=(1,) * (len(edges) + 1))
        for name, edges in EDGES.items()
    }
    features["city"] = Histogram(labels=CITIES, counts=(1, 1, 1))
    return ArtifactManifest(
        name="m",
        version="1",
        features=(
            Feature(name="age", minimum=0, maximum=10, nullable=True),
            Feature(
                name="city", kind=FeatureKind.CATEGORICAL, categories=("a", "b", "c"), nullable=True
            ),
            Feature(name="income", nullable=True),
        ),
        baseline=Baseline(rows=4, features=features, prediction=prediction),
        examples=Examples(rows=((1.0, "a", 2.0),), predictions=(1.0,)),
        files=(ModelFile(path="model.joblib", sha256="0" * 64, size=1),),
    )


numbers = st.none() | st.floats(-20, 20) | st.sampled_from([1.0, 5.0, 9.0, 0.0, -1e300, 1e300])
rows = st.lists(
    st.tuples(numbers, st.none() | st.sampled_from(["a", "b", "c", "z"]), numbers).map(list),
    max_size=600,
)


@given(rows)
def test_counts_are_those_of_bisect_for_each_value(sent: list[list[Any]]) -> None:
    bins = BinCounts(manifest_of(), max_series=100)
    for start in range(0, len(sent), 7):
        part = sent[start : start + 7]
        bins.add(part, [0.0] * len(part))
    expected: Counter[tuple[str, str]] = Counter()
    for age, city, income in sent:
        for name, value in (("age", age), ("income", income)):
            expected[
                name, "missing" if value is None else str(bisect_right(EDGES[name], value))
            ] += 1
        expected["city", "missing" if city is None else {"a": "0", "b": "1"}.get(city, "2")] += 1
    counted = {(name, label): count for name, label, count in bins.features()}
    assert counted == {key: expected[key] for key in counted}
    assert sum(counted.values()) == 3 * len(sent)


def test_what_training_never_saw_is_counted_beside_its_bin() -> None:
    bins = BinCounts(manifest_of(), max_series=100)
    bins.add([[-1.0, "z", 1e9], [11.0, "c", 0.0], [10.0, "a", None], [None, None, None]], [0.0] * 4)
    assert set(bins.outside()) == {
        ("age", "below", 1),
        ("age", "above", 1),
        ("income", "below", 0),
        ("income", "above", 0),
        ("city", "unseen", 1),
    }


def test_answers_that_are_classes_have_bins_with_names() -> None:
    bins = BinCounts(
        manifest_of(Histogram(labels=("no", "yes", "other"), counts=(1, 1, 0))), max_series=100
    )
    bins.add([[1.0, "a", 1.0]] * 3, ["yes", "no", "perhaps"])
    assert [(label, count) for _, label, count in bins.answers()] == [
        ("0", 1), ("1", 1), ("2", 1), ("missing", 0)
    ]  # fmt: skip


def test_answers_that_do_not_fit_their_bins_are_said_and_do_no_harm(
    caplog: pytest.LogCaptureFixture,
) -> None:
    bins = BinCounts(manifest_of(Histogram(edges=(0.5,), counts=(1, 1))), max_series=100)
    bins.add([[1.0, "a", 1.0]], ["yes"])
    assert [count for _, _, count in bins.answers()] == [0, 0, 0]
    assert "answers are not counted" in caplog.text


def test_series_are_capped_by_whole_features(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        kept = counted_features(manifest_of(), max_series=13)
    assert [feature.name for feature in kept] == ["age", "city"]
    assert "raise DRIFT_MAX_SERIES" in caplog.text
    bins = BinCounts(manifest_of(), max_series=13)
    bins.add([[1.0, "a", 2.0]], [0.0])
    assert {name for name, _, _ in bins.features()} == {"age", "city"}
