"""Settings from the environment: the only reader of it. The contract spells the names."""

import os
from pathlib import Path
from typing import Annotated, Final, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, BeforeValidator, Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from modelrelease_contract import runtime
from modelrelease_contract.shadow import (
    ENV_CANARY_FORM,
    ENV_SHADOW,
    ENV_STABLE_FORM,
    RequestForm,
    ShadowSettings,
)
from modelrelease_serving.loaders import OnMismatch, Rules

NO_RELEASE: Final = "local"
"""Name of the release where there is none."""


def _upper(value: object) -> object:
    return value.upper() if isinstance(value, str) else value


LogLevel = Annotated[Literal["DEBUG", "INFO", "WARNING", "ERROR"], BeforeValidator(_upper)]


def _folder(path: Path) -> Path:
    """Return the artifact's folder; people also name the model's file in it."""
    return path.parent if os.path.isfile(path) else path  # noqa: PTH113 - raises nothing


def _http_url(url: str) -> str:
    """Return `url` if a request can be sent there."""
    try:
        parts = urlsplit(url)
        fits = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        fits = False
    if not fits or any(sign.isspace() or not sign.isprintable() for sign in url):
        msg = "must be an http:// or https:// address, such as http://drift:8000/events"
        raise ValueError(msg)
    return url


def _plain_http_url(url: str) -> str:
    """Return `url` if a request can be sent there without TLS."""
    if urlsplit(_http_url(url)).scheme != "http":
        msg = "must be an http:// address: predictors speak no TLS"
        raise ValueError(msg)
    return url


def _json_as(kind: type[BaseModel]) -> BeforeValidator:
    """Read JSON as this model. Raises ValueError with the first member that is wrong."""

    def read(value: object) -> object:
        if not isinstance(value, str):
            return value
        try:
            return kind.model_validate_json(value)
        except ValidationError as error:
            first = error.errors()[0]
            place = ".".join(str(part) for part in first["loc"]) or "the document"
            msg = f"{place}: {first['msg']}"
            raise ValueError(msg) from error

    return BeforeValidator(read)


Form = Annotated[RequestForm | None, NoDecode, _json_as(RequestForm)]


