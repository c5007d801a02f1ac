"""Registers models with a real MLflow server over REST: to import mlflow takes seconds."""

import json
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

import requests

from modelrelease_contract import MANIFEST_NAME, manifest_digest

API = "/api/2.0/mlflow"
ARTIFACTS = "/api/2.0/mlflow-artifacts/artifacts"


@dataclass
class Registering:
    """One registered model on a server."""

    url: str
    name: str = "qna"
    runs: dict[str, str] = field(default_factory=dict)
    """By version: the run that made it."""

    def version(
        self,
        manifest: bytes,
        *,
        tags: dict[str, str] | None = None,
        source: str | None = None,
        file: str = MANIFEST_NAME,
    ) -> str:
        """Register a version whose artifact is one manifest; returns MLflow's number for it."""
        self._post("registered-models/create", accept=(200, 400), name=self.name)
        experiment = self._get("experiments/get-by-name", experiment_name="Default")["experiment"]
        run = self._post("runs/create", experiment_id=experiment["experiment_id"])["run"]["info"]
        folder = f"{run['artifact_uri']}/artifact"
        path = folder.removeprefix("mlflow-artifacts:/")
        self.put(f"{path}/{file}", manifest)
        made = self._post(
            "model-versions/create",
            name=self.name, source=source or folder, run_id=run["run_id"],
            tags=[{"key": key, "value": value} for key, value in (tags or {}).items()],
        )["model_version"]  # fmt: skip
        self.runs[made["version"]] = run["run_id"]
        return str(made["version"])

    def place(self, version: str) -> str:
        """Return where a client finds the artifact of a version."""
        source = self.get(version)["source"]
        return f"{self.url}{ARTIFACTS}/{source.removeprefix('mlflow-artifacts:/')}"

    def put(self, path: str, content: bytes) -> None:
        requests.put(f"{self.url}{ARTIFACTS}/{path}", data=content, timeout=60).raise_for_status()

    def alias(self, alias: str, version: str) -> None:
        self._post("registered-models/alias", name=self.name, alias=alias, version=version)

    def delete_alias(self, alias: str) -> None:
        query = {"name": self.name, "alias": alias}
        found = requests.delete(f"{self.url}{API}/registered-models/alias", json=query, timeout=60)
        found.raise_for_status()

    def get(self, version: str) -> dict[str, Any]:
        found: dict[str, Any] = self._get("model-versions/get", name=self.name, version=version)
        return dict(found["model_version"])

    def tags(self, version: str) -> dict[str, str]:
        return {tag["key"]: tag["value"] for tag in self.get(version).get("tags", ())}

    def aliases(self, version: str) -> list[str]:
        return sorted(self.get(version).get("aliases", ()))

    def _get(self, path: str, **params: str) -> Any:
        found = requests.get(f"{self.url}{API}/{path}", params=params, timeout=60)
        found.raise_for_status()
        return found.json()

    def _post(self, path: str, *, accept: tuple[int, ...] = (200,), **body: Any) -> Any:
        found = requests.post(f"{self.url}{API}/{path}", json=body, timeout=60)
        assert found.status_code in accept, found.text
        return found.json()


def a_manifest(version: str) -> bytes:
    """Return the smallest manifest that is valid."""
    return json.dumps(
        {
            "name": "qna",
            "version": version,
            "features": [{"name": "x"}],
            "examples": {"rows": [[1.0]], "predictions": ["yes"]},
            "files": [{"path": "model.joblib", "sha256": "0" * 64, "size": 1}],
        }
    ).encode()


def digest_tag(content: bytes) -> dict[str, str]:
    """Return the tag that pins an artifact."""
    return {"modelrelease.digest": manifest_digest(content)}


def a_registered_model(url: str) -> Registering:
    """Return a model of the test's own, with two versions; `champion` is the first."""
    made = Registering(url, name=f"qna-{uuid4().hex[:8]}")
    for version in ("2026-11-01", "2026-11-02"):
        content = a_manifest(version)
        made.version(content, tags=digest_tag(content))
    made.alias("champion", "1")
    return made
