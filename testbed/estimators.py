"""Every estimator of scikit-learn that predicts, fitted to its own data sets, and pipelines on a
table of mixed columns. Nothing of this project is imported: so people fit what they export.
"""

from collections.abc import Callable, Mapping
from typing import Any, Final

import numpy as np
import pandas as pd
from sklearn.cluster import KMeans
from sklearn.compose import make_column_selector, make_column_transformer
from sklearn.datasets import load_breast_cancer, load_diabetes, load_linnerud, load_wine
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, OrdinalEncoder, StandardScaler
from sklearn.tree import DecisionTreeClassifier
from sklearn.utils import all_estimators

ROWS: Final = 1000
"""That are answered: none of them is one that was fitted to."""

Case = tuple[Any, Any]
"""A fitted estimator, and rows that it was not fitted to."""

SEVERAL: Final = frozenset({
    "CCA", "ClassifierChain", "MultiOutputClassifier", "MultiOutputRegressor",
    "MultiTaskElasticNet", "MultiTaskElasticNetCV", "MultiTaskLasso", "MultiTaskLassoCV",
    "PLSCanonical", "PLSRegression", "RegressorChain",
})  # fmt: skip
"""They are fitted to several outputs: the three of Linnerud's data."""
BINARY: Final = frozenset({
    "FixedThresholdClassifier", "SelfTrainingClassifier", "TunedThresholdClassifierCV",
})  # fmt: skip
_NEAR: Final = frozenset({"CategoricalNB", "RadiusNeighborsClassifier"})
"""They answer near the values alone that they were fitted to."""
_OF_MODELS: Final = frozenset({"GridSearchCV", "RFE", "RFECV", "RandomizedSearchCV"})
_INNER: Final = {"alpha": [0.1, 1.0]}
_SETTINGS: Final[Mapping[str, dict[str, Any]]] = {
    "CCA": {"n_components": 1},
    "IsotonicRegression": {"out_of_bounds": "clip"},  # otherwise it answers NaN
    "LocalOutlierFactor": {"novelty": True},  # otherwise it predicts nothing
    "PLSCanonical": {"n_components": 1},
    "PLSRegression": {"n_components": 1},
    "RandomizedSearchCV": {"n_iter": 2},
    "SelfTrainingClassifier": {"estimator": LogisticRegression(max_iter=5000)},
}


def _kinds() -> dict[str, str]:
    """Return every estimator of scikit-learn that predicts, and what it is."""
    kinds = {
        name: kind
        for kind in ("cluster", "regressor", "classifier")
        for name, _ in all_estimators(type_filter=kind)
    }
    return {
        name: kinds.get(name, "other")
        for name, estimator in all_estimators()
        if name != "Pipeline" and (hasattr(estimator, "predict") or name == "LocalOutlierFactor")
    }


KINDS: Final[Mapping[str, str]] = _kinds()
NAMES: Final = tuple(KINDS)


def fitted(name: str) -> Case:
    """Return an estimator of scikit-learn, by its name, fitted to one of its data sets."""
    rows, target = _data(name)
    others = rows.sample(ROWS, replace=True, random_state=1).reset_index(drop=True)
    if name not in _NEAR:
        others *= np.random.default_rng(2).uniform(0.99, 1.01, others.shape)
    if name == "IsotonicRegression":
        rows, others = rows[["bmi"]], others[["bmi"]]
    return _made(name).fit(rows, target), others


def _data(name: str) -> tuple[pd.DataFrame, Any]:
    kind = KINDS[name]
    if name in SEVERAL:
        rows, targets = load_linnerud(return_X_y=True, as_frame=True)
        if kind == "classifier":
            targets = (targets > targets.median()).astype(int)
        return rows, targets
    load = {"classifier": load_wine, "regressor": load_diabetes}.get(kind, load_wine)
    if name in BINARY:
        load = load_breast_cancer
    if name in _OF_MODELS:
        load = load_diabetes
    rows, target = load(return_X_y=True, as_frame=True)
    return rows.abs(), target


def _made(name: str) -> Any:
    estimator = dict(all_estimators())[name]
    inner = LogisticRegression(max_iter=5000) if KINDS[name] == "classifier" else Ridge()
    try:
        made = estimator()
    except TypeError:
        if name.startswith(("Voting", "Stacking")):
            made = estimator([("inner", inner)])
        else:
            made = (
                estimator(inner, _INNER)
                if name in {"GridSearchCV", "RandomizedSearchCV"}
                else estimator(inner)
            )
    if hasattr(made, "n_estimators"):
        made.set_params(n_estimators=5)
    if "random_state" in made.get_params():
        made.set_params(random_state=0)
    return made.set_params(**_SETTINGS.get(name, {}))


def customers() -> pd.DataFrame:
    """Return a table of numbers, texts, booleans and categories with gaps, twice `ROWS` long."""
    draw, rows = np.random.default_rng(0), 2 * ROWS
    table = pd.DataFrame(
        {
            "age": draw.integers(18, 90, rows).astype(float),
            "city": draw.choice(["Bern", "Oslo", "Rom"], rows),
            "vip": draw.random(rows) > 0.5,
            "plan": pd.Categorical(draw.choice(["basic", "pro"], rows)),
            "income": draw.normal(5, 2, rows).astype(np.float32),
            "visits": pd.array(draw.integers(0, 9, rows), dtype="Int64"),
        }
    )
    table.loc[::7, "age"] = np.nan
    table.loc[::11, "city"] = None
    table.loc[::13, "visits"] = pd.NA
    return table


def _of_mixed_columns(encoder: Any) -> Any:
    numbers = make_pipeline(SimpleImputer(), StandardScaler())
    return make_column_transformer(
        (numbers, ["age", "income", "visits"]),
        (encoder, ["city", "plan"]),
        ("passthrough", ["vip"]),
    )


MIXED: Final[Mapping[str, Callable[[], Any]]] = {
    "one-hot": lambda: make_pipeline(
        _of_mixed_columns(OneHotEncoder(handle_unknown="ignore")), LogisticRegression(max_iter=500)
    ),
    "ordinal": lambda: make_pipeline(
        _of_mixed_columns(OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1)),
        DecisionTreeClassifier(max_depth=5),
    ),
    "tables between the steps": lambda: make_pipeline(
        _of_mixed_columns(OneHotEncoder(handle_unknown="ignore", sparse_output=False)),
        LogisticRegression(max_iter=500),
    ).set_output(transform="pandas"),
    "chosen by their types": lambda: make_pipeline(
        make_column_transformer(
            (SimpleImputer(), make_column_selector(dtype_include="number")),
            (OneHotEncoder(), make_column_selector(dtype_exclude="number")),
        ),
        LogisticRegression(max_iter=500),
    ),
    "gaps in trees": lambda: make_pipeline(
        make_column_transformer(("passthrough", ["age", "income", "vip"])),
        HistGradientBoostingClassifier(max_iter=20),
    ),
}


def fitted_to_customers(kind: str, labels: tuple[Any, Any] = ("leave", "stay")) -> Case:
    """Return a pipeline of `MIXED`, fitted to the first half of the customers, and the rest."""
    table = customers()
    target = np.where(table["income"] > 5, labels[1], labels[0])
    return MIXED[kind]().fit(table[:ROWS], target[:ROWS]), table[ROWS:]


def clusters_of_32_bits() -> Case:
    """Return a KMeans that was fitted to 32-bit numbers, and refuses others."""
    rows = load_wine(return_X_y=True, as_frame=True)[0].astype(np.float32)
    others = rows.sample(ROWS, replace=True, random_state=1)
    return KMeans(3, random_state=0).fit(rows), others
