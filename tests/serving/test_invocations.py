"""Clients of MLflow's scoring server find the same answers here as there."""

import json
import warnings
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pandas as pd
import pytest
from fastapi import FastAPI
from sklearn.compose import make_column_transformer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from modelrelease_serving.app import create_app
from modelrelease_serving.model import Model
from modelrelease_serving.shadow import path_of_copies
from tests.serving.support import settings
from tests.serving.test_app import client_of
from tests.serving.test_mlflow import digest_of, save

# Loading a model silences it for a process, and pytest forgets that after each test.
pytestmark = pytest.mark.filterwarnings("ignore:X does not have valid feature names")

ROWS = 60
CITIES = ["Bern", "Oslo", "Rom"]


def a_table() -> pd.DataFrame:
    draw = np.random.default_rng(5)
    return pd.DataFrame(
        {
            "age": draw.normal(40, 10, ROWS).round(2),
            "income": draw.normal(5, 2, ROWS).round(2),
            "city": draw.choice(CITIES, ROWS),
        }
    )


TABLE = a_table()
TEN = TABLE[:10]
LABELS = np.where(TABLE["age"] + 3 * TABLE["income"] > 55, "stay", "leave")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    steps = make_column_transformer(
        (StandardScaler(), ["age", "income"]), (OneHotEncoder(), ["city"])
    )
    fitted = make_pipeline(steps, LogisticRegression()).fit(TABLE, LABELS)
    path = tmp_path_factory.mktemp("mlflow") / "model"
    return save(path, fitted, serialization_format="pickle", input_example=TABLE[:4])


@pytest.fixture(scope="module")
def mlflow_server(folder: Path) -> FastAPI:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from mlflow.pyfunc import load_model, scoring_server  # noqa: PLC0415 - it warns, and takes seconds

        app: FastAPI = scoring_server.init(load_model(str(folder)))
    return app


