"""A row of JSON is what the model was fitted to: the answers are scikit-learn's own."""

import hashlib
import json
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.cluster import KMeans
from sklearn.compose import ColumnTransformer, make_column_selector, make_column_transformer
from sklearn.dummy import DummyRegressor
from sklearn.ensemble import (
    GradientBoostingClassifier,
    GradientBoostingRegressor,
    HistGradientBoostingClassifier,
    RandomForestRegressor,
    VotingClassifier,
)
from sklearn.feature_extraction.text import CountVectorizer, HashingVectorizer, TfidfVectorizer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.multioutput import MultiOutputClassifier
from sklearn.pipeline import make_pipeline, make_union
from sklearn.preprocessing import (
    FunctionTransformer,
    OneHotEncoder,
    OrdinalEncoder,
    StandardScaler,
    TargetEncoder,
    scale,
)
from sklearn.tree import DecisionTreeClassifier

from modelrelease_contract import (
    MANIFEST_NAME,
    ArtifactManifest,
    Examples,
    Feature,
    ModelFile,
    Output,
)
from modelrelease_contract.artifact import FeatureKind
from modelrelease_serving.artifact import read_manifest
from modelrelease_serving.errors import RefusedError
from modelrelease_serving.loaders import Rules
from modelrelease_serving.model import Model
from modelrelease_serving.rows import Decoder
from tests.serving.test_mlflow import save

RANDOM = np.random.default_rng(5)
SIZE = 300
TABLE = pd.DataFrame(
    {
        "size": np.where(RANDOM.random(SIZE) < 0.1, np.nan, RANDOM.normal(size=SIZE)),
        "color": RANDOM.choice(np.array(["red", "blue", None]), SIZE),
        "flag": RANDOM.random(SIZE) < 0.3,
        "shape": RANDOM.choice(np.array(["round", "flat", None]), SIZE),
    }
)
# The example rows are the first ones, and tell what may be missing.
TABLE.loc[1, "size"] = np.nan
TABLE.loc[2, "color"] = TABLE.loc[3, "shape"] = None
LABELS = (
    (TABLE["color"].isna() | (TABLE["size"].fillna(2) > 0))
    ^ TABLE["flag"]
    ^ (TABLE["shape"] == "flat")
).astype(int)
TEXTS = ["good and cheap", "bad", "cheap", "good", "bad and dear", "dear"] * 5
TONES = [1, 0, 1, 1, 0, 0] * 5


def rows_of(table: pd.DataFrame) -> list[list[Any]]:
    """Return the rows as a client would send them."""
    rows = table.astype(object).to_numpy().tolist()
    return [[None if pd.isna(value) else value for value in row] for row in rows]


def asked(model: Model, rows: Sequence[Sequence[Any]]) -> list[Any]:
    """Return the answers to rows that went through JSON, one by one and together."""
    decoder = Decoder(model.manifest.features)
    together = model.predict(decoder.decode(json.dumps({"features": rows}).encode()).rows)
    for row, answer in list(zip(rows, together, strict=True))[:40]:
        alone = model.predict(decoder.decode(json.dumps({"features": row}).encode()).rows)
        assert alone == [pytest.approx(answer, rel=1e-6) if isinstance(answer, float) else answer]
    return together


def loaded(folder: Path) -> Model:
    model = Model.open(folder, rules=Rules(allow_unpinned=True))
    model.load()
    return model


def by_mlflow(tmp_path: Path, fitted: Any, **options: Any) -> Model:
    return loaded(save(tmp_path / "model", fitted, serialization_format="pickle", **options))


def of_columns(encoder: Any, *, by: Any = ("color", "shape")) -> Any:
    columns = make_column_transformer(
        (make_pipeline(SimpleImputer(), StandardScaler()), ["size"]),
        (encoder, list(by) if isinstance(by, tuple) else by),
        remainder="passthrough",
    )
    return make_pipeline(columns, DecisionTreeClassifier(random_state=0))


