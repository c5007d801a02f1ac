"""Estimators of XGBoost, LightGBM and CatBoost, exported and served."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import joblib
import lightgbm
import numpy as np
import pandas as pd
import pytest
import xgboost
from catboost import CatBoostClassifier, CatBoostRegressor
from lightgbm import LGBMClassifier, LGBMRegressor
from sklearn.calibration import CalibratedClassifierCV
from sklearn.datasets import load_breast_cancer, load_diabetes, load_wine
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LinearRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from xgboost import XGBClassifier, XGBRegressor

from modelrelease_contract.artifact import Format
from modelrelease_serving import boosters
from modelrelease_serving.comparison import repeats
from modelrelease_serving.errors import RefusedError
from modelrelease_serving.loaders import Rules, load_estimator
from modelrelease_serving.model import Model
from modelrelease_serving.rows import Decoder
from modelrelease_training import own_model
from modelrelease_training.__main__ import main
from modelrelease_training.booster_files import native_format
from modelrelease_training.export import Exported, Label, listed, write
from modelrelease_training.load import load_model

# CatBoost and LightGBM warn of names that arrays lack, as scikit-learn does.
pytestmark = pytest.mark.filterwarnings("ignore:X does not have valid feature names")

ROWS = 1000
QUIET: dict[str, dict[str, Any]] = {
    "XGB": {"n_estimators": 20, "n_jobs": 1},
    "LGBM": {"n_estimators": 20, "n_jobs": 1, "verbose": -1},
    "CatBoost": {"iterations": 20, "thread_count": 1, "verbose": 0, "allow_writing_files": False},
}
CLASSIFIERS: dict[str, Callable[..., Any]] = {
    "XGB": XGBClassifier,
    "LGBM": LGBMClassifier,
    "CatBoost": CatBoostClassifier,
}
REGRESSORS: dict[str, Callable[..., Any]] = {
    "XGB": XGBRegressor,
    "LGBM": LGBMRegressor,
    "CatBoost": CatBoostRegressor,
}
FORMS = ("joblib", "native")


def more(rows: pd.DataFrame) -> pd.DataFrame:
    """Return a thousand rows near those of a data set, with gaps."""
    others = rows.sample(ROWS, replace=True, random_state=1).reset_index(drop=True)
    others *= np.random.default_rng(2).uniform(0.99, 1.01, others.shape)
    others.iloc[::9, 0] = np.nan
    return others


def exported(model: Any, rows: Any, folder: Path, form: str) -> tuple[own_model.OwnModel, Exported]:
    label = Label(name="mine", version="1")
    own = own_model.describe(model, rows, label=label, served=form)  # type: ignore[arg-type]
    return own, write(own.manifest, own.files, output=folder)


def require_same(model: Any, rows: Any, folder: Path, form: str) -> Exported:
    """Fail unless the predictor answers every row as the model's own `predict` does."""
    own, artifact = exported(model, rows, folder, form)
    served = Model.open(artifact.path, sha256=artifact.digest)
    served.load()
    library = native_format(model) or "scikit-learn"
    assert served.estimator.form == served.estimator.library == library
    body = json.dumps({"features": own.columns.rows}).encode()
    answers = served.predict(Decoder(served.manifest.features).decode(body).rows)
    same = [repeats(*pair, 1e-6) for pair in zip(answers, own.answers, strict=True)]
    assert sum(same) == len(same) == len(rows)
    return artifact


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("library", CLASSIFIERS)
@pytest.mark.parametrize("load", [load_wine, load_breast_cancer])
def test_a_classifier_answers_as_before(
    load: Callable[..., Any], library: str, form: str, tmp_path: Path
) -> None:
    rows, target = load(return_X_y=True, as_frame=True)
    fitted = CLASSIFIERS[library](**QUIET[library]).fit(rows, target)
    artifact = require_same(fitted, more(rows), tmp_path, form)
    assert len(artifact.manifest.files) == 2


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("library", REGRESSORS)
def test_a_regressor_answers_as_before(library: str, form: str, tmp_path: Path) -> None:
    rows, target = load_diabetes(return_X_y=True, as_frame=True)
    fitted = REGRESSORS[library](**QUIET[library]).fit(rows, target)
    require_same(fitted, more(rows), tmp_path, form)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("library", ["LGBM", "CatBoost"])
