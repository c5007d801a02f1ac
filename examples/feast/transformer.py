"""Looks features up in front of the predictor: callers name a driver, the predictor gets numbers.

    FEATURE_STORE=store MODEL_MANIFEST=artifacts/arrival/1/manifest.json PREDICTOR_URL=http://arrival \\
      .venv-feast/bin/uvicorn --factory examples.feast.transformer:from_environment

The predictor never imports Feast. Which features to look up is said by the manifest of the model.
"""  # noqa: E501

import os
from collections import Counter as Counted
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Final

import httpx
from fastapi import FastAPI, HTTPException, Response
from feast import FeatureStore
from feast.protos.feast.serving.ServingService_pb2 import FieldStatus
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, generate_latest
from pydantic import BaseModel, Field

from examples.feast.features import FEATURES, open_store
from modelrelease_contract.artifact import ArtifactManifest

PRESENT: Final = "PRESENT"
VERSION_HEADER: Final = "X-Model-Version"
UNANSWERED: Final = "none"
"""In the place of a version where the predictor gave no answer."""
TIMEOUT_SECONDS: Final = 10


DriverId = Annotated[int, Field(ge=-(2**63), lt=2**63)]
"""What Feast's INT64 holds; of another it makes an exception."""


class Question(BaseModel):
    """Whose arrivals are asked for."""

    driver_ids: list[DriverId] = Field(min_length=1, max_length=1000)


@dataclass(frozen=True, slots=True)
class Found:
    """Features of some drivers: a row for each, and how many values came out how."""

    rows: list[dict[str, float | None]]
    counts: Counted[tuple[str, str]]
    """By feature and Feast's word for a value, such as PRESENT or NOT_FOUND."""


def feature_service_of(manifest: Path) -> str:
    """Return the feature service that a model was trained on; raises ValueError without one."""
    read = ArtifactManifest.model_validate_json(manifest.read_bytes())
    if read.feature_service is None:
        msg = f"{manifest} names no feature service: export the model with --feature-service"
        raise ValueError(msg)
    return read.feature_service


def look_up(store: FeatureStore, service: str, driver_ids: Iterable[int]) -> Found:
    """Ask the online store. A value that is not there is a gap, never an error."""
    found = store.get_online_features(
        features=store.get_feature_service(service),
        entity_rows=[{"driver_id": driver} for driver in driver_ids],
    ).proto
    columns: dict[str, list[float | None]] = {}
    counts: Counted[tuple[str, str]] = Counted()
    for name, result in zip(found.metadata.feature_names.val, found.results, strict=True):
        if name not in FEATURES:
            continue
        words = [FieldStatus.Name(status) for status in result.statuses]
        counts.update((name, word) for word in words)
        columns[name] = [
            value.double_val if word == PRESENT else None
            for value, word in zip(result.values, words, strict=True)
        ]
    rows = zip(*columns.values(), strict=True)
    return Found([dict(zip(columns, row, strict=True)) for row in rows], counts)


def create_app(store: FeatureStore, service: str, predictor: httpx.Client) -> FastAPI:
    """Return the transformer of one feature service in front of one release.

    Its counters are those of one process: run more replicas of it, not more workers.
    """
    registry = CollectorRegistry()
    values = Counter(
        "transformer_feature_values",
        "Features that were looked up, by what became of each, and the version that got them.",
        ["feature", "status", "model_version"],
        registry=registry,
    )
    app = FastAPI(title="arrival")

    @app.post("/predict")
    def predict(question: Question) -> Response:
        found = look_up(store, service, question.driver_ids)
        version = UNANSWERED
        try:
            answer = predictor.post("/invocations", json={"dataframe_records": found.rows})
            version = answer.headers.get(VERSION_HEADER, UNANSWERED)
        except httpx.HTTPError as error:
            raise HTTPException(502, f"the predictor does not answer: {error}") from error
        finally:
            for (feature, status), number in found.counts.items():
                values.labels(feature, status, version).inc(number)
        # As the predictor said it: errors, too, belong to whoever asked.
        return Response(
            answer.content,
            answer.status_code,
            {VERSION_HEADER: version},
            answer.headers.get("content-type"),
        )

    @app.get("/metrics")
    def metrics() -> Response:
        return Response(generate_latest(registry), media_type=CONTENT_TYPE_LATEST)

    return app


def from_environment() -> FastAPI:
    """Return the transformer that FEATURE_STORE, MODEL_MANIFEST and PREDICTOR_URL describe."""
    store = open_store(Path(os.environ["FEATURE_STORE"]).absolute())
    service = feature_service_of(Path(os.environ["MODEL_MANIFEST"]))
    predictor = httpx.Client(base_url=os.environ["PREDICTOR_URL"], timeout=TIMEOUT_SECONDS)
    return create_app(store, service, predictor)
