"""Fetching from object stores: S3 from moto's server, Google's and Azure's from a web server of
ours.

Neither Google's nor Azure's emulator runs from the Python registry, so for these two only what is
asked of the server is shown: address, object name, range and credentials.
"""

import json
import logging
from collections.abc import Iterator
from pathlib import Path

import obstore
import pytest
from moto.server import ThreadedMotoServer
from obstore.store import S3Store

from modelrelease_contract import MANIFEST_NAME
from modelrelease_serving.errors import RefusedError, UnreachableError
from modelrelease_serving.model import Model
from modelrelease_training.export import Exported
from tests.serving.support import Web
from tests.serving.test_fetch import bring


@pytest.fixture(scope="module")
def moto() -> Iterator[str]:
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    try:
        yield f"http://{host}:{port}"
    finally:
        server.stop()


@pytest.fixture
def bucket(moto: str, artifact: Exported, monkeypatch: pytest.MonkeyPatch) -> S3Store:
    """A bucket that holds the artifact below qna/1, and the environment that a pod would have."""
    for name, value in {
        "AWS_ENDPOINT_URL": moto,
        "AWS_REGION": "us-east-1",
        "AWS_ACCESS_KEY_ID": "key",
        "AWS_SECRET_ACCESS_KEY": "secret",
    }.items():
        monkeypatch.setenv(name, value)
    import boto3  # noqa: PLC0415 - after the environment

    boto3.client("s3").create_bucket(Bucket="models")
    store = S3Store("models", client_options={"allow_http": True})
    for file in artifact.path.iterdir():
        obstore.put(store, f"qna/1/{file.name}", file.read_bytes())
    return store


def test_what_was_fetched_from_s3_can_be_served(
    bucket: S3Store, artifact: Exported, tmp_path: Path
) -> None:
    bring("s3://models/qna/1", tmp_path, model_sha256=artifact.digest)
    model = Model.open(tmp_path, sha256=artifact.digest)
    model.load()
    assert model.ready


def test_a_copy_from_s3_goes_on_where_it_was(
    bucket: S3Store, artifact: Exported, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    body = (artifact.path / "model.joblib").read_bytes()
    (tmp_path / ".model.joblib.part").write_bytes(body[:321])
    with caplog.at_level(logging.INFO):
        bring("s3://models/qna/1/", tmp_path, model_sha256=artifact.digest)
    assert (tmp_path / "model.joblib").read_bytes() == body
    (on,) = [record for record in caplog.records if record.message == "going on"]
    assert vars(on)["fields"]["bytes"] == 321


def test_the_remains_of_another_object_do_no_harm(
    bucket: S3Store, artifact: Exported, tmp_path: Path
) -> None:
    body = (artifact.path / "model.joblib").read_bytes()
    (tmp_path / ".model.joblib.part").write_bytes(b"x" * (len(body) - 1))
    bring("s3://models/qna/1", tmp_path, model_sha256=artifact.digest)
    assert (tmp_path / "model.joblib").read_bytes() == body


@pytest.mark.parametrize(
    "uri", ["s3://models/qna/2", "s3://other/qna/1"], ids=["no object", "no bucket"]
)
def test_what_does_not_exist_in_s3_is_refused(uri: str, bucket: S3Store, tmp_path: Path) -> None:
    with pytest.raises(RefusedError, match=f"{uri}/manifest.json does not exist: check MODEL_URI"):
        bring(uri, tmp_path)


def test_a_changed_object_is_refused(bucket: S3Store, artifact: Exported, tmp_path: Path) -> None:
    size = (artifact.path / "model.joblib").stat().st_size
    obstore.put(bucket, "qna/1/model.joblib", b"x" * size)
    with pytest.raises(RefusedError, match="but the manifest says"):
        bring("s3://models/qna/1", tmp_path)


def test_an_object_store_that_stays_away_is_given_up(
    tmp_path: Path, bucket: S3Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    with pytest.raises(
        UnreachableError, match=r"gave up after \d+ tries: s3://models/qna/manifest\.json"
    ):
        bring("s3://models/qna", tmp_path, patience=0.05)


def as_s3(web: Web, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{web.server_address[1]}")
    for name, value in {
        "AWS_ACCESS_KEY_ID": "k",
        "AWS_SECRET_ACCESS_KEY": "s",
    }.items():
        monkeypatch.setenv(name, value)
    return "s3://qna"


def test_errors_of_an_object_store_are_tried_again(
    web: Web, artifact: Exported, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A web server stands for S3 here, because moto has no bad days."""
    web.publish(artifact.path)
    for answers in web.script.values():
        answers[:0] = [(503, b""), (500, b"")]
    with pytest.raises(UnreachableError):
        bring(as_s3(web, monkeypatch), tmp_path, patience=0)
    bring(as_s3(web, monkeypatch), tmp_path, model_sha256=artifact.digest)
    assert (tmp_path / MANIFEST_NAME).exists()


def test_a_key_that_is_not_allowed_to_read_is_no_reason_to_refuse_the_model(
    web: Web, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    web.script["/qna/manifest.json"] = [(403, b"<Error><Code>AccessDenied</Code></Error>")]
    with pytest.raises(UnreachableError, match="check the credentials"):
        bring(as_s3(web, monkeypatch), tmp_path)
    assert len(web.asked) == 1


@pytest.mark.parametrize("name", ["AWS_SESSION_TOKEN", "AWS_ACCESS_KEY_ID"])
def test_a_credential_with_a_line_break_is_named_and_not_told(
    name: str, bucket: S3Store, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv(name, "s3cret\n")
    with pytest.raises(UnreachableError, match=f"{name} holds a line break") as caught:
        bring("s3://models/qna/1", tmp_path)
    assert "s3cret" not in str(caught.value)


def test_google_is_asked_by_bucket_and_object(
    web: Web, artifact: Exported, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for path in artifact.path.iterdir():
        # Google's API takes names with everything encoded that may be.
        web.script[f"/qna/{path.name.replace('.', '%2E')}"] = [(200, path.read_bytes())]
    address = f"http://127.0.0.1:{web.server_address[1]}"
    account = {
        "gcs_base_url": address,
        "disable_oauth": True,
        "client_email": "",
        "private_key": "",
        "private_key_id": "",
    }
    monkeypatch.setenv("GOOGLE_SERVICE_ACCOUNT_KEY", json.dumps(account))
    bring("gs://qna", tmp_path, model_sha256=artifact.digest)
    assert web.asked == ["/qna/manifest%2Ejson", "/qna/model%2Ejoblib"]
    assert (tmp_path / MANIFEST_NAME).exists()


def test_azure_is_asked_by_container_and_blob_with_the_signature(
    web: Web, artifact: Exported, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for path in artifact.path.iterdir():
        web.script[f"/qna/{path.name}?sv=2024&sig=abc"] = [(200, path.read_bytes())]
    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_NAME", "account")
    monkeypatch.setenv("AZURE_STORAGE_SAS_TOKEN", "sv=2024&sig=abc")
    monkeypatch.setenv("AZURE_STORAGE_ENDPOINT", f"http://127.0.0.1:{web.server_address[1]}")
    bring("az://qna", tmp_path, model_sha256=artifact.digest)
    assert [path.partition("?")[0] for path in web.asked] == [
        "/qna/manifest.json",
        "/qna/model.joblib",
    ]
    assert (tmp_path / MANIFEST_NAME).exists()
