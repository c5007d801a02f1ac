"""Asks a fitted estimator for answers, through scikit-learn or a fast form that gives the same.

No files, no HTTP. Which of the two it is, and how long a call takes, is found out once, when the
model is loaded.
"""

import math
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from itertools import chain
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from modelrelease_contract import ArtifactManifest
from modelrelease_contract.artifact import FeatureKind
from modelrelease_serving.boosters import library_of
from modelrelease_serving.comparison import Scalar, difference, repeats, values_of
from modelrelease_serving.compiled import Compiled, Floats, compile_estimator, thresholds
from modelrelease_serving.errors import ModelFailedError, NoAnswerError, RefusedError
from modelrelease_serving.tables import Row, Table, Value

Answer = Scalar | list[Scalar]
"""A number or class, or one for each of several outputs."""

__all__ = ["Answer", "CostModel", "Estimator", "Row", "Value", "compare", "measure", "mixes_rows"]

_COMPARED_ROWS: Final = 256
_ROWS_IN_COMPANY: Final = 8
_SCALERS: Final = frozenset({"StandardScaler", "MinMaxScaler", "MaxAbsScaler", "RobustScaler"})


class Estimator:
    """Answers for rows of valid values.

    Raises whatever the estimator raises, and ModelFailedError for an answer that is no answer.
    """

    def __init__(self, fitted: Any, manifest: ArtifactManifest) -> None:
        features = manifest.features
        if not callable(getattr(fitted, "predict", None)):
            msg = f"the model file holds a {type(fitted).__name__}, which has no predict: {_SERVED}"
            raise RefusedError(msg)
        self.library = library_of(fitted)
        self.form = self.library
        """Who answers: the estimator's library, or the name of the fast form."""
        self.outputs = len(manifest.output.columns)
        """How many values an answer has that is a list; 0: an answer is one value."""
        names = [] if self.outputs else _classes(fitted)
        self.classes: tuple[str, ...] = tuple(str(name) for name in names)
        self.has_probabilities = hasattr(fitted, "predict_proba") and bool(self.classes)
        self.table = Table(fitted, features)
        self._numeric = all(feature.kind is FeatureKind.NUMERIC for feature in features)
        self._probability = manifest.output.probability
        self._decide: Callable[[Any], NDArray[Any]] | None = getattr(
            fitted, "decision_function", None
        )
        self._predict: Callable[[Any], NDArray[Any]] = fitted.predict
        self._proba: Callable[[Any], NDArray[Any]] = getattr(
            fitted, "predict_proba", _no_probabilities
        )
        self._predict_row: Callable[[Sequence[Any]], float | None] | None = None
        nullable = any(feature.nullable for feature in features)
        self._unchecked = not nullable and self._numeric and _keeps_finite(fitted)

    @staticmethod
    def _trusting() -> AbstractContextManager[None]:
        # Not at the top: listening must not wait for scikit-learn.
        from sklearn import config_context  # noqa: PLC0415

        context: AbstractContextManager[None] = config_context(
            assume_finite=True, skip_parameter_validation=True
        )
        return context

    def use(self, compiled: Compiled) -> None:
        """Answer through `compiled` from now on. The estimator itself is let go."""
        self.form = compiled.name
        self._unchecked = False
        self._predict = compiled.predict
        self._proba = compiled.predict_proba or _no_probabilities
        regression = compiled.predict_proba is None
        self._predict_row = compiled.predict_row if self._probability or regression else None

    def predict(self, rows: Sequence[Row]) -> list[Answer]:
        """Return an answer for each row: a class, a number, or the second class's probability; a
        list of classes or numbers where the model has several outputs.
        """
        if self._predict_row is not None and len(rows) == 1:
            number = self._predict_row(rows[0])
            if number is None or not math.isfinite(number):
                raise ModelFailedError(_NOT_FINITE)
            return [number]
        if self._probability:
            return _answers(_shares(self._call(self._proba, rows))[:, 1], len(rows))
        return self._answers(self._call(self._predict, rows), len(rows))

    def _answers(self, predicted: Any, rows: int) -> list[Answer]:
        if self.outputs:
            return _several(predicted, (rows, self.outputs))
        return _answers(predicted, rows)

    def evidence(self, rows: Sequence[Row]) -> NDArray[Any]:
        """Return all that the model says of each row: probabilities or scores where it has them."""
        if self.has_probabilities:
            return _shares(self._call(self._proba, rows))
        return np.asarray(self._call(self._decide or self._predict, rows))

    def explain(self, rows: Sequence[Row]) -> tuple[list[Answer], list[list[float]]]:
        """Return the answers, and for each row the probabilities in the order of `classes`."""
        shares = _shares(self._call(self._proba, rows))
        if shares.shape != (len(rows), len(self.classes)) or not np.isfinite(shares).all():
            raise ModelFailedError(_NOT_FINITE)
        probabilities: list[list[float]] = shares.tolist()
        if self._probability:
            return [row[1] for row in probabilities], probabilities
        return self._answers(self._call(self._predict, rows), len(rows)), probabilities

    def _call(self, method: Callable[[Any], NDArray[Any]], rows: Sequence[Row]) -> NDArray[Any]:
        matrix: Any = self.table(rows)
        # numpy warns of each NaN that it makes, at every call; the answers are checked once.
        with np.errstate(all="ignore"):
            if self._unchecked:
                # Rows were found finite on their way in; looking again is a fifth of a small
                # model's time.
                with self._trusting():
                    return method(matrix)
            return method(matrix)


