"""The example with a feature store, on Feast itself: what is learnt from, and what is looked up."""

import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pandas as pd
import pytest
import uvicorn
from fastapi import FastAPI

from examples.feast.features import BEGAN, ENDED, FEATURES, SERVICE
from examples.feast.train import training_rows
from examples.feast.transformer import (
    create_app,
    feature_service_of,
    look_up,
)
from modelrelease_contract import MANIFEST_NAME
from tests.feast.conftest import Trained
from tests.support.predictors import Predictor

STRANGER = 99_999
"""A driver of whom nothing is known."""


@contextmanager
def listening(app: FastAPI) -> Iterator[httpx.Client]:
    """Serve an app on a free port; yield a client of it."""
    server = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=0, log_level="error"))
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            with httpx.Client(
                base_url=f"http://127.0.0.1:{listener.getsockname()[1]}", timeout=30
            ) as client:
                yield client
        finally:
            server.should_exit = True
            thread.join()


@pytest.fixture
def client(trained: Trained, served: Predictor) -> Iterator[httpx.Client]:
    """The transformer in front of the predictor's process."""
    with (
        httpx.Client(base_url=f"http://127.0.0.1:{served.port}") as predictor,
        listening(create_app(trained.store, SERVICE, predictor)) as client,
    ):
        yield client


def counted(client: httpx.Client) -> dict[tuple[str, str, str], float]:
    """Return the transformer's counters by feature, status and version."""
    found = {}
    for line in client.get("/metrics").text.splitlines():
        if line.startswith("transformer_feature_values_total{"):
            labels, value = line.removeprefix("transformer_feature_values_total{").split("} ")
            parts = dict(part.split("=") for part in labels.split(","))
            key = tuple(parts[name].strip('"') for name in ("feature", "status", "model_version"))
            found[key[0], key[1], key[2]] = float(value)
    return found


def ask(client: httpx.Client, *drivers: int) -> Any:
    return client.post("/predict", json={"driver_ids": drivers})


def test_a_delivery_is_learnt_from_with_what_was_known_when_it_began(trained: Trained) -> None:
    facts = pd.read_parquet(trained.facts)
    rows = training_rows(trained.store, trained.deliveries)
    assert len(rows) == len(trained.deliveries)
    for row in rows.sample(50, random_state=1).to_dict("records"):
        known = facts[
            (facts["driver_id"] == row["driver_id"])
            & (facts["event_timestamp"] <= row["event_timestamp"])
            & (facts["created"] <= row["event_timestamp"])
        ].sort_values("event_timestamp")
        newest = known.iloc[-1]
        assert [row[name] for name in FEATURES] == [newest[name] for name in FEATURES]


def test_a_correction_that_was_written_later_is_not_learnt_from(trained: Trained) -> None:
    facts = pd.read_parquet(trained.facts)
    assert (facts["speed"] == 1000).sum() == 1
    early = pd.DataFrame({"driver_id": [0], "event_timestamp": [BEGAN + timedelta(hours=1)]})
    assert training_rows(trained.store, early)["speed"].max() < 1000


def test_the_artifact_names_its_feature_service(trained: Trained) -> None:
    assert feature_service_of(trained.artifact.path / MANIFEST_NAME) == SERVICE


def test_an_artifact_that_names_none_is_refused(trained: Trained, tmp_path: Path) -> None:
    plain = tmp_path / MANIFEST_NAME
    without = trained.artifact.manifest.model_copy(update={"feature_service": None})
    plain.write_text(without.model_dump_json())
    with pytest.raises(ValueError, match="names no feature service: export the model"):
        feature_service_of(plain)


def test_the_newest_facts_are_looked_up_and_gaps_are_counted(trained: Trained) -> None:
    found = look_up(trained.store, SERVICE, [1, STRANGER])
    facts = pd.read_parquet(trained.facts)
    newest = facts[facts["driver_id"] == 1].sort_values("event_timestamp").iloc[-1]
    assert BEGAN <= newest["event_timestamp"] <= ENDED
    assert found.rows[0] == {name: newest[name] for name in FEATURES}
    assert found.rows[1] == dict.fromkeys(FEATURES)
    assert found.counts == {
        (name, status): 1 for name in FEATURES for status in ("PRESENT", "NOT_FOUND")
    }


def test_callers_name_drivers_and_get_the_predictors_answer(
    client: httpx.Client, trained: Trained
) -> None:
    answer = ask(client, 1, 2)
    rows = look_up(trained.store, SERVICE, [1, 2]).rows
    expected = [60 - 0.5 * row["speed"] + row["load"] for row in rows]  # type: ignore[operator]
    assert answer.status_code == 200
    assert answer.headers["X-Model-Version"] == "1"
    assert answer.json()["predictions"] == pytest.approx(expected, abs=1)


def test_a_number_that_no_driver_can_have_is_refused(client: httpx.Client) -> None:
    assert [ask(client, number).status_code for number in (-1, 2**63 - 1)] == [200, 200]
    assert ask(client, 2**63).status_code == 422


def test_missing_values_are_counted_by_the_version_that_got_them(client: httpx.Client) -> None:
    # Importing feast has prometheus_client keep counters by process, whatever their registry.
    ask(client, 1, STRANGER)
    before = counted(client)
    assert ask(client, 1, 2, STRANGER).status_code == 200
    grown = {key: number - before[key] for key, number in counted(client).items()}
    assert grown == {
        (name, status, "1"): number
        for name in FEATURES
        for status, number in (("PRESENT", 2.0), ("NOT_FOUND", 1.0))
    }


def test_many_callers_at_once_are_all_answered(client: httpx.Client) -> None:
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda driver: ask(client, driver).status_code, range(40)))
    assert answers == [200] * 40


def test_a_predictor_that_is_gone_is_said_and_counted(trained: Trained) -> None:
    with (
        httpx.Client(base_url="http://127.0.0.1:1") as gone,
        listening(create_app(trained.store, SERVICE, gone)) as client,
    ):
        answer = ask(client, 1)
        assert answer.status_code == 502
        assert answer.json()["detail"].startswith("the predictor does not answer: ")
        assert "none" in {version for _, _, version in counted(client)}
