"""Reads texts and columns of numbers from files. Every mistake in a file becomes one sentence."""

import io
import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet
from numpy.typing import NDArray

from modelrelease_training.drift.errors import DriftError

TEXT_COLUMN: Final = "text"
SUFFIXES: Final = (".txt", ".csv", ".jsonl", ".parquet")

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Texts:
    """Texts of a file that say something."""

    texts: list[str]
    empty: int
    """Texts without a letter, digit or sign: left out."""
    column: str | None = None


def read_texts(path: Path, *, column: str | None = None, encoding: str = "utf-8") -> Texts:
    """Read texts: a line each from .txt, or one column of .csv, .jsonl or .parquet.

    The column is `column`, else `text`, else the only one that holds texts. Raises DriftError.
    """
    if path.suffix == ".txt":
        values: Sequence[Any] = _decoded(path, encoding).split("\n")
    else:
        read = _json_columns if path.suffix == ".jsonl" else _table_columns
        columns = read(path, encoding)
        column = _text_column(path, columns, column)
        values = columns[column]
    texts = [text.strip() for text in values if isinstance(text, str) and text.strip()]
    if not texts:
        msg = (
            f"{path} holds no texts ({len(values)} lines or rows, all empty): give one text a line "
            "or row"
        )
        raise DriftError(msg)
    return Texts(texts=texts, empty=len(values) - len(texts), column=column)


def read_columns(
    path: Path, *, encoding: str = "utf-8", texts: Collection[str] = ()
) -> dict[str, Floats | list[str | None]]:
    """Read a .csv or .parquet file: numbers as floats with NaN for missing, others as texts.

    `texts` are columns that are never numbers, whatever this batch holds: their baseline has texts.
    Raises DriftError for a file without rows, or that is no such file.
    """
    if path.suffix not in (".csv", ".parquet"):
        raise DriftError(f"{path}: numbers are read from .csv and .parquet files")
    table = _table(path, encoding, texts)
    if not table.num_rows:
        raise DriftError(f"{path} has columns but no rows: give a file with rows")
    return {name: _values(table.column(name), as_text=name in texts) for name in table.column_names}


def _is_numeric(kind: Any) -> bool:
    kinds = pa.types
    tests = (kinds.is_integer, kinds.is_floating, kinds.is_boolean, kinds.is_null, kinds.is_decimal)
    return any(test(kind) for test in tests)


def _values(column: Any, *, as_text: bool) -> Floats | list[str | None]:
    if as_text or not _is_numeric(column.type):
        return [None if value is None else _spelled(value) for value in column.to_pylist()]
    whole = pc.cast(column, pa.int8()) if pa.types.is_boolean(column.type) else column
    # Unsafe: ids beyond 2^53 become the nearest double, as they do in every request.
    numbers: Floats = pc.cast(whole, pa.float64(), safe=False).to_numpy(zero_copy_only=False)
    return numbers


def _spelled(value: object) -> str:
    """Return a value as a CSV file would hold it: codes are floats where one of them is missing."""
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def _table(path: Path, encoding: str, texts: Collection[str] = ()) -> Any:
    """Return a table of at least one column, whose names differ."""
    if path.suffix not in SUFFIXES:
        raise DriftError(f"{path}: cannot tell what is in it; name it one of {', '.join(SUFFIXES)}")
    try:
        table = _parquet(path) if path.suffix == ".parquet" else _csv(path, encoding, texts)
    except pa.ArrowException as error:
        reason = str(error).partition("\n")[0]
        raise DriftError(f"{path} is no readable {path.suffix} file: {reason}") from error
    names = table.column_names
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise DriftError(f"{path} has several columns called {twice[0]!r}: rename all but one")
    return table


def _parquet(path: Path) -> Any:
    return pyarrow.parquet.read_table(io.BytesIO(_bytes(path)))