MIXED: list[Any] = [
    pytest.param(
        lambda: of_columns(OneHotEncoder(handle_unknown="ignore")), id="one-hot, ignoring"
    ),
    pytest.param(lambda: of_columns(OneHotEncoder(sparse_output=False)), id="one-hot"),
    pytest.param(lambda: of_columns(OrdinalEncoder()), id="ordinal"),
    pytest.param(
        lambda: of_columns(OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1)),
        id="ordinal, unknown",
    ),
    pytest.param(lambda: of_columns(TargetEncoder()), id="target"),
    pytest.param(
        lambda: of_columns(make_pipeline(SimpleImputer(strategy="most_frequent"), OneHotEncoder())),
        id="imputed by the most frequent",
    ),
    pytest.param(
        lambda: of_columns(
            make_pipeline(SimpleImputer(strategy="constant", fill_value="none"), OneHotEncoder())
        ),
        id="imputed by a constant",
    ),
    pytest.param(
        lambda: of_columns(
            make_pipeline(
                SimpleImputer(strategy="constant", add_indicator=True, fill_value="n"),
                OneHotEncoder(handle_unknown="ignore"),
            )
        ),
        id="with an indicator",
    ),
    pytest.param(
        lambda: of_columns(
            OneHotEncoder(), by=make_column_selector(dtype_include=["str", "object"])
        ),
        id="selected by type",
    ),
    pytest.param(lambda: of_columns(OneHotEncoder(), by=[1, 3]), id="by position"),
    pytest.param(
        lambda: of_columns(OneHotEncoder(), by=slice("color", "shape")), id="by a slice of names"
    ),
    pytest.param(
        lambda: of_columns(OneHotEncoder(sparse_output=False)).set_output(transform="pandas"),
        id="as pandas",
    ),
    pytest.param(
        lambda: make_pipeline(
            make_column_transformer(
                (SimpleImputer(), ["size"]),
                (SimpleImputer(strategy="most_frequent"), ["color", "shape"]),
                remainder="passthrough",
                verbose_feature_names_out=False,
            ).set_output(transform="pandas"),
            make_column_transformer(
                (OneHotEncoder(sparse_output=False), ["shape", "color"]), remainder="passthrough"
            ).set_output(transform="pandas"),
            DecisionTreeClassifier(random_state=0),
        ),
        id="two tables in a row",
    ),
    pytest.param(
        lambda: GridSearchCV(
            of_columns(OneHotEncoder()), {"decisiontreeclassifier__max_depth": [3, 5]}, cv=2
        ),
        id="searched",
    ),
    pytest.param(
        lambda: CalibratedClassifierCV(of_columns(OneHotEncoder()), cv=2), id="calibrated"
    ),
    pytest.param(
        lambda: VotingClassifier(
            [("a", of_columns(OneHotEncoder())), ("b", of_columns(OrdinalEncoder()))], voting="soft"
        ),
        id="a vote",
    ),
]


@pytest.mark.parametrize("make", MIXED)
def test_null_and_names_mean_what_the_table_meant(make: Callable[[], Any], tmp_path: Path) -> None:
    fitted = make().fit(TABLE, LABELS)
    expected = fitted.predict(TABLE).tolist()
    assert len(set(expected)) == 2
    model = by_mlflow(tmp_path, fitted, input_example=TABLE[:8])
    assert asked(model, rows_of(TABLE)) == expected
    _, shares = model.estimator.explain(rows_of(TABLE))
    assert np.abs(np.subtract(shares, fitted.predict_proba(TABLE))).max() < 1e-12


def test_categories_of_a_table_need_no_table(tmp_path: Path) -> None:
    table = TABLE.assign(
        color=TABLE["color"].astype("category"), shape=TABLE["shape"].astype("category")
    )
    fitted = HistGradientBoostingClassifier(categorical_features="from_dtype", max_iter=20).fit(
        table, LABELS
    )
    model = by_mlflow(tmp_path, fitted, input_example=TABLE[:8])
    assert asked(model, rows_of(TABLE)) == fitted.predict(table).tolist()


