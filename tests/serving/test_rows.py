"""Whatever bytes arrive, they are rows or a refusal, never anything else."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelrelease_contract import Feature
from modelrelease_contract.artifact import FeatureKind
from modelrelease_serving.errors import BadRequestError
from modelrelease_serving.rows import NUMBER_MAX, Decoder, ParsedBody, parse_rows

FEATURES = (
    Feature(name="age"),
    Feature(name="income", nullable=True),
    Feature(name="city", kind=FeatureKind.CATEGORICAL, categories=("a", "b")),
)

numbers = st.floats(-NUMBER_MAX, NUMBER_MAX) | st.integers(-(2**53), 2**53)
rows = st.tuples(numbers, numbers | st.none(), st.text()).map(list)
anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner, max_size=3)
    ),
)


@given(st.lists(rows, min_size=1, max_size=5))
def test_valid_rows_come_through_unchanged(sent: list[list[object]]) -> None:
    assert parse_rows(json.dumps({"features": sent}).encode(), FEATURES)[:2] == (sent, False)


@given(rows)
def test_a_bare_row_is_a_single_one(sent: list[object]) -> None:
    assert parse_rows(json.dumps({"features": sent}).encode(), FEATURES)[:2] == ([sent], True)


@given(st.binary() | anything.map(lambda value: json.dumps({"features": value}).encode()))
def test_anything_else_is_refused_with_a_4xx(body: bytes) -> None:
    assert outcome(body) in {"rows", 400, 413, 422}


def outcome(body: bytes) -> str | int:
    try:
        parsed = parse_rows(body, FEATURES).rows
    except BadRequestError as error:
        return error.status if error.detail else "a refusal without a reason"
    return "rows" if all(len(row) == len(FEATURES) for row in parsed) else "rows of another length"


def decoded(body: bytes) -> ParsedBody | str:
    try:
        return Decoder(FEATURES).decode(body)
    except BadRequestError as error:
        return error.detail


def parsed(body: bytes) -> ParsedBody | str:
    try:
        return parse_rows(body, FEATURES)
    except BadRequestError as error:
        return error.detail


values = st.none() | st.booleans() | numbers | st.text(max_size=3) | st.integers() | st.floats()
near_misses = st.lists(st.lists(values, min_size=2, max_size=4) | values, max_size=4)


@given(near_misses | rows | st.lists(rows) | anything, st.none() | st.booleans() | st.integers())
def test_the_typed_pass_takes_and_refuses_what_the_checker_does(
    given_: object, wanted: object
) -> None:
    document = {"features": given_} | ({} if wanted is None else {"probabilities": wanted})
    body = json.dumps(document).encode()
    assert decoded(body) == parsed(body)


@pytest.mark.parametrize(
    "body",
    [
        b'{"features": [1e999, 2, "a"]}',
        b'{"features": [1, 2, "a"], "features": [3, 4, "b"]}',
        b'{"features": [1, 2, "\\ud800"]}',
        b'{"features": [1, 2, "a"]} trailing',
        b'{"features": [1, 2, "\xff"]}',
        b'{"features": [01, 2, "a"]}',
        b'{"features": [-0, -0.0, "a"]}',
        b'{"features": [123456789012345678901234567890, 2, "a"]}',
    ],
)
def test_both_read_odd_json_alike(body: bytes) -> None:
    assert decoded(body) == parsed(body)


def test_a_number_is_no_category() -> None:
    with pytest.raises(BadRequestError, match="row 0: feature city must be a text, got 5"):
        parse_rows(b'{"features": [1, 2, 5]}', FEATURES)