_NOT_FINITE: Final = "the model answered with a number that is not finite"


def _no_probabilities(_matrix: Any) -> NDArray[Any]:
    msg = "the model gives no probabilities"
    raise ModelFailedError(msg)


_SERVED: Final = (
    "one number or class for each row, or a list of as many as the manifest names, is served, so "
    "export an estimator that answers so"
)


def _classes(fitted: Any) -> Sequence[Any]:
    """Return the classes, also of a model whose answers are a table of one column."""
    classes: Any = getattr(fitted, "classes_", ())
    several = isinstance(classes, list) and len(classes) == 1 and isinstance(classes[0], np.ndarray)
    names: Sequence[Any] = classes[0] if several else classes
    return names


def _shares(probabilities: Any) -> Floats:
    """Return probabilities as one table: of rows and classes."""
    if isinstance(probabilities, list) and len(probabilities) == 1:
        probabilities = probabilities[0]
    if not isinstance(probabilities, np.ndarray) or probabilities.ndim != 2:
        msg = f"the model gives probabilities of several outputs: {_SERVED}"
        raise NoAnswerError(msg)
    shares: Floats = probabilities
    return shares


def _one_column(predicted: Any, expected: int) -> NDArray[Any]:
    """Return answers that did not come as one list. Raises NoAnswerError for several a row where
    the manifest names one.
    """
    array = np.asarray(predicted)
    if array.ndim == 2 and array.shape == (expected, 1):
        return array[:, 0]
    if array.ndim != 1:
        sizes = " x ".join(str(size) for size in array.shape[1:])
        kind = f"{sizes} values a row" if sizes else f"a {type(predicted).__name__}"
        msg = f"the model answers with {kind}: {_SERVED}"
        raise NoAnswerError(msg)
    return array


def require_plain(predictions: Sequence[object]) -> None:
    """Raise NoAnswerError for answers that JSON has no word for, such as dates."""
    for prediction in predictions:
        for value in prediction if isinstance(prediction, list) else [prediction]:
            if not isinstance(value, float | int | str):
                msg = f"the model answers with a {type(value).__name__}: {_SERVED}"
                raise NoAnswerError(msg)


def _answers(predicted: Any, expected: int) -> list[Answer]:
    if type(predicted) is not np.ndarray or predicted.ndim != 1:
        predicted = _one_column(predicted, expected)
    answers: list[Answer] = predicted.tolist()
    if len(answers) != expected:
        msg = f"the model gave {len(answers)} answers for {expected} rows"
        raise ModelFailedError(msg)
    if any(isinstance(answer, float) and not math.isfinite(answer) for answer in answers):
        raise ModelFailedError(_NOT_FINITE)
    return answers


