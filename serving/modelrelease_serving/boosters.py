"""XGBoost, LightGBM and CatBoost: their own files, and what their estimators take for categories.

None of the three is imported before a model needs it. Their files hold trees and no code. They are
read by code in C++ that expects them to be well-formed, so that a predictor asks for their digest
as for a pickle's.
"""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from modelrelease_contract import ArtifactManifest
from modelrelease_serving import threads
from modelrelease_serving.onnx_model import OnnxModel

Category = float | str
Codes = Mapping[Category, float]
"""The number that an estimator was fitted to in place of each category."""

_STRINGS: Final = "offsets"


def read_native(path: Path, manifest: ArtifactManifest) -> Any:
    """Return the estimator in a file of the library that the manifest's format names.

    Raises whatever the library raises, ImportError where it is not installed.
    """
    return _READERS[manifest.format](path, manifest)


def _read_xgboost(path: Path, manifest: ArtifactManifest) -> Any:
    import xgboost  # noqa: PLC0415 - each format brings its own library

    classifies = manifest.output.task == "classification"
    estimator = xgboost.XGBClassifier() if classifies else xgboost.XGBRegressor()
    estimator.load_model(path)
    return estimator


def _read_catboost(path: Path, manifest: ArtifactManifest) -> Any:
    import catboost  # noqa: PLC0415 - each format brings its own library

    classifies = manifest.output.task == "classification"
    estimator = catboost.CatBoostClassifier() if classifies else catboost.CatBoostRegressor()
    return estimator.load_model(str(path))


def _read_lightgbm(path: Path, manifest: ArtifactManifest) -> Any:
    import lightgbm  # noqa: PLC0415 - each format brings its own library

    booster = lightgbm.Booster(model_file=path)
    if manifest.output.task == "regression":
        return LightGbm(booster)
    return LightGbmClassifier(booster, _labels(manifest))


_READERS: Final[Mapping[str, Callable[[Path, ArtifactManifest], Any]]] = {
    "xgboost": _read_xgboost,
    "lightgbm": _read_lightgbm,
    "catboost": _read_catboost,
    "onnx": lambda path, _: OnnxModel(path),
}
NATIVE: Final = frozenset(_READERS)
"""Formats that another library than scikit-learn reads."""


class LightGbm:
    """LightGBM's trees as a regressor: its file does not hold the estimator around them."""

    def __init__(self, booster: Any) -> None:
        self.booster_ = booster

    def predict(self, matrix: NDArray[Any]) -> NDArray[Any]:
        """Return a number for each row."""
        predicted: NDArray[Any] = self.booster_.predict(matrix)
        return predicted


class LightGbmClassifier:
    """LightGBM's trees as a classifier of these classes."""

    def __init__(self, booster: Any, classes: NDArray[Any]) -> None:
        self.booster_ = booster
        self.classes_ = classes

    def predict(self, matrix: NDArray[Any]) -> NDArray[Any]:
        """Return a class for each row."""
        likeliest: NDArray[Any] = self.classes_[self.predict_proba(matrix).argmax(axis=1)]
        return likeliest

    def predict_proba(self, matrix: NDArray[Any]) -> NDArray[Any]:
        """Return the probability of each class, shape (rows, classes)."""
        shares: NDArray[Any] = self.booster_.predict(matrix)
        return shares if shares.ndim == 2 else np.column_stack([1 - shares, shares])


def _labels(manifest: ArtifactManifest) -> NDArray[Any]:
    """Return the classes as the examples record them: a manifest names all as texts."""
    names = manifest.output.classes
    if any(isinstance(prediction, str) for prediction in manifest.examples.predictions):
        return np.array(names)
    truth = {"True": True, "False": False}
    if set(names) <= set(truth):
        return np.array([truth[name] for name in names])
    numbers = np.array([float(name) for name in names])
    return numbers.astype(np.int64) if (numbers % 1 == 0).all() else numbers


def library_of(fitted: Any) -> str:
    """Return the name of the library that an estimator answers by: scikit-learn for any other."""
    if isinstance(fitted, LightGbm | LightGbmClassifier):
        return "lightgbm"
    if isinstance(fitted, OnnxModel):
        return "onnxruntime"
    library = type(fitted).__module__.partition(".")[0]
    return library if library in NATIVE else "scikit-learn"


def category_codes(fitted: Any) -> dict[int, Codes]:
    """Return what an estimator takes for the categories of its columns, by the column's index.

    Only LightGBM and XGBoost take numbers; where they were fitted to pandas' categories, they keep
    which. Raises ValueError where they kept too little.
    """
    library = type(fitted).__module__.partition(".")[0]
    if library == "xgboost":
        return _codes_of_xgboost(fitted)
    booster = getattr(fitted, "booster_", None)
    return {} if booster is None else _codes_of_lightgbm(booster)


def forget_columns(fitted: Any) -> None:
    """Let an estimator of XGBoost take arrays: some of its boosters insist on a table's names."""
    if type(fitted).__module__.partition(".")[0] == "xgboost":
        fitted.get_booster().feature_names = None


def forget_threads(fitted: Any) -> None:
    """Have LightGBM take as many threads as the container carries, and not as training had."""
    if type(fitted).__module__.startswith("lightgbm.") and hasattr(fitted, "set_params"):
        fitted.set_params(n_jobs=threads.chosen())


def whole_columns(fitted: Any) -> list[int]:
    """Return the columns whose numbers CatBoost takes as whole ones: its categories."""
    if type(fitted).__module__.partition(".")[0] != "catboost":
        return []
    return [int(index) for index in fitted.get_cat_feature_indices()]


def _codes_of_lightgbm(booster: Any) -> dict[int, Codes]:
    categories = booster.pandas_categorical
    if not categories:
        return {}
    text = booster.model_to_string(num_iteration=1)
    found = re.search(r"^\[categorical_feature: ([0-9,]+)\]$", text, re.MULTILINE)
    columns = [int(column) for column in found[1].split(",")] if found else []
    if len(columns) != len(categories):
        msg = (
            f"its LightGBM model keeps the categories of {len(categories)} columns, and names "
            f"{len(columns)} as categorical: fit it to columns of the dtype category alone"
        )
        raise ValueError(msg)
    return {column: _codes(known) for column, known in zip(columns, categories, strict=True)}


def _codes_of_xgboost(fitted: Any) -> dict[int, Codes]:
    booster = fitted.get_booster()
    kinds = booster.feature_types or []
    columns = [column for column, kind in enumerate(kinds) if kind == "c"]
    if not columns:
        return {}
    trees = json.loads(booster.save_raw("json"))["learner"]["gradient_booster"]
    # A booster such as dart holds the trees one level deeper.
    model = trees.get("gbtree", trees)["model"]
    encoded = model.get("cats", {}).get("enc", [])
    if not encoded:
        # Fitted to numbers that are codes already.
        return {}
    return {column: _codes(_categories_of(encoded[column])) for column in columns}


def _categories_of(encoded: Mapping[str, Any]) -> Sequence[Category]:
    """Return a column's categories as XGBoost writes them: numbers, or texts end to end."""
    values: list[int] = encoded["values"]
    if _STRINGS not in encoded:
        return values
    text, ends = bytes(value % 256 for value in values), encoded[_STRINGS]
    return [text[start:end].decode() for start, end in pairwise(ends)]


def _codes(categories: Sequence[Category]) -> Codes:
    return {category: float(code) for code, category in enumerate(categories)}
