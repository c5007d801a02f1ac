"""The data schema finds every row that breaks it, and says which rule and which value."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from modelrelease_training.data import feature_names
from modelrelease_training.errors import DataError, InvalidDataError
from modelrelease_training.ingest import generate, write_table
from modelrelease_training.schema import DataSchema, check, load_data, load_schema, validate

SCHEMA = load_schema()

SMALL = """\
version: 3
rows: {minimum: 1, maximum: 3}
label: y
columns:
  x: {type: number, minimum: 0}
  z: {type: number, nullable: true}
  y: {type: integer, categories: [0, 1]}
"""


def good(rows: int = 300) -> pd.DataFrame:
    return generate(rows=rows, seed=3, shifts={})


def sentences(frame: pd.DataFrame, schema: DataSchema = SCHEMA) -> list[str]:
    return [violation.sentence() for violation in check(frame, schema)[1]]


def put(frame: pd.DataFrame, row: int, column: str, value: Any) -> pd.DataFrame:
    """Return the table with one cell changed; `row` counts from 1, as a report does."""
    changed = frame.astype({column: object})
    changed.loc[row - 1, column] = value
    return changed


def schema_file(folder: Path, text: str) -> Path:
    path = folder / "schema.yaml"
    path.write_text(text)
    return path


def test_the_bundled_schema_describes_what_ingest_generates() -> None:
    assert sentences(good()) == []
    assert SCHEMA.features == feature_names()


def test_drift_of_three_deviations_is_no_violation() -> None:
    assert (
        sentences(generate(rows=2000, seed=3, shifts={"feature_03": 3.0, "feature_08": -3.0})) == []
    )


@pytest.mark.parametrize(
    ("column", "value", "sentence"),
    [
        pytest.param("feature_00", "abc", "must be a number, got 'abc'", id="a text for a number"),
        pytest.param("feature_00", None, "must not be missing", id="a null"),
        pytest.param("feature_00", 22.5, "must be at most 22, got 22.5", id="above the range"),
        pytest.param("feature_00", -1e9, "must be at least -12, got -1e+09", id="below the range"),
        pytest.param(
            "channel", "tv", "must be one of web, mobile, partner, got 'tv'", id="a category"
        ),
        pytest.param("channel", None, "must not be missing", id="no category"),
        pytest.param("label", 2, "must be one of 0, 1, got 2", id="an unknown label"),
    ],
)
def test_a_bad_cell_is_found_with_its_row_column_rule_and_value(
    column: str, value: Any, sentence: str
) -> None:
    assert sentences(put(good(), 17, column, value)) == [f"row 17, column {column}: {sentence}"]


def test_a_bad_cell_hides_no_other_of_its_column() -> None:
    frame = put(put(good(), 5, "feature_00", "abc"), 9, "feature_00", 1e6)
    assert sentences(frame) == [
        "row 5, column feature_00: must be a number, got 'abc'",
        "row 9, column feature_00: must be at most 22, got 1e+06",
    ]


def test_infinity_breaks_two_rules() -> None:
    found = sentences(put(good(), 2, "feature_00", np.inf))
    assert "row 2, column feature_00: must be finite, got inf" in found


def test_half_a_label_is_no_label() -> None:
    assert "row 4, column label: must be a whole number, got 0.5" in sentences(
        put(good(), 4, "label", 0.5)
    )


def test_a_key_that_occurs_twice_is_told_at_both_places() -> None:
    frame = good()
    twice = str(frame["row_id"][0])
    assert sentences(put(frame, 8, "row_id", twice)) == [
        f"row {row}, column row_id: must be unique, got {twice!r}" for row in (1, 8)
    ]


def test_too_few_rows_are_a_violation_of_the_table() -> None:
    found = sentences(good().head(50))
    assert found == ["table: must have at least 200 and at most 10000000 rows, got 50"]


def test_too_many_rows_are_too(tmp_path: Path) -> None:
    schema = load_schema(schema_file(tmp_path, SMALL))
    frame = pd.DataFrame({"x": [1.0] * 4, "z": [None] * 4, "y": [0, 1, 0, 1]})
    assert sentences(frame, schema) == ["table: must have at least 1 and at most 3 rows, got 4"]
    assert sentences(frame.head(3), schema) == []


def test_a_missing_and_an_unknown_column_are_named() -> None:
    frame = good().rename(columns={"feature_15": "feature_99"})
    assert sentences(frame) == [
        "column feature_15: is not in the table",
        "column feature_99: is not in the schema",
    ]


def test_the_list_is_bounded_and_the_total_is_not(tmp_path: Path) -> None:
    frame = good().assign(channel="tv")
    path = write_table(frame, tmp_path / "bad.parquet").path
    report = validate(path, SCHEMA, limit=5)
    assert (report.valid, report.total, report.rows) == (False, 300, 300)
    assert [violation.row for violation in report.violations] == [1, 2, 3, 4, 5]


def test_a_value_of_a_thousand_letters_is_cut() -> None:
    (sentence,) = sentences(put(good(), 1, "channel", "x" * 1000))
    assert len(sentence) < 200


def test_rows_of_an_invalid_file_are_never_trained_on(tmp_path: Path) -> None:
    path = write_table(put(good(), 3, "channel", "tv"), tmp_path / "bad.parquet").path
    with pytest.raises(
        InvalidDataError, match=r"row 3, column channel.*`modelrelease-train validate --data"
    ):
        load_data(path, SCHEMA)


def test_rows_of_a_valid_file_are_what_was_generated(tmp_path: Path) -> None:
    frame = good()
    data = load_data(write_table(frame, tmp_path / "good.parquet").path, SCHEMA)
    assert np.array_equal(data.rows, frame[list(feature_names())].to_numpy())
    assert data.labels.tolist() == frame["label"].tolist()
    assert data.segments is not None
    assert data.segments.tolist() == frame["channel"].tolist()


def test_a_missing_value_of_a_nullable_feature_stays_missing(tmp_path: Path) -> None:
    schema = load_schema(schema_file(tmp_path, SMALL))
    path = tmp_path / "small.csv"
    path.write_text("x,z,y\n1,,0\n2,5,1\n")
    data = load_data(path, schema)
    assert np.isnan(data.rows[0, 1])
    assert data.nullable == {"z"}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        pytest.param(lambda text: "a: [", "is not YAML", id="no YAML"),
        pytest.param(
            lambda text: text.replace("label: y", "label: w"), "label 'w' is not among", id="label"
        ),
        pytest.param(
            lambda text: text.replace("[0, 1]", "[a, b]"), "must have the categories", id="classes"
        ),
        pytest.param(
            lambda text: text.replace("x: {type: number, minimum: 0}", "x: {type: text}"),
            "'x' is a text, and a feature must be a number",
            id="a text as feature",
        ),
        pytest.param(
            lambda text: text.replace("minimum: 0", "least: 0"), "columns.x.least", id="rule"
        ),
        pytest.param(lambda text: "", "is not a data schema", id="an empty schema"),
    ],
)
def test_a_schema_that_is_none_is_one_sentence(
    change: Callable[[str], str], words: str, tmp_path: Path
) -> None:
    with pytest.raises(DataError, match=words) as refused:
        load_schema(schema_file(tmp_path, change(SMALL)))
    assert "\n" not in str(refused.value)


def test_a_schema_that_is_not_there_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"none\.yaml cannot be read"):
        load_schema(tmp_path / "none.yaml")