def _several(predicted: Any, shape: tuple[int, int]) -> list[Answer]:
    """Return lists of values, `shape` (rows, outputs). Raises NoAnswerError for another shape."""
    array = np.asarray(predicted)
    if array.ndim != 2 or array.shape[1] != shape[1]:
        got = " x ".join(map(str, array.shape[1:])) or "one"
        msg = (
            f"the manifest names {shape[1]} outputs, and the model answers with {got}: export the "
            "model again"
        )
        raise NoAnswerError(msg)
    if len(array) != shape[0]:
        msg = f"the model gave {len(array)} answers for {shape[0]} rows"
        raise ModelFailedError(msg)
    answers: list[Answer] = array.tolist()
    if any(isinstance(value, float) and not math.isfinite(value) for value in _values(answers)):
        raise ModelFailedError(_NOT_FINITE)
    return answers


def _keeps_finite(fitted: Any) -> bool:
    """Say whether finite values stay finite up to the last step, whose check then is idle."""
    *before, last = [step for _, step in getattr(fitted, "steps", [("", fitted)])]
    kind = type(last)
    if not kind.__module__.startswith("sklearn."):
        return False
    # Trees take 32-bit floats, which a scaled value may not fit.
    trees = kind.__module__.startswith(("sklearn.ensemble", "sklearn.tree"))
    return not before or (not trees and all(type(step).__name__ in _SCALERS for step in before))


@dataclass(frozen=True, slots=True)
class Comparison:
    """How far a fast form is from scikit-learn."""

    compiled: Compiled | None
    reason: str
    """Why there is no fast form, or how equal it is."""


def compare(fitted: Any, manifest: ArtifactManifest) -> Comparison:
    """Return a fast form of `fitted` whose answers are those of scikit-learn, if there is one.

    Both answer the example rows and rows drawn from the features' ranges; numbers may differ by the
    manifest's tolerance, classes not at all.
    """
    if any(feature.kind is not FeatureKind.NUMERIC for feature in manifest.features):
        return Comparison(None, "a feature is not numeric")
    if manifest.output.columns:
        return Comparison(None, "it has several outputs")
    try:
        compiled = compile_estimator(fitted)
        if compiled is None:
            return Comparison(None, "no fast form of such an estimator is known")
        distance = _distance(fitted, compiled, manifest)
    # Whatever goes wrong with an estimator of another make: scikit-learn itself still works.
    except Exception as error:
        return Comparison(None, f"{type(error).__name__}: {error}"[:200])
    if not distance <= manifest.examples.tolerance:
        return Comparison(None, f"it differs from scikit-learn by {distance:g}")
    return Comparison(compiled, f"it differs from scikit-learn by at most {distance:g}")


def _distance(fitted: Any, compiled: Compiled, manifest: ArtifactManifest) -> float:
    """Return the largest difference of any number, beyond 1 a share of it; infinite for classes."""
    direct, fast = Estimator(fitted, manifest), Estimator(fitted, manifest)
    fast.use(compiled)
    rows = [*manifest.examples.rows, *draw_rows(manifest, thresholds(fitted))]
    expected = direct.predict(rows)
    one_by_one = list(chain.from_iterable(fast.predict([row]) for row in rows))
    distances = [_between(expected, fast.predict(rows)), _between(expected, one_by_one)]
    if direct.has_probabilities:
        answers, probabilities = direct.explain(rows)
        fast_answers, fast_probabilities = fast.explain(rows)
        distances += [
            _between(answers, fast_answers),
            float(np.abs(np.subtract(probabilities, fast_probabilities)).max()),
        ]
    return max(distances)


def _between(expected: Sequence[Answer], answers: Sequence[Answer]) -> float:
    pairs = zip(_values(expected), _values(answers), strict=True)
    return max(_apart(*pair) for pair in pairs)


def _values(answers: Sequence[Answer]) -> list[Scalar]:
    return list(chain.from_iterable(map(values_of, answers)))


def _apart(expected: Scalar, answer: Scalar) -> float:
    distance = difference(expected, answer)
    return distance if isinstance(expected, str) else distance / max(1.0, abs(expected))


