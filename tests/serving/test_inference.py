"""The Open Inference Protocol, asked by hand for its mistakes and by Triton's own client for its
use.
"""

import hashlib
import json
import struct
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from sklearn.compose import make_column_transformer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder

from modelrelease_contract import MANIFEST_NAME, ArtifactManifest, Examples, Feature, ModelFile
from modelrelease_contract.artifact import FeatureKind
from modelrelease_serving.app import create_app
from modelrelease_serving.loaders import Rules
from modelrelease_serving.model import Model
from modelrelease_serving.openapi import infer_example
from modelrelease_training.export import Exported, dump
from tests.serving.support import Predictor, predictor, settings
from tests.serving.test_app import client_of, sample

INFER = "/v2/models/qna/infer"


@pytest.fixture
async def client(loaded: Model) -> AsyncIterator[httpx.AsyncClient]:
    async with client_of(create_app(loaded, settings())) as client:
        yield client


@pytest.fixture
def rows(artifact: Exported) -> list[list[Any]]:
    return [list(row) for row in artifact.manifest.examples.rows]


@pytest.fixture
def recorded(artifact: Exported) -> list[Any]:
    return list(artifact.manifest.examples.predictions)


def matrix(rows: list[list[Any]], **more: Any) -> dict[str, Any]:
    values = [value for row in rows for value in row]
    tensor = {
        "name": "features",
        "datatype": "FP64",
        "shape": [len(rows), len(rows[0])],
        "data": values,
    }
    return {"inputs": [tensor | more]}


@pytest.mark.parametrize("path", [INFER, "/v2/models/qna/versions/1/infer"])
async def test_a_tensor_of_rows_gets_a_tensor_of_answers(
    client: httpx.AsyncClient, rows: list[list[Any]], recorded: list[Any], path: str
) -> None:
    answer = await client.post(path, json={"id": "mine", **matrix(rows)})
    assert answer.status_code == 200
    assert answer.headers["X-Model-Version"] == "1"
    document = answer.json()
    (output,) = document.pop("outputs")
    assert document == {"model_name": "qna", "model_version": "1", "id": "mine"}
    assert output == {
        "name": "prediction",
        "datatype": "FP64",
        "shape": [len(rows)],
        "data": pytest.approx(recorded),
    }


async def test_rows_may_be_nested_or_come_feature_by_feature(
    client: httpx.AsyncClient, rows: list[list[Any]], recorded: list[Any]
) -> None:
    nested = matrix(rows, data=rows)
    columns = {
        "inputs": [
            {
                "name": f"feature_{index:02}",
                "datatype": "FP64",
                "shape": [len(rows), 1],
                "data": list(column),
            }
            for index, column in reversed(list(enumerate(zip(*rows, strict=True))))
        ]
    }
    for request in (nested, columns):
        (output,) = (await client.post(INFER, json=request)).json()["outputs"]
        assert output["data"] == pytest.approx(recorded)


async def test_probabilities_are_an_output_of_their_own(
    client: httpx.AsyncClient, rows: list[list[Any]], recorded: list[Any]
) -> None:
    wanted = [{"name": "probabilities"}, {"name": "prediction"}]
    answer = await client.post(INFER, json={**matrix(rows), "outputs": wanted})
    shares, predictions = answer.json()["outputs"]
    assert shares["shape"] == [len(rows), 2]
    assert shares["data"][1::2] == pytest.approx(recorded) == predictions["data"]


def tensor(**changes: Any) -> dict[str, Any]:
    good = {"name": "features", "datatype": "FP64", "shape": [1, 16], "data": [0.0] * 16}
    return {"inputs": [good | changes]}


