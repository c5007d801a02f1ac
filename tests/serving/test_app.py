"""What clients see, through the real app with a real model, in process."""

import json
import logging
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from prometheus_client.parser import text_string_to_metric_families

from examples.models import faulty
from modelrelease_serving.app import create_app
from modelrelease_serving.connections import Drain
from modelrelease_serving.model import Model
from modelrelease_serving.openapi import infer_example
from modelrelease_serving.predictions import MAX_BODY_BYTES
from modelrelease_training.export import Exported, Label
from tests.serving.support import settings


def client_of(app: FastAPI) -> httpx.AsyncClient:
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://predictor")


async def sample(client: httpx.AsyncClient, name: str, **labels: str) -> float | None:
    """Return the value of one sample of /metrics, or None when there is none."""
    text = (await client.get("/metrics")).text
    for family in text_string_to_metric_families(text):
        for found in family.samples:
            if found.name == name and labels.items() <= found.labels.items():
                return float(found.value)
    return None


@pytest.fixture
async def client(loaded: Model) -> AsyncIterator[httpx.AsyncClient]:
    async with client_of(create_app(loaded, settings(release="qna", revision="abc"))) as client:
        yield client


@pytest.fixture
def row(artifact: Exported) -> list[Any]:
    return list(artifact.manifest.examples.rows[0])


@pytest.fixture
def recorded(artifact: Exported) -> tuple[Any, ...]:
    return artifact.manifest.examples.predictions


async def test_one_row_gets_one_prediction(
    client: httpx.AsyncClient, row: list[Any], recorded: tuple[Any, ...]
) -> None:
    answer = await client.post("/predict", json={"features": row})
    assert answer.status_code == 200
    assert answer.json() == {"prediction": pytest.approx(recorded[0]), "model_version": "1"}
    assert answer.headers["X-Model-Version"] == "1"


async def test_a_list_of_rows_gets_a_list_of_predictions(
    client: httpx.AsyncClient, artifact: Exported, recorded: tuple[Any, ...]
) -> None:
    answer = await client.post("/predict", json={"features": artifact.manifest.examples.rows})
    assert answer.json() == {"predictions": pytest.approx(list(recorded)), "model_version": "1"}


async def test_a_list_with_one_row_gets_a_list(client: httpx.AsyncClient, row: list[Any]) -> None:
    assert len((await client.post("/predict", json={"features": [row]})).json()["predictions"]) == 1


@pytest.mark.parametrize(
    ("body", "status", "words"),
    [
        pytest.param(b"not json", 400, "not JSON", id="what is not JSON"),
        pytest.param(b"[" * 100_000, 400, "not JSON", id="brackets without end"),
        pytest.param(b"\xff\xfe", 400, "not JSON", id="what is not UTF-8"),
        pytest.param(b"[1, 2]", 400, '"features"', id="a list instead of an object"),
        pytest.param(b'{"feature": []}', 400, '"features"', id="a member with another name"),
        pytest.param(b'{"features": {"a": 1}}', 400, '"features"', id="an object of features"),
        pytest.param(b'{"features": [NaN]}', 400, "NaN is not a JSON number", id="NaN"),
        pytest.param(b'{"features": []}', 422, "must hold 16 values", id="an empty row"),
        pytest.param(b'{"features": [1, 2]}', 422, "got 2 values", id="a short row"),
        pytest.param(
            json.dumps({"features": [[0] * 16, 5]}).encode(), 422, "row 1", id="rows and a number"
        ),
        pytest.param(
            json.dumps({"features": [[]] * 1001}).encode(), 413, "1000 rows", id="too many rows"
        ),
        pytest.param(
            b" " * (MAX_BODY_BYTES + 1), 413, f"{MAX_BODY_BYTES} bytes", id="too many bytes"
        ),
    ],
)
async def test_a_bad_body_is_refused_with_the_rule(
    client: httpx.AsyncClient, body: bytes, status: int, words: str
) -> None:
    answer = await client.post("/predict", content=body)
    assert answer.status_code == status
    assert answer.headers["Content-Type"] == "application/problem+json"
    problem = answer.json()
    assert problem["status"] == status
    assert words in problem["detail"]
    assert await sample(client, "predictions_total", code=str(status)) == 1
    assert await sample(client, "prediction_duration_seconds_count") == 0


