"""Models that people fitted without this project, exported and answered as they answer."""

import datetime
import json
import re
import warnings
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pandas as pd
import pytest
from scipy.sparse import csr_array
from sklearn.cluster import KMeans
from sklearn.compose import make_column_selector, make_column_transformer
from sklearn.datasets import load_diabetes, load_wine
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestRegressor
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LinearRegression, LogisticRegression, Ridge
from sklearn.manifold import TSNE
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import (
    FunctionTransformer,
    OneHotEncoder,
    OrdinalEncoder,
    StandardScaler,
)
from sklearn.tree import DecisionTreeClassifier
from sklearn.utils import all_estimators

from modelrelease_contract import ArtifactManifest
from modelrelease_contract.artifact import Format
from modelrelease_serving.errors import RefusedError
from modelrelease_serving.model import Model
from modelrelease_serving.rows import Decoder
from modelrelease_training import own_model
from modelrelease_training.__main__ import main
from modelrelease_training.errors import ArtifactError
from modelrelease_training.export import Label, write

ROWS = 1000
# They take another shape of data: several targets, one column, or two classes only.
OTHER_SHAPES = {
    "CCA", "ClassifierChain", "FixedThresholdClassifier", "IsotonicRegression",
    "MultiOutputClassifier", "MultiOutputRegressor", "MultiTaskElasticNet",
    "MultiTaskElasticNetCV", "MultiTaskLasso", "MultiTaskLassoCV", "PLSCanonical",
    "RegressorChain", "SelfTrainingClassifier", "TunedThresholdClassifierCV",
}  # fmt: skip
ESTIMATORS = {
    name: (kind, estimator)
    for kind in ("classifier", "regressor")
    for name, estimator in all_estimators(type_filter=kind)
    if name not in OTHER_SHAPES
}
# Compiled or composed by types that skops asks a person about.
NOT_TRUSTED = {
    "CalibratedClassifierCV", "GaussianProcessClassifier", "GaussianProcessRegressor",
    "HistGradientBoostingClassifier", "HistGradientBoostingRegressor", "KNeighborsClassifier",
    "KNeighborsRegressor", "MLPClassifier", "MLPRegressor", "OutputCodeClassifier",
    "RadiusNeighborsClassifier",
    "RadiusNeighborsRegressor", "StackingClassifier", "StackingRegressor", "TweedieRegressor",
    "VotingClassifier", "VotingRegressor",
}  # fmt: skip


def a_new(name: str) -> Any:
    kind, estimator = ESTIMATORS[name]
    inner = LogisticRegression(max_iter=200) if kind == "classifier" else Ridge()
    try:
        made = estimator()
    except TypeError:
        several = name.startswith(("Voting", "Stacking"))
        made = estimator([("inner", inner)]) if several else estimator(inner)
    if hasattr(made, "n_estimators"):
        made.set_params(n_estimators=5)
    return made


def data_for(name: str) -> tuple[pd.DataFrame, pd.Series, pd.DataFrame]:
    """Return rows and targets to fit to, and others to answer."""
    load = load_wine if ESTIMATORS[name][0] == "classifier" else load_diabetes
    rows, target = load(return_X_y=True, as_frame=True)
    rows = rows.abs()
    others = rows.sample(ROWS, replace=True, random_state=1)
    if name in {"CategoricalNB", "RadiusNeighborsClassifier"}:
        # They answer near the values alone that they were fitted to.
        return rows, target, others
    noise = np.random.default_rng(2).uniform(0.99, 1.01, others.shape)
    return rows, target, others * noise


def served(own: own_model.OwnModel, folder: Path) -> list[own_model.Answer]:
    """Return the predictor's answers to what clients send."""
    exported = write(own.manifest, own.files, output=folder, force=True)
    model = Model.open(exported.path, sha256=exported.digest)
    model.load()
    decoder = Decoder(model.manifest.features)
    body = json.dumps({"features": own.columns.rows}).encode()
    return model.predict(decoder.decode(body).rows)


def described(model: Any, rows: Any, form: Format = "joblib") -> own_model.OwnModel:
    return own_model.describe(model, rows, label=Label(name="mine", version="1"), served=form)


def test_the_estimators_are_more_than_fifty() -> None:
    assert len(ESTIMATORS) > 50