@pytest.mark.parametrize("handle_unknown", ["ignore", "error"])
def test_null_in_the_only_text_is_the_missing_value(handle_unknown: str, tmp_path: Path) -> None:
    table = pd.DataFrame({"c": ["a", "b", None] * 20})
    fitted = make_pipeline(OneHotEncoder(handle_unknown=handle_unknown), LogisticRegression())
    model = by_mlflow(tmp_path, fitted.fit(table, [0, 0, 1] * 20), input_example=table[:3])
    assert asked(model, [[None], ["a"], ["b"]]) == [1, 0, 0]
    assert model.manifest.examples.rows == (("a",), ("b",), (None,))


def manifest_for(fitted: Any, folder: Path, features: Sequence[Feature], **changes: Any) -> Model:
    """Write an artifact by hand."""
    folder.mkdir(exist_ok=True)
    path = folder / "model.joblib"
    joblib.dump(fitted, path)
    content = path.read_bytes()
    file = ModelFile(path=path.name, sha256=hashlib.sha256(content).hexdigest(), size=len(content))
    manifest = ArtifactManifest(
        name="m", version="1", features=tuple(features), files=(file,), **changes
    )
    (folder / MANIFEST_NAME).write_text(manifest.model_dump_json())
    return Model.open(folder, rules=Rules(allow_unpinned=True))


TEXT = Feature(name="c", kind=FeatureKind.CATEGORICAL, nullable=True)


@pytest.mark.parametrize("missing", [None, np.nan], ids=["None", "NaN"])
@pytest.mark.parametrize(
    "make",
    [
        lambda: OneHotEncoder(handle_unknown="ignore"),
        lambda: OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-5),
        # It does not show what it was fitted to; the recorded answers do.
        lambda: FunctionTransformer(_is_none),
    ],
    ids=["one-hot", "ordinal", "a function"],
)
def test_models_fitted_to_none_get_none(
    make: Callable[[], Any], missing: Any, tmp_path: Path
) -> None:
    values = np.array([["a"], ["b"], [missing]] * 20, dtype=object)
    fitted = make_pipeline(make(), DecisionTreeClassifier(random_state=0)).fit(
        values, [0, 1, 2] * 20
    )
    recorded = tuple(fitted.predict(values[:3]).tolist())
    examples = Examples(rows=(("a",), ("b",), (None,)), predictions=recorded)
    model = manifest_for(fitted, tmp_path, [TEXT], examples=examples)
    model.load()
    assert asked(model, [["a"], ["b"], [None]]) == list(recorded)


def _is_none(values: Any) -> Any:
    return np.array([[3.0 if each is None else float(len(str(each)))] for (each,) in values])


VECTORIZERS: list[Any] = [
    pytest.param(lambda: make_pipeline(TfidfVectorizer(), LogisticRegression()), id="tfidf"),
    pytest.param(lambda: make_pipeline(CountVectorizer(), LogisticRegression()), id="counts"),
    pytest.param(
        lambda: make_pipeline(
            make_union(TfidfVectorizer(), HashingVectorizer(n_features=32)), LogisticRegression()
        ),
        id="a union",
    ),
    pytest.param(
        lambda: GridSearchCV(
            make_pipeline(TfidfVectorizer(), LogisticRegression()),
            {"logisticregression__C": [1, 10]},
            cv=2,
        ),
        id="searched",
    ),
]


@pytest.mark.parametrize("make", VECTORIZERS)
def test_a_vectorizer_gets_texts(make: Callable[[], Any], tmp_path: Path) -> None:
    fitted = make().fit(TEXTS, TONES)
    model = by_mlflow(tmp_path, fitted, input_example=np.array(TEXTS[:3]))
    assert asked(model, [[text] for text in TEXTS]) == fitted.predict(TEXTS).tolist() == TONES
    assert not model.mixes_rows


def test_a_vectorizer_of_one_column_gets_its_texts(tmp_path: Path) -> None:
    table = pd.DataFrame({"price": RANDOM.normal(size=30), "text": TEXTS})
    fitted = make_pipeline(
        ColumnTransformer(
            [("text", TfidfVectorizer(), "text"), ("price", StandardScaler(), ["price"])]
        ),
        LogisticRegression(),
    ).fit(table, TONES)
    model = by_mlflow(tmp_path, fitted, input_example=table[:3])
    assert asked(model, rows_of(table)) == fitted.predict(table).tolist()


