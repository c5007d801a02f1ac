"""From rows of any kind to the features of a manifest, and to rows as a client sends them.

A table's columns are numbers, booleans, texts or categories, each with gaps where it has them. What
JSON has no word for, such as dates, is refused with the column's name.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pandas as pd

from modelrelease_contract.artifact import LONGEST_NAME, Feature, FeatureKind, Histogram
from modelrelease_training.bins import edges, histogram, text_histogram

Value = float | str | None
_TEXTS_SHOWN: Final = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Columns:
    """Rows that a model was not fitted to, as a person has them and as a client sends them."""

    given: Any
    """What the model's `predict` takes: a table, an array, or a list of texts."""
    features: tuple[Feature, ...]
    rows: list[list[Value]]
    """Shape (rows, features)."""
    histograms: dict[str, Histogram]
    """By name of the feature."""


def columns_of(given: Any) -> Columns:
    """Describe rows: a DataFrame, an array of shape (rows, features), or a list of texts.

    Raises ValueError, in a sentence, for what cannot be sent as JSON.
    """
    if hasattr(given, "toarray"):
        msg = "the examples are a sparse matrix, and a client sends whole rows: give its .toarray()"
        raise ValueError(msg)
    table = _table(given)
    if not len(table):
        msg = "the examples have no rows, and a model is tried on at least one"
        raise ValueError(msg)
    columns = [_column(str(name), table.iloc[:, index]) for index, name in enumerate(table.columns)]
    values = [column.values for column in columns]
    return Columns(
        given=given,
        features=tuple(column.feature for column in columns),
        rows=[list(row) for row in zip(*values, strict=True)],
        histograms={column.feature.name: column.histogram for column in columns},
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Column:
    feature: Feature
    values: list[Value]
    histogram: Histogram


def _table(given: Any) -> pd.DataFrame:
    if isinstance(given, pd.DataFrame):
        return given
    if isinstance(given, pd.Series):
        return given.to_frame(name=given.name or "text")
    array = np.asarray(given, dtype=object if _holds_texts(given) else None)
    if array.ndim == 1:
        return pd.DataFrame({"text" if array.dtype == object else "feature_0": array})
    if array.ndim != 2:
        msg = f"examples are rows of values, and these have {array.ndim} dimensions"
        raise ValueError(msg)
    names = [f"feature_{index}" for index in range(array.shape[1])]
    return pd.DataFrame(array, columns=names).infer_objects()


def _holds_texts(given: Any) -> bool:
    return isinstance(given, Sequence) and any(isinstance(value, str) for value in given)


def _column(name: str, column: pd.Series) -> _Column:
    if not 1 <= len(name) <= LONGEST_NAME:
        msg = f"column {name[:40]!r} needs a name of 1 to {LONGEST_NAME} characters"
        raise ValueError(msg)
    if _is_boolean(column):
        return _numbers(name, column, boolean=True)
    if isinstance(column.dtype, pd.CategoricalDtype):
        column = column.astype(column.cat.categories.dtype)
    if pd.api.types.is_numeric_dtype(column) and not pd.api.types.is_complex_dtype(column):
        return _numbers(name, column, boolean=False)
    return _texts(name, column)


def _is_boolean(column: pd.Series) -> bool:
    if pd.api.types.is_bool_dtype(column):
        return True
    known = column.dropna()
    return column.dtype == object and len(known) > 0 and all(type(v) is bool for v in known)


def _numbers(name: str, column: pd.Series, *, boolean: bool) -> _Column:
    numbers = column.astype(object).where(column.notna(), math.nan).to_numpy(dtype=np.float64)
    if np.isinf(numbers).any():
        msg = f"column {name!r} holds infinite values, which JSON has no word for: leave them out"
        raise ValueError(msg)
    known = numbers[~np.isnan(numbers)]
    feature = Feature(
        name=name,
        minimum=float(known.min()) if len(known) else None,
        maximum=float(known.max()) if len(known) else None,
        nullable=len(known) < len(numbers),
        boolean=boolean,
    )
    values = [None if math.isnan(number) else number for number in numbers.tolist()]
    return _Column(
        feature=feature, values=list(values), histogram=histogram(numbers, edges(numbers))
    )


def _texts(name: str, column: pd.Series) -> _Column:
    values = column.astype(object).where(column.notna(), None).tolist()
    strange = {type(value).__name__ for value in values} - {"str", "NoneType"}
    if strange:
        kinds = " and ".join(sorted(strange))
        msg = (
            f"column {name!r} holds values of the type {kinds}: a feature is numbers, booleans or "
            "texts, so turn it into one of them in front of the model"
        )
        raise ValueError(msg)
    distinct = sorted({value for value in values if value is not None})
    feature = Feature(
        name=name,
        kind=FeatureKind.CATEGORICAL,
        categories=tuple(distinct) if len(distinct) <= _TEXTS_SHOWN else (),
        nullable=None in values,
    )
    return _Column(feature=feature, values=values, histogram=text_histogram(values))