def draw_rows(manifest: ArtifactManifest, branches: Sequence[Sequence[float]] = ()) -> list[Row]:
    """Return rows that differ from each other, with gaps where they may be.

    Half of them are drawn from the range of each feature, or around zero in every size where nobody
    told the range. The others lie on and beside the thresholds at which the model `branches`.
    """
    random = np.random.default_rng(0)
    columns: list[Any] = []
    for index, feature in enumerate(manifest.features):
        low, high = _range(manifest, index)
        numbers = random.uniform(low, high, _COMPARED_ROWS)
        numbers[0], numbers[1] = low, high
        if low == high:
            sizes = 10 ** random.uniform(-1, 3, _COMPARED_ROWS)
            numbers[2:] = (low + sizes * random.standard_normal(_COMPARED_ROWS))[2:]
        if index < len(branches) and len(branches[index]):
            near = random.choice(np.asarray(branches[index]), _COMPARED_ROWS // 2)
            numbers[_COMPARED_ROWS // 2 :] = near * (1 + random.choice([-1e-3, 0, 1e-3], len(near)))
        if feature.boolean:
            numbers = (numbers > 0).astype(float)
        column = numbers.tolist()
        if feature.nullable:
            column[2::10] = [None] * len(column[2::10])
        columns.append(column)
    return [list(row) for row in zip(*columns, strict=True)]


def _range(manifest: ArtifactManifest, index: int) -> tuple[float, float]:
    feature = manifest.features[index]
    column: Any = np.array([row[index] for row in manifest.examples.rows], dtype=np.float64)
    # Without any value, around zero.
    column = column[np.isfinite(column)] if np.isfinite(column).any() else np.zeros(1)
    low = float(column.min()) if feature.minimum is None else feature.minimum
    high = float(column.max()) if feature.maximum is None else feature.maximum
    return (low, high) if low <= high else (high, low)


def mixes_rows(estimator: Estimator, manifest: ArtifactManifest) -> bool:
    """Say whether a row's answer depends on the rows beside it, or nobody can tell."""
    if estimator.form != estimator.library:
        # A fast form computes each row for itself.
        return False
    examples = list(dict.fromkeys(manifest.examples.rows))[:_ROWS_IN_COMPANY]
    groups: list[Sequence[Row]] = [examples] if len(examples) > 1 else []
    if all(feature.kind is FeatureKind.NUMERIC for feature in manifest.features):
        groups.append(draw_rows(manifest)[:_ROWS_IN_COMPANY])
    compared = 0
    for rows in groups:
        try:
            alone = [estimator.evidence([row])[0] for row in rows]
            together = estimator.evidence(rows)
        # Drawn rows may be such that no model can answer them, and say nothing then.
        except Exception:
            if rows is examples:
                return True
            continue
        compared += 1
        pairs = zip(alone, together, strict=True)
        if not all(_same(*pair, manifest) for pair in pairs):
            return True
    return not compared


def _same(evidence: Any, evidence_in_company: Any, manifest: ArtifactManifest) -> bool:
    pairs = zip(np.ravel(evidence).tolist(), np.ravel(evidence_in_company).tolist(), strict=True)
    return all(repeats(a, b, manifest.examples.tolerance) or a is b or a == b for a, b in pairs)


@dataclass(frozen=True, slots=True)
class CostModel:
    """How long a call takes: a fixed cost, and one for each row, in seconds."""

    call: float
    row: float

    def seconds(self, rows: int) -> float:
        """Return the expected time of one call with `rows` rows."""
        return self.call + self.row * rows


def measure(estimator: Estimator, rows: Sequence[Row]) -> CostModel:
    """Return the cost of calling `estimator` on example rows. A slow model is asked only twice."""
    repeated = [rows[index % len(rows)] for index in range(32)]
    of_one = _fastest(lambda: estimator.predict(repeated[:1]))
    of_many = _fastest(lambda: estimator.predict(repeated))
    row = max(0.0, (of_many - of_one) / (len(repeated) - 1))
    return CostModel(call=max(0.0, of_one - row), row=row)


def _fastest(call: Callable[[], object]) -> float:
    """Return the shortest of several times, as many as fit in a few milliseconds, at least one."""
    best, spent = math.inf, 0.0
    for _ in range(20):
        began = time.perf_counter()
        call()
        took = time.perf_counter() - began
        best, spent = min(best, took), spent + took
        if spent > 0.02:
            break
    return best
