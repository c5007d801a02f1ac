"""Models that people fitted without this project, exported and answered as they answer."""

import datetime
import json
import re
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pandas as pd
import pytest
from scipy.sparse import csr_array
from sklearn.cluster import KMeans
from sklearn.compose import make_column_transformer
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.manifold import TSNE
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import (
    FunctionTransformer,
)
from sklearn.tree import DecisionTreeClassifier

from modelrelease_contract import ArtifactManifest
from modelrelease_contract.artifact import Format
from modelrelease_serving.comparison import repeats
from modelrelease_serving.errors import RefusedError
from modelrelease_serving.model import Model
from modelrelease_serving.rows import Decoder
from modelrelease_training import own_model
from modelrelease_training.__main__ import main
from modelrelease_training.errors import ArtifactError
from modelrelease_training.export import Label, write
from testbed import estimators
from testbed.estimators import MIXED, NAMES, ROWS

# Compiled or composed by types that skops asks a person about.
NOT_TRUSTED = {
    "BisectingKMeans", "CalibratedClassifierCV", "GaussianProcessClassifier",
    "GaussianProcessRegressor", "GridSearchCV", "HistGradientBoostingClassifier",
    "HistGradientBoostingRegressor", "KNeighborsClassifier", "KNeighborsRegressor",
    "LocalOutlierFactor", "MLPClassifier", "MLPRegressor", "OutputCodeClassifier",
    "RadiusNeighborsClassifier", "RadiusNeighborsRegressor", "RandomizedSearchCV",
    "StackingClassifier", "StackingRegressor", "TunedThresholdClassifierCV", "TweedieRegressor",
    "VotingClassifier", "VotingRegressor",
}  # fmt: skip


NOT_WRITTEN = {"Birch"}


def served(own: own_model.OwnModel, folder: Path) -> list[Any]:
    """Return the predictor's answers to what clients send."""
    exported = write(own.manifest, own.files, output=folder, force=True)
    model = Model.open(exported.path, sha256=exported.digest)
    model.load()
    decoder = Decoder(model.manifest.features)
    body = json.dumps({"features": own.columns.rows}).encode()
    answers: list[Any] = model.predict(decoder.decode(body).rows)
    return answers


def are_same(answers: Sequence[Any], recorded: Sequence[Any]) -> bool:
    return all(repeats(*pair, 1e-6) for pair in zip(answers, recorded, strict=True))


def described(model: Any, rows: Any, form: Format = "joblib") -> own_model.OwnModel:
    return own_model.describe(model, rows, label=Label(name="mine", version="1"), served=form)


@pytest.mark.parametrize("name", NAMES)
def test_an_estimator_of_scikit_learn_answers_as_before_in_each_form(
    name: str, tmp_path: Path
) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        fitted, others = estimators.fitted(name)
        own = described(fitted, others)
        assert are_same(served(own, tmp_path), own.answers)
        assert len(own.answers) == ROWS
        if name in NOT_WRITTEN:
            with pytest.raises(ValueError, match="it cannot be written as skops"):
                described(fitted, others, "skops")
            return
        as_skops = described(fitted, others, "skops")
        if name in NOT_TRUSTED:
            with pytest.raises(RefusedError, match=r"^model\.skops holds types .* add them to"):
                served(as_skops, tmp_path)
        else:
            assert are_same(served(as_skops, tmp_path), own.answers)


@pytest.fixture(scope="module")
def customers() -> pd.DataFrame:
    return estimators.customers()


STEPS_NOT_TRUSTED = {
    "gaps in trees": "TreePredictor",
    "chosen by their types": "make_column_selector",
}


@pytest.mark.parametrize("form", ["joblib", "skops"])
@pytest.mark.parametrize("kind", MIXED)
@pytest.mark.parametrize("labels", [("leave", "stay"), (0, 1), (False, True)])
def test_a_pipeline_on_mixed_columns_with_gaps_answers_as_before(
    kind: str, form: Format, labels: tuple[Any, Any], tmp_path: Path
) -> None:
    own = described(*estimators.fitted_to_customers(kind, labels), form)
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


def test_clusters_of_32_bit_numbers_are_asked_for_such(tmp_path: Path) -> None:
    own = described(*estimators.clusters_of_32_bits())
    assert served(own, tmp_path) == own.answers


class Infinite:
    """Answers what JSON has no word for."""

    def predict(self, rows: Any) -> Any:
        return np.full(len(rows), np.inf)


class OfThreeDimensions:
    """Answers with a table for each row."""

    def predict(self, rows: Any) -> Any:
        return np.zeros((*rows.shape, 1))


NUMBERS = np.random.default_rng(3).normal(size=(300, 2))
REFUSED = {
    "has no predict": (TSNE(), NUMBERS),
    r"an array of shape \(300, 2, 1\)": (OfThreeDimensions(), NUMBERS),
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


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        ({"name": "../mine"}, r"the name of a model must be .*, got '\.\./mine'"),
        ({"name": "x" * 64}, "the name of a model must be 1 to 63 letters"),
        ({"version": "größe"}, "the version of a model must be"),
        ({"version": 2}, "the version of a model must be .*, got 2"),
        ({"feature_service": ""}, "exported: feature_service: String should have at least 1"),
    ],
)
def test_a_name_that_can_be_no_folder_is_refused_in_one_line(
    wrong: dict[str, Any], reason: str, tmp_path: Path
) -> None:
    names = {"name": "mine", "version": "1", "output": tmp_path / "artifacts", **wrong}
    with pytest.raises(ArtifactError, match=reason) as caught:
        own_model.export(LinearRegression().fit(NUMBERS, NUMBERS[:, 0]), NUMBERS, **names)
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_of_many_columns_those_are_named_that_differ(tmp_path: Path) -> None:
    rows = pd.DataFrame(np.ones((20, 2000)), columns=[f"column {index}" for index in range(2000)])
    own = described(LinearRegression().fit(rows, rows["column 0"]), rows)
    features = list(own.manifest.features)
    features[700], features[701] = features[701], features[700]
    manifest = own.manifest.model_copy(update={"features": tuple(features)})
    exported = write(manifest, own.files, output=tmp_path)
    differ = (
        r"2000 columns, .* from number 701 on: \['column 700', 'column 701', 'column 702'\] there"
    )
    with pytest.raises(RefusedError, match=differ) as caught:
        Model.open(exported.path, sha256=exported.digest).load()
    assert len(str(caught.value)) < 500


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
    own.answers[40] = 1.0 if own.answers[40] == 0.0 else 0.0
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
    # Beside a text, numbers reach it one by one: as 64-bit ones, which it refuses.
    rows = pd.DataFrame(NUMBERS.astype(np.float32), columns=["a", "b"]).assign(name="x")
    clusters = make_pipeline(make_column_transformer(("passthrough", ["a", "b"])), KMeans(2))
    joblib.dump(clusters.fit(rows), tmp_path / "model.joblib")
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