@pytest.mark.parametrize("labels", [["leave", "stay"], [False, True], [3, 7]])
def test_labels_are_those_that_it_was_fitted_to(
    labels: list[Any], library: str, form: str, tmp_path: Path
) -> None:
    rows, target = load_breast_cancer(return_X_y=True, as_frame=True)
    fitted = CLASSIFIERS[library](**QUIET[library]).fit(rows, np.array(labels)[target])
    require_same(fitted, more(rows), tmp_path, form)


@pytest.fixture(scope="module")
def customers() -> pd.DataFrame:
    draw, number = np.random.default_rng(0), 2 * ROWS
    table = pd.DataFrame(
        {
            "age": draw.integers(18, 90, number).astype(float),
            "city": pd.Categorical(draw.choice(["Bern", "Oslo", "Zürich"], number)),
            "vip": draw.random(number) > 0.5,
            "grade": pd.Categorical(draw.choice([10, 20, 30], number)),
            "income": draw.normal(5, 2, number).astype(np.float32),
        }
    )
    table.loc[::7, "age"] = np.nan
    table.loc[::11, "city"] = None
    return table


def stays(customers: pd.DataFrame) -> Any:
    known = customers["age"].fillna(40) > 50
    return ((known & (customers["city"] != "Oslo")) | (customers["grade"] == 30)).astype(int)


def with_categories(library: str, customers: pd.DataFrame) -> tuple[Any, pd.DataFrame]:
    """Return a classifier that was fitted to categories, and the table as it takes it."""
    made = dict(QUIET[library])
    if library == "XGB":
        made["enable_categorical"] = True
    if library == "CatBoost":
        # It takes no gap in a category, and no category of pandas that has one.
        city = customers["city"].astype(object).fillna("unknown")
        customers = customers.assign(city=city, grade=customers["grade"].astype(int))
        made["cat_features"] = ["city", "grade"]
    fitted = CLASSIFIERS[library](**made).fit(customers[:ROWS], stays(customers)[:ROWS])
    return fitted, customers


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("library", CLASSIFIERS)
def test_categories_are_sent_as_texts_and_numbers(
    customers: pd.DataFrame, library: str, form: str, tmp_path: Path
) -> None:
    fitted, table = with_categories(library, customers)
    artifact = require_same(fitted, table[ROWS:], tmp_path, form)
    features = {feature.name: feature for feature in artifact.manifest.features}
    assert set(features["city"].categories) >= {"Bern", "Oslo", "Zürich"}
    assert features["vip"].boolean
    assert len(set(fitted.predict(table[ROWS:]).tolist())) == 2


def test_a_search_takes_the_categories_of_what_it_found(
    customers: pd.DataFrame, tmp_path: Path
) -> None:
    found = GridSearchCV(LGBMClassifier(**QUIET["LGBM"]), {"num_leaves": [3, 5]}, cv=2)
    found.fit(customers[:ROWS], stays(customers)[:ROWS])
    require_same(found, customers[ROWS:], tmp_path, "joblib")


def test_categories_inside_a_calibration_are_refused_in_a_sentence(
    customers: pd.DataFrame, tmp_path: Path
) -> None:
    calibrated = CalibratedClassifierCV(LGBMClassifier(**QUIET["LGBM"]), cv=2)
    calibrated.fit(customers[:ROWS], stays(customers)[:ROWS])
    with pytest.raises(RefusedError, match="fails on its example rows, at row 0"):
        require_same(calibrated, customers[ROWS:], tmp_path, "joblib")


@pytest.mark.parametrize("library", ["LGBM", "XGB"])
def test_a_category_that_it_was_not_fitted_to_is_missing(
    customers: pd.DataFrame, library: str, tmp_path: Path
) -> None:
    fitted, table = with_categories(library, customers)
    _, artifact = exported(fitted, table[ROWS:], tmp_path, "native")
    served = Model.open(artifact.path, sha256=artifact.digest)
    served.load()
    strange, missing = [[60.0, city, 1.0, 10.0, 5.0] for city in ("Atlantis", None)]
    assert served.predict([strange]) == served.predict([missing])


