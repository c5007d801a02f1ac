"""From rows to the array that a fitted estimator takes, without pandas.

An estimator that was fitted to a table knows columns by name and missing values as NaN; one that
was fitted to an array of objects may know them as None; a vectorizer of texts takes no rows at all.
What was fitted says which. Nothing here asks a model.
"""

import math
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from modelrelease_contract import Feature
from modelrelease_contract.artifact import FeatureKind
from modelrelease_serving.boosters import category_codes, whole_columns

Value = float | str | None
Row = Sequence[Value]

_MEMBERS: Final = (
    "best_estimator_",
    "estimator_",
    "regressor_",
    "final_estimator_",
    "_preprocessor",
)
"""What an estimator passes its input on to, beside the members of lists."""
_ITEMS_MAX: Final = 100_000


class Table:
    """Builds the input of one fitted estimator."""

    __slots__ = (
        "_booleans",
        "_codes",
        "_dtype",
        "_is_flat",
        "_is_plain",
        "_nullable",
        "_texts",
        "_whole",
        "missing",
    )

    def __init__(self, fitted: Any, features: Sequence[Feature]) -> None:
        numeric = [feature.kind is FeatureKind.NUMERIC for feature in features]
        # A search answers by the best estimator that it found.
        answering = getattr(fitted, "best_estimator_", fitted)
        self._codes = category_codes(answering)
        self._whole = whole_columns(answering)
        self._is_plain = all(numeric) and not self._codes and not self._whole
        self._dtype: type = np.float64 if self._is_plain else object
        self._nullable = any(feature.nullable for feature in features)
        self._texts = [index for index, is_number in enumerate(numeric) if not is_number]
        self._booleans = [index for index, feature in enumerate(features) if feature.boolean]
        self._is_flat = len(features) == 1 and not numeric[0] and takes_texts(fitted)
        self.missing: list[float | None] = missing_values(fitted, len(features))
        """What each column has where a row has null."""

    def __call__(self, rows: Sequence[Row]) -> NDArray[Any]:
        """Return the rows as an array, or the texts of their only column."""
        array: NDArray[Any] = np.array(rows, dtype=self._dtype)
        if self._is_plain:
            return array
        if self._codes:
            return self._coded(array)
        for index in self._whole:
            array[:, index] = [_whole(value) for value in array[:, index]]
        for index in self._booleans:
            array[:, index] = [None if value is None else bool(value) for value in array[:, index]]
        if self._nullable:
            gaps = array == None  # noqa: E711 - for each element
            for index in np.flatnonzero(gaps.any(axis=0)).tolist():
                array[gaps[:, index], index] = self.missing[index]
        return array[:, 0] if self._is_flat else array

    def _coded(self, array: NDArray[Any]) -> NDArray[np.float64]:
        """Return numbers alone. A category that the estimator was not fitted to is missing."""
        for index, codes in self._codes.items():
            array[:, index] = [codes.get(value, math.nan) for value in array[:, index]]
        return array.astype(np.float64)

    def swap(self) -> bool:
        """Take the other of two inputs that an estimator may have been fitted to.

        These are numbers of 64 and of 32 bits, and beside texts None and NaN for missing ones.
        Return False where there is one input alone.
        """
        if self._is_plain:
            self._dtype = np.float32 if self._dtype is np.float64 else np.float64
            return True
        if not (self._nullable and self._texts):
            return False
        for index in self._texts:
            self.missing[index] = math.nan if self.missing[index] is None else None
        return True


def _whole(value: Value) -> Value:
    return int(value) if isinstance(value, float) and value.is_integer() else value


def parts(fitted: Any) -> Iterator[Any]:
    """Return a fitted estimator and all that it is made of."""
    seen: set[int] = set()
    waiting = [fitted]
    while waiting:
        part = waiting.pop()
        if id(part) in seen:
            continue
        seen.add(id(part))
        if _is_part(part):
            yield part
            waiting += vars(part).values()
        else:
            waiting += _members(part)


def _members(part: Any) -> Iterable[Any]:
    """Return what a collection holds, nothing of one that is too large to be of estimators."""
    if isinstance(part, list | tuple) and len(part) < _ITEMS_MAX:
        return part
    if isinstance(part, dict) and len(part) < _ITEMS_MAX:
        return part.values()
    if isinstance(part, np.ndarray) and part.dtype == object and part.size:
        return part.ravel().tolist() if _is_part(part.flat[0]) else ()
    return ()


