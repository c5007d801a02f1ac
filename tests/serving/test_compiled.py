"""A fast form of an estimator gives scikit-learn's own answers, or is not used."""

from typing import Any

import numpy as np
import pytest
from sklearn.base import BaseEstimator
from sklearn.ensemble import (
    ExtraTreesClassifier,
    ExtraTreesRegressor,
    GradientBoostingClassifier,
    GradientBoostingRegressor,
    RandomForestClassifier,
    RandomForestRegressor,
)
from sklearn.linear_model import ElasticNet, LinearRegression, LogisticRegression, Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler
from sklearn.svm import SVC
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

from modelrelease_contract import ArtifactManifest, Examples, Feature, ModelFile, Output
from modelrelease_serving.compiled import compile_estimator
from modelrelease_serving.errors import ModelFailedError
from modelrelease_serving.estimator import Estimator, compare

FEATURES = 5
RANDOM = np.random.default_rng(3)
ROWS = RANDOM.normal(size=(300, FEATURES)) * [1, 10, 0.1, 1000, 1] + [0, 5, 0, 100, -3]
SCORES = ROWS / ROWS.std(axis=0) @ RANDOM.normal(size=FEATURES)
LABELS = (np.median(SCORES) < SCORES).astype(int)
THREE = np.digitize(SCORES, np.quantile(SCORES, [0.3, 0.7]))
NAMES = np.array(["no", "yes"])[LABELS]

CLASSIFIERS = [
    LogisticRegression(max_iter=2000),
    RandomForestClassifier(20, random_state=0),
    ExtraTreesClassifier(20, random_state=0),
    GradientBoostingClassifier(n_estimators=20, random_state=0),
    DecisionTreeClassifier(random_state=0),
]
REGRESSORS = [
    LinearRegression(),
    Ridge(),
    ElasticNet(),
    RandomForestRegressor(20, random_state=0),
    ExtraTreesRegressor(20, random_state=0),
    GradientBoostingRegressor(n_estimators=20, random_state=0),
    DecisionTreeRegressor(random_state=0),
]


def name_of(estimator: object) -> str:
    return type(estimator).__name__


def manifest_of(
    estimator: Any, *, probability: bool = False, tolerance: float = 1e-9, nullable: bool = False
) -> ArtifactManifest:
    rows = ROWS[:5]
    answers = estimator.predict_proba(rows)[:, 1] if probability else estimator.predict(rows)
    features = tuple(
        Feature(name=f"f{index}", minimum=low, maximum=high, nullable=nullable)
        for index, (low, high) in enumerate(zip(ROWS.min(axis=0), ROWS.max(axis=0), strict=True))
    )
    return ArtifactManifest(
        name="m",
        version="1",
        features=features,
        output=Output(probability=probability, classes=("0", "1") if probability else ()),
        examples=Examples(
            rows=tuple(map(tuple, rows.tolist())),
            predictions=tuple(answers.tolist()),
            tolerance=tolerance,
        ),
        files=(ModelFile(path="model.joblib", sha256="0" * 64, size=1),),
    )


def fast_form(estimator: Any, manifest: ArtifactManifest) -> Estimator:
    found = compare(estimator, manifest)
    assert found.compiled is not None, found.reason
    fast = Estimator(estimator, manifest)
    fast.use(found.compiled)
    return fast


@pytest.mark.parametrize("count", [1, 3, 8, 9, 200])
@pytest.mark.parametrize("scaled", [True, False], ids=["scaled", "bare"])
@pytest.mark.parametrize("estimator", CLASSIFIERS, ids=name_of)
def test_probabilities_are_those_of_scikit_learn(
    estimator: BaseEstimator, scaled: bool, count: int
) -> None:
    model: Any = make_pipeline(StandardScaler(), estimator) if scaled else make_pipeline(estimator)
    model.fit(ROWS, LABELS)
    fast = fast_form(model, manifest_of(model, probability=True))
    rows = RANDOM.normal(size=(count, FEATURES)) * 100
    expected = model.predict_proba(rows)
    assert fast.predict(rows.tolist()) == pytest.approx(expected[:, 1].tolist(), abs=1e-12)
    answers, shares = fast.explain(rows.tolist())
    assert answers == [share[1] for share in shares]
    assert np.array(shares) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("labels", [NAMES, THREE], ids=["names", "three classes"])
