"""What we ask of an MLflow tracking server, by its REST API: mlflow itself is far too large for an operator.

Every call is one request with a short time-out. Nothing here retries: who calls comes back later.
"""

import json
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote, urlsplit

import aiohttp

from modelrelease_operator.api.registry import ModelRef, Registered
from modelrelease_operator.errors import Invalid, Unavailable
from modelrelease_operator.runtime.credentials import Credentials
from modelrelease_operator.settings import Settings

API = "/api/2.0/mlflow"
ARTIFACTS = "/api/2.0/mlflow-artifacts/artifacts"
READY = "READY"
FAILED = "FAILED_REGISTRATION"
LONGEST_ANSWER = 500
"""Characters of a server's own words that are repeated."""


class Missing(Invalid):
    """The server answers, and has no such model, version, alias or run."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelVersion:
    """One version of a registered model, as the registry has it."""

    registered: Registered
    status: str
    tags: dict[str, str] = field(default_factory=dict)


class Registry:
    """One tracking server."""

    def __init__(
        self, url: str, *, credentials: Credentials | None = None, timeout_seconds: float = 10.0
    ) -> None:
        self.url = url.rstrip("/")
        self._credentials = credentials or Credentials()
        self._timeout = aiohttp.ClientTimeout(total=timeout_seconds)

    async def version(self, ref: ModelRef) -> ModelVersion:
        """Return the version that a reference means now; raise Missing when there is none."""
        if ref.alias:
            path, which = "registered-models/alias", {"alias": ref.alias}
        else:
            path, which = "model-versions/get", {"version": ref.version or ""}
        answer = await self._get(path, name=ref.name, **which)
        with self._understood():
            found = answer["model_version"]
            return ModelVersion(
                registered=Registered(name=found["name"], version=str(found["version"])),
                status=str(found.get("status", READY)),
                tags={tag["key"]: tag.get("value", "") for tag in found.get("tags", ())},
            )

    async def artifacts_of(self, registered: Registered) -> str:
        """Return where the files of a version are, as MLflow writes it."""
        found = await self._get(
            "model-versions/get-download-uri", name=registered.name, version=registered.version
        )
        with self._understood():
            return str(found["artifact_uri"])

    async def artifacts_of_run(self, run: str) -> str:
        """Return where the artifacts of a run are, as MLflow writes it."""
        found = await self._get("runs/get", run_id=run)
        with self._understood():
            return str(found["run"]["info"]["artifact_uri"])

    async def set_tag(self, registered: Registered, key: str, value: str) -> None:
        """Set a tag of a version; the same one twice is fine."""
        body = {"name": registered.name, "version": registered.version, "key": key, "value": value}
        await self._call("POST", "model-versions/set-tag", json=body)

    async def set_alias(self, name: str, alias: str, version: str) -> None:
        """Point an alias to a version."""
        body = {"name": name, "alias": alias, "version": version}
        await self._call("POST", "registered-models/alias", json=body)

    def place(self, uri: str, below: str = "") -> str:
        """Return where a pod finds a folder of artifacts; the tracking server serves `mlflow-artifacts:`.

        Raises Invalid for a place that only the tracking server itself can reach.
        """
        scheme, _, rest = uri.partition(":")
        host, _, path = rest.removeprefix("//").partition("/") if rest.startswith("//") else ("", "", rest)
        inner = "/".join(part.strip("/") for part in (path, below) if part.strip("/"))
        if ".." in inner.split("/"):
            msg = f"the registry keeps the model at {uri} {below}, and a path must not contain '..'"
            raise Invalid(msg)
        if scheme == "mlflow-artifacts":
            base = f"{urlsplit(self.url).scheme}://{host}" if host else self.url
            return f"{base}{ARTIFACTS}/{quote(inner)}"
        if scheme in ("http", "https", "s3", "gs", "az") and host:
            return f"{scheme}://{host}/{quote(inner, safe='/%')}"
        msg = (
            f"the registry keeps the model at {uri}, which no pod can reach: start `mlflow server` with "
            "--serve-artifacts and --artifacts-destination, or keep artifacts in an object store"
        )
        raise Invalid(msg)

    def options(self, url: str) -> dict[str, Any]:
        """Return how to prove oneself at an address; at any other server than this one, not at all."""
        if not url.startswith(f"{self.url}/"):
            return {}
        return {"headers": self._headers(), "ssl": self._ssl()}

    def _headers(self) -> dict[str, str]:
        own = self._credentials
        if own.token:
            return {"Authorization": f"Bearer {own.token}"}
        if own.username and own.password:
            return {"Authorization": aiohttp.encode_basic_auth(own.username, own.password)}
        return {}

    def _ssl(self) -> ssl.SSLContext | bool:
        if not self._credentials.verify:
            return False
        return ssl.create_default_context(cadata=self._credentials.ca) if self._credentials.ca else True

    async def _get(self, path: str, **params: str) -> Any:
        return await self._call("GET", path, params=params)

    async def _call(self, method: str, path: str, **what: Any) -> Any:
        """Make one call. Raises Missing, or Unavailable with a sentence that shows no secret."""
        url = f"{self.url}{API}/{path}"
        try:
            async with (
                aiohttp.ClientSession(timeout=self._timeout) as session,
                session.request(method, url, **what, **self.options(url)) as answer,
            ):
                said = await answer.json(content_type=None) if answer.status == 200 else await answer.text()
        except (TimeoutError, aiohttp.ClientError, OSError, ValueError) as problem:
            raise self._unavailable(f"does not answer ({type(problem).__name__})") from problem
        if answer.status == 200 and isinstance(said, dict):
            return said
        if answer.status in (400, 404) and ("RESOURCE_DOES_NOT_EXIST" in said or "not found" in said):
            msg = f"MLflow at {self.url}: {self._hidden(_message(said))}"
            raise Missing(msg)
        raise self._unavailable(f"answered {answer.status} to {path}: {_message(said)}")

    @contextmanager
    def _understood(self) -> Iterator[None]:
        try:
            yield
        except (LookupError, TypeError, ValueError, AttributeError) as problem:
            raise self._unavailable(f"answered nonsense: {problem!r}") from problem

    def _unavailable(self, what: str) -> Unavailable:
        return Unavailable(f"MLflow at {self.url} {self._hidden(what)}")

    def _hidden(self, what: str) -> str:
        """Return the sentence without what a server may have repeated of the credentials."""
        for secret in self._credentials.secrets:
            what = what.replace(secret, "…")
        return what


def registry_of(settings: Settings) -> Registry | None:
    """Return the operator's own tracking server, or None where it was told of none."""
    if not settings.mlflow_tracking_uri:
        return None
    credentials = Credentials(
        token=settings.mlflow_token or None,
        username=settings.mlflow_username or None,
        password=settings.mlflow_password or None,
    )
    return Registry(settings.mlflow_tracking_uri, credentials=credentials)


def _message(said: Any) -> str:
    """Return the server's own sentence where there is one."""
    try:
        return str(json.loads(said)["message"])[:LONGEST_ANSWER]
    except (ValueError, LookupError, TypeError):
        return str(said)[:LONGEST_ANSWER]