@pytest.mark.parametrize(
    ("request_", "status", "words"),
    [
        pytest.param([], 400, "the document", id="a list"),
        pytest.param({"inputs": []}, 400, "inputs", id="no tensor"),
        pytest.param(tensor(datatype="FP8"), 400, "inputs.0.datatype", id="an unknown datatype"),
        pytest.param(tensor(shape=[1, -16]), 400, "inputs.0.shape", id="a negative shape"),
        pytest.param(tensor(shape=[2, 16]), 400, "16 values", id="fewer values than the shape"),
        pytest.param(tensor(data=None), 400, "inputs.0.data", id="no data"),
        pytest.param(tensor(shape=[2, 8]), 422, "[rows, 16]", id="rows that are too short"),
        pytest.param(tensor(shape=[0, 16], data=[]), 422, "must hold a row", id="no rows"),
        pytest.param(
            tensor(data=["x"] * 16), 422, 'feature_00 must be a finite number, got "x"', id="texts"
        ),
        pytest.param(
            tensor(shape=[1001, 16], data=[0] * 16016), 413, "1000 rows", id="too many rows"
        ),
        pytest.param(
            tensor(name="feature_00", shape=[1], data=[1]), 422, "feature_01 is missing", id="a gap"
        ),
        pytest.param(
            {**tensor(), "outputs": [{"name": "x"}]},
            422,
            "no output 'x'",
            id="an output that is none",
        ),
        pytest.param(
            tensor(parameters={"binary_data_size": 8}),
            400,
            "0 are left",
            id="bytes that are not there",
        ),
    ],
)
async def test_a_wrong_request_is_refused_with_the_rule(
    client: httpx.AsyncClient, request_: object, status: int, words: str
) -> None:
    answer = await client.post(INFER, json=request_)
    problem = answer.json()
    assert (answer.status_code, problem["status"]) == (status, status)
    # The type that clients of the protocol read errors from.
    assert answer.headers["Content-Type"] == "application/json"
    assert words in problem["detail"]
    assert problem["error"] == problem["detail"]
    assert await sample(client, "predictions_total", code=str(status)) == 1


async def test_both_protocols_count_in_the_same_metrics(
    client: httpx.AsyncClient, rows: list[list[Any]]
) -> None:
    await client.post("/predict", json={"features": rows[0]})
    await client.post(INFER, json=matrix(rows[:1]))
    assert await sample(client, "predictions_total", code="200") == 2
    assert await sample(client, "prediction_duration_seconds_count") == 2


@pytest.mark.parametrize(
    "path", ["/v2/models/other", "/v2/models/qna/versions/2", "/v2/models/other/ready"]
)
async def test_another_model_or_version_is_not_found(client: httpx.AsyncClient, path: str) -> None:
    answer = await client.get(path)
    assert answer.status_code == 404
    assert "this predictor serves 'qna' in version '1'" in answer.json()["error"]
    assert (await client.post(f"{path.removesuffix('/ready')}/infer", json={})).status_code == 404


async def test_a_model_that_is_not_loaded_is_live_but_not_ready(artifact: Exported) -> None:
    async with client_of(create_app(Model.open(artifact.path), settings())) as client:
        assert (await client.get("/v2/health/live")).status_code == 200
        for path in ("/v2/health/ready", "/v2/models/qna/ready", "/v2/models/qna"):
            assert (await client.get(path)).status_code == 503
        answer = await client.post(INFER, json={})
        assert (answer.status_code, "loading" in answer.json()["error"]) == (503, True)


def binary(tensors: list[tuple[dict[str, Any], bytes]], **more: Any) -> dict[str, Any]:
    """Return a request whose tensors follow its JSON as bytes."""
    inputs = [
        {**head, "parameters": {"binary_data_size": len(content)}} for head, content in tensors
    ]
    head = json.dumps({"inputs": inputs, **more}).encode()
    return {
        "content": head + b"".join(content for _, content in tensors),
        "headers": {"Inference-Header-Content-Length": str(len(head))},
    }


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
async def test_a_binary_value_that_is_no_number_is_named(
    client: httpx.AsyncClient, rows: list[list[Any]], value: float
) -> None:
    content = struct.pack("<32d", *rows[0], *rows[1][:4], value, *rows[1][5:])
    head = {"name": "features", "datatype": "FP64", "shape": [2, 16]}
    problem = (await client.post(INFER, **binary([(head, content)]))).json()
    assert (problem["status"], problem["row"], problem["feature"]) == (422, 1, "feature_04")