def forget_names(fitted: Any) -> None:
    """Let an estimator that was fitted to a table take arrays, and its steps pass on arrays.

    scikit-learn keeps the positions, but looks columns up by their names, which only tables have.
    """
    for part in parts(fitted):
        vars(part).pop("_sklearn_output_config", None)
        positions = getattr(part, "_transformer_to_input_indices", None)
        if positions is not None and hasattr(part, "transformers_"):
            part.transformers_ = [
                (name, transformer, _by_position(columns, positions.get(name)))
                for name, transformer, columns in part.transformers_
            ]


def takes_texts(fitted: Any) -> bool:
    """Say whether an estimator takes a list of texts, as scikit-learn's vectorizers do."""
    return any(hasattr(step, "build_analyzer") for step, _ in _first_steps(fitted, [0]))


def missing_values(fitted: Any, width: int) -> list[float | None]:
    """Return for each column what an estimator was fitted to for a missing value: NaN or None.

    Tables have NaN. Only arrays of objects can hold None, and encoders and imputers tell the two
    apart.
    """
    numbers: list[float | None] = [math.nan] * width
    for step, columns in _first_steps(fitted, list(range(width))):
        for position, column in enumerate(columns):
            if _knows_none(step, position) and column < width:
                numbers[column] = None
    return numbers


def _is_estimator(candidate: Any) -> bool:
    return (
        hasattr(candidate, "get_params")
        and hasattr(candidate, "__dict__")
        and not isinstance(candidate, type)
    )


def _is_part(candidate: Any) -> bool:
    """Say whether it is an estimator, or something of scikit-learn's that may hold one."""
    kind = type(candidate)
    return _is_estimator(candidate) or (
        kind.__module__.startswith("sklearn.")
        and hasattr(candidate, "__dict__")
        and kind is not type
    )


def _by_position(columns: Any, positions: Sequence[int] | None) -> Any:
    if positions is None:
        return columns
    # A single name, not in a list, selects one dimension: what a vectorizer takes.
    if isinstance(columns, str | int):
        return int(positions[0])
    return [int(position) for position in positions]


def _first_steps(
    fitted: Any, columns: list[int], depth: int = 0
) -> Iterator[tuple[Any, list[int]]]:
    """Return what sees the input first, and which of its columns."""
    if fitted is None or isinstance(fitted, str) or depth > 20:
        return
    inner = list(_passed_on(fitted, columns))
    if not inner:
        yield fitted, columns
    for part, its_columns in inner:
        yield from _first_steps(part, its_columns, depth + 1)


def _passed_on(fitted: Any, columns: list[int]) -> Iterator[tuple[Any, list[int]]]:
    """Return what an estimator passes its input on to as it came."""
    if hasattr(fitted, "steps"):
        steps = [step for _, step in fitted.steps if step is not None and not isinstance(step, str)]
        yield from [(step, columns) for step in steps[:1]]
    elif hasattr(fitted, "_transformer_to_input_indices") and hasattr(fitted, "transformers_"):
        for name, transformer, _ in fitted.transformers_:
            positions = fitted._transformer_to_input_indices.get(name, [])
            selected = [columns[position] for position in positions if position < len(columns)]
            yield transformer, selected
    elif hasattr(fitted, "transformer_list"):
        yield from [(transformer, columns) for _, transformer in fitted.transformer_list]
    else:
        members = [getattr(fitted, name, None) for name in _MEMBERS]
        several = getattr(fitted, "estimators_", None)
        if isinstance(several, list):
            members += several
        calibrated = getattr(fitted, "calibrated_classifiers_", ())
        members += [classifier.estimator for classifier in calibrated]
        yield from [(member, columns) for member in members if _is_estimator(member)]


def _knows_none(step: Any, position: int) -> bool:
    """Say whether a step was fitted to None in its column at `place`."""
    categories = getattr(step, "categories_", None)
    if categories is not None and position < len(categories):
        fitted_values = np.asarray(categories[position], dtype=object).tolist()
        return None in fitted_values and not any(
            isinstance(category, float) and math.isnan(category) for category in fitted_values
        )
    return hasattr(step, "missing_values") and step.missing_values is None
