"""The CloudEvent that a predictor sends for a sampled request, and the drift service takes.

CloudEvents 1.0 in JSON, structured mode: one event a request, `Content-Type:
application/cloudevents+json`.
"""

from typing import Final, Literal

from pydantic import BaseModel, ConfigDict, Field

from modelrelease_contract.artifact import Prediction

SAMPLED_TYPE: Final = "dev.modelrelease.prediction.sampled"
STRUCTURED: Final = "application/cloudevents+json"
BATCH: Final = "application/cloudevents-batch+json"

MAX_EVENT_ROWS: Final = 100
"""Rows of one request that its event holds at most: the first ones."""


class _Read(BaseModel):
    # "ignore": other attributes are allowed by CloudEvents, and a newer predictor may know more.
    model_config = ConfigDict(extra="ignore", frozen=True)


class SampledPrediction(_Read):
    """What was asked, and what was answered: one prediction for each row."""

    features: tuple[str, ...]
    """Names, in the order of a row's values."""
    rows: tuple[tuple[float | str | None, ...], ...]
    predictions: tuple[Prediction, ...] = ()


class SampledEvent(_Read):
    """One sampled request. Extensions, as CloudEvents calls them, are lower case without signs."""

    specversion: Literal["1.0"]
    id: str = Field(min_length=1)
    source: str = Field(min_length=1)
    type: Literal["dev.modelrelease.prediction.sampled"]
    time: str | None = None
    datacontenttype: Literal["application/json"] = "application/json"
    release: str = Field(min_length=1, max_length=253)
    revision: str = Field(min_length=1, max_length=253)
    modelversion: str = ""
    predictionid: str | None = None
    """What the client called its request (`X-Request-ID`), so that a late label can be joined."""
    data: SampledPrediction