def test_several_outputs_are_served(tmp_path: Path) -> None:
    draw = np.random.default_rng(1)
    rows, numbers = draw.normal(size=(ROWS, 4)), draw.normal(size=(ROWS, 2))
    fitted = CatBoostRegressor(**QUIET["CatBoost"], loss_function="MultiRMSE").fit(rows, numbers)
    require_same(fitted, rows, tmp_path / "catboost", "native")
    of_labels = XGBClassifier(**QUIET["XGB"]).fit(rows, (numbers > 0).astype(int))
    artifact = require_same(of_labels, rows, tmp_path / "xgboost", "native")
    assert len(artifact.manifest.output.columns) == 2


def test_lightgbm_takes_the_containers_threads_and_not_those_of_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows, target = load_diabetes(return_X_y=True)
    fitted = make_pipeline(SimpleImputer(), LGBMRegressor(**{**QUIET["LGBM"], "n_jobs": 64}))
    _, artifact = exported(fitted.fit(rows, target), rows, tmp_path, "joblib")
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    found = load_estimator(artifact.path, artifact.manifest, pinned=True, rules=Rules())
    assert found[-1].n_jobs == 2


def test_a_step_of_a_pipeline_answers_as_before(tmp_path: Path) -> None:
    rows, target = load_wine(return_X_y=True, as_frame=True)
    fitted = make_pipeline(SimpleImputer(), XGBClassifier(**QUIET["XGB"])).fit(rows, target)
    require_same(fitted, more(rows), tmp_path, "joblib")
    with pytest.raises(ValueError, match="Pipeline is of no library with a file of its own"):
        exported(fitted, more(rows), tmp_path, "native")


@pytest.mark.filterwarnings("ignore:.*gblinear.* is deprecated")  # XGBoost 3.4, when it reads one
@pytest.mark.parametrize("booster", ["gbtree", "dart", "gblinear"])
def test_each_kind_of_xgboost_keeps_its_categories_or_has_none(
    customers: pd.DataFrame, booster: str, tmp_path: Path
) -> None:
    table = customers if booster != "gblinear" else customers[["age", "income"]].fillna(40)
    fitted = XGBClassifier(n_estimators=5, booster=booster, enable_categorical=True, verbosity=0)
    fitted.fit(table[:ROWS], stays(customers)[:ROWS])
    require_same(fitted, table[ROWS:], tmp_path, "native")


@pytest.mark.parametrize(
    ("model", "reason"),
    [
        (LinearRegression(), "LinearRegression is of no library"),
        (XGBRegressor(n_estimators=2, missing=-999.0), "which number stands for a missing value"),
        (
            LGBMRegressor(
                n_estimators=2, verbose=-1, objective=lambda y, p: (p - y, np.ones(len(y)))
            ),
            "an objective that is a function",
        ),
    ],
    ids=["another library", "missing", "objective"],
)
def test_what_a_file_would_leave_out_is_refused(model: Any, reason: str, tmp_path: Path) -> None:
    rows = np.random.default_rng(3).normal(size=(300, 2))
    with pytest.raises(ValueError, match=reason):
        exported(model.fit(rows, rows[:, 0]), rows, tmp_path, "native")


def test_trees_without_an_estimator_and_rankers_are_refused_with_what_to_fit(
    tmp_path: Path,
) -> None:
    rows = np.random.default_rng(3).normal(size=(300, 2))
    labels = (rows[:, 0] > 0).astype(int)
    bare_xgboost = xgboost.train({}, xgboost.DMatrix(rows, labels), num_boost_round=2)
    with pytest.raises(ValueError, match=r"xgboost\.train returns it, .*: fit XGBClassifier or"):
        exported(bare_xgboost, rows, tmp_path, "joblib")
    bare_lightgbm = lightgbm.train({"verbose": -1}, lightgbm.Dataset(rows, labels), 2)
    with pytest.raises(ValueError, match=r"lightgbm\.train returns it: fit LGBMClassifier or"):
        exported(bare_lightgbm, rows, tmp_path, "native")
    ranker = xgboost.XGBRanker(n_estimators=2).fit(rows, labels, group=[100, 200])
    with pytest.raises(ValueError, match="none of a ranker"):
        exported(ranker, rows, tmp_path, "native")


