"""From a file that somebody made, or from a seed, to one Parquet file with a fingerprint."""

import hashlib
import os
import re
import tempfile
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pandas as pd
import pyarrow as pa

from modelrelease_training.data import Data, Shifts, make_data
from modelrelease_training.errors import DataError

SUFFIXES: Final = (".csv", ".parquet")
_NO_NUMBER: Final = [
    "", "#N/A", "#N/A N/A", "#NA", "-1.#IND", "-1.#QNAN", "-NaN", "-nan", "1.#IND", "1.#QNAN",
    "<NA>", "N/A",
    "NA", "NULL", "NaN", "None", "n/a", "nan", "null",
]  # fmt: skip
"""What pandas takes for a missing value; among texts only nothing is: NA is North America."""
_CHUNK: Final = 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Ingested:
    """A table on disk. `fingerprint` is the sha256 of the file, as `sha256sum` prints it."""

    path: Path
    fingerprint: str
    rows: int
    columns: tuple[str, ...]


def ingest(
    source: Path,
    output: Path,
    *,
    texts: Collection[str] = (),
    encoding: str = "utf-8",
    force: bool = False,
) -> Ingested:
    """Copy the table in `source` to the Parquet file `output`; `texts` are never numbers.

    The same rows give the same bytes, whether they came as CSV or as Parquet. Raises DataError.
    """
    return write_table(read_table(source, texts=texts, encoding=encoding), output, force=force)


def generate(*, rows: int, seed: int, shifts: Shifts) -> pd.DataFrame:
    """Return a made-up table that the bundled schema describes. Raises DataError."""
    try:
        data = make_data(seed=seed, rows=rows, shifts=shifts)
    except ValueError as error:
        raise DataError(str(error)) from error
    return to_frame(data, prefix=str(seed))


def to_frame(data: Data, *, prefix: str) -> pd.DataFrame:
    """Return `data` as a table: row_id, channel, the features, label."""
    ids = [f"{prefix}-{number:07d}" for number in range(len(data.labels))]
    frame = pd.DataFrame(data.rows, columns=list(data.names))
    frame.insert(0, "row_id", pd.Series(ids, dtype="str"))
    if data.segments is not None:
        frame.insert(1, "channel", pd.Series(data.segments, dtype="str"))
    frame["label"] = data.labels
    return frame


def parse_shift(text: str) -> tuple[str, float]:
    """Return the feature and the deviations of `feature_03=+2.0`. Raises ValueError."""
    match = re.fullmatch(r"([^=\s]+)=([-+]?[0-9]*\.?[0-9]+)", text)
    if not match:
        msg = f"must be FEATURE=DEVIATIONS, such as feature_03=+2.0, got {text!r}"
        raise ValueError(msg)
    return match[1], float(match[2])


def read_table(
    source: Path, *, texts: Collection[str] = (), encoding: str = "utf-8"
) -> pd.DataFrame:
    """Return the table in a .csv or .parquet file. Raises DataError, in a sentence, for others."""
    if source.suffix.lower() not in SUFFIXES:
        msg = f"{source} ends in {source.suffix!r}: a table is read from {' or '.join(SUFFIXES)}"
        raise DataError(msg)
    try:
        if source.stat().st_size == 0:
            msg = f"{source} is empty (0 bytes): was it written to the end?"
            raise DataError(msg)
        if source.suffix.lower() == ".csv":
            frame = _read_csv(source, texts, encoding)
        else:
            frame = _read_parquet(source)
    except OSError as error:
        msg = f"{source} cannot be read: {error.strerror or error}"
        raise DataError(msg) from error
    if frame.empty:
        msg = f"{source} has a header and no rows"
        raise DataError(msg)
    return frame


def write_table(frame: pd.DataFrame, output: Path, *, force: bool = False) -> Ingested:
    """Write `frame` to the Parquet file `output`, whole or not at all. Raises DataError."""
    if output.suffix.lower() != ".parquet":
        msg = f"{output} must end in .parquet"
        raise DataError(msg)
    if output.exists() and not force:
        msg = f"{output} exists: choose another --output, or pass --force to replace it"
        raise DataError(msg)
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        part = Path(tempfile.mkstemp(prefix=f".{output.name}-", dir=output.parent)[1])
        try:
            frame.to_parquet(part, index=False, compression="zstd")
            part.chmod(0o666 & ~_umask())
            part.replace(output)
        finally:
            part.unlink(missing_ok=True)
    except OSError as error:
        msg = f"cannot write to {output}: {error.strerror or error}"
        raise DataError(msg) from error
    except (pa.ArrowException, OverflowError, TypeError, ValueError) as error:
        reason = " ".join(str(error).split())[:200]
        msg = f"cannot write {output}: a column holds what Parquet has no type for ({reason})"
        raise DataError(
            f"{msg}; make its values of one kind, and whole numbers of 64 bits at most"
        ) from error
    columns = tuple(str(name) for name in frame.columns)
    return Ingested(path=output, fingerprint=fingerprint(output), rows=len(frame), columns=columns)


def fingerprint(path: Path) -> str:
    """Return the sha256 of a file in hexadecimal, read piece by piece."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while chunk := stream.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def _read_csv(source: Path, texts: Collection[str], encoding: str) -> pd.DataFrame:
    try:
        header = pd.read_csv(source, encoding=encoding, nrows=0).columns
        missing = {name: [""] if name in texts else _NO_NUMBER for name in header}
        return pd.read_csv(
            source,
            encoding=encoding,
            dtype=dict.fromkeys(texts, "str"),
            keep_default_na=False,
            na_values=missing,
            # A whole column has one type only when it is read at once.
            low_memory=False,
        )
    except LookupError as error:
        msg = f"{encoding!r} is no encoding that Python knows"
        raise DataError(msg) from error
    except UnicodeError as error:
        reason = str(error).partition(": ")[2] or str(error)
        msg = f"{source} is not {encoding} ({reason}): save it as UTF-8, or name its --encoding"
        raise DataError(msg) from error
    except (pd.errors.ParserError, pd.errors.EmptyDataError) as error:
        msg = f"{source} is not a CSV file: {' '.join(str(error).split())}"
        raise DataError(msg) from error


def _read_parquet(source: Path) -> pd.DataFrame:
    try:
        return pd.read_parquet(source)
    except pa.ArrowException as error:
        msg = f"{source} is not a Parquet file: {' '.join(str(error).split())[:200]}"
        raise DataError(msg) from error


def _umask() -> int:
    """Return the mask of new files: mkstemp's are private, and no use on a shared volume."""
    mask = os.umask(0)
    os.umask(mask)
    return mask