@pytest.mark.parametrize(
    ("value", "words"),
    [
        pytest.param('"x"', 'got "x"', id="a text"),
        pytest.param("true", "got true", id="a truth value"),
        pytest.param("null", "got null", id="nothing, where nothing is allowed"),
        pytest.param("1e999", "got Infinity", id="a float that is too large"),
        pytest.param("1" + "0" * 400, "too large", id="a whole number that is too large"),
        pytest.param("-3.5e38", "32-bit float", id="what trees cannot compare"),
        pytest.param("[[1]]", "got [[1]]", id="a list"),
    ],
)
async def test_a_bad_value_is_refused_by_row_and_feature(
    client: httpx.AsyncClient, row: list[Any], value: str, words: str
) -> None:
    good = json.dumps(row)
    bad = json.dumps([*row[:3], "?", *row[4:]]).replace('"?"', value)
    answer = await client.post("/predict", content=f'{{"features": [{good}, {bad}]}}')
    problem = answer.json()
    assert (answer.status_code, problem["row"], problem["feature"]) == (422, 1, "feature_03")
    assert words in problem["detail"]


BEHIND = [
    pytest.param({"json": {"features": "rows"}}, id="rows"),
    pytest.param({"json": {"features": "row"}}, id="one row"),
    pytest.param({"json": {"features": "row", "probabilities": True}}, id="probabilities"),
    pytest.param({"content": b"{"}, id="what is not JSON"),
    pytest.param({"content": b"{}", "headers": {"Content-Type": "text/plain"}}, id="another type"),
    pytest.param({"content": b" " * (MAX_BODY_BYTES + 1)}, id="too many bytes"),
]


@pytest.mark.parametrize("request_", BEHIND)
async def test_the_router_answers_as_the_front_does(
    loaded: Model, artifact: Exported, request_: dict[str, Any]
) -> None:
    app = create_app(loaded, settings())
    rows = [list(row) for row in artifact.manifest.examples.rows]
    if "json" in request_:
        known = {"rows": rows, "row": rows[0]}
        document = {**request_["json"], "features": known[request_["json"]["features"]]}
        request_ = {"json": document}
    front, behind = client_of(app), client_of(partial(FastAPI.__call__, app))  # type: ignore[arg-type]
    async with front, behind:
        one = await front.post("/predict", **request_)
        other = await behind.post("/predict", **request_)
    assert (one.status_code, one.content) == (other.status_code, other.content)
    assert sorted(one.headers.items()) == sorted(other.headers.items())


@pytest.mark.parametrize(
    "body", [b"{}", b'{"inputs": []}', None], ids=["empty", "no tensor", "good"]
)
async def test_the_router_answers_inference_as_the_front_does(
    loaded: Model, body: bytes | None
) -> None:
    app = create_app(loaded, settings())
    content = body or json.dumps(infer_example(loaded.manifest)).encode()
    front, behind = client_of(app), client_of(partial(FastAPI.__call__, app))  # type: ignore[arg-type]
    async with front, behind:
        for path in (path for path in app.front if path.endswith("/infer")):
            one = await front.post(path, content=content)
            other = await behind.post(path, content=content)
            assert (one.status_code, one.content) == (other.status_code, other.content)
            assert one.status_code == (400 if body else 200)


async def test_every_answer_in_front_of_the_router_is_documented(loaded: Model) -> None:
    app = create_app(loaded, settings())
    documented = {path for path, item in app.openapi()["paths"].items() if "post" in item}
    forms = {path.format(name="qna", version="1") for path in documented}
    assert set(app.front) == forms


