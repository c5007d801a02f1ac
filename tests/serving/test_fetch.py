"""Fetching from a real web server, and from folders, with everything that goes wrong there."""

import hashlib
import os
import subprocess
import sys
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from modelrelease_contract import MANIFEST_NAME
from modelrelease_contract.runtime import EXIT_REFUSED
from modelrelease_serving.errors import RefusedError, UnreachableError
from modelrelease_serving.fetch import Patience, fetch
from modelrelease_serving.model import Model
from modelrelease_training.export import Exported
from tests.serving.support import Web, settings, train


def bring(uri: str, to: Path, *, patience: float = 5.0, **others: Any) -> None:
    fetch(
        settings(model_uri=uri, model_path=to, **others),
        patience=Patience(patience, first_pause=0.01, longest_pause=0.02),
    )


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()} if folder.exists() else set()


def test_what_was_fetched_can_be_served(web: Web, artifact: Exported, tmp_path: Path) -> None:
    web.publish(artifact.path)
    bring(web.url, tmp_path / "models", model_sha256=artifact.digest)
    assert names(tmp_path / "models") == {MANIFEST_NAME, "model.joblib"}
    model = Model.open(tmp_path / "models", sha256=artifact.digest)
    model.load()
    assert model.ready


def test_a_slash_at_the_end_makes_no_difference(
    web: Web, artifact: Exported, tmp_path: Path
) -> None:
    web.publish(artifact.path)
    bring(web.url + "/", tmp_path)
    assert web.asked == ["/qna/manifest.json", "/qna/model.joblib"]


def test_a_second_run_keeps_what_is_right_and_replaces_what_is_not(
    web: Web, artifact: Exported, tmp_path: Path
) -> None:
    web.publish(artifact.path)
    for damage in (None, None, b"half"):
        if damage is not None:
            (tmp_path / "model.joblib").write_bytes(damage)
        bring(web.url, tmp_path)
    assert web.asked.count("/qna/manifest.json") == 3
    assert web.asked.count("/qna/model.joblib") == 2
    Model.open(tmp_path, sha256=artifact.digest).load()


def test_errors_of_the_server_are_tried_again(web: Web, artifact: Exported, tmp_path: Path) -> None:
    web.publish(artifact.path)
    for answers in web.script.values():
        answers[:0] = [(500, b""), (503, b""), (429, b"")]
    bring(web.url, tmp_path)
    Model.open(tmp_path, sha256=artifact.digest).load()


