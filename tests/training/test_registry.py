"""What is registered can be found again by its alias, unchanged. Against a real MLflow server."""

import hashlib
import json
import shutil
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from typing_extensions import override

from modelrelease_contract import MANIFEST_NAME
from modelrelease_training.__main__ import main
from modelrelease_training.errors import (
    EXIT_USAGE,
    ArtifactError,
    NotRegisteredError,
    RegistryError,
)
from modelrelease_training.export import Exported
from modelrelease_training.ingest import generate, write_table
from modelrelease_training.load import load_model
from modelrelease_training.registry import Facts, Registry
from testbed.ports import free_port
from tests.serving.support import train


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
    version = ask(mlflow_url, "registered-models/alias", name="qna", alias="champion")[
        "model_version"
    ]
    tags = {tag["key"]: tag["value"] for tag in version["tags"]}
    folder = version["source"].removeprefix("mlflow-artifacts:/")
    url = f"{mlflow_url}/api/2.0/mlflow-artifacts/artifacts/{folder}"
    with get(f"{url}/{MANIFEST_NAME}") as answer:
        assert (
            hashlib.sha256(answer.read()).hexdigest()
            == exported.digest
            == tags["modelrelease.digest"]
        )
    with get(f"{url}/{exported.manifest.model_file}") as answer:
        assert hashlib.sha256(answer.read()).hexdigest() == exported.manifest.files[0].sha256
    assert version["source"].endswith("/" + tags["modelrelease.artifact_path"])
    assert (tags["modelrelease.version"], tags["modelrelease.schema_version"]) == ("1", "1")
    assert len(tags["modelrelease.baseline_digest"]) == 64


def test_the_run_has_parameters_metrics_and_a_signature(
    registry: Registry, mlflow_url: str, tmp_path: Path
) -> None:
    other = train(tmp_path, "4")
    facts = Facts(
        parameters={"seed": "7"}, metrics={"extra": 0.5}, tags={"data_fingerprint": "abc"}
    )
    found = registry.register(other.path, facts=facts)
    run = ask(mlflow_url, "runs/get", run_id=found.run_id)["run"]
    assert run["info"]["run_name"] == "qna-4"
    assert run["info"]["status"] == "FINISHED"
    metrics = {metric["key"]: metric["value"] for metric in run["data"]["metrics"]}
    assert metrics == {**other.manifest.metrics, "extra": 0.5}
    assert run["data"]["params"] == [{"key": "seed", "value": "7"}]
    version = ask(mlflow_url, "model-versions/get", name="qna", version=found.version)[
        "model_version"
    ]
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


def test_an_artifact_comes_back_as_it_was(
    registry: Registry, exported: Exported, tmp_path: Path
) -> None:
    registry.register(exported.path, aliases=["back"])
    folder = registry.download("models:/qna@back", tmp_path / "into")
    for name in (MANIFEST_NAME, exported.manifest.model_file):
        assert (folder / name).read_bytes() == (exported.path / name).read_bytes()


def test_a_store_in_a_file_needs_no_server(
    exported: Exported, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    # MLflow keeps a store by its address, whatever folder it was made in.
    registry = Registry("sqlite:///a-store-in-a-file.db", "mine")
    registry.register(exported.path)
    assert registry.find("models:/qna@candidate").digest == exported.digest
    assert (tmp_path / "a-store-in-a-file.db").exists()


def test_an_unknown_alias_is_one_sentence(registry: Registry, exported: Exported) -> None:
    registry.register(exported.path)
    with pytest.raises(RegistryError, match=r"MLflow at http.* refused: .*nobody") as refused:
        registry.find("models:/qna@nobody")
    assert "\n" not in str(refused.value)


ABSENT = {
    "error_code": "RESOURCE_DOES_NOT_EXIST",
    "message": "Registered Model with name=qna is gone",
}
OTHERS: list[tuple[int, Any]] = [
    (404, "<html>404 page not found</html>"),
    (404, {"message": "no such route: not found"}),
    (404, {"error_code": "ENDPOINT_NOT_FOUND", "message": "RESOURCE_DOES_NOT_EXIST: not found"}),
    (404, {"error_code": 404, "message": "not found"}),
    (403, {"error_code": "PERMISSION_DENIED", "message": "user not found"}),
    (401, "not found among the users: RESOURCE_DOES_NOT_EXIST"),
    (
        400,
        {"error_code": "INVALID_PARAMETER_VALUE", "message": "Registered model alias not found."},
    ),
    (200, "not found"),
    (200, {}),
    (200, {"registered_model": {"name": "another"}}),
]


@contextmanager
def router(status: int, body: Any) -> Iterator[str]:
    """Answer every request of MLflow's API alike, as what stands before it may."""

    class Answers(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            raw = (body if isinstance(body, str) else json.dumps(body)).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(raw)))
            self.end_headers()
            self.wfile.write(raw)

        @override
        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Answers)
    Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


@pytest.mark.parametrize(("status", "body"), OTHERS)
@pytest.mark.parametrize("uri", ["models:/qna@champion", "models:/qna/1"])
def test_only_mlflows_own_code_means_that_something_is_not_registered(
    status: int, body: Any, uri: str
) -> None:
    with router(status, body) as url, pytest.raises(RegistryError) as refused:
        Registry(url).find(uri)
    assert not isinstance(refused.value, NotRegisteredError)


