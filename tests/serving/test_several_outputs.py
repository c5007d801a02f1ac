"""A model that answers a row with several values, by every way of asking."""

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from pydantic import ValidationError
from sklearn.datasets import load_linnerud
from sklearn.linear_model import LinearRegression, LogisticRegression, RidgeClassifier
from sklearn.multioutput import ClassifierChain, MultiOutputClassifier
from sklearn.neighbors import KNeighborsClassifier
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.tree import DecisionTreeClassifier

from modelrelease_contract import ArtifactManifest
from modelrelease_contract.artifact import Examples, Output, OutputColumn
from modelrelease_contract.events import SampledPrediction
from modelrelease_contract.metrics import PROBE_DIFFERENT, PROBE_SAME
from modelrelease_contract.shadow import DIFFERENT, SAME
from modelrelease_serving.app import create_app
from modelrelease_serving.check import check
from modelrelease_serving.comparison import repeats
from modelrelease_serving.errors import RefusedError
from modelrelease_serving.model import Model
from modelrelease_serving.probe import Probe, send_probe
from modelrelease_serving.shadow_pairs import ArmAnswer
from modelrelease_training import own_model
from modelrelease_training.export import Exported, Label, listed, write
from tests.serving.support import predictor, settings
from tests.serving.test_app import client_of
from tests.serving.test_shadow_pairs import COMPARISON

DRAW = np.random.default_rng(4)
ROWS = DRAW.normal(size=(300, 3))
NUMBERS = ROWS @ DRAW.normal(size=(3, 2)) + [1.0, 200.0]
LABELS = (np.c_[ROWS[:, 0], -ROWS[:, 1], ROWS[:, 2]] > 0).astype(int)
TEXTS = np.c_[np.where(ROWS[:, 0] > 0, "yes", "no"), np.where(ROWS[:, 1] > 0, "red", "blue")]
MIXED = np.c_[TEXTS[:, :1].astype(object), LABELS[:, :1].astype(object)]

MODELS = {
    "numbers": make_pipeline(StandardScaler(), LinearRegression()).fit(ROWS, NUMBERS),
    "texts": MultiOutputClassifier(LogisticRegression()).fit(ROWS, TEXTS),
    "labels of yes and no": RidgeClassifier().fit(ROWS, LABELS),
    "a network's labels": MLPClassifier(
        (3,), solver="lbfgs", alpha=10, max_iter=2000, random_state=0
    ).fit(ROWS, LABELS),
    "a chain": ClassifierChain(LogisticRegression()).fit(ROWS, LABELS),
    "a tree": DecisionTreeClassifier(max_depth=3).fit(ROWS, TEXTS),
    "neighbours": KNeighborsClassifier().fit(ROWS, LABELS),
}

# Loading a model silences it for a process, and pytest forgets that after each test.
pytestmark = pytest.mark.filterwarnings("ignore:X does not have valid feature names")


def described(kind: str) -> own_model.OwnModel:
    return own_model.describe(MODELS[kind], ROWS, label=Label(name="several", version="1"))


def written(kind: str, folder: Path) -> Exported:
    own = described(kind)
    return write(own.manifest, own.files, output=folder)


def loaded(kind: str, folder: Path) -> Model:
    exported = written(kind, folder)
    model = Model.open(exported.path, sha256=exported.digest)
    model.load()
    return model


@pytest.fixture
async def client(
    request: pytest.FixtureRequest, tmp_path: Path
) -> AsyncIterator[httpx.AsyncClient]:
    app = create_app(loaded(request.param, tmp_path), settings())
    async with client_of(app) as client:
        yield client


def predicted(kind: str, rows: int) -> list[Any]:
    answers: list[Any] = MODELS[kind].predict(ROWS[:rows]).tolist()
    return answers


@pytest.mark.parametrize("kind", MODELS)
def test_each_row_is_answered_as_predict_answers(kind: str, tmp_path: Path) -> None:
    model = loaded(kind, tmp_path)
    answers = model.predict(ROWS.tolist())
    expected = predicted(kind, len(ROWS))
    assert all(repeats(*pair, 1e-9) for pair in zip(answers, expected, strict=True))
    assert not model.mixes_rows