def broken_off(body: bytes) -> Any:
    """Answer that promises `body` and ends after half of it."""

    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        handler.wfile.write(body[: len(body) // 2])

    return answer


def cut_off(handler: BaseHTTPRequestHandler) -> None:
    """End without an answer."""


def test_answers_that_break_off_are_tried_again(
    web: Web, artifact: Exported, tmp_path: Path
) -> None:
    web.publish(artifact.path)
    for path in (MANIFEST_NAME, "model.joblib"):
        web.script[f"/qna/{path}"][:0] = [broken_off((artifact.path / path).read_bytes()), cut_off]
    bring(web.url, tmp_path, model_sha256=artifact.digest)
    Model.open(tmp_path, sha256=artifact.digest).load()


def test_a_server_that_stays_away_is_given_up_with_its_reason(web: Web, tmp_path: Path) -> None:
    web.script["/qna/manifest.json"] = [(500, b"")]
    with pytest.raises(
        UnreachableError, match=r"gave up after \d+ tries: .*/qna/manifest\.json answers 500"
    ):
        bring(web.url, tmp_path, patience=3.0)
    assert len(web.asked) > 2


def test_a_port_where_nobody_listens_is_given_up(tmp_path: Path) -> None:
    with pytest.raises(UnreachableError, match=r"does not answer: .*refused"):
        bring("http://127.0.0.1:1/qna", tmp_path, patience=0.05)


def test_what_does_not_exist_is_refused_at_once(web: Web, tmp_path: Path) -> None:
    with pytest.raises(RefusedError, match=r"/qna/manifest\.json answers 404: check MODEL_URI"):
        bring(web.url, tmp_path)
    assert web.asked == ["/qna/manifest.json", "/qna/MLmodel"]


def test_another_manifest_than_the_pinned_one_is_refused(
    web: Web, artifact: Exported, tmp_path: Path
) -> None:
    web.publish(artifact.path)
    with pytest.raises(RefusedError, match="the release pins 000"):
        bring(web.url, tmp_path / "models", model_sha256="0" * 64)
    assert names(tmp_path / "models") == set()


def test_a_file_with_another_digest_is_refused_and_not_kept(
    web: Web, artifact: Exported, tmp_path: Path
) -> None:
    web.publish(artifact.path)
    size = (artifact.path / "model.joblib").stat().st_size
    web.script["/qna/model.joblib"] = [(200, b"x" * size)]
    with pytest.raises(RefusedError, match=r"model\.joblib has sha256 .* but the manifest says"):
        bring(web.url, tmp_path)
    assert names(tmp_path) == set()


def test_a_file_that_is_longer_than_promised_is_refused(
    web: Web, artifact: Exported, tmp_path: Path
) -> None:
    web.publish(artifact.path)
    web.script["/qna/model.joblib"] = [(200, b"x" * 1_000_000)]
    with pytest.raises(RefusedError, match="is longer than the"):
        bring(web.url, tmp_path)
    assert names(tmp_path) == set()


@pytest.mark.parametrize(
    "path",
    [
        "../model.joblib",
        "/etc/model.joblib",
        "a/../../model.joblib",
        "a\\\\..\\\\b",
        "",
        ".",
        "a/./b",
        "x\\u0000",
    ],
)
def test_a_manifest_that_points_outside_is_refused(
    path: str, web: Web, artifact: Exported, tmp_path: Path
) -> None:
    raw = (artifact.path / MANIFEST_NAME).read_text().replace('"model.joblib"', f'"{path}"')
    web.script["/qna/manifest.json"] = [(200, raw.encode())]
    with pytest.raises(RefusedError, match=r"must be relative, plain and stay inside the artifact"):
        bring(web.url, tmp_path / "models", model_sha256=hashlib.sha256(raw.encode()).hexdigest())
    assert names(tmp_path) == set()


@pytest.mark.parametrize("path", ["ü" * 125, "a/" * 1600 + "m", f"deep/{'n' * 250}/model"])
def test_a_name_that_no_disk_holds_is_refused_and_not_tried_again(
    path: str, web: Web, artifact: Exported, tmp_path: Path
) -> None:
    raw = (artifact.path / MANIFEST_NAME).read_text().replace('"model.joblib"', f'"{path}"')
    web.script["/qna/manifest.json"] = [(200, raw.encode())]
    with pytest.raises(RefusedError, match=r"at most 3072, and 249 in a name, can be fetched"):
        bring(web.url, tmp_path / "models", model_sha256=hashlib.sha256(raw.encode()).hexdigest())


@pytest.mark.parametrize("name", ["n" * 249, "ü" * 124])
def test_the_longest_name_is_fetched(
    name: str, web: Web, artifact: Exported, tmp_path: Path
) -> None:
    raw = (artifact.path / MANIFEST_NAME).read_text().replace('"model.joblib"', f'"{name}"')
    content = (artifact.path / "model.joblib").read_bytes()
    web.script["/qna/manifest.json"] = [(200, raw.encode())]
    web.script[f"/qna/{quote(name)}"] = [(200, content)]
    digest = hashlib.sha256(raw.encode()).hexdigest()
    bring(web.url, tmp_path / "models", model_sha256=digest)
    assert (tmp_path / "models" / name).read_bytes() == content


@pytest.mark.parametrize("body", [b"", b"{}", b"<html>", b'{"name": 5}'])
def test_what_is_no_manifest_is_refused(body: bytes, web: Web, tmp_path: Path) -> None:
    web.script["/qna/manifest.json"] = [(200, body)]
    with pytest.raises(
        RefusedError,
        match=r"is not a manifest that this predictor can use: .*export the model again",
    ):
        bring(web.url, tmp_path)


def test_an_artifact_that_is_too_large_is_refused(
    web: Web, artifact: Exported, tmp_path: Path
) -> None:
    web.publish(artifact.path)
    with pytest.raises(RefusedError, match="more than the 10 that ARTIFACT_MAX_BYTES allows"):
        bring(web.url, tmp_path, artifact_max_bytes=10)


def test_a_claim_is_read_where_the_operator_mounts_it(tmp_path: Path) -> None:
    exported = train(tmp_path / "pvc" / "models")
    bring("pvc://models/qna/1", tmp_path / "models", pvc_path=tmp_path / "pvc")
    Model.open(tmp_path / "models", sha256=exported.digest).load()


def test_a_folder_of_the_image_is_read(artifact: Exported, tmp_path: Path) -> None:
    bring(artifact.path.as_uri(), tmp_path)
    Model.open(tmp_path, sha256=artifact.digest).load()


@pytest.mark.parametrize(
    "uri",
    [
        "ftp://host/qna",
        "s3:///qna",
        "s3://bucket/../other",
        "gs://bucket/a/%2e%2e/b",
        "az:///qna",
        "pvc:///qna",
        "pvc://../qna",
        "pvc://a/../../etc",
        "file://host/a",
        "file:a",
        "http://",
        "qna",
    ],
)
def test_a_place_that_cannot_be_read_is_refused(uri: str, tmp_path: Path) -> None:
    with pytest.raises(RefusedError, match="MODEL_URI"):
        bring(uri, tmp_path)


def test_a_folder_that_does_not_exist_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RefusedError, match=r"qna/manifest\.json does not exist"):
        bring("pvc://claim/qna", tmp_path, pvc_path=tmp_path)


def run_fetch(**environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "modelrelease_serving", "fetch"]
    kept = {name: os.environ[name] for name in ("PATH", "PYTHONPATH") if name in os.environ}
    clean = {**kept, "FETCH_PATIENCE_SECONDS": "0.1", **environment}
    return subprocess.run(
        command, env=clean, capture_output=True, text=True, check=False, timeout=120
    )


def test_the_command_ends_with_0_and_then_the_model_is_there(
    web: Web, artifact: Exported, tmp_path: Path
) -> None:
    web.publish(artifact.path)
    ended = run_fetch(MODEL_URI=web.url, MODEL_SHA256=artifact.digest, MODEL_PATH=str(tmp_path))
    assert (ended.returncode, names(tmp_path)) == (0, {MANIFEST_NAME, "model.joblib"})


@pytest.mark.parametrize(
    ("answer", "code"),
    [pytest.param(404, EXIT_REFUSED, id="never"), pytest.param(500, 1, id="not now")],
)
def test_the_command_says_in_one_sentence_why_it_gives_up(
    answer: int, code: int, web: Web, tmp_path: Path
) -> None:
    web.script["/qna/manifest.json"] = [(answer, b"")]
    sentence = tmp_path / "termination-log"
    sentence.touch()
    ended = run_fetch(MODEL_URI=web.url, MODEL_PATH=str(tmp_path), TERMINATION_LOG=str(sentence))
    assert ended.returncode == code
    assert f"answers {answer}" in sentence.read_text()
    assert sentence.read_text().count("\n") == 1
    assert sentence.read_text().strip() in ended.stderr
    assert "Traceback" not in ended.stderr


@pytest.mark.parametrize("token", ["s3cret\nmore", "s3cret more", "s3crét", "\n"])
def test_a_token_that_no_header_can_have_is_named_and_not_told(token: str, tmp_path: Path) -> None:
    sentence = tmp_path / "termination-log"
    sentence.touch()
    ended = run_fetch(
        MODEL_URI="http://127.0.0.1:9/qna",
        MODEL_PATH=str(tmp_path),
        HTTP_TOKEN=token,
        TERMINATION_LOG=str(sentence),
    )
    assert ended.returncode == 1
    assert "HTTP_TOKEN is no bearer token" in sentence.read_text()
    assert "s3cr" not in sentence.read_text() + ended.stdout + ended.stderr


def test_a_volume_that_cannot_be_written_is_named(artifact: Exported, tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.touch()
    ended = run_fetch(MODEL_URI=artifact.path.as_uri(), MODEL_PATH=str(blocked / "models"))
    assert ended.returncode == 1
    assert f"cannot write to {blocked / 'models'}" in ended.stderr


def test_a_manifest_with_a_size_that_is_too_large_is_refused(
    web: Web, artifact: Exported, tmp_path: Path
) -> None:
    web.publish(artifact.path)
    text = (artifact.path / MANIFEST_NAME).read_text()
    size = artifact.manifest.files[0].size
    web.script[f"/qna/{MANIFEST_NAME}"] = [
        (200, text.replace(f'"size":{size}', f'"size":{size + 1}').encode())
    ]
    if f'"size":{size}' not in text:
        web.script[f"/qna/{MANIFEST_NAME}"] = [
            (200, text.replace(f'"size": {size}', f'"size": {size + 1}').encode())
        ]
    with pytest.raises(RefusedError, match=f"has {size} bytes, but the manifest says {size + 1}"):
        bring(web.url, tmp_path)


def test_a_link_at_the_name_of_a_part_is_not_followed(
    web: Web, artifact: Exported, tmp_path: Path
) -> None:
    web.publish(artifact.path)
    other = tmp_path / "other"
    other.write_bytes(b"mine")
    models = tmp_path / "models"
    models.mkdir()
    for name in ("model.joblib", MANIFEST_NAME):
        (models / f".{name}.part").symlink_to(other)
    bring(web.url, models)
    assert other.read_bytes() == b"mine"
    assert not (models / "model.joblib").is_symlink()


@pytest.mark.parametrize("kind", ["a pipe", "a device"])
def test_a_file_that_is_none_is_refused(kind: str, tmp_path: Path) -> None:
    exported = train(tmp_path / "artifacts")
    model = exported.path / "model.joblib"
    model.unlink()
    if kind == "a pipe":
        os.mkfifo(model)
    else:
        model.symlink_to("/dev/zero")
    with pytest.raises(RefusedError, match="no regular file"):
        bring(exported.path.as_uri(), tmp_path / "models")
    with pytest.raises(RefusedError, match=r"model\.joblib cannot be read .*"):
        Model.open(exported.path, sha256=exported.digest).load()