class Settings(BaseSettings):
    """How this process behaves. An empty variable counts as not set."""

    model_config = SettingsConfigDict(
        frozen=True,
        env_ignore_empty=True,
        case_sensitive=True,
        populate_by_name=True,
        protected_namespaces=(),
    )

    release: str = Field(default=NO_RELEASE, validation_alias=runtime.ENV_RELEASE)
    revision: str = Field(default="local", validation_alias=runtime.ENV_REVISION)
    model_uri: str | None = Field(default=None, validation_alias=runtime.ENV_MODEL_URI)
    """Folder of the artifact for `fetch`: a URI of a scheme in `modelrelease_contract.schemes`."""
    http_token: SecretStr | None = Field(default=None, validation_alias="HTTP_TOKEN")
    """Bearer token that `fetch` shows to an http(s):// source."""
    http_username: str | None = Field(default=None, validation_alias="HTTP_USERNAME")
    """With `http_password`: basic authentication."""
    http_password: SecretStr | None = Field(default=None, validation_alias="HTTP_PASSWORD")
    model_sha256: str | None = Field(
        default=None, pattern=r"^[0-9a-f]{64}$", validation_alias=runtime.ENV_MODEL_SHA256
    )
    """Digest of the manifest. When set, nothing else is loaded."""
    model_path: Annotated[Path, AfterValidator(_folder)] = Field(
        default=Path(runtime.MODEL_DIR), validation_alias=runtime.ENV_MODEL_PATH
    )
    model_version: str | None = Field(default=None, validation_alias=runtime.ENV_MODEL_VERSION)
    """When set, the manifest must say the same."""
    allow_unpinned: bool = Field(default=False, validation_alias="ALLOW_UNPINNED")
    """Whether a file that needs a pin is loaded without one. For work on one's own machine."""
    skops_trusted_types: str = Field(default="", validation_alias="SKOPS_TRUSTED_TYPES")
    """Full names of types, separated by commas,
    that a skops file may build beside scikit-learn's.
    """
    library_mismatch: OnMismatch = Field(default="refuse", validation_alias="LIBRARY_MISMATCH")
    """What follows from a pickle of another minor version of scikit-learn: `refuse` or `warn`."""
    api_version: str = Field(default="v1", validation_alias=runtime.ENV_API_VERSION)
    log_level: LogLevel = Field(default="INFO", validation_alias=runtime.ENV_LOG_LEVEL)
    log_format: Literal["json", "text"] = Field(
        default="json", validation_alias=runtime.ENV_LOG_FORMAT
    )
    drain_seconds: float = Field(
        default=10, ge=0, le=3600, validation_alias=runtime.ENV_DRAIN_SECONDS
    )
    """How long to go on answering after SIGTERM. 0 stops at once."""
    connection_max_age_seconds: float = Field(
        default=10, ge=0, validation_alias=runtime.ENV_CONNECTION_MAX_AGE_SECONDS
    )
    """Age from which a connection's next answer is its last. 0 lets clients stay."""
    max_waiting_rows: int = Field(default=5000, gt=0, validation_alias="MAX_WAITING_ROWS")
    """Rows that may wait for the model; more requests are answered 503 until there is room."""
    max_waiting_bytes: int = Field(default=64 * 1024**2, gt=0, validation_alias="MAX_WAITING_BYTES")
    """The same for the bytes of their bodies."""
    max_waiting_seconds: float = Field(default=2, gt=0, validation_alias="MAX_WAITING_SECONDS")
    """The same for the time that the model needs for the rows that wait."""
    max_call_seconds: float = Field(default=60, gt=0, validation_alias="MAX_CALL_SECONDS")
    """How long one call of the model may take before this process counts as broken."""
    max_connections: int = Field(default=4000, gt=0, validation_alias="MAX_CONNECTIONS")
    """Connections that are served; a request on one more is answered 503, and ends it."""
    max_request_seconds: float = Field(default=30, gt=0, validation_alias="MAX_REQUEST_SECONDS")
    """How long a request may take to arrive, and an answer to be taken."""
    max_receiving_bytes: int = Field(
        default=32 * 1024**2, gt=0, validation_alias="MAX_RECEIVING_BYTES"
    )
    """Bytes of requests that are not whole yet; the slowest give way, with 503."""
    compile_model: bool = Field(default=True, validation_alias="COMPILE_MODEL")
    """Whether a known estimator may answer through a faster form with the same answers."""
    drift_max_series: int = Field(default=2000, ge=0, validation_alias="DRIFT_MAX_SERIES")
    """Most series for the bins of features; features after that are not counted."""
    sample_url: Annotated[str, AfterValidator(_http_url)] | None = Field(
        default=None, validation_alias="SAMPLE_URL"
    )
    """Where sampled requests are posted as CloudEvents. Without it nothing is sampled."""
    sample_share: float = Field(default=0.1, ge=0, le=1, validation_alias="SAMPLE_SHARE")
    """Share of the answered requests that is sampled."""
    sample_queue: int = Field(default=256, ge=1, le=100_000, validation_alias="SAMPLE_QUEUE")
    """Sampled requests that may wait to be sent; more are dropped and counted."""
    shadow: Annotated[ShadowSettings | None, NoDecode, _json_as(ShadowSettings)] = Field(
        default=None, validation_alias=ENV_SHADOW
    )
    """Which copies of stable's requests this predictor asks for, as JSON. Without it none. For
    `compare`: how many pairs."""
    shadow_copies: bool = Field(default=True, validation_alias="SHADOW_COPIES")
    """Whether answered requests are copied to a canary that asks for copies."""
    shadow_canary_url: Annotated[str, AfterValidator(_plain_http_url)] | None = Field(
        default=None, validation_alias="SHADOW_CANARY_URL"
    )
    """Where the canary is asked. None is the release's Service for it."""
    shadow_stable_url: Annotated[str, AfterValidator(_plain_http_url)] | None = Field(
        default=None, validation_alias="SHADOW_STABLE_URL"
    )
    """Where stable is asked again. None is the release's Service for it."""
    host: str = Field(default="::", validation_alias="HOST")
    """Address to listen on. `::` is every address of IPv6 and IPv4,
    or of IPv4 where there is no IPv6.
    """
    port: int = Field(default=runtime.HTTP_PORT, ge=0, le=65535, validation_alias="PORT")
    """0 takes any free port; the log names it."""
    pvc_path: Path = Field(default=Path(runtime.PVC_DIR), validation_alias="PVC_PATH")
    artifact_max_bytes: int = Field(
        default=4 * 1024**3, gt=0, validation_alias="ARTIFACT_MAX_BYTES"
    )
    """Largest artifact that `fetch` copies, all files together."""
    artifact_cache_path: Path | None = Field(
        default=None, validation_alias=runtime.ENV_ARTIFACT_CACHE_PATH
    )
    """Folder in which `fetch` keeps artifacts, by digest, for the next start. Without it none."""
    artifact_cache_keep: str | None = Field(
        default=None,
        pattern=r"^[0-9a-f]{64}$",
        validation_alias=runtime.ENV_ARTIFACT_CACHE_KEEP,
    )
    """Digest of an artifact that is not removed from there for another."""
    artifact_cache_max_bytes: int = Field(
        default=10 * 1024**3, gt=0, validation_alias="ARTIFACT_CACHE_MAX_BYTES"
    )
    """What the artifacts there may have together; the one used longest ago is removed first."""
    fetch_patience_seconds: float = Field(
        default=120, ge=0, validation_alias="FETCH_PATIENCE_SECONDS"
    )
    """How long `fetch` waits for a source that does not answer."""
    manifest_only: bool = Field(default=False, validation_alias=runtime.ENV_MANIFEST_ONLY)
    """Whether `fetch` leaves the model's files where they are: a prober needs only the manifest."""
    fetch_signature: bool = Field(default=False, validation_alias=runtime.ENV_FETCH_SIGNATURE)
    """Whether `fetch` brings the artifact's signature, too."""
    release_key: str = Field(default="", validation_alias=runtime.ENV_RELEASE_KEY)
    """Public key, PEM, that `verify` wants the artifact to be signed with."""
    operator_keys: str = Field(default="", validation_alias=runtime.ENV_OPERATOR_KEYS)
    """The same for any one of several keys, one after the other."""
    probe_stable_revision: str = Field(
        default="stable", validation_alias=runtime.ENV_PROBE_STABLE_REVISION
    )
    """Revision that `probe` compares this one with."""
    probe_stable_url: str = Field(default="", validation_alias=runtime.ENV_PROBE_STABLE_URL)
    """Where `probe` asks stable, such as http://qna-stable."""
    probe_canary_url: str = Field(default="", validation_alias=runtime.ENV_PROBE_CANARY_URL)
    probe_rate: float = Field(default=10, gt=0, le=1000, validation_alias=runtime.ENV_PROBE_RATE)
    """Probes a second, half of them to each revision."""
    probe_timeout_seconds: float = Field(
        default=5, gt=0, le=3600, validation_alias=runtime.ENV_PROBE_TIMEOUT_SECONDS
    )
    """After which a probe counts as an error."""
    stable_form: Form = Field(default=None, validation_alias=ENV_STABLE_FORM)
    """How `compare` asks stable an example row, as JSON."""
    canary_form: Form = Field(default=None, validation_alias=ENV_CANARY_FORM)
    termination_log: Path = Field(
        default=Path(runtime.TERMINATION_LOG), validation_alias="TERMINATION_LOG"
    )

    @property
    def rules(self) -> Rules:
        """What `serve` may load."""
        names = (name.strip() for name in self.skops_trusted_types.split(","))
        return Rules(
            allow_unpinned=self.allow_unpinned,
            trusted_types=tuple(name for name in names if name),
            on_mismatch=self.library_mismatch,
        )


def variables() -> dict[str, str]:
    """Return the name of every environment variable that is read, with its default as text."""
    return {
        str(field.validation_alias): "" if field.default is None else str(field.default)
        for field in Settings.model_fields.values()
    }


def explain(error: ValidationError) -> str:
    """Return one sentence for the first setting that is wrong:
    its variable, the rule and the value.
    """
    first = error.errors()[0]
    return f"environment variable {first['loc'][0]}={first['input']!r} is wrong: {first['msg']}"