@pytest.mark.parametrize("client", MODELS, indirect=True)
async def test_predict_has_a_list_for_each_row(
    client: httpx.AsyncClient, request: pytest.FixtureRequest
) -> None:
    kind = request.node.callspec.params["client"]
    two = await client.post("/predict", json={"features": ROWS[:2].tolist()})
    pairs = zip(two.json()["predictions"], predicted(kind, 2), strict=True)
    assert all(repeats(*pair, 1e-9) for pair in pairs)
    one = await client.post("/predict", json={"features": ROWS[0].tolist()})
    assert one.json()["prediction"] == two.json()["predictions"][0]
    of_mlflow = await client.post("/invocations", json={"instances": ROWS[:2].tolist()})
    assert of_mlflow.json() == {"predictions": two.json()["predictions"]}


@pytest.mark.parametrize("client", ["texts"], indirect=True)
async def test_texts_are_answered_as_lists_of_texts(client: httpx.AsyncClient) -> None:
    answer = await client.post("/predict", json={"features": ROWS[:9].tolist()})
    assert answer.json()["predictions"] == predicted("texts", 9)


@pytest.mark.parametrize("client", ["texts"], indirect=True)
async def test_probabilities_of_several_outputs_are_refused(client: httpx.AsyncClient) -> None:
    body = {"features": ROWS[0].tolist(), "probabilities": True}
    refused = await client.post("/predict", json=body)
    assert refused.status_code == 422
    assert "gives no probabilities" in refused.json()["detail"]


TENSORS = {"numbers": ("FP64", 2), "texts": ("BYTES", 2), "labels of yes and no": ("INT64", 3)}


@pytest.mark.parametrize("client", TENSORS, indirect=True)
async def test_the_inference_protocol_has_one_tensor_of_rows_and_outputs(
    client: httpx.AsyncClient, request: pytest.FixtureRequest
) -> None:
    kind = request.node.callspec.params["client"]
    datatype, outputs = TENSORS[kind]
    path = "/v2/models/several"
    (output,) = (await client.get(path)).json()["outputs"]
    assert output == {"name": "prediction", "datatype": datatype, "shape": [-1, outputs]}
    tensor = {"name": "features", "datatype": "FP64", "shape": [4, 3], "data": ROWS[:4].tolist()}
    answered = await client.post(f"{path}/infer", json={"inputs": [tensor]})
    (answer,) = answered.json()["outputs"]
    assert (answer["datatype"], answer["shape"]) == (datatype, [4, outputs])
    flat = np.ravel(predicted(kind, 4)).tolist()
    assert answer["data"] == (flat if kind == "texts" else pytest.approx(flat))


async def test_texts_beside_numbers_are_a_tensor_of_texts(tmp_path: Path) -> None:
    class Both:
        def predict(self, rows: Any) -> Any:
            return np.array([["a", 1]] * len(rows), dtype=object)

    model = loaded("texts", tmp_path)
    model.estimator._predict = Both().predict
    model.answer_type = str
    async with client_of(create_app(model, settings())) as client:
        tensor = {"name": "x", "datatype": "FP64", "shape": [1, 3], "data": [1.0, 2.0, 3.0]}
        answer = await client.post("/v2/models/several/infer", json={"inputs": [tensor]})
    assert answer.json()["outputs"][0]["data"] == ["a", "1"]


def test_a_probe_repeats_a_recorded_list(tmp_path: Path) -> None:
    exported = written("numbers", tmp_path)
    examples = exported.manifest.examples
    row, recorded = examples.rows[0], examples.predictions[0]
    assert isinstance(recorded, tuple)
    good = Probe(row=row, recorded=recorded, tolerance=1e-6)
    wrong = Probe(row=row, recorded=(recorded[0], 0.0), tolerance=1e-6)
    with predictor(exported.path) as running:
        running.wait_ready()
        url = f"http://127.0.0.1:{running.port}"
        assert send_probe(url, good, timeout_seconds=5).result == PROBE_SAME
        assert send_probe(url, wrong, timeout_seconds=5).result == PROBE_DIFFERENT


