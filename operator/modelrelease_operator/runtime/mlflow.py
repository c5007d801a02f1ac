"""What we ask of an MLflow server, by its REST API: mlflow is far too large for an operator.

Every call is one request with a short time-out and a limit on bytes. Nothing here retries: who
calls comes back later.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote, urlsplit

from modelrelease_contract import schemes
from modelrelease_operator.api.registry import ModelRef, Registered
from modelrelease_operator.errors import Invalid, Unavailable
from modelrelease_operator.runtime.credentials import Credentials
from modelrelease_operator.runtime.web import Trouble, Web
from modelrelease_operator.settings import Settings

API = "/api/2.0/mlflow"
ARTIFACTS = "/api/2.0/mlflow-artifacts/artifacts"
READY = "READY"
FAILED = "FAILED_REGISTRATION"
LARGEST_ANSWER = 8 * 1024 * 1024
"""Bytes: far above any version's tags."""
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


class _Parameter(Unavailable):
    """MLflow calls a parameter wrong."""


class Registry:
    """One tracking server."""

    def __init__(
        self,
        url: str,
        *,
        credentials: Credentials | None = None,
        timeout_seconds: float = 10.0,
        ca_file: str = "",
    ) -> None:
        self.url = url.rstrip("/")
        self._credentials = credentials or Credentials()
        self._seconds = timeout_seconds
        self._ca_file = ca_file

    async def version(self, ref: ModelRef) -> ModelVersion:
        """Return the version that a reference means now; raise Missing when there is none."""
        if ref.alias:
            path, which = "registered-models/alias", {"alias": ref.alias}
        else:
            path, which = "model-versions/get", {"version": ref.version or ""}
        try:
            answer = await self._get(path, name=ref.name, **which)
        except _Parameter as problem:
            if ref.alias and not await self._has_alias(ref.name, ref.alias):
                raise Missing(str(problem)) from problem
            raise
        with self._understood():
            version = answer["model_version"]
            return ModelVersion(
                registered=Registered(name=version["name"], version=str(version["version"])),
                status=str(version.get("status", READY)),
                tags={tag["key"]: tag.get("value", "") for tag in version.get("tags", ())},
            )

    async def _has_alias(self, name: str, alias: str) -> bool:
        """Return whether a model has an alias: a missing one is answered as a wrong parameter."""
        answer = await self._get("registered-models/get", name=name)
        with self._understood():
            return any(
                entry["alias"] == alias for entry in answer["registered_model"].get("aliases", ())
            )

    async def artifacts_of(self, registered: Registered) -> str:
        """Return where the files of a version are, as MLflow writes it."""
        reply = await self._get(
            "model-versions/get-download-uri", name=registered.name, version=registered.version
        )
        with self._understood():
            return str(reply["artifact_uri"])

    async def artifacts_of_run(self, run: str) -> str:
        """Return where the artifacts of a run are, as MLflow writes it."""
        reply = await self._get("runs/get", run_id=run)
        with self._understood():
            return str(reply["run"]["info"]["artifact_uri"])

    async def set_tag(self, registered: Registered, key: str, value: str) -> None:
        """Set a tag of a version; the same one twice is fine."""
        body = {"name": registered.name, "version": registered.version, "key": key, "value": value}
        await self._call("POST", "model-versions/set-tag", json=body)

    async def set_alias(self, name: str, alias: str, version: str) -> None:
        """Point an alias to a version."""
        body = {"name": name, "alias": alias, "version": version}
        await self._call("POST", "registered-models/alias", json=body)

    def place(self, uri: str, below: str = "") -> str:
        """Return where a pod finds artifacts; the tracking server serves `mlflow-artifacts:`.

        Raises Invalid for a place that only the tracking server itself can reach.
        """
        scheme, _, rest = uri.partition(":")
        host, _, path = (
            rest.removeprefix("//").partition("/") if rest.startswith("//") else ("", "", rest)
        )
        inner = "/".join(part.strip("/") for part in (path, below) if part.strip("/"))
        if ".." in inner.split("/"):
            msg = f"the registry keeps the model at {uri} {below}, and a path must not contain '..'"
            raise Invalid(msg)
        if scheme == "mlflow-artifacts":
            base = f"{urlsplit(self.url).scheme}://{host}" if host else self.url
            return f"{base}{ARTIFACTS}/{quote(inner)}"
        known = schemes.named(scheme)
        if known and known.is_shared and host:
            return f"{scheme}://{host}/{quote(inner, safe='/%')}"
        msg = (
            f"the registry keeps the model at {uri}, which no pod can reach: start `mlflow server` "
            "with --serve-artifacts and --artifacts-destination, or keep artifacts in an object "
            "store"
        )
        raise Invalid(msg)

    def credentials_for(self, url: str) -> Credentials | None:
        """Return how to prove oneself at an address of this server; None at any other."""
        return self._credentials if url.startswith(f"{self.url}/") else None

    async def _get(self, path: str, **params: str) -> Any:
        return await self._call("GET", path, params=params)

    async def _call(self, method: str, path: str, **what: Any) -> Any:
        """Make one call. Raises Missing, or Unavailable with a sentence that shows no secret."""
        web = Web(credentials=self._credentials, ca_file=self._ca_file)
        try:
            async with web.ask(
                method, f"{self.url}{API}/{path}", seconds=self._seconds, **what
            ) as answer:
                status, body = answer.status, await answer.body(LARGEST_ANSWER)
        except Trouble as problem:
            raise self._unavailable(str(problem)) from problem
        finally:
            await web.close()
        reply = _json(body)
        if status == 200 and isinstance(reply, dict):
            return reply
        message = self._credentials.hidden_in(_message(reply))[:LONGEST_ANSWER]
        # By MLflow's own code, never by words: a router before it may say "not found", too.
        code = reply.get("error_code") if isinstance(reply, dict) else None
        if code == "RESOURCE_DOES_NOT_EXIST":
            msg = f"MLflow at {self.url}: {message}"
            raise Missing(msg)
        if code == "INVALID_PARAMETER_VALUE":
            msg = f"MLflow at {self.url} answered {status} to {path}: {message}"
            raise _Parameter(msg)
        raise self._unavailable(f"answered {status} to {path}{f': {message}' if message else ''}")

    @contextmanager
    def _understood(self) -> Iterator[None]:
        try:
            yield
        except (LookupError, TypeError, ValueError, AttributeError) as problem:
            raise self._unavailable(f"answered nonsense: {problem!r}") from problem

    def _unavailable(self, what: str) -> Unavailable:
        return Unavailable(f"MLflow at {self.url} {self._credentials.hidden_in(what)}")


def registry_of(settings: Settings) -> Registry | None:
    """Return the operator's own tracking server, or None where it was told of none."""
    if not settings.mlflow_tracking_uri:
        return None
    credentials = Credentials(
        token=settings.mlflow_token or None,
        username=settings.mlflow_username or None,
        password=settings.mlflow_password or None,
    )
    return Registry(settings.mlflow_tracking_uri, credentials=credentials, ca_file=settings.ca_file)


def _json(body: bytes) -> Any:
    """Return what an answer holds, or None for one that is no JSON."""
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        return None


def _message(answer: Any) -> str:
    """Return the server's own sentence where there is one: what is no MLflow's is not repeated."""
    return str(answer["message"]) if isinstance(answer, dict) and "message" in answer else ""