def test_what_needs_a_table_is_refused_with_what_to_do(tmp_path: Path) -> None:
    fitted = make_pipeline(FunctionTransformer(_columns_of_names), LogisticRegression())
    fitted.fit(TABLE.fillna({"size": 0}), LABELS)
    with pytest.raises(RefusedError, match=r"needs a table of pandas.*select columns by position"):
        by_mlflow(tmp_path, fitted, input_example=TABLE.fillna({"size": 0})[:4])


def _columns_of_names(table: Any) -> Any:
    return table.loc[:, ["size", "flag"]].astype(float)


def folder_of(tmp_path: Path, fitted: Any, table: Any, *, example: Any = None) -> Model:
    """Save with a signature, and with an example if there is one."""
    from mlflow.models import infer_signature  # noqa: PLC0415 - it takes seconds

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        signature = infer_signature(table, fitted.predict(table))
    return by_mlflow(tmp_path, fitted, signature=signature, input_example=example)


LINE = np.linspace(-5, 5, 60)[:, None]


@pytest.mark.parametrize(
    ("fitted", "rows"),
    [
        pytest.param(
            GradientBoostingRegressor(n_estimators=1, init=LinearRegression()).fit(
                LINE, 3 * LINE[:, 0] + 1
            ),
            [[9.0], [-2.5]],
            id="a line",
        ),
        pytest.param(
            GradientBoostingClassifier(n_estimators=2, init=LogisticRegression()).fit(
                LINE, LINE[:, 0] > 0
            ),
            [[0.3], [-2.5], [4.0]],
            id="classes",
        ),
        pytest.param(
            make_pipeline(StandardScaler(), GradientBoostingRegressor(init=LinearRegression())).fit(
                LINE, 3 * LINE[:, 0] + 1
            ),
            [[9.0]],
            id="scaled",
        ),
    ],
)
def test_boosting_that_begins_with_a_model_is_left_to_scikit_learn(
    fitted: Any, rows: list[list[float]], tmp_path: Path
) -> None:
    model = folder_of(tmp_path, fitted, LINE)
    assert model.estimator.form == "scikit-learn"
    assert asked(model, rows) == pytest.approx(fitted.predict(rows).tolist())


@pytest.mark.parametrize("init", [None, "zero", DummyRegressor(strategy="median")])
def test_boosting_that_begins_with_a_number_is_fast(init: Any, tmp_path: Path) -> None:
    fitted = GradientBoostingRegressor(n_estimators=5, init=init).fit(LINE, 3 * LINE[:, 0] + 1)
    model = folder_of(tmp_path, fitted, LINE)
    assert model.estimator.form == "trees"
    assert asked(model, LINE.tolist()) == pytest.approx(fitted.predict(LINE).tolist())


