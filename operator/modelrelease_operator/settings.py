"""What the operator is told by its environment: the only reader of it."""

from pydantic import Field, ValidationInfo, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

NOTIFY_TOPICS = ("RolledBack", "Promoted", "Drifted", "DriftEnded", "RetrainFailed", "NeedsPerson")
"""What a webhook may be told of."""

_PUBLIC_KEYS = r"^(\s*-----BEGIN PUBLIC KEY-----[A-Za-z0-9+/=\s]+-----END PUBLIC KEY-----)*\s*$"
_PATH = r"(metadata|spec)(\.[A-Za-z][A-Za-z0-9]*)*"


class Settings(BaseSettings):
    """Settings of the operator; each is an environment variable with the prefix `MODELRELEASE_`."""

    model_config = SettingsConfigDict(env_prefix="MODELRELEASE_", frozen=True)

    serving_image: str = "modelrelease-serving:dev"
    """Image of the predictor, for releases that name none."""
    prometheus_url: str = ""
    """Where metrics are read, for releases that name no other;
    empty for none: then from their pods.
    """
    prometheus_tenant: str = Field(default="", pattern=r"^[!-~]*$")
    """Whose series are meant there, where that server has those of many; empty for none."""
    prometheus_namespace_parameter: str = Field(default="", pattern=r"^([A-Za-z_][A-Za-z0-9_]*)?$")
    """By which that server is told whose series a release may see, as prom-label-proxy wants it:
    each question names the release's namespace so; empty for none.
    """
    prometheus_timeout_seconds: float = Field(default=5.0, gt=0)
    """For the whole of an answer, from the connection to the last byte."""
    prometheus_max_bytes: int = Field(default=32 * 1024 * 1024, ge=1024 * 1024)
    """Largest answer that is read."""
    prometheus_allow_secret_refs: bool = False
    """Whether the operator may read the Secrets that releases name as credentials for
    Prometheus.
    """
    allowed_hosts: str = ""
    """Servers that releases may name: host names (with `*`) and networks, separated by commas;
    empty for all.

    Addresses of the machine itself, link-local and multicast ones only where a network holds
    them."""
    ca_file: str = ""
    """Certificates, PEM, that are trusted beside the system's."""
    credentials_file: str = Field(default="", repr=False)
    """Logins at stores of models, in the form of a .netrc;
    the login `bearer` has a token for a password.
    """
    hub_url: str = Field(default="https://huggingface.co", pattern=r"^https?://[^\s@?#]+$")
    """The Hugging Face Hub, or a mirror of it, that `hf://` is looked up in."""
    mlflow_tracking_uri: str = Field(default="", pattern=r"^(https?://[^\s@]+)?$")
    """The MLflow tracking server that `models:/` and `runs:/` are looked up in; empty for none."""
    mlflow_username: str = ""
    mlflow_password: str = Field(default="", repr=False)
    """With `mlflow_username`: basic authentication at the tracking server."""
    mlflow_token: str = Field(default="", repr=False)
    """Bearer token for the tracking server, instead of a user name."""
    mlflow_interval_seconds: float = Field(default=60.0, ge=1)
    """How often an alias that a release follows is looked at."""
    mlflow_record_outcomes: bool = False
    """Whether model versions are tagged with what became of them,
    and `champion` is moved on promotion.
    """
    notify_webhook_url: str = Field(default="", repr=False)
    """A webhook, of Slack or of anything that takes `{"text": …}`; empty for none."""
    notify_on: str = "RolledBack,Promoted,Drifted,RetrainFailed"
    """What it is told of, separated by commas."""
    pod_templates: str = Field(
        default="scheduling", pattern=f"^(none|scheduling|all|{_PATH}(, *{_PATH})*)$"
    )
    """What a pod template may set: `none`, `scheduling`, `all`, or paths separated by commas."""
    signing_keys: str = Field(default="", pattern=_PUBLIC_KEYS)
    """Public keys, PEM, one after the other: each artifact must be signed with one of them; empty
    for no such rule.
    """
    namespaces: str = ""
    """Namespaces to watch, separated by commas; empty for all."""
    lease_namespace: str = ""
    """Where the Lease is that the acting operator holds;
    empty for none, where nobody else can run.
    """
    shard: str = Field(default="", pattern=r"^([0-9]{1,2}/[1-9][0-9]?)?$")
    """Which of how many operators this is, such as `0/3`: each looks after the namespaces that a
    hash gives it. Empty: the only one.
    """
    log_level: str = "INFO"
    liveness_port: int = Field(default=8080, gt=0, lt=65536)
    metrics_port: int = Field(default=9090, gt=0, lt=65536)
    metrics_authentication: bool = False
    """Whether metrics are shown only to bearer tokens whose owners may get the path `/metrics`."""
    metrics_certificate: str = ""
    """With `metrics_authentication`: a folder with `tls.crt` and `tls.key`, by which they are
    served; empty for plain HTTP.
    """
    resync_seconds: float = Field(default=600.0, gt=0)
    """How often every release is looked at, whatever the watches tell or do not tell."""

    @field_validator("notify_on")
    @classmethod
    def _known_topics(cls, text: str) -> str:
        unknown = sorted(set(_words(text)) - set(NOTIFY_TOPICS))
        if unknown:
            msg = f"{', '.join(unknown)} must be of {', '.join(NOTIFY_TOPICS)}"
            raise ValueError(msg)
        return text

    @field_validator("shard")
    @classmethod
    def _of_its_count(cls, text: str) -> str:
        index, _, count = text.partition("/")
        if text and int(index) >= int(count):
            msg = f"{text}: shards are numbered from 0, so the last is {int(count) - 1}/{count}"
            raise ValueError(msg)
        return text

    @field_validator("metrics_certificate")
    @classmethod
    def _only_with_tokens(cls, folder: str, told: ValidationInfo) -> str:
        if folder and not told.data.get("metrics_authentication"):
            msg = "it is used with MODELRELEASE_METRICS_AUTHENTICATION=true alone"
            raise ValueError(msg)
        return folder

    @property
    def watched_namespaces(self) -> tuple[str, ...]:
        """The namespaces to watch; none for all of them."""
        return _words(self.namespaces)

    @property
    def notify_topics(self) -> tuple[str, ...]:
        """What the webhook is told of."""
        return _words(self.notify_on)


def _words(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",") if part.strip())