def test_check_answers_with_lists(tmp_path: Path) -> None:
    exported = written("texts", tmp_path)
    said = check(
        settings(model_path=exported.path, model_sha256=exported.digest),
        [json.dumps({"features": ROWS[:3].tolist()}).encode()],
    )
    assert said["answers"] == predicted("texts", 3)


@pytest.mark.parametrize(
    ("canary", "result"),
    [
        ([[1.0, 2.0]], SAME),
        ([[1.0, 2.0005]], SAME),
        ([[1.0, 2.1]], DIFFERENT),
        ([[1.0]], DIFFERENT),
        ([[1.0, 2.0, 0.0]], DIFFERENT),
        ([1.0], DIFFERENT),
    ],
)
def test_the_shadow_compares_each_value(canary: Any, result: str) -> None:
    def answer(predictions: Any, version: str) -> ArmAnswer:
        document = {"predictions": predictions, "model_version": version}
        return ArmAnswer(200, json.dumps(document, separators=(",", ":")).encode())

    assert COMPARISON.results(answer([[1.0, 2.0]], "1"), answer(canary, "2")) == [result]


def test_the_manifest_names_the_classes_of_each_value_and_bins_none() -> None:
    own = described("texts")
    assert own.manifest.output.columns == (
        OutputColumn(name="prediction_0", classes=("no", "yes")),
        OutputColumn(name="prediction_1", classes=("blue", "red")),
    )
    assert own.manifest.baseline is not None
    assert own.manifest.baseline.prediction is None
    assert "its answers are in no baseline" in " ".join(own.notes)
    of_numbers = described("numbers").manifest.output
    assert (of_numbers.task, of_numbers.columns[0].classes) == ("regression", ())
    assert described("labels of yes and no").manifest.output.columns[2].classes == ("0", "1")


def test_a_manifest_without_columns_is_written_as_older_predictors_read_it() -> None:
    assert "columns" not in Output(classes=("a", "b")).model_dump_json()


@pytest.mark.parametrize(
    ("recorded", "reason"),
    [
        ((1.0, 2.0), "prediction 0 has one value: .* answers with 2 values"),
        (((1.0,), (2.0,)), "prediction 0 has 1 values: .* answers with 2 values"),
    ],
)
def test_recorded_answers_have_the_width_of_the_output(recorded: Any, reason: str) -> None:
    manifest = described("numbers").manifest.model_dump()
    rows = manifest["examples"]["rows"][:2]
    manifest["examples"] = Examples(rows=rows, predictions=recorded).model_dump()
    with pytest.raises(ValidationError, match=reason):
        ArtifactManifest.model_validate(manifest)


def test_columns_are_several_of_different_names() -> None:
    one = OutputColumn(name="a")
    with pytest.raises(ValidationError, match="several of different names"):
        Output(columns=(one,))
    with pytest.raises(ValidationError, match="several of different names"):
        Output(columns=(one, one))
    with pytest.raises(ValidationError, match="no probability"):
        Output(columns=(one, OutputColumn(name="b")), classes=("0", "1"))


def test_a_model_with_another_number_of_outputs_is_refused(tmp_path: Path) -> None:
    own = described("numbers")
    others = load_linnerud()
    three = LinearRegression().fit(others.data, others.target)
    files = own_model._files(three, "joblib")[0]
    manifest = own.manifest.model_copy(update={"files": listed(files)})
    exported = write(manifest, files, output=tmp_path)
    with pytest.raises(RefusedError, match="names 2 outputs, and the model answers with 3"):
        Model.open(exported.path, sha256=exported.digest).load()


def test_a_sampled_event_holds_lists() -> None:
    event = {"features": ["a"], "rows": [[1.0]], "predictions": [[1.0, "b"]]}
    assert SampledPrediction.model_validate(event).predictions == ((1.0, "b"),)