async def test_probabilities_of_each_class_come_on_request(
    client: httpx.AsyncClient, row: list[Any], recorded: tuple[Any, ...]
) -> None:
    one = (await client.post("/predict", json={"features": row, "probabilities": True})).json()
    assert one["probabilities"] == {
        "0": pytest.approx(1 - recorded[0]),
        "1": pytest.approx(recorded[0]),
    }
    assert one["prediction"] == one["probabilities"]["1"]
    many = (await client.post("/predict", json={"features": [row], "probabilities": True})).json()
    assert many["probabilities"] == [one["probabilities"]]
    assert "probabilities" not in (await client.post("/predict", json={"features": row})).json()


@pytest.mark.parametrize(
    ("headers", "words"),
    [
        pytest.param({"Content-Type": "text/csv"}, "application/json", id="another type"),
        pytest.param({"Content-Encoding": "gzip"}, "Content-Encoding", id="a compressed body"),
    ],
)
async def test_a_body_of_another_kind_gets_415(
    client: httpx.AsyncClient, headers: dict[str, str], words: str
) -> None:
    answer = await client.post("/predict", content=b"{}", headers=headers)
    assert answer.status_code == 415
    assert words in answer.json()["detail"]


async def test_a_sampler_sees_answered_requests_only(loaded: Model, row: list[Any]) -> None:
    app = create_app(loaded, settings())
    seen: list[Any] = []
    async with client_of(app) as client:
        await client.post("/predict", json={"features": row})
        app.predictions.sampler = lambda *sample: seen.append(sample)
        answer = await client.post(
            "/predict", json={"features": row}, headers={"X-Request-Id": "7"}
        )
        await client.post("/predict", json={"features": []})
    assert seen == [([row], [answer.json()["prediction"]], "7")]


async def test_unknown_paths_and_methods_are_problem_documents(client: httpx.AsyncClient) -> None:
    for answer, status in (
        (await client.get("/nothing"), 404),
        (await client.get("/predict"), 405),
    ):
        assert answer.status_code == status
        assert answer.headers["Content-Type"] == "application/problem+json"
        assert answer.json()["status"] == status
    assert answer.headers["Allow"] == "POST"


@pytest.mark.parametrize(
    "path",
    ["/health", "/ready", "/metrics", "/version", "/v2", "/v2/health/live", "/v2/models/qna"],
)
async def test_head_is_get_without_its_body(client: httpx.AsyncClient, path: str) -> None:
    whole, head = await client.get(path), await client.head(path)
    assert (head.status_code, head.content) == (200, b"")
    assert set(head.headers) == set(whole.headers)
    assert (await client.head("/predict")).status_code == 405


async def test_version_names_what_serves(client: httpx.AsyncClient, artifact: Exported) -> None:
    assert (await client.get("/version")).json() == {
        "service": "modelrelease-predictor",
        "api_version": "v1",
        "model": "qna",
        "model_version": "1",
        "model_sha256": artifact.digest,
        "release": "qna",
        "revision": "abc",
    }


async def test_the_documentation_has_an_example_that_works(client: httpx.AsyncClient) -> None:
    document = (await client.get("/openapi.json")).json()
    request = document["paths"]["/predict"]["post"]["requestBody"]["content"]["application/json"]
    for example in request["examples"].values():
        assert (await client.post("/predict", json=example["value"])).status_code == 200
    assert (await client.get("/docs")).status_code == 200


async def test_a_model_that_is_not_loaded_is_healthy_but_not_ready(artifact: Exported) -> None:
    async with client_of(create_app(Model.open(artifact.path), settings())) as client:
        assert (await client.get("/health")).status_code == 200
        assert (await client.get("/ready")).status_code == 503
        assert (await client.post("/predict", json={"features": []})).status_code == 503
        assert (await client.get("/version")).json()["model_version"] == "1"


async def test_a_draining_process_is_not_ready_but_answers(loaded: Model, row: list[Any]) -> None:
    drain = Drain()
    async with client_of(create_app(loaded, settings(), drain=drain)) as client:
        assert "Connection" not in (await client.get("/ready")).headers
        drain.start(60)
        assert (await client.get("/ready")).status_code == 503
        answer = await client.post("/predict", json={"features": row})
        assert (answer.status_code, answer.headers["Connection"]) == (200, "close")