@pytest.mark.parametrize("estimator", CLASSIFIERS, ids=name_of)
def test_classes_are_those_of_scikit_learn(estimator: Any, labels: Any) -> None:
    model = make_pipeline(StandardScaler(), estimator).fit(ROWS, labels)
    manifest = manifest_of(model)
    found = compare(model, manifest)
    if isinstance(estimator, GradientBoostingClassifier) and labels is THREE:
        assert found.compiled is None, "several trees a stage are left to scikit-learn"
        return
    fast = fast_form(model, manifest)
    rows = RANDOM.normal(size=(100, FEATURES)) * [1, 10, 0.1, 1000, 1]
    assert fast.predict(rows.tolist()) == model.predict(rows).tolist()
    assert [fast.predict([row])[0] for row in rows.tolist()] == model.predict(rows).tolist()


@pytest.mark.parametrize("estimator", REGRESSORS, ids=name_of)
def test_regressions_are_those_of_scikit_learn(estimator: Any) -> None:
    model = make_pipeline(StandardScaler(), estimator).fit(ROWS, SCORES)
    fast = fast_form(model, manifest_of(model))
    rows = RANDOM.normal(size=(100, FEATURES)) * [1, 10, 0.1, 1000, 1]
    assert fast.predict(rows.tolist()) == pytest.approx(model.predict(rows).tolist(), abs=1e-9)
    assert [fast.predict([row])[0] for row in rows.tolist()] == pytest.approx(
        model.predict(rows).tolist()
    )


@pytest.mark.parametrize("estimator", CLASSIFIERS[1:3], ids=name_of)
def test_trees_that_know_missing_values_see_them(estimator: Any) -> None:
    gaps = ROWS.copy()
    gaps[RANDOM.random(gaps.shape) < 0.2] = np.nan
    model = estimator.fit(gaps, LABELS)
    fast = fast_form(model, manifest_of(model, probability=True, nullable=True))
    rows = [[None if np.isnan(value) else value for value in row] for row in gaps.tolist()]
    expected = model.predict_proba(gaps)[:, 1].tolist()
    assert [fast.predict([row])[0] for row in rows] == expected
    assert fast.predict(rows) == expected


def test_forests_are_equal_to_the_last_bit() -> None:
    model = RandomForestClassifier(30, random_state=0).fit(ROWS, LABELS)
    found = compare(model, manifest_of(model, probability=True, tolerance=0))
    assert found.compiled is not None
    assert found.reason == "it differs from scikit-learn by at most 0"


@pytest.mark.parametrize(
    "estimator",
    [SVC(), make_pipeline(FunctionTransformer(np.sign), LogisticRegression())],
    ids=["an unknown estimator", "an unknown step"],
)
def test_what_is_not_known_is_left_to_scikit_learn(estimator: Any) -> None:
    model = estimator.fit(ROWS, LABELS)
    assert compare(model, manifest_of(model)).reason == "no fast form of such an estimator is known"


class Stubborn(LogisticRegression):  # type: ignore[misc]
    """A subclass that answers otherwise."""

    def predict(self, rows: Any) -> Any:
        return np.zeros(len(rows), dtype=int)


def test_a_subclass_is_left_to_itself() -> None:
    assert compile_estimator(Stubborn().fit(ROWS, LABELS)) is None


def test_a_form_that_differs_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    model = make_pipeline(StandardScaler(), LogisticRegression()).fit(ROWS, LABELS)
    manifest = manifest_of(model, probability=True)
    model[-1].predict_proba = lambda rows: model[-1].__class__.predict_proba(model[-1], rows) * 0.9
    found = compare(model, manifest)
    assert found.compiled is None
    assert "differs from scikit-learn by" in found.reason


@pytest.mark.parametrize("estimator", CLASSIFIERS[1:4], ids=name_of)
def test_values_beyond_what_the_model_can_count_with_are_failures(estimator: Any) -> None:
    model = make_pipeline(StandardScaler(), estimator).fit(ROWS, LABELS)
    manifest = manifest_of(model, probability=True)
    direct, fast = Estimator(model, manifest), fast_form(model, manifest)
    huge = [3e38] * FEATURES
    with pytest.raises(ValueError, match="infinity"):
        direct.predict([huge])
    for rows in ([huge], [huge, ROWS[0].tolist()]):
        with pytest.raises(ModelFailedError, match="so large"):
            fast.predict(rows)