@pytest.mark.parametrize("name", ESTIMATORS)
def test_an_estimator_of_scikit_learn_answers_as_before_in_each_form(
    name: str, tmp_path: Path
) -> None:
    rows, target, others = data_for(name)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        fitted = a_new(name).fit(rows, target)
        own = described(fitted, others)
        assert served(own, tmp_path) == pytest.approx(own.answers, rel=1e-6, abs=1e-6)
        assert len(own.answers) == ROWS
        as_skops = described(fitted, others, "skops")
        if name in NOT_TRUSTED:
            with pytest.raises(RefusedError, match=r"^model\.skops holds types .* add them to"):
                served(as_skops, tmp_path)
        else:
            answers = served(as_skops, tmp_path)
            assert answers == pytest.approx(own.answers, rel=1e-6, abs=1e-6)


@pytest.fixture(scope="module")
def customers() -> pd.DataFrame:
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


def of_mixed_columns(encoder: Any) -> Any:
    numbers = make_pipeline(SimpleImputer(), StandardScaler())
    return make_column_transformer(
        (numbers, ["age", "income", "visits"]),
        (encoder, ["city", "plan"]),
        ("passthrough", ["vip"]),
    )


MIXED = {
    "one-hot": lambda: make_pipeline(
        of_mixed_columns(OneHotEncoder(handle_unknown="ignore")), LogisticRegression(max_iter=500)
    ),
    "ordinal": lambda: make_pipeline(
        of_mixed_columns(OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1)),
        DecisionTreeClassifier(max_depth=5),
    ),
    "tables between the steps": lambda: make_pipeline(
        of_mixed_columns(OneHotEncoder(handle_unknown="ignore", sparse_output=False)),
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

STEPS_NOT_TRUSTED = {
    "gaps in trees": "TreePredictor",
    "chosen by their types": "make_column_selector",
}


@pytest.mark.parametrize("form", ["joblib", "skops"])
@pytest.mark.parametrize("kind", MIXED)
@pytest.mark.parametrize("labels", [["leave", "stay"], [0, 1], [False, True]])
def test_a_pipeline_on_mixed_columns_with_gaps_answers_as_before(
    customers: pd.DataFrame, kind: str, form: Format, labels: list[Any], tmp_path: Path
) -> None:
    target = np.where(customers["income"] > 5, labels[1], labels[0])
    fitted = MIXED[kind]().fit(customers[:ROWS], target[:ROWS])
    own = described(fitted, customers[ROWS:], form)
    if form == "skops" and kind in STEPS_NOT_TRUSTED:
        with pytest.raises(RefusedError, match=STEPS_NOT_TRUSTED[kind]):
            served(own, tmp_path)
    else:
        assert served(own, tmp_path) == own.answers
    assert len(set(own.answers)) == 2


def test_a_table_is_described_by_its_columns(customers: pd.DataFrame) -> None:
    fitted = MIXED["one-hot"]().fit(customers, customers["income"] > 5)
    manifest = described(fitted, customers).manifest
    features = {feature.name: feature for feature in manifest.features}
    assert {name for name, feature in features.items() if feature.nullable} == {
        "age", "city", "visits",
    }  # fmt: skip
    assert [name for name, feature in features.items() if feature.boolean] == ["vip"]
    assert features["city"].categories == ("Bern", "Oslo", "Rom")
    assert manifest.baseline is not None
    assert set(manifest.baseline.features) == set(features)
    assert manifest.baseline.features["age"].missing == int(customers["age"].isna().sum())
    shown = [set(row) for row in manifest.examples.rows]
    assert any(None in row for row in shown)


def test_a_list_of_texts_is_one_column(tmp_path: Path) -> None:
    texts = [
        f"please {word} my {thing}" for word in ("send", "stop") for thing in ("a", "bb", "cc")
    ]
    fitted = make_pipeline(TfidfVectorizer(), LogisticRegression())
    fitted.fit(texts, [text.split()[1] for text in texts])
    own = described(fitted, texts)
    assert served(own, tmp_path) == [text.split()[1] for text in texts]


def test_a_model_of_many_classes_has_a_bin_for_each(customers: pd.DataFrame) -> None:
    numbers = customers[["income"]]
    fitted = DecisionTreeClassifier().fit(numbers, (numbers["income"] // 3).astype(int))
    own = described(fitted, numbers)
    assert own.manifest.baseline is not None
    prediction = own.manifest.baseline.prediction
    assert prediction is not None
    assert sum(prediction.counts) == len(numbers)
    assert len(prediction.counts) == len(set(own.answers))


def test_few_rows_give_no_baseline_and_say_so(customers: pd.DataFrame) -> None:
    fitted = LinearRegression().fit(customers[["income"]], customers["vip"])
    own = described(fitted, customers[["income"]][:150])
    assert own.manifest.baseline is None
    assert own.notes == (
        "no baseline is recorded, so drift cannot be measured: it takes 200 rows, "
        "and these are 150",
    )


def test_clusters_are_served_too(customers: pd.DataFrame, tmp_path: Path) -> None:
    rows = customers[["income"]][:ROWS].astype(float)
    own = described(KMeans(3, random_state=0).fit(rows), rows)
    assert served(own, tmp_path) == own.answers


class Infinite:
    """Answers what JSON has no word for."""

    def predict(self, rows: Any) -> Any:
        return np.full(len(rows), np.inf)


NUMBERS = np.random.default_rng(3).normal(size=(300, 2))
REFUSED = {
    "has no predict": (TSNE(), NUMBERS),
    "answers 2 values a row": (RandomForestRegressor(5).fit(NUMBERS, NUMBERS), NUMBERS),
    "not finite": (Infinite(), NUMBERS),
    "sparse matrix, and a client sends whole rows": (Infinite(), csr_array(NUMBERS)),
    "needs a name of 1 to 253": (Infinite(), pd.DataFrame({"": [1.0]})),
    "would have .* MiB, and a predictor reads 8": (
        make_pipeline(TfidfVectorizer(), LogisticRegression()).fit(
            ["some word", "another"], [0, 1]
        ),
        ["word " * 400_000] * 8,
    ),
    "no rows": (Infinite(), NUMBERS[:0]),
    "3 dimensions": (Infinite(), NUMBERS.reshape(10, 30, 2)),
    "infinite values": (Infinite(), NUMBERS * np.inf),
    "column 'since' holds values of the type": (
        Infinite(),
        pd.DataFrame({"since": [datetime.date(2026, 1, 1)]}),
    ),
    "give them as they were given to fit": (
        LinearRegression().fit(NUMBERS, NUMBERS[:, 0]),
        [[1.0]],
    ),
}


@pytest.mark.parametrize("reason", REFUSED)
def test_what_cannot_be_served_is_refused_in_a_sentence(reason: str) -> None:
    model, rows = REFUSED[reason]
    with pytest.raises(ValueError, match=reason) as refusal:
        described(model, rows)
    assert "\n" not in str(refusal.value)


def test_a_column_that_the_model_knows_and_the_examples_lack_is_named() -> None:
    rows = pd.DataFrame(NUMBERS, columns=["a", "b"])
    fitted = LinearRegression().fit(rows, NUMBERS[:, 0])
    with pytest.raises(ValueError, match="lack the column 'b'"):
        described(fitted, rows[["a"]])


def test_a_function_of_the_script_is_refused_before_a_pod_misses_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def double(rows: Any) -> Any:
        return rows * 2

    monkeypatch.setattr(double, "__module__", "__main__")
    monkeypatch.setattr(double, "__qualname__", "double")
    monkeypatch.setattr("__main__.double", double, raising=False)
    fitted = make_pipeline(FunctionTransformer(double), LinearRegression())
    fitted.fit(NUMBERS, NUMBERS[:, 0])
    with pytest.raises(ValueError, match="of the script that made it"):
        described(fitted, NUMBERS)


def exported(tmp_path: Path, model: Any, rows: pd.DataFrame, *options: str) -> int:
    joblib.dump(model, tmp_path / "model.joblib")
    rows.to_csv(tmp_path / "rows.csv", index=False)
    command = ["export", str(tmp_path / "model.joblib"), "--examples", str(tmp_path / "rows.csv")]
    label = ["--name", "mine", "--version", "1", "--output", str(tmp_path / "artifacts")]
    return main([*command, *label, *options])


def a_pipeline(customers: pd.DataFrame) -> Pipeline:
    fitted: Pipeline = MIXED["one-hot"]().fit(customers, customers["income"] > 5)
    return fitted


def test_the_command_has_the_predictor_answer_before_it_is_done(
    customers: pd.DataFrame, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = customers.assign(target=1)
    options = ("-o", "json", "--feature-service", "churn_v1")
    assert exported(tmp_path, a_pipeline(customers), rows, *options) == 0
    said = capsys.readouterr()
    assert "the predictor gave the same 1000 of 1000 answers (by scikit-learn)" in said.err
    folder = Path(json.loads(said.out)["path"])
    manifest = ArtifactManifest.model_validate_json((folder / "manifest.json").read_bytes())
    assert manifest.feature_service == "churn_v1"
    assert "target" not in {feature.name for feature in manifest.features}
    assert {file.path for file in manifest.files} == {"model.joblib", "model.skops"}


def test_the_command_writes_nothing_that_the_predictor_refuses(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = pd.DataFrame(NUMBERS, columns=["a", "b"])
    fitted = HistGradientBoostingClassifier(max_iter=5).fit(rows, rows["a"] > 0)
    assert exported(tmp_path, fitted, rows, "--model-format", "skops") == 2
    said = capsys.readouterr().err
    assert "the predictor refuses the model: model.skops holds types" in said
    assert not (tmp_path / "artifacts").exists()


def test_an_answer_that_differs_from_the_models_own_is_found(
    customers: pd.DataFrame, tmp_path: Path
) -> None:
    own = described(a_pipeline(customers), customers)
    written = write(own.manifest, own.files, output=tmp_path)
    own.answers[40] = 1.0 - float(own.answers[40])
    with pytest.raises(ArtifactError, match=r"answers 1 of 1000 rows otherwise .*: row 40 with"):
        own_model.try_it(written, own)


def test_a_shells_settings_do_not_make_a_pods_decision(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = pd.DataFrame(NUMBERS, columns=["a", "b"])
    fitted = HistGradientBoostingClassifier(max_iter=5).fit(rows, rows["a"] > 0)
    known = "sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor"
    monkeypatch.setenv("SKOPS_TRUSTED_TYPES", known)
    monkeypatch.setenv("MODEL_VERSION", "7")
    assert exported(tmp_path, fitted, rows, "--model-format", "skops") == 2
    assert "add them to SKOPS_TRUSTED_TYPES" in capsys.readouterr().err
    assert exported(tmp_path, fitted, rows) == 0


def test_a_model_that_takes_other_numbers_is_told_what_reaches_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = pd.DataFrame(NUMBERS.astype(np.float32), columns=["a", "b"])
    joblib.dump(KMeans(2).fit(rows), tmp_path / "model.joblib")
    rows.to_parquet(tmp_path / "rows.parquet")
    label = ["--name", "mine", "--version", "1", "--output", str(tmp_path / "artifacts")]
    files = [str(tmp_path / "model.joblib"), "--examples", str(tmp_path / "rows.parquet")]
    assert main(["export", *files, *label]) == 2
    said = capsys.readouterr().err
    assert "rows reach a predictor as 64-bit numbers" in said
    assert "other libraries" not in said


def test_an_empty_text_and_a_text_of_digits_are_texts(tmp_path: Path) -> None:
    texts = ["", "007", "nan", "send it"]
    table = pd.DataFrame({"text": texts * 2})
    fitted = make_pipeline(
        TfidfVectorizer(analyzer="char", ngram_range=(1, 2)), LogisticRegression()
    )
    fitted.fit(table["text"], table["text"])
    assert exported(tmp_path, fitted, table, "--texts") == 0
    manifest = (tmp_path / "artifacts" / "mine" / "1" / "manifest.json").read_bytes()
    rows = ArtifactManifest.model_validate_json(manifest).examples.rows
    assert [row[0] for row in rows[:4]] == texts


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--drop", "nothing"], "--drop nothing: .* has the columns age"),
        (["--texts"], "--texts takes one column, and .* has 6"),
    ],
)
def test_the_command_names_what_is_wrong_with_the_examples(
    options: list[str],
    sentence: str,
    customers: pd.DataFrame,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert exported(tmp_path, LinearRegression(), customers, *options) == 2
    said = capsys.readouterr().err
    assert re.search(sentence, said), said