def test_a_wrong_fast_form_is_found_out_without_examples(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("modelrelease_serving.compiled._starts_alike", lambda _: True)
    fitted = GradientBoostingRegressor(n_estimators=1, init=LinearRegression()).fit(
        LINE, 3 * LINE[:, 0] + 1
    )
    assert folder_of(tmp_path, fitted, LINE).estimator.form == "scikit-learn"


def test_rows_that_mix_share_no_call_without_examples(tmp_path: Path) -> None:
    rows = RANDOM.normal(size=(60, 2))
    mixing = make_pipeline(FunctionTransformer(scale), LogisticRegression()).fit(
        rows, rows[:, 0] > 0
    )
    assert folder_of(tmp_path / "a", mixing, rows).mixes_rows
    plain = make_pipeline(FunctionTransformer(np.tanh), LogisticRegression()).fit(
        rows, rows[:, 0] > 0
    )
    assert not folder_of(tmp_path / "b", plain, rows).mixes_rows


def test_one_row_of_text_is_no_evidence_that_rows_are_apart(tmp_path: Path) -> None:
    table = pd.DataFrame({"c": ["a", "b"] * 10})
    fitted = make_pipeline(OneHotEncoder(), LogisticRegression()).fit(table, [0, 1] * 10)
    assert by_mlflow(tmp_path / "a", fitted, input_example=table[:1]).mixes_rows
    assert not by_mlflow(tmp_path / "b", fitted, input_example=table[:2]).mixes_rows


def test_a_gap_in_an_array_may_be_a_gap_in_a_request(tmp_path: Path) -> None:
    rows = RANDOM.normal(size=(80, 3))
    rows[RANDOM.random(rows.shape) < 0.2] = np.nan
    rows[0, 1] = np.nan
    fitted = HistGradientBoostingClassifier(max_iter=10).fit(rows, RANDOM.integers(0, 3, 80))
    model = by_mlflow(tmp_path, fitted, input_example=rows[:3])
    assert all(feature.nullable for feature in model.manifest.features)
    sent = [[None if np.isnan(value) else value for value in row] for row in rows.tolist()]
    assert asked(model, sent) == fitted.predict(rows).tolist()


def test_columns_without_names_are_served(tmp_path: Path) -> None:
    table = pd.DataFrame(RANDOM.normal(size=(40, 2)))
    fitted = LogisticRegression().fit(table, table[0] > 0)
    model = by_mlflow(tmp_path, fitted, input_example=table[:4])
    assert [feature.name for feature in model.manifest.features] == ["x0", "x1"]
    assert asked(model, rows_of(table)) == fitted.predict(table).tolist()


def test_a_boolean_takes_true_and_no_other_number(tmp_path: Path) -> None:
    from modelrelease_serving.errors import BadRequestError  # noqa: PLC0415

    table = pd.DataFrame({"flag": [True, False] * 20, "x": RANDOM.normal(size=40)})
    fitted = DecisionTreeClassifier().fit(table, table["flag"])
    model = by_mlflow(tmp_path, fitted, input_example=table[:4])
    decoder = Decoder(model.manifest.features)
    assert asked(model, [[True, 0.5], [False, 0.5], [1, 0.5], [0, 0.5]]) == [
        True,
        False,
        True,
        False,
    ]
    for wrong in ("7", '"true"', "0.5", "null", "{}", "2e400"):
        with pytest.raises(BadRequestError, match="feature flag must be true or false") as raised:
            decoder.decode(b'{"features": [%s, 0.5]}' % wrong.encode())
        assert raised.value.status == 422


def test_answers_in_a_table_of_one_column_are_its_values(tmp_path: Path) -> None:
    rows = RANDOM.normal(size=(60, 2))
    line = LinearRegression().fit(rows, pd.DataFrame({"y": rows[:, 0] * 2}))
    assert asked(folder_of(tmp_path / "a", line, rows), rows.tolist()) == pytest.approx(
        (rows[:, 0] * 2).tolist()
    )
    several = MultiOutputClassifier(LogisticRegression()).fit(rows, (rows[:, :1] > 0).astype(int))
    model = folder_of(tmp_path / "b", several, rows)
    assert asked(model, rows.tolist()) == several.predict(rows)[:, 0].tolist()
    assert model.estimator.explain([[1.0, 1.0]])[1] == [pytest.approx([0, 1], abs=0.1)]


@pytest.mark.parametrize(
    ("fitted", "words"),
    [
        pytest.param(
            RandomForestRegressor(2).fit(LINE, np.c_[LINE, LINE]),
            "answers with 2 values a row",
            id="two",
        ),
        pytest.param(
            MultiOutputClassifier(LogisticRegression()).fit(LINE, np.c_[LINE > 0, LINE > 1]),
            "answers with 2 values a row",
            id="two classes",
        ),
        pytest.param(
            StandardScaler().fit(LINE), "StandardScaler, which has no predict", id="a transformer"
        ),
        pytest.param({"a": 1}, "holds a dict, which has no predict", id="a dict"),
        pytest.param(None, "holds a NoneType, which has no predict", id="nothing"),
        pytest.param(LogisticRegression, "cannot be served|fails on its example", id="a type"),
    ],
)
def test_what_does_not_answer_with_one_value_a_row_is_refused(
    fitted: Any, words: str, tmp_path: Path
) -> None:
    examples = Examples(rows=((1.0,), (2.0,)), predictions=(1.0, 2.0))
    model = manifest_for(fitted, tmp_path, [Feature(name="x")], examples=examples)
    with pytest.raises(RefusedError, match=words):
        model.load()


def test_recorded_answers_of_several_values_are_refused_in_words(tmp_path: Path) -> None:
    model = manifest_for(
        KMeans(2).fit(LINE),
        tmp_path,
        [Feature(name="x")],
        examples=Examples(rows=((1.0,),), predictions=(1,)),
    )
    text = (model.folder / MANIFEST_NAME).read_text()
    (model.folder / MANIFEST_NAME).write_text(
        text.replace('"predictions":[1.0]', '"predictions":[[1.0,2.0]]')
    )
    with pytest.raises(
        RefusedError, match=r"prediction 0 has 2 values: .* answers with one number or class"
    ):
        Model.open(tmp_path)


@pytest.mark.parametrize("size", [1e-3, 1.0, 1e6])
def test_the_tolerance_is_a_share_of_large_answers(size: float, tmp_path: Path) -> None:
    fitted = LinearRegression().fit(LINE, LINE[:, 0] * size)

    def recorded(factor: float) -> Model:
        examples = Examples(rows=((5.0,),), predictions=(5.0 * size * factor,))
        output = Output(task="regression")
        return manifest_for(fitted, tmp_path, [Feature(name="x")], examples=examples, output=output)

    recorded(1 + 5e-7).load()
    if size >= 1:
        with pytest.raises(RefusedError, match=r"more apart than the tolerance of 1e-06"):
            recorded(1 + 1e-5).load()


HOSTILE: list[Any] = [
    pytest.param("signature: " + "[" * 20_000, id="brackets in YAML"),
    pytest.param("{" * 20_000, id="braces in YAML"),
    pytest.param(
        "a: &a [x, x]\n"
        + "".join(
            f"{n}: &{n} [{', '.join(['*' + p] * 9)}]\n"
            for p, n in zip("abcdefghij", "bcdefghijk", strict=True)
        )
        + "flavors: *k\n",
        id="aliases",
    ),
    pytest.param("- 1", id="a list"),
    pytest.param(
        "flavors: {sklearn: {pickled_model: m}}\nsignature: {inputs: '%s'}" % ("[" * 20_000),
        id="brackets in a signature",
    ),
    pytest.param(
        "flavors: {sklearn: {pickled_model: m}}\nsignature: "
        '{inputs: \'[{"type": "tensor", "tensor-spec": {"dtype": "int8", "shape": [-1, '
        "100000000000]}}]'}",
        id="a hundred billion inputs",
    ),
]


@pytest.mark.parametrize("text", HOSTILE)
def test_a_hostile_description_is_refused_in_a_short_sentence(text: str, tmp_path: Path) -> None:
    (tmp_path / "MLmodel").write_text(text)
    (tmp_path / "m").write_bytes(b"")
    with pytest.raises(
        RefusedError, match="describes no model that this predictor can use"
    ) as raised:
        read_manifest(tmp_path, sha256=None)
    assert len(str(raised.value)) < 1000


@pytest.mark.parametrize("name", ["flavors", "signature", "model_id", "saved_input_example_info"])
def test_aliases_are_never_spelled_out(name: str, tmp_path: Path) -> None:
    bomb = "a: &a [x, x]\n" + "".join(
        f"{n}: &{n} [{', '.join(['*' + p] * 9)}]\n"
        for p, n in zip("abcdefghij", "bcdefghijk", strict=True)
    )
    good = (
        "flavors: {sklearn: {pickled_model: m, sklearn_version: *k}}\nsignature: {inputs: '[]'}\n"
    )
    (tmp_path / "MLmodel").write_text(bomb + good + f"{name}: *k\n")
    (tmp_path / "m").write_bytes(b"")
    with pytest.raises(RefusedError) as raised:
        read_manifest(tmp_path, sha256=None)
    assert len(str(raised.value)) < 1000


def test_clones_of_a_served_estimator_are_not_needed() -> None:
    """`forget_names` changes what was fitted, and never what it was made of."""
    from modelrelease_serving.tables import forget_names  # noqa: PLC0415

    fitted = of_columns(OneHotEncoder()).fit(TABLE, LABELS)
    before = repr(clone(fitted))
    forget_names(fitted)
    assert repr(clone(fitted)) == before