def test_mlflows_own_code_means_that_something_is_not_registered() -> None:
    with (
        router(404, ABSENT) as url,
        pytest.raises(NotRegisteredError, match="no registered model qna"),
    ):
        Registry(url).find("models:/qna@champion")


def test_what_is_not_registered_is_told_apart_by_a_real_server(
    registry: Registry, exported: Exported
) -> None:
    registry.register(exported.path)
    for uri in ("models:/nothing@champion", "models:/qna@nobody", "models:/qna/999"):
        with pytest.raises(NotRegisteredError):
            registry.find(uri)


def test_a_champion_whose_files_are_gone_is_no_absence_of_a_champion(
    exported: Exported, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without this a challenger would be accepted without a comparison."""
    monkeypatch.chdir(tmp_path)
    registry = Registry("sqlite:///mlflow.db", "mine")
    found = registry.register(exported.path, aliases=["champion"])
    shutil.rmtree(found.source.removeprefix("file://"))
    with pytest.raises(RegistryError) as refused:
        registry.download("models:/qna@champion", tmp_path / "into")
    assert not isinstance(refused.value, NotRegisteredError)


@pytest.mark.parametrize(
    "uri", ["qna", "models:/qna", "models:/qna@", "runs:/abc/artifact", "models:/qna/latest"]
)
def test_a_uri_that_names_no_model_is_refused(uri: str, registry: Registry) -> None:
    with pytest.raises(RegistryError, match="models:/NAME@ALIAS or models:/NAME/7"):
        registry.find(uri)


def test_a_server_that_is_away_is_one_sentence(exported: Exported) -> None:
    nobody = f"http://127.0.0.1:{free_port()}"
    with pytest.raises(
        RegistryError, match=rf"MLflow at {nobody} does not answer .*MLFLOW_TRACKING_URI"
    ):
        Registry(nobody).register(exported.path)


def test_a_changed_artifact_is_not_registered(registry: Registry, tmp_path: Path) -> None:
    changed = train(tmp_path, "3")
    (changed.path / "model.joblib").write_bytes(b"something else")
    with pytest.raises(ArtifactError, match="changed after it was exported"):
        registry.register(changed.path)


def command(*arguments: object) -> int:
    return main([str(argument) for argument in arguments])


def test_train_registers_what_it_exported(
    mlflow_url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = write_table(generate(rows=600, seed=7, shifts={}), tmp_path / "data.parquet")
    options = [
        "--name",
        "trained",
        "--mlflow",
        mlflow_url,
        "--experiment",
        "mine",
        "--format",
        "json",
    ]
    arguments = [
        "--version",
        "1",
        "--data",
        data.path,
        "--output",
        tmp_path,
        "--max_steps",
        "30",
        *options,
    ]
    assert command("train", *arguments, "--register") == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["registered"]["digest"] == answer["digest"]
    run = ask(mlflow_url, "runs/get", run_id=answer["registered"]["run_id"])["run"]
    parameters = {each["key"]: each["value"] for each in run["data"]["params"]}
    assert parameters["max_steps"] == "30"
    assert parameters["data.fingerprint"] == data.fingerprint
    metrics = {each["key"]: each["value"] for each in run["data"]["metrics"]}
    assert metrics["segments/web/roc_auc"] == answer["segments"]["web"]["roc_auc"]
    version = ask(mlflow_url, "model-versions/get", name="trained", version="1")["model_version"]
    tags = {tag["key"]: tag["value"] for tag in version["tags"]}
    assert tags["modelrelease.data_fingerprint"] == data.fingerprint
    assert tags["modelrelease.data_schema_version"] == "1"
    folder = answer["registered"]["source"].removeprefix("mlflow-artifacts:/")
    with get(
        f"{mlflow_url}/api/2.0/mlflow-artifacts/artifacts/{folder}/card/model-card.md"
    ) as card:
        assert answer["digest"].encode() in card.read()


def test_register_moves_the_aliases_that_it_was_told(
    exported: Exported, mlflow_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = [
        "register",
        exported.path,
        "--mlflow",
        mlflow_url,
        "--alias",
        "one",
        "--alias",
        "two",
    ]
    assert command(*arguments) == 0
    assert "Registered qna 1 as models:/qna/" in capsys.readouterr().out
    assert {"one", "two"} <= set(Registry(mlflow_url).find("models:/qna@one").aliases)


def test_an_artifact_outlives_an_mlflow_that_is_away(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{free_port()}")
    arguments = ["--version", "1", "--rows", "400", "--no-card", "--output", tmp_path, "--register"]
    assert command("train", *arguments) == EXIT_USAGE
    sentence = capsys.readouterr().err.splitlines()[-1]
    folder = tmp_path / "qna" / "1"
    assert (
        f"The artifact is kept in {folder}: `modelrelease-train register {folder}` tries again"
        in sentence
    )
    load_model(folder)


def test_register_refuses_a_folder_that_holds_no_artifact(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command("register", tmp_path) == EXIT_USAGE
    assert "manifest.json cannot be read" in capsys.readouterr().err