async def test_a_process_whose_model_does_not_come_back_is_neither_ready_nor_healthy(
    loaded: Model, row: list[Any]
) -> None:
    app = create_app(loaded, settings())
    app.predictions._engine.is_stuck = True
    async with client_of(app) as client:
        for path in ("/health", "/ready"):
            answer = await client.get(path)
            assert (answer.status_code, answer.json()) == (503, {"status": "stuck"})
        for path in ("/v2/health/live", "/v2/health/ready"):
            assert (await client.get(path)).status_code == 503
        assert (await client.post("/predict", json={"features": row})).status_code == 503
        assert await sample(client, "predictions_total", code="503") == 1


async def test_the_first_error_is_not_lost_because_its_counter_exists(
    client: httpx.AsyncClient,
) -> None:
    for code in ("200", "500"):
        assert (
            await sample(client, "predictions_total", code=code, model_version="1", release="qna")
            == 0
        )


async def test_answers_are_counted_and_timed(client: httpx.AsyncClient, row: list[Any]) -> None:
    for _ in range(3):
        await client.post("/predict", json={"features": row})
    assert await sample(client, "predictions_total", code="200", revision="abc") == 3
    assert await sample(client, "prediction_duration_seconds_count", revision="abc") == 3
    assert await sample(client, "model_version", model_version="1", release="qna") == 1


async def test_two_apps_in_one_process_count_apart(loaded: Model, row: list[Any]) -> None:
    one, two = create_app(loaded, settings()), create_app(loaded, settings())
    async with client_of(one) as first, client_of(two) as second:
        await first.post("/predict", json={"features": row})
        assert await sample(first, "predictions_total", code="200") == 1
        assert await sample(second, "predictions_total", code="200") == 0


async def test_a_model_that_raises_gives_500_and_one_log_line_without_the_row(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    order = faulty.Order(label=Label(name="qna", version="3"), output=tmp_path, rows=400)
    failing = faulty.failing(order)
    model = Model.open(failing.path, sha256=failing.digest)
    model.load()
    good = list(model.manifest.examples.rows[0])
    bad = [-123456.5, *good[1:]]
    async with client_of(create_app(model, settings())) as client:
        with caplog.at_level(logging.ERROR):
            first, second = [
                await client.post("/predict", json={"features": bad}) for _ in range(2)
            ]
        assert (await client.post("/predict", json={"features": good})).status_code == 200
        assert await sample(client, "predictions_total", code="500") == 2
        assert await sample(client, "prediction_duration_seconds_count") == 3
        # What was not answered says nothing about the data.
        assert await sample(client, "prediction_bin_total") is not None
    assert first.status_code == second.status_code == 500
    assert first.headers["Content-Type"] == "application/problem+json"
    assert "Traceback" not in first.text
    assert "NaN" not in first.text
    assert [record.message for record in caplog.records] == ["the model failed"] * 2
    assert [bool(record.exc_info) for record in caplog.records] == [True, False]
    assert "123456" not in caplog.text


async def test_bins_count_each_value_where_the_baseline_has_it(
    client: httpx.AsyncClient, artifact: Exported, row: list[Any]
) -> None:
    baseline = artifact.manifest.baseline
    assert baseline is not None
    edges = baseline.features["feature_05"].edges
    for value in (edges[0], edges[0] - 1e-9, -1e30, 1e30):
        await client.post("/predict", json={"features": [*row[:5], value, *row[6:]]})
    counts = [
        await sample(client, "feature_bin_total", feature="feature_05", bin=str(b))
        for b in range(10)
    ]
    # A value on an edge belongs to the bin above it; values out of range to the outer bins.
    assert counts == [2, 1, 0, 0, 0, 0, 0, 0, 0, 1]
    assert await sample(client, "feature_bin_total", feature="feature_05", bin="missing") == 0
    shares = [await sample(client, "prediction_bin_total", bin=str(b)) or 0 for b in range(10)]
    assert sum(shares) == 4
