"""Settings of the drift service, from the environment: the only reader of it."""

from pathlib import Path
from typing import Self

from pydantic import Field, ValidationError, model_validator
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, SettingsConfigDict

from modelrelease_training.drift.encoder import DEFAULT_MODEL, MODEL_VARIABLE
from modelrelease_training.drift.text import ALPHA, MINIMUM_WINDOW, SMALLEST_ALPHA, THRESHOLD


class ServiceSettings(BaseSettings):
    """How the drift service behaves. An empty variable counts as not set."""

    model_config = SettingsConfigDict(
        frozen=True, env_ignore_empty=True, case_sensitive=True, populate_by_name=True
    )

    baseline: Path = Field(validation_alias="TEXT_BASELINE")
    """The .npz that texts are compared with."""
    encoder: str = Field(default=DEFAULT_MODEL, validation_alias=MODEL_VARIABLE)
    feature: str | None = Field(default=None, validation_alias="TEXT_FEATURE")
    """Feature that holds the texts. Without it the baseline's column, or the only one of texts."""
    window_texts: int = Field(default=200, ge=1, le=2000, validation_alias="TEXT_WINDOW_TEXTS")
    """Texts that complete a window."""
    window_seconds: float = Field(default=600, gt=0, validation_alias="TEXT_WINDOW_SECONDS")
    """Age from which a window is complete with TEXT_WINDOW_MINIMUM texts, too."""
    window_minimum: int = Field(
        default=MINIMUM_WINDOW, ge=1, validation_alias="TEXT_WINDOW_MINIMUM"
    )
    threshold: float = Field(default=THRESHOLD, gt=0, le=2, validation_alias="TEXT_THRESHOLD")
    alpha: float = Field(default=ALPHA, ge=SMALLEST_ALPHA, lt=0.5, validation_alias="TEXT_ALPHA")
    """Probability that one window without drift is said to have drifted."""
    queue: int = Field(default=2000, ge=1, le=100_000, validation_alias="TEXT_QUEUE")
    """Texts that may wait for the encoder; more events are refused with 429 and counted."""
    revisions: int = Field(default=50, ge=1, le=1000, validation_alias="TEXT_REVISIONS")
    """Revisions that are remembered at once; the one that was silent for longest is forgotten."""
    host: str = Field(default="::", validation_alias="HOST")
    """Address to listen on. `::` is every address of IPv6 and IPv4, or of the one that there is."""
    port: int = Field(default=8000, ge=0, le=65535, validation_alias="PORT")

    @model_validator(mode="after")
    def _windows_can_close(self) -> Self:
        if self.window_minimum > self.window_texts:
            msg = (
                f"TEXT_WINDOW_MINIMUM={self.window_minimum} is above "
                f"TEXT_WINDOW_TEXTS={self.window_texts}"
            )
            raise ValueError(msg)
        return self


def variables() -> dict[str, str]:
    """Return the name of every environment variable that is read, with its default as text."""
    fields = ServiceSettings.model_fields.values()
    return {str(field.validation_alias): _default(field) for field in fields}


def _default(field: FieldInfo) -> str:
    return "" if field.is_required() else str(field.default or "")


def explain(error: ValidationError) -> str:
    """Return one sentence for the first setting that is wrong."""
    first = error.errors()[0]
    if first["type"] == "missing":
        return (
            f"environment variable {first['loc'][0]} must be set: a file of `modelrelease-drift "
            "baseline`"
        )
    if not first["loc"]:
        return first["msg"]
    return f"environment variable {first['loc'][0]}={first['input']!r} is wrong: {first['msg']}"
