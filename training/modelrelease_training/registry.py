"""Registers artifacts with MLflow, and brings registered ones back.

This is the only module that imports MLflow, and only when it is first needed, because that takes
seconds and most commands never do.
How an artifact lies in the registry is written in docs/reference/registry.md; the operator reads it
there.
"""

import hashlib
import json
import logging
import os
import re
import time
import urllib.error
import urllib.request
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from modelrelease_contract import ArtifactManifest
from modelrelease_contract.artifact import FeatureKind
from modelrelease_training.errors import NotRegisteredError, RegistryError
from modelrelease_training.load import read_artifact

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities.model_registry import ModelVersion

ARTIFACT_PATH: Final = "artifact"
"""Folder below a run's artifacts that holds manifest.json and the files that it names."""
TAG: Final = "modelrelease."
"""Every tag of ours begins with it."""
CANDIDATE: Final = "candidate"
CHAMPION: Final = "champion"
DEFAULT_URI: Final = "sqlite:///mlflow.db"
DEFAULT_EXPERIMENT: Final = "production"
REACH_SECONDS: Final = 5.0
_QUIET: Final = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "3",
}
"""What MLflow does unasked: send usage figures, print to standard output, and try for minutes."""
_NOT_A_NAME: Final = re.compile(r"[^A-Za-z0-9_\-. ]")
"""What MLflow takes in no name of a metric."""
_BATCH: Final = 100
"""MLflow takes so many parameters at once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Registered:
    """One version of a registered model: what MLflow calls it, and what we call it."""

    name: str
    version: str
    """MLflow's own count: 1, 2, 3, ..."""
    model_version: str
    """The version in the manifest, which a person chose."""
    digest: str
    run_id: str
    source: str
    aliases: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What a run says beside the manifest. Run and version get `tags` with our prefix."""

    parameters: dict[str, str] = field(default_factory=dict)
    metrics: dict[str, float] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)


class Registry:
    """One MLflow server or store, and the experiment that runs go to."""

    def __init__(self, uri: str | None = None, experiment: str | None = None) -> None:
        self.uri = uri or os.environ.get("MLFLOW_TRACKING_URI") or DEFAULT_URI
        self.experiment = (
            experiment or os.environ.get("MLFLOW_EXPERIMENT_NAME") or DEFAULT_EXPERIMENT
        )

    def register(
        self, folder: Path, *, aliases: Sequence[str] = (CANDIDATE,), facts: Facts | None = None
    ) -> Registered:
        """Log an artifact as a run, register it as a model version, and move `aliases` to it.

        The same artifact registered again is found by its digest, and only the aliases move: so a
        run that was cut short can be repeated. Raises RegistryError, and ArtifactError before
        anything is sent when the folder holds no whole artifact.
        """
        manifest, digest = read_artifact(folder)
        facts = facts or Facts()
        tags = _tags(manifest, digest) | {TAG + key: value for key, value in facts.tags.items()}
        complete = Facts(
            parameters=facts.parameters, metrics={**manifest.metrics, **facts.metrics}, tags=tags
        )
        with self._client() as client:
            version = _with_digest(client, manifest.name, digest)
            if version is None:
                run_id, source = self._log(client, folder, manifest, complete)
                _ensure_model(client, manifest.name)
                version = client.create_model_version(manifest.name, source, run_id, tags=tags)
            for alias in aliases:
                client.set_registered_model_alias(manifest.name, alias, version.version)
            return _registered(client.get_model_version(manifest.name, version.version))

    def find(self, uri: str) -> Registered:
        """Return the version that `models:/name/7` or `models:/name@alias` means.

        Raises NotRegisteredError where MLflow says that there is no such model, alias or version,
        and RegistryError for anything else.
        """
        name, alias, number = parse_model_uri(uri)
        with self._client() as client:
            if alias:
                version = client.get_model_version(
                    name, self._version_of_alias(client, name, alias)
                )
            else:
                with self._absence(f"{name} has no version {number}"):
                    version = client.get_model_version(name, number)
            self._check_is_about(name, version.name)
            return _registered(version)

    def _version_of_alias(self, client: "MlflowClient", name: str, alias: str) -> str:
        """Return the version that an alias means, from the list of all aliases.

        Asked for one alias that is missing, MLflow answers as to any wrong parameter: only words
        tell.
        """
        with self._absence(f"there is no registered model {name}"):
            model = client.get_registered_model(name)
        self._check_is_about(name, model.name)
        if alias not in model.aliases:
            raise NotRegisteredError(f"MLflow at {self.uri} refused: {name} has no alias {alias}")
        return str(model.aliases[alias])

    def _check_is_about(self, name: str, answered_name: str | None) -> None:
        """Raise RegistryError for an answer about something else, as the empty one of a router."""
        if answered_name != name:
            msg = (
                f"MLflow at {self.uri} was asked for the model {name} and answered about "
                f"{answered_name!r}"
            )
            raise RegistryError(msg)

    @contextmanager
    def _absence(self, meaning: str) -> Iterator[None]:
        """Raise NotRegisteredError for MLflow's own code of an absent resource, and no other."""
        from mlflow.exceptions import MlflowException  # noqa: PLC0415

        try:
            yield
        except MlflowException as error:
            if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                raise
            raise NotRegisteredError(f"MLflow at {self.uri} refused: {meaning}") from error

    def download(self, uri: str, into: Path) -> Path:
        """Copy the artifact that `uri` means now below `into`, and return its folder.

        The manifest must have the digest that its tag names: a changed one is refused. Raises
        RegistryError.
        """
        registered = self.find(uri)
        with self._client():
            import mlflow  # noqa: PLC0415

            into.mkdir(parents=True, exist_ok=True)
            folder = Path(
                mlflow.artifacts.download_artifacts(
                    artifact_uri=registered.source, dst_path=str(into), tracking_uri=self.uri
                )
            )
        _, digest = read_artifact(folder)
        if digest != registered.digest:
            fault = f"its tag {TAG}digest says {registered.digest!r}"
            msg = f"{uri} has manifest digest {digest}, but {fault}"
            raise RegistryError(f"{msg}: the artifact was changed after it was registered")
        return folder

    def _experiment_id(self, client: "MlflowClient") -> str:
        experiment = client.get_experiment_by_name(self.experiment)
        if experiment is None:
            return client.create_experiment(self.experiment)
        return experiment.experiment_id

    def _log(
        self, client: "MlflowClient", folder: Path, manifest: ArtifactManifest, facts: Facts
    ) -> tuple[str, str]:
        """Write one finished run. Return its id and where the artifact lies."""
        run = client.create_run(
            self._experiment_id(client),
            run_name=f"{manifest.name}-{manifest.version}",
            tags=facts.tags,
        )
        run_id, source = run.info.run_id, f"{run.info.artifact_uri}/{ARTIFACT_PATH}"
        try:
            _log_figures(client, run_id, facts)
            client.log_artifacts(run_id, str(folder), ARTIFACT_PATH)
            for name, text in _mlflow_files(manifest, run_id).items():
                client.log_text(run_id, text, f"{ARTIFACT_PATH}/{name}")
        except BaseException:
            client.set_terminated(run_id, "FAILED")
            raise
        client.set_terminated(run_id, "FINISHED")
        return run_id, source

    @contextmanager
    def _client(self) -> Iterator["MlflowClient"]:
        """Yield a client of a server that answers; what MLflow raises becomes one sentence."""
        _check_reachable(self.uri)
        for name, value in _QUIET.items():
            os.environ.setdefault(name, value)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            from mlflow import MlflowClient  # noqa: PLC0415
            from mlflow.exceptions import MlflowException  # noqa: PLC0415
            from requests import RequestException  # noqa: PLC0415 - of MLflow, and as slow

            for name in ("mlflow", "alembic"):
                logging.getLogger(name).setLevel(logging.WARNING)

            try:
                yield MlflowClient(tracking_uri=self.uri, registry_uri=self.uri)
            except (MlflowException, RequestException) as error:
                reason = " ".join(str(error).split())
                raise RegistryError(f"MLflow at {self.uri} refused: {reason}") from error


