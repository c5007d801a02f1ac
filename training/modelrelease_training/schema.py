"""The data schema: what a training table must be, and every row that is not.

A schema is a YAML file. pandera does the checking; this module turns a schema into pandera's, and
what pandera found into rows, columns, values and rules that a person can act on.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self

import numpy as np
import pandas as pd
import pandera.pandas as pa
import yaml
from pandera.errors import SchemaErrors
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from modelrelease_training.data import Data
from modelrelease_training.errors import DataError, InvalidDataError
from modelrelease_training.ingest import fingerprint, read_table

LIMIT: Final = 20
"""Violations that are listed; the total is always counted."""
_LONGEST_VALUE: Final = 80
_ABSENT: Final = {
    "column_in_schema": "is not in the schema",
    "column_in_dataframe": "is not in the table",
}
_RULES: Final = {"not_nullable": "must not be missing", "field_uniqueness": "must be unique"}
"""pandera's names of its own checks, in words. Ours bring theirs."""


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Column(_Strict):
    """What one column must be."""

    type: Literal["number", "integer", "text"]
    minimum: float | None = None
    maximum: float | None = None
    categories: tuple[int | str, ...] = ()
    nullable: bool = False
    unique: bool = False


class Rows(_Strict):
    """How many rows there must be."""

    minimum: int = Field(default=1, ge=1)
    maximum: int | None = None


class DataSchema(_Strict):
    """What a table must be. Features are its numbers, in order, but for key, label and segment."""

    version: Annotated[int, Field(ge=1)]
    """Raised by whoever changes the file: it is recorded with every model."""
    rows: Rows = Rows()
    key: str | None = None
    label: str
    segment: str | None = None
    columns: dict[str, Column] = Field(min_length=2)

    @model_validator(mode="after")
    def _roles_are_columns(self) -> Self:
        for role, name in (("key", self.key), ("label", self.label), ("segment", self.segment)):
            if name is not None and name not in self.columns:
                msg = f"{role} {name!r} is not among the columns"
                raise ValueError(msg)
        if self.columns[self.label].categories != (0, 1):
            msg = f"the label {self.label!r} must have the categories [0, 1]"
            raise ValueError(msg)
        texts = [name for name in self._inputs() if self.columns[name].type == "text"]
        if texts:
            msg = (
                f"{texts[0]!r} is a text, and a feature must be a number: make it the key or the "
                "segment"
            )
            raise ValueError(msg)
        return self

    @property
    def features(self) -> tuple[str, ...]:
        """Names of the model's inputs, in order."""
        return tuple(self._inputs())

    @property
    def texts(self) -> tuple[str, ...]:
        """Names of the columns that are never read as numbers."""
        return tuple(name for name, column in self.columns.items() if column.type == "text")

    def _inputs(self) -> Iterator[str]:
        roles = {self.key, self.label, self.segment}
        return (name for name in self.columns if name not in roles)


@dataclass(frozen=True, slots=True, kw_only=True)
class Violation:
    """One broken rule. `row` counts data rows from 1; None: it is about a column or the table."""

    row: int | None
    column: str | None
    value: str | None
    rule: str

    def sentence(self) -> str:
        """Return the violation as a person reads it."""
        place = []
        if self.row is not None:
            place.append(f"row {self.row}")
        if self.column is not None:
            place.append(f"column {self.column}")
        value = "" if self.value is None else f", got {self.value}"
        return f"{', '.join(place) or 'table'}: {self.rule}{value}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What a validation found: the first violations, and how many there are in all."""

    path: Path
    fingerprint: str
    schema_version: int
    rows: int
    violations: tuple[Violation, ...]
    total: int

    @property
    def valid(self) -> bool:
        """True when every rule holds."""
        return self.total == 0


def load_schema(path: Path | None = None) -> DataSchema:
    """Return the schema in a YAML file; without one, the bundled schema. Raises DataError."""
    name = str(path or "schema.yaml")
    try:
        text = path.read_text() if path else resources.files(__package__).joinpath(name).read_text()
        return DataSchema.model_validate(yaml.safe_load(text))
    except (OSError, UnicodeError) as error:
        msg = f"{name} cannot be read: {error}"
        raise DataError(msg) from error
    except yaml.YAMLError as error:
        msg = f"{name} is not YAML: {' '.join(str(error).split())}"
        raise DataError(msg) from error
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        field = ".".join(str(part) for part in first["loc"]) or "the document"
        msg = f"{name} is not a data schema: {field}: {first['msg']}"
        raise DataError(msg) from error


def validate(
    path: Path, schema: DataSchema, *, limit: int = LIMIT, encoding: str = "utf-8"
) -> Report:
    """Check the table in `path` against `schema`. Raises DataError when it cannot be read."""
    frame = read_table(path, texts=schema.texts, encoding=encoding)
    _, violations = check(frame, schema)
    return Report(
        path=path,
        fingerprint=fingerprint(path),
        schema_version=schema.version,
        rows=len(frame),
        violations=tuple(violations[:limit]),
        total=len(violations),
    )