@pytest.mark.parametrize(
    ("content", "length", "words"),
    [
        pytest.param(b"{}", "x", "must be a number", id="no number"),
        pytest.param(b"{}", "3", "up to the body's 2 bytes", id="more than there is"),
        pytest.param(b"{}" + b"\0" * 8, "2", "inputs", id="bytes of nobody"),
    ],
)
async def test_a_wrong_header_length_is_refused(
    client: httpx.AsyncClient, content: bytes, length: str, words: str
) -> None:
    headers = {"Inference-Header-Content-Length": length}
    answer = await client.post(INFER, content=content, headers=headers)
    assert answer.status_code == 400
    assert words in answer.json()["detail"]


@pytest.fixture
def city(tmp_path: Path) -> Model:
    """A model of a number and a text, with answers that are texts."""
    rows: Any = np.array([[1.0, "a"], [2.0, "b"], [3.0, "a"], [4.0, "b"]] * 5, dtype=object)
    labels = ["low", "low", "high", "high"] * 5
    encode = make_column_transformer(
        (OneHotEncoder(handle_unknown="ignore"), [1]), remainder="passthrough"
    )
    content = dump(make_pipeline(encode, LogisticRegression()).fit(rows, labels))["model.joblib"]
    (tmp_path / "model.joblib").write_bytes(content)
    manifest = ArtifactManifest(
        name="city",
        version="2",
        features=(Feature(name="age"), Feature(name="town", kind=FeatureKind.CATEGORICAL)),
        examples=Examples(rows=((1.0, "a"), (4.0, "ß")), predictions=("low", "high")),
        files=(
            ModelFile(
                path="model.joblib", sha256=hashlib.sha256(content).hexdigest(), size=len(content)
            ),
        ),
    )
    (tmp_path / MANIFEST_NAME).write_text(manifest.model_dump_json())
    model = Model.open(tmp_path, rules=Rules(allow_unpinned=True))
    model.load()
    return model


async def test_texts_are_tensors_of_bytes_in_both_directions(city: Model) -> None:
    async with client_of(create_app(city, settings())) as client:
        described = (await client.get("/v2/models/city")).json()
        assert [(each["name"], each["datatype"]) for each in described["inputs"]] == [
            ("age", "FP64"), ("town", "BYTES")
        ]  # fmt: skip
        plain = await client.post("/v2/models/city/infer", json=infer_example(city.manifest))
        assert plain.json()["outputs"][0]["data"] == ["low"]
        age = ({"name": "age", "datatype": "INT32", "shape": [2]}, struct.pack("<2i", 1, 4))
        texts = b"".join(struct.pack("<I", len(text)) + text for text in (b"a", "ß".encode()))
        town = ({"name": "town", "datatype": "BYTES", "shape": [2, 1]}, texts)
        request = binary([age, town], parameters={"binary_data_output": True})
        answer = await client.post("/v2/models/city/infer", **request)
        length = int(answer.headers["Inference-Header-Content-Length"])
        (output,) = json.loads(answer.content[:length])["outputs"]
        assert (output["datatype"], output["parameters"]) == ("BYTES", {"binary_data_size": 15})
        assert answer.content[length:] == b"\x03\0\0\0low\x04\0\0\0high"
        cut = binary([age, (town[0], texts[:-1])])
        assert "cut off" in (await client.post("/v2/models/city/infer", **cut)).json()["error"]


@pytest.fixture(scope="module")
def running(artifact: Exported) -> Iterator[Predictor]:
    with predictor(artifact.path, CONNECTION_MAX_AGE_SECONDS="0") as running:
        running.wait_ready()
        yield running