def facts_of(training: dict[str, Any]) -> Facts:
    """Return what a run should say of a training: training.json, flattened to what MLflow keeps."""
    data = training.get("data", {})
    parameters = {
        **training.get("parameters", {}),
        **{f"data.{key}": str(data[key]) for key in data},
    }
    for key in ("training_rows", "held_out_rows"):
        if key in training:
            parameters[key] = str(training[key])
    metrics: dict[str, float] = {}
    for segment, figures in training.get("segments", {}).items():
        prefix = f"segments/{_NOT_A_NAME.sub('_', segment)}"
        metrics |= {f"{prefix}/{metric}": float(value) for metric, value in figures.items()}
    tags = {}
    if "fingerprint" in data:
        tags["data_fingerprint"] = data["fingerprint"]
    if "schema_version" in data:
        tags["data_schema_version"] = str(data["schema_version"])
    return Facts(parameters=parameters, metrics=metrics, tags=tags)


def parse_model_uri(uri: str) -> tuple[str, str, str]:
    """Return name, alias and number of `models:/name@alias` or `models:/name/7`.

    Alias or number is empty. Raises RegistryError for anything else.
    """
    match = re.fullmatch(r"models:/([^/@]+)(?:@([^/@]+)|/([0-9]+))", uri)
    if not match:
        msg = f"{uri!r} names no registered model: write models:/NAME@ALIAS or models:/NAME/7"
        raise RegistryError(msg)
    return match[1], match[2] or "", match[3] or ""


