"""Every part counts a value in the same bin:
the contract says which, training and predictor count fast.
"""

import json
from collections import Counter
from datetime import timedelta
from typing import Any

import numpy as np
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
from modelrelease_operator.api.drift import Drift
from modelrelease_operator.core.drift.windows import BinSample, Memory, look
from modelrelease_serving.bins import BinCounts
from modelrelease_training.bins import count_texts, edges, histogram, text_histogram
from testbed.builders import START
from tests.support.examples import examples

SPECIAL = [
    0.0,
    -0.0,
    1.0,
    1e-12,
    5e-324,
    1e300,
    -1e300,
    0.1,
    0.1 + 2**-55,
    20241128.0,
    20241129.0,
    2.0**53,
]
numbers = (
    st.sampled_from(SPECIAL) | st.floats(allow_nan=False, allow_infinity=False) | st.integers(-3, 3)
)
texts = st.sampled_from(["a", "b", "other", "rare 1", "é", "e\u0301", "", " a"]) | st.text(
    max_size=4
)


def a_manifest(number: Histogram, text: Histogram) -> ArtifactManifest:
    return ArtifactManifest(
        name="m",
        version="1",
        features=(
            Feature(name="number", nullable=True),
            Feature(name="text", kind=FeatureKind.CATEGORICAL, nullable=True),
        ),
        baseline=Baseline(rows=1, features={"number": number, "text": text}),
        examples=Examples(rows=((1.0, "a"),), predictions=(1.0,)),
        files=(ModelFile(path="model.joblib", sha256="0" * 64, size=1),),
    )


def by_contract(bins: Histogram, values: list[Any]) -> list[int]:
    found = Counter(bins.bin_of(value) for value in values)
    return [*(found[at] for at in range(len(bins.counts))), found[None]]


def by_operator(predictor: BinCounts, rows: list[list[Any]]) -> dict[str, list[int]]:
    """Return what a window holds after the predictor has counted the rows."""

    def samples() -> list[BinSample]:
        return [
            BinSample(revision="r", pod="a", feature=name, bin=label, value=count)
            for name, label, count in predictor.features()
        ]

    asked = Drift(window="10m")
    memory = look(Memory(opened=START), samples(), settings=asked, now=START)
    predictor.add(rows, [0.0] * len(rows))
    memory = look(memory, samples(), settings=asked, now=START + timedelta(minutes=1))
    labels = {
        name: [label for each, label, _ in predictor.features() if each == name]
        for name in ("number", "text")
    }
    return {name: [memory.sums[name, each] for each in order] for name, order in labels.items()}


@examples(200)
@given(
    st.lists(numbers, min_size=1, max_size=60),
    st.lists(texts, min_size=1, max_size=60),
    st.lists(st.tuples(st.none() | numbers, st.none() | texts).map(list), min_size=1, max_size=60),
)
def test_contract_command_predictor_and_operator_count_a_value_in_the_same_bin(
    known: list[float], words: list[str], sent: list[list[Any]]
) -> None:
    """The baseline goes through JSON, as it does in a manifest."""
    column = np.array(known, dtype=np.float64)
    number = Histogram.model_validate_json(histogram(column, edges(column)).model_dump_json())
    text = Histogram.model_validate_json(text_histogram(words * 9).model_dump_json())
    numbers_sent, texts_sent = [row[0] for row in sent], [row[1] for row in sent]
    command = histogram(np.array(numbers_sent, dtype=np.float64), number.edges)
    expected = {"number": by_contract(number, numbers_sent), "text": by_contract(text, texts_sent)}
    assert [*command.counts, command.missing] == expected["number"]
    counted = count_texts(texts_sent, text)
    assert [*counted.counts, counted.missing] == expected["text"]
    manifest = ArtifactManifest.model_validate(
        json.loads(a_manifest(number, text).model_dump_json())
    )
    predictor = BinCounts(manifest, max_series=1000)
    assert by_operator(predictor, sent) == expected


@given(st.lists(numbers, min_size=1, max_size=80), st.integers(1, 30))
def test_bins_of_numbers_are_bounded_in_number_whatever_the_values(
    known: list[float], times: int
) -> None:
    found = edges(np.array(known * times, dtype=np.float64))
    assert len(found) <= 33
    assert found == sorted(set(found))
    assert np.isfinite(found).all()


@given(st.lists(texts, min_size=1, max_size=200), st.integers(1, 30))
def test_bins_of_texts_are_bounded_in_number_whatever_the_values(
    known: list[str], times: int
) -> None:
    assert len(text_histogram(known * times).counts) <= 20 + 10 + 8


@pytest.mark.parametrize("value", [0.0, 1.0, -1.0, 3.7, 1e-300, 5e-324, 1e300, 20241128.0, 2.0**53])
def test_a_constant_has_a_bin_below_it_its_own_and_one_above(value: float) -> None:
    bins = histogram(np.full(500, value), edges(np.full(500, value)))
    assert bins.counts == (0, 500, 0)
    step = max(1e-6, abs(value) / 100)
    assert [bins.bin_of(each) for each in (value - step, value, value + step)] == [0, 1, 2]


def test_the_next_whole_number_is_another_value_however_large() -> None:
    bins = histogram(np.full(500, 20241128.0), edges(np.full(500, 20241128.0)))
    assert [bins.bin_of(each) for each in (20241127, 20241128, 20241129)] == [0, 1, 2]


def test_what_a_32_bit_client_rounds_is_the_same_value() -> None:
    for value in (0.1, 3.7, -1234.56789, 1e-8):
        bins = histogram(np.full(500, value), edges(np.full(500, value)))
        assert bins.bin_of(float(np.float32(value))) == bins.bin_of(value)
        assert bins.bin_of(value + 1e-12 * abs(value)) == bins.bin_of(value)
        assert bins.bin_of(value * 1.001) != bins.bin_of(value)