def load_data(path: Path, schema: DataSchema) -> Data:
    """Return the rows of a valid table. Raises DataError, or InvalidDataError for a broken rule."""
    frame = read_table(path, texts=schema.texts)
    checked, violations = check(frame, schema)
    if violations:
        more = f" (and {len(violations) - 1} more)" if len(violations) > 1 else ""
        command = f"modelrelease-train validate --data {path}"
        msg = f"{path} breaks its schema: {violations[0].sentence()}{more}; `{command}` lists them"
        raise InvalidDataError(msg)
    names = schema.features
    segments = None
    if schema.segment:
        segments = checked[schema.segment].fillna("missing").to_numpy(dtype=np.str_)
    return Data(
        rows=checked[list(names)].to_numpy(dtype=np.float64),
        labels=checked[schema.label].to_numpy(dtype=np.int64),
        names=names,
        nullable=frozenset(name for name in names if schema.columns[name].nullable),
        segments=segments,
    )


def check(frame: pd.DataFrame, schema: DataSchema) -> tuple[pd.DataFrame, list[Violation]]:
    """Return the table with the types of the schema, and all that breaks it, in order of rows."""
    numbers, violations = _to_numbers(frame.reset_index(drop=True), schema)
    try:
        return to_pandera(schema).validate(numbers, lazy=True), violations
    except SchemaErrors as errors:
        not_numbers = {(violation.row, violation.column) for violation in violations}
        cases: Any = errors.failure_cases
        reported = {_violation(case, len(frame)) for case in cases.to_dict("records")}
        violations += [
            violation
            for violation in reported
            if violation.row is None or (violation.row, violation.column) not in not_numbers
        ]
    return frame, sorted(
        violations,
        key=lambda violation: (violation.row or 0, violation.column or "", violation.rule),
    )


def to_pandera(schema: DataSchema) -> pa.DataFrameSchema:
    """Return the schema in the library's own terms."""
    return pa.DataFrameSchema(
        {name: _column(column) for name, column in schema.columns.items()},
        checks=pa.Check(
            lambda table: schema.rows.minimum <= len(table) <= (schema.rows.maximum or len(table)),
            error=_rows_rule(schema.rows),
        ),
        strict=True,
    )


def _column(column: Column) -> pa.Column:
    checks = []
    if column.type == "integer":
        checks.append(pa.Check(lambda values: values % 1 == 0, error="must be a whole number"))
    if column.type != "text":
        checks.append(pa.Check(np.isfinite, error="must be finite"))
    if column.minimum is not None:
        checks.append(pa.Check.ge(column.minimum, error=f"must be at least {column.minimum:g}"))
    if column.maximum is not None:
        checks.append(pa.Check.le(column.maximum, error=f"must be at most {column.maximum:g}"))
    if column.categories:
        rule = f"must be one of {', '.join(str(category) for category in column.categories)}"
        checks.append(pa.Check.isin(column.categories, error=rule))
    kind = str if column.type == "text" else float
    return pa.Column(kind, checks, nullable=column.nullable, unique=column.unique, coerce=True)


def _rows_rule(rows: Rows) -> str:
    upper = f" and at most {rows.maximum}" if rows.maximum else ""
    return f"must have at least {rows.minimum}{upper} rows"


def _to_numbers(frame: pd.DataFrame, schema: DataSchema) -> tuple[pd.DataFrame, list[Violation]]:
    """Return the table with numbers where the schema asks for them, and what is none (NaN there).

    Before pandera, whose other checks of a column all fail together when one of its values is a
    text.
    """
    numbers, violations = frame.copy(), []
    defined = [name for name in frame.columns if name in schema.columns]
    for name in (name for name in defined if name not in schema.texts):
        numbers[name] = pd.to_numeric(frame[name], errors="coerce").astype("float64")
        for index in frame.index[numbers[name].isna() & frame[name].notna()]:
            value = _shown(frame[name].loc[index])
            violations.append(
                Violation(row=index + 1, column=name, value=value, rule="must be a number")
            )
    return numbers, violations


def _violation(case: dict[str, Any], rows: int) -> Violation:
    """Return one failure case of pandera in our words."""
    rule, value = str(case["check"]), case["failure_case"]
    if rule in _ABSENT:
        return Violation(row=None, column=str(value), value=None, rule=_ABSENT[rule])
    if case["schema_context"] == "DataFrameSchema":
        return Violation(row=None, column=None, value=str(rows), rule=rule)
    shown_value = None if rule == "not_nullable" else _shown(value)
    row, column = int(case["index"]) + 1, str(case["column"])
    return Violation(row=row, column=column, value=shown_value, rule=_RULES.get(rule, rule))


def _shown(value: object) -> str:
    if isinstance(value, str):
        text = repr(value)
    elif isinstance(value, float):
        text = f"{value:g}"
    else:
        text = str(value)
    return text if len(text) <= _LONGEST_VALUE else f"{text[:_LONGEST_VALUE]}..."