def _tags(manifest: ArtifactManifest, digest: str) -> dict[str, str]:
    """Return what can be known of an artifact without opening it."""
    tags = {
        "digest": digest,
        "version": manifest.version,
        "schema_version": str(manifest.schema_version),
        "artifact_path": ARTIFACT_PATH,
    }
    if manifest.baseline:
        tags["baseline_digest"] = hashlib.sha256(
            manifest.baseline.model_dump_json().encode()
        ).hexdigest()
    return {TAG + key: value for key, value in tags.items()}


def _with_digest(client: "MlflowClient", name: str, digest: str) -> "ModelVersion | None":
    escaped = name.replace("'", "")
    versions = client.search_model_versions(
        f"name = '{escaped}' AND tags.`{TAG}digest` = '{digest}'"
    )
    return versions[0] if versions else None


def _ensure_model(client: "MlflowClient", name: str) -> None:
    if not client.search_registered_models(f"name = '{name}'"):
        client.create_registered_model(name)


def _registered(version: "ModelVersion") -> Registered:
    return Registered(
        name=version.name,
        version=str(version.version),
        model_version=version.tags.get(TAG + "version", ""),
        digest=version.tags.get(TAG + "digest", ""),
        run_id=version.run_id or "",
        source=version.source or "",
        aliases=tuple(sorted(version.aliases)),
    )


def _log_figures(client: "MlflowClient", run_id: str, facts: Facts) -> None:
    from mlflow.entities import Metric, Param  # noqa: PLC0415

    now = int(time.time() * 1000)
    client.log_batch(
        run_id, metrics=[Metric(name, value, now, 0) for name, value in facts.metrics.items()]
    )
    pairs = [Param(key, str(value)) for key, value in facts.parameters.items()]
    for start in range(0, len(pairs), _BATCH):
        client.log_batch(run_id, params=pairs[start : start + _BATCH])


def _mlflow_files(manifest: ArtifactManifest, run_id: str) -> dict[str, str]:
    """Return, by file name, MLflow's own manifest of the artifact and its example rows.

    With it `mlflow.pyfunc.load_model("models:/name@alias")` works, and MLflow shows the signature.
    """
    from mlflow.models import Model, ModelSignature  # noqa: PLC0415
    from mlflow.types import ColSpec, DataType, Schema, TensorSpec  # noqa: PLC0415

    numeric = {FeatureKind.NUMERIC: DataType.double, FeatureKind.CATEGORICAL: DataType.string}
    inputs: list[ColSpec | TensorSpec] = [
        ColSpec(numeric[feature.kind], feature.name, required=not feature.nullable)
        for feature in manifest.features
    ]
    is_number = manifest.output.probability or manifest.output.task == "regression"
    kind = DataType.double if is_number else DataType.string
    answered = [column.name for column in manifest.output.columns] or [manifest.output.name]
    outputs: list[ColSpec | TensorSpec] = [ColSpec(kind, name) for name in answered]
    names = [feature.name for feature in manifest.features]
    example = {"columns": names, "data": [list(row) for row in manifest.examples.rows]}
    model = Model(
        run_id=run_id,
        artifact_path=ARTIFACT_PATH,
        signature=ModelSignature(inputs=Schema(inputs), outputs=Schema(outputs)),
        saved_input_example_info={
            "artifact_path": "input_example.json",
            "type": "dataframe",
            "pandas_orient": "split",
        },
    )
    model.add_flavor(
        "python_function",
        loader_module="modelrelease_training.pyfunc",
        python_version=manifest.libraries.get("python"),
    )
    return {"MLmodel": model.to_yaml(), "input_example.json": json.dumps(example)}


def _check_reachable(uri: str) -> None:
    """Ask a server once before MLflow does, who would try for minutes. Any answer will do."""
    if not uri.startswith(("http://", "https://")):
        return
    try:
        with urllib.request.urlopen(f"{uri.rstrip('/')}/health", timeout=REACH_SECONDS):  # noqa: S310
            return
    except urllib.error.HTTPError:
        return
    except (OSError, ValueError) as error:
        reason = getattr(error, "reason", error)
        msg = (
            f"MLflow at {uri} does not answer ({reason}): set MLFLOW_TRACKING_URI to a server that "
            "runs"
        )
        raise RegistryError(msg) from error
