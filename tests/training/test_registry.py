"""What is registered can be found again by its alias, unchanged. Against a real MLflow server."""

import hashlib
import json
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from modelrelease_contract import MANIFEST_NAME
from modelrelease_training.errors import ArtifactError, RegistryError
from modelrelease_training.export import Exported
from modelrelease_training.registry import Facts, Registry
from tests.serving.support import train
from tests.support.mlflow_server import free_port


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Exported:
    return train(tmp_path_factory.mktemp("artifacts"))


@pytest.fixture
def registry(mlflow_url: str) -> Registry:
    return Registry(mlflow_url)


def get(url: str) -> Any:
    return urllib.request.urlopen(url)  # noqa: S310 (the server of this test)


def ask(url: str, path: str, **query: str) -> Any:
    with get(f"{url}/api/2.0/mlflow/{path}?{urllib.parse.urlencode(query)}") as answer:
        return json.load(answer)


def test_an_alias_leads_to_the_manifest_by_the_rest_api_alone(
    registry: Registry, exported: Exported, mlflow_url: str
) -> None:
    """As the operator does it: docs/reference/registry.md."""
    registry.register(exported.path, aliases=["candidate", "champion"])
    version = ask(mlflow_url, "registered-models/alias", name="qna", alias="champion")["model_version"]
    tags = {tag["key"]: tag["value"] for tag in version["tags"]}
    folder = version["source"].removeprefix("mlflow-artifacts:/")
    url = f"{mlflow_url}/api/2.0/mlflow-artifacts/artifacts/{folder}"
    with get(f"{url}/{MANIFEST_NAME}") as answer:
        assert hashlib.sha256(answer.read()).hexdigest() == exported.digest == tags["modelrelease.digest"]
    with get(f"{url}/{exported.manifest.model_file}") as answer:
        assert hashlib.sha256(answer.read()).hexdigest() == exported.manifest.files[0].sha256
    assert version["source"].endswith("/" + tags["modelrelease.artifact_path"])
    assert (tags["modelrelease.version"], tags["modelrelease.schema_version"]) == ("1", "1")
    assert len(tags["modelrelease.baseline_digest"]) == 64


def test_the_run_has_parameters_metrics_and_a_signature(
    registry: Registry, mlflow_url: str, tmp_path: Path
) -> None:
    other = train(tmp_path, "4")
    facts = Facts(parameters={"seed": "7"}, metrics={"extra": 0.5}, tags={"data_fingerprint": "abc"})
    found = registry.register(other.path, facts=facts)
    run = ask(mlflow_url, "runs/get", run_id=found.run_id)["run"]
    assert run["info"]["run_name"] == "qna-4"
    assert run["info"]["status"] == "FINISHED"
    metrics = {metric["key"]: metric["value"] for metric in run["data"]["metrics"]}
    assert metrics == {**other.manifest.metrics, "extra": 0.5}
    assert run["data"]["params"] == [{"key": "seed", "value": "7"}]
    version = ask(mlflow_url, "model-versions/get", name="qna", version=found.version)["model_version"]
    assert {"key": "modelrelease.data_fingerprint", "value": "abc"} in version["tags"]
    experiment = ask(mlflow_url, "experiments/get", experiment_id=run["info"]["experiment_id"])
    assert experiment["experiment"]["name"] == "production"


@pytest.mark.filterwarnings("ignore::UserWarning:mlflow", "ignore::DeprecationWarning")
def test_mlflow_itself_loads_what_was_registered(
    registry: Registry, exported: Exported, mlflow_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = registry.register(exported.path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", mlflow_url)
    import mlflow  # noqa: PLC0415

    model = mlflow.pyfunc.load_model(f"models:/{found.name}/{found.version}")
    answers = model.predict(model.input_example)
    assert answers == pytest.approx(list(exported.manifest.examples.predictions))
    assert model.metadata.signature.inputs.input_names()[0] == "feature_00"


def test_the_same_artifact_registered_again_is_the_same_version(
    registry: Registry, exported: Exported
) -> None:
    first = registry.register(exported.path)
    again = registry.register(exported.path, aliases=["again"])
    assert (again.version, again.run_id) == (first.version, first.run_id)
    assert registry.find("models:/qna@again").version == first.version


def test_another_artifact_is_the_next_version_and_takes_the_alias(
    registry: Registry, exported: Exported, tmp_path: Path
) -> None:
    first = registry.register(exported.path)
    second = registry.register(train(tmp_path, "2", seed=8).path)
    assert int(second.version) > int(first.version)
    assert registry.find("models:/qna@candidate").model_version == "2"


def test_an_artifact_comes_back_as_it_was(registry: Registry, exported: Exported, tmp_path: Path) -> None:
    registry.register(exported.path, aliases=["back"])
    folder = registry.download("models:/qna@back", tmp_path / "into")
    for name in (MANIFEST_NAME, exported.manifest.model_file):
        assert (folder / name).read_bytes() == (exported.path / name).read_bytes()


def test_a_store_in_a_file_needs_no_server(
    exported: Exported, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    registry = Registry("sqlite:///mlflow.db", "mine")
    registry.register(exported.path)
    assert registry.find("models:/qna@candidate").digest == exported.digest
    assert (tmp_path / "mlflow.db").exists()


def test_an_unknown_alias_is_one_sentence(registry: Registry, exported: Exported) -> None:
    registry.register(exported.path)
    with pytest.raises(RegistryError, match=r"MLflow at http.* refused: .*nobody") as refused:
        registry.find("models:/qna@nobody")
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    "uri", ["qna", "models:/qna", "models:/qna@", "runs:/abc/artifact", "models:/qna/latest"]
)
def test_a_uri_that_names_no_model_is_refused(uri: str, registry: Registry) -> None:
    with pytest.raises(RegistryError, match="models:/NAME@ALIAS or models:/NAME/7"):
        registry.find(uri)


def test_a_server_that_is_away_is_one_sentence(exported: Exported) -> None:
    nobody = f"http://127.0.0.1:{free_port()}"
    with pytest.raises(RegistryError, match=rf"MLflow at {nobody} does not answer .*MLFLOW_TRACKING_URI"):
        Registry(nobody).register(exported.path)


def test_a_changed_artifact_is_not_registered(registry: Registry, tmp_path: Path) -> None:
    changed = train(tmp_path, "3")
    (changed.path / "model.joblib").write_bytes(b"something else")
    with pytest.raises(ArtifactError, match="changed after it was exported"):
        registry.register(changed.path)