@pytest.fixture
async def theirs(mlflow_server: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    async with client_of(mlflow_server) as client:
        yield client


@pytest.fixture(scope="module")
def model(folder: Path) -> Model:
    model = Model.open(folder, sha256=digest_of(folder), name="customers", version="1")
    model.load()
    return model


@pytest.fixture
async def ours(model: Model) -> AsyncIterator[httpx.AsyncClient]:
    async with client_of(create_app(model, settings())) as client:
        yield client


SPLIT = TEN.to_dict(orient="split")
SHUFFLED = TEN[["city", "income", "age"]].assign(more=1.0)
AS_JSON = {
    "a table": {"dataframe_split": SPLIT},
    "a table in another order, with more": {"dataframe_split": SHUFFLED.to_dict(orient="split")},
    "records": {"dataframe_records": TEN.to_dict(orient="records")},
    "instances by name": {"instances": TEN.to_dict(orient="records")},
    "columns": {"inputs": TEN.to_dict(orient="list")},
}


@pytest.mark.parametrize("form", AS_JSON)
async def test_json_is_answered_as_mlflow_answers_it(
    form: str, ours: httpx.AsyncClient, theirs: httpx.AsyncClient
) -> None:
    there = await theirs.post("/invocations", json=AS_JSON[form])
    here = await ours.post("/invocations", json=AS_JSON[form])
    assert there.status_code == 200, there.text
    assert (here.status_code, here.json()) == (200, there.json())
    assert len(here.json()["predictions"]) == len(TEN)


@pytest.mark.parametrize(
    ("media_type", "encoding"),
    [
        pytest.param("text/csv", "utf-8", id="plain"),
        pytest.param("text/csv; charset=utf-8", "utf-8", id="with its encoding"),
        pytest.param("text/csv", "utf-8-sig", id="as Excel marks it"),
    ],
)
async def test_a_csv_file_is_answered_as_mlflow_answers_it(
    media_type: str, encoding: str, ours: httpx.AsyncClient, theirs: httpx.AsyncClient
) -> None:
    request: Any = {
        "content": SHUFFLED.to_csv(index=False).encode(encoding),
        "headers": {"content-type": media_type},
    }
    there = await theirs.post("/invocations", **request)
    assert there.status_code == 200, there.text
    assert (await ours.post("/invocations", **request)).json() == there.json()


async def test_rows_without_names_stand_in_the_order_of_the_features(
    ours: httpx.AsyncClient,
) -> None:
    named = (await ours.post("/invocations", json={"dataframe_split": SPLIT})).json()
    for form in ("instances", "inputs"):
        assert (await ours.post("/invocations", json={form: SPLIT["data"]})).json() == named
    bare = {"dataframe_split": {"data": SPLIT["data"]}}
    assert (await ours.post("/invocations", json=bare)).json() == named


REFUSED: dict[str, tuple[int, Any, str]] = {
    "no form": (400, {}, "exactly one of dataframe_split"),
    "two forms": (400, {"instances": [], "inputs": []}, "exactly one of"),
    "a list": (400, [1], "exactly one of"),
    "no rows": (422, {"instances": []}, "no rows"),
    "a row too short": (
        422,
        {"dataframe_split": {"columns": ["age", "income", "city"], "data": [[1.0]]}},
        "row 0 must have 3 values",
    ),
    "a column twice": (
        400,
        {"dataframe_split": {"columns": ["age", "age"], "data": []}},
        "different names",
    ),
    "two heads": (
        400,
        {"dataframe_split": {"columns": [["a", "age"], ["b", "age"]], "data": [[1.0, 2.0]]}},
        "a list of names, each a text",
    ),
    "a column too few": (
        422,
        {"dataframe_split": {"columns": ["age", "city"], "data": [[1.0, "Rom"]]}},
        "feature income is missing",
    ),
    "a record without a value": (
        422,
        {"dataframe_records": [{"age": 1.0, "city": "Rom"}]},
        "feature income is missing in row 0",
    ),
    "columns of two lengths": (
        400,
        {"inputs": {"age": [1.0], "income": [1.0, 2.0], "city": ["Rom"]}},
        "of the same length",
    ),
    "a text for a number": (
        422,
        {"dataframe_split": {"columns": ["age", "income", "city"], "data": [["old", 1.0, "Rom"]]}},
        "age",
    ),
    "too many rows": (413, {"instances": [[1.0, 2.0, "Rom"]] * 1001}, "1000 rows"),
}


@pytest.mark.parametrize("mistake", REFUSED)
async def test_a_mistake_is_named_as_mlflow_names_errors(
    mistake: str, ours: httpx.AsyncClient
) -> None:
    status, body, reason = REFUSED[mistake]
    answer = await ours.post("/invocations", json=body)
    assert answer.status_code == status
    assert answer.json()["error_code"] == "BAD_REQUEST"
    assert reason in answer.json()["message"]


@pytest.mark.parametrize(
    ("media_type", "content", "status"),
    [
        ("application/vnd.apache.parquet", b"PAR1", 415),
        ("text/csv", b"", 400),
        ("text/csv", b"\xff", 400),
        ("text/csv", b'age,income,city\n1,2,"Rom', 400),
        ("text/csv", b"age,income\n1,2\n", 422),
        ("text/csv", b"age,income,city\nold,2,Rom\n", 422),
        ("application/json", b"{", 400),
        ("application/json", b"[" * 100_000, 400),
    ],
)
async def test_what_cannot_be_read_is_refused(
    media_type: str, content: bytes, status: int, ours: httpx.AsyncClient
) -> None:
    answer = await ours.post("/invocations", content=content, headers={"content-type": media_type})
    assert answer.status_code == status, answer.text
    assert answer.json()["error_code"] == "BAD_REQUEST"


COUNTED = ["predictions_total", "shadow_predictions_total"]


async def test_its_requests_are_counted_with_users_and_its_copies_apart(
    ours: httpx.AsyncClient,
) -> None:
    async def counted(name: str) -> float:
        lines = (await ours.get("/metrics")).text.splitlines()
        return sum(float(line.split()[-1]) for line in lines if line.startswith(name + "{"))

    before = [await counted(name) for name in COUNTED]
    body = {"instances": SPLIT["data"]}
    answers = [await ours.post(path, json=body) for path in ("/invocations", "/shadow/invocations")]
    assert answers[0].content == answers[1].content
    assert [await counted(name) for name in COUNTED] == [count + 1 for count in before]


def test_a_copied_request_is_asked_at_the_path_of_its_own() -> None:
    assert path_of_copies("/invocations") == "/shadow/invocations"
    assert path_of_copies("/v2/models/a/infer") == "/shadow/infer"
    assert path_of_copies("/predict") == "/shadow/predict"


async def test_a_ping_says_whether_the_model_may_be_asked(
    ours: httpx.AsyncClient, folder: Path
) -> None:
    assert (await ours.get("/ping")).status_code == 200
    loading = Model.open(folder, sha256=digest_of(folder), name="customers", version="1")
    async with client_of(create_app(loading, settings())) as client:
        assert (await client.get("/ping")).status_code == 503
        answer = await client.post("/invocations", content=json.dumps({"inputs": [[1.0]]}))
        assert answer.status_code == 503