@pytest.fixture
def triton(running: Predictor) -> Iterator[Any]:
    import tritonclient.http as triton  # noqa: PLC0415 - it patches nothing, but takes a second to import

    with triton.InferenceServerClient(f"127.0.0.1:{running.port}") as client:
        yield client


def test_tritons_client_finds_the_model_and_its_tensors(triton: Any) -> None:
    assert triton.is_server_live()
    assert triton.is_server_ready()
    assert triton.is_model_ready("qna")
    assert triton.is_model_ready("qna", "1")
    assert not triton.is_model_ready("other")
    assert "binary_tensor_data" in triton.get_server_metadata()["extensions"]
    described = triton.get_model_metadata("qna", "1")
    assert described["inputs"] == [{"name": "features", "datatype": "FP64", "shape": [-1, 16]}]
    assert [output["name"] for output in described["outputs"]] == ["prediction", "probabilities"]


@pytest.mark.parametrize("datatype", ["FP64", "FP32"])
@pytest.mark.parametrize("binary_data", [True, False], ids=["bytes", "JSON"])
def test_tritons_client_gets_the_recorded_answers(
    triton: Any, rows: list[list[Any]], recorded: list[Any], datatype: str, binary_data: bool
) -> None:
    from tritonclient.http import InferInput, InferRequestedOutput  # noqa: PLC0415

    values = np.array(rows, dtype={"FP64": np.float64, "FP32": np.float32}[datatype])
    tensor = InferInput("features", list(values.shape), datatype)
    tensor.set_data_from_numpy(values, binary_data=binary_data)
    outputs = [InferRequestedOutput(name, binary_data) for name in ("prediction", "probabilities")]
    answer = triton.infer("qna", [tensor], model_version="1", outputs=outputs, request_id="r-1")
    assert answer.as_numpy("prediction") == pytest.approx(recorded, abs=1e-5)
    assert answer.as_numpy("probabilities").shape == (len(rows), 2)
    assert answer.get_response()["id"] == "r-1"
    assert triton.infer("qna", [tensor]).as_numpy("prediction") == pytest.approx(recorded, abs=1e-5)


def test_tritons_client_is_told_what_is_wrong(triton: Any) -> None:
    from tritonclient.http import InferInput  # noqa: PLC0415
    from tritonclient.utils import InferenceServerException  # noqa: PLC0415

    tensor = InferInput("features", [1, 3], "FP64")
    tensor.set_data_from_numpy(np.zeros((1, 3)))
    with pytest.raises(
        InferenceServerException, match=r"must have shape \[rows, 16\], got \[1, 3\]"
    ):
        triton.infer("qna", [tensor])


async def test_members_that_are_null_are_as_if_left_out(
    client: httpx.AsyncClient, rows: list[list[Any]], recorded: list[Any]
) -> None:
    nothing = {"id": None, "parameters": None, "outputs": None}
    sent = {**nothing, **matrix(rows, parameters=None)}
    answer = await client.post(INFER, json=sent)
    assert answer.status_code == 200
    assert answer.json()["outputs"][0]["data"] == pytest.approx(recorded)
    assert "id" not in answer.json()
    wanted = [{"name": "prediction", "parameters": None}]
    assert (await client.post(INFER, json={**sent, "outputs": wanted})).status_code == 200


async def test_nan_in_json_is_a_missing_value(
    client: httpx.AsyncClient, rows: list[list[Any]]
) -> None:
    flat = [value for row in rows for value in row]
    text = json.dumps(matrix(rows, data=[float("nan"), *flat[1:]]))
    answer = await client.post(INFER, content=text, headers={"Content-Type": "application/json"})
    # As null: this model takes none.
    assert answer.status_code == 422
    assert answer.json()["error"].startswith(
        "row 0: feature feature_00 must be a finite number, got null"
    )
    infinite = json.dumps(matrix(rows, data=[float("inf"), *flat[1:]]))
    answer = await client.post(
        INFER, content=infinite, headers={"Content-Type": "application/json"}
    )
    assert (answer.status_code, "got Infinity" in answer.json()["error"]) == (422, True)