def _csv(path: Path, encoding: str, texts: Collection[str]) -> Any:
    """Read a CSV file. Among numbers `NA` and `null` are missing values, among texts words.

    Texts are taken letter by letter, so that codes keep their zeros, and days and times their
    spelling.
    """
    raw = _decoded(path, encoding).encode()
    parsing = pyarrow.csv.ParseOptions(newlines_in_values=True)
    guessed = pyarrow.csv.ConvertOptions(strings_can_be_null=True, quoted_strings_can_be_null=False)
    table = pyarrow.csv.read_csv(io.BytesIO(raw), parse_options=parsing, convert_options=guessed)
    fields = table.schema
    of_text = [field.name for field in fields if field.name in texts or not _is_numeric(field.type)]
    if not of_text or len(set(table.column_names)) < table.num_columns:
        return table
    spelled = pyarrow.csv.ConvertOptions(
        column_types=dict.fromkeys(of_text, pa.string()),
        include_columns=of_text,
        null_values=[""],
        strings_can_be_null=True,
        quoted_strings_can_be_null=False,
    )
    words = pyarrow.csv.read_csv(io.BytesIO(raw), parse_options=parsing, convert_options=spelled)
    for name in of_text:
        table = table.set_column(table.column_names.index(name), name, words.column(name))
    return table


def _table_columns(path: Path, encoding: str) -> dict[str, list[Any]]:
    table = _table(path, encoding)
    return {name: table.column(name).to_pylist() for name in table.column_names}


def _json_columns(path: Path, encoding: str) -> dict[str, list[Any]]:
    """Return the columns of a file of JSON objects, or of JSON texts, one a line."""
    rows = []
    for number, line in enumerate(_decoded(path, encoding).split("\n"), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise DriftError(f"{path}: line {number} is no JSON: {error}") from error
        if not isinstance(row, dict | str):
            raise DriftError(f"{path}: line {number} must be a JSON object or a JSON text")
        rows.append({TEXT_COLUMN: row} if isinstance(row, str) else row)
    columns: dict[str, list[Any]] = {}
    for name in dict.fromkeys(chain.from_iterable(rows)):
        columns[name] = [row.get(name) for row in rows]
    return columns


def _text_column(path: Path, columns: dict[str, list[Any]], column: str | None) -> str:
    """Return the name of the column that holds the texts."""
    of_text = [name for name, values in columns.items() if _holds_text(values)]
    names = ", ".join(columns) or "none"
    if column is not None:
        if column not in of_text:
            raise DriftError(f"{path} has no column {column!r} with texts; its columns: {names}")
        return column
    if TEXT_COLUMN in of_text or len(of_text) == 1:
        return TEXT_COLUMN if TEXT_COLUMN in of_text else of_text[0]
    if of_text:
        fault = f"several hold texts: {', '.join(of_text)}"
    else:
        fault = f"none holds texts; its columns: {names}"
    raise DriftError(f"{path} has no column {TEXT_COLUMN!r}, and {fault}; name one with --column")


def _holds_text(values: list[Any]) -> bool:
    return any(isinstance(value, str) for value in values)


def _decoded(path: Path, encoding: str) -> str:
    raw = _bytes(path)
    try:
        # A byte order mark, as spreadsheets write it, is not part of the first column's name.
        is_utf8 = encoding.lower() in ("utf-8", "utf8")
        return raw.decode("utf-8-sig" if is_utf8 else encoding)
    except LookupError as error:
        raise DriftError(
            f"there is no encoding {encoding!r}: try utf-8, latin-1 or cp1252"
        ) from error
    except UnicodeDecodeError as error:
        line = raw[: error.start].count(b"\n") + 1
        fault = f"{path} is not {encoding}: line {line} holds byte 0x{raw[error.start]:02x}"
        msg = f"{fault}; save it as UTF-8, or pass --encoding"
        raise DriftError(msg) from error


def _bytes(path: Path) -> bytes:
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise DriftError(f"{path} cannot be read: {error.strerror or error}") from error
    if not raw.strip():
        raise DriftError(f"{path} is empty: give a file with at least one line")
    return raw