def test_a_file_that_nobody_pinned_is_not_read(tmp_path: Path) -> None:
    rows, target = load_diabetes(return_X_y=True)
    fitted = LGBMRegressor(**QUIET["LGBM"]).fit(rows, target)
    _, artifact = exported(fitted, rows, tmp_path, "native")
    with pytest.raises(
        RefusedError, match=r"model\.txt is read by code that trusts .* MODEL_SHA256"
    ):
        Model.open(artifact.path).load()
    Model.open(artifact.path, rules=Rules(allow_unpinned=True)).load()


@pytest.mark.parametrize("library", REGRESSORS)
def test_a_file_that_the_library_cannot_read_is_refused_in_one_line(
    library: str, tmp_path: Path
) -> None:
    rows, target = load_diabetes(return_X_y=True)
    own, _ = exported(
        REGRESSORS[library](**QUIET[library]).fit(rows, target), rows, tmp_path, "native"
    )
    files = {own.manifest.model_file: b"x"}
    manifest = own.manifest.model_copy(update={"files": listed(files)})
    artifact = write(manifest, files, output=tmp_path / "broken")
    with pytest.raises(RefusedError, match=r"cannot be loaded \(.+Error: .+\): this") as caught:
        Model.open(artifact.path, sha256=artifact.digest).load()
    assert "\n" not in str(caught.value)


def test_an_image_without_the_library_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows, target = load_diabetes(return_X_y=True)
    fitted = LGBMRegressor(**QUIET["LGBM"]).fit(rows, target)
    own, artifact = exported(fitted, rows, tmp_path, "native")
    assert "modelrelease-serving-boosters" in " ".join(own.notes)

    def lacks(path: Path, manifest: Any) -> Any:
        raise ModuleNotFoundError(name="lightgbm")

    monkeypatch.setitem(boosters._READERS, "lightgbm", lacks)
    with pytest.raises(RefusedError, match=r"needs the library 'lightgbm'.*name an image"):
        Model.open(artifact.path, sha256=artifact.digest).load()


@pytest.mark.parametrize("library", REGRESSORS)
def test_the_same_model_gives_the_same_bytes(library: str, tmp_path: Path) -> None:
    rows, target = load_diabetes(return_X_y=True)
    fitted = REGRESSORS[library](**QUIET[library]).fit(rows, target)
    digests = {exported(fitted, rows, tmp_path / f"{n}", "native")[1].digest for n in range(2)}
    assert len(digests) == 1


def test_training_reads_the_estimator_beside_the_file(tmp_path: Path) -> None:
    rows, target = load_diabetes(return_X_y=True)
    fitted = XGBRegressor(**QUIET["XGB"]).fit(rows, target)
    _, artifact = exported(fitted, rows, tmp_path, "native")
    model, manifest = load_model(artifact.path)
    assert manifest.format == native_format(model) == "xgboost"


def test_the_command_tries_it_in_a_predictor_of_its_own(
    customers: pd.DataFrame, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # A Parquet file keeps categories of texts, and makes numbers of others.
    fitted, table = with_categories("LGBM", customers.assign(grade=customers["grade"].astype(int)))
    joblib.dump(fitted, tmp_path / "model.joblib")
    table[ROWS:].assign(target=1).to_parquet(tmp_path / "rows.parquet")
    files = [str(tmp_path / "model.joblib"), "--examples", str(tmp_path / "rows.parquet")]
    label = ["--name", "mine", "--version", "1", "--output", str(tmp_path / "artifacts")]
    assert main(["export", *files, *label, "--model-format", "native"]) == 0
    assert "the same 1000 of 1000 answers (by lightgbm)" in capsys.readouterr().err
    manifest: Format = json.loads((tmp_path / "artifacts/mine/1/manifest.json").read_text())[
        "format"
    ]
    assert manifest == "lightgbm"
