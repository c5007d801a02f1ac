"""A copy that breaks off goes on where it was, and whatever it was before,
the end is the right file.
"""

import hashlib
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest

from modelrelease_contract import MANIFEST_NAME
from modelrelease_serving.errors import RefusedError, UnreachableError
from modelrelease_training.export import Exported
from tests.serving.support import Web, wait_until, web_server
from tests.serving.test_fetch import bring

MODEL = "/qna/model.joblib"
Ranges = list[str | None]


def ranged(
    body: bytes, asked: Ranges, *, cut: int | None = None, wrong: bool = False
) -> Callable[..., None]:
    """Serve `body` from where a request asks, ending after `cut` bytes of it if given."""

    def answer(handler: BaseHTTPRequestHandler) -> None:
        wanted = handler.headers.get("Range")
        asked.append(wanted)
        start = int(re.fullmatch(r"bytes=(\d+)-", wanted)[1]) if wanted else 0  # type: ignore[index]
        if start >= len(body):
            handler.send_error(416)
            return
        handler.send_response(206 if wanted else 200)
        handler.send_header("Content-Length", str(len(body) - start))
        if wanted:
            first = 0 if wrong else start
            handler.send_header("Content-Range", f"bytes {first}-{len(body) - 1}/{len(body)}")
        handler.end_headers()
        handler.wfile.write(body[start:][:cut])

    return answer


def part_of(folder: Path) -> Path:
    return folder / ".model.joblib.part"


@pytest.fixture
def body(artifact: Exported, web: Web) -> bytes:
    web.publish(artifact.path)
    return (artifact.path / "model.joblib").read_bytes()


def test_a_copy_that_breaks_off_goes_on_where_it_was(web: Web, body: bytes, tmp_path: Path) -> None:
    asked: Ranges = []
    web.script[MODEL] = [
        ranged(body, asked, cut=100),
        ranged(body, asked, cut=200),
        (503, b""),
        ranged(body, asked),
    ]
    bring(web.url, tmp_path)
    assert asked == [None, "bytes=100-", "bytes=300-"]
    assert (tmp_path / "model.joblib").read_bytes() == body
    assert not part_of(tmp_path).exists()


def test_the_next_process_goes_on_too(web: Web, body: bytes, tmp_path: Path) -> None:
    asked: Ranges = []
    part_of(tmp_path).write_bytes(body[:123])
    web.script[MODEL] = [ranged(body, asked)]
    bring(web.url, tmp_path)
    assert asked == ["bytes=123-"]
    assert (tmp_path / "model.joblib").read_bytes() == body


def test_giving_up_keeps_what_has_come(web: Web, body: bytes, tmp_path: Path) -> None:
    web.script[MODEL] = [ranged(body, [], cut=100), (503, b"")]
    with pytest.raises(UnreachableError):
        bring(web.url, tmp_path, patience=0.05)
    assert part_of(tmp_path).read_bytes() == body[:100]


def test_all_of_it_came_before_needs_no_request(web: Web, body: bytes, tmp_path: Path) -> None:
    part_of(tmp_path).write_bytes(body)
    bring(web.url, tmp_path)
    assert MODEL not in web.asked
    assert (tmp_path / "model.joblib").read_bytes() == body


@pytest.mark.parametrize(
    "left", [b"x" * 123, b"x" * 10_000_000], ids=["other bytes", "more than there are"]
)
def test_the_remains_of_another_artifact_do_no_harm(
    left: bytes, web: Web, body: bytes, tmp_path: Path
) -> None:
    part_of(tmp_path).write_bytes(left)
    web.script[MODEL] = [ranged(body, [])]
    bring(web.url, tmp_path)
    assert (tmp_path / "model.joblib").read_bytes() == body


def test_a_full_length_of_other_bytes_does_no_harm(web: Web, body: bytes, tmp_path: Path) -> None:
    part_of(tmp_path).write_bytes(b"x" * len(body))
    bring(web.url, tmp_path)
    assert (tmp_path / "model.joblib").read_bytes() == body


def test_a_server_without_ranges_sends_it_all_again(web: Web, body: bytes, tmp_path: Path) -> None:
    part_of(tmp_path).write_bytes(body[:123])
    web.script[MODEL] = [(200, body)]
    bring(web.url, tmp_path)
    assert (tmp_path / "model.joblib").read_bytes() == body


def test_a_range_that_nobody_asked_for_is_not_trusted(
    web: Web, body: bytes, tmp_path: Path
) -> None:
    asked: Ranges = []
    part_of(tmp_path).write_bytes(body[:123])
    web.script[MODEL] = [ranged(body, asked, wrong=True)]
    bring(web.url, tmp_path)
    assert asked == ["bytes=123-", None]
    assert (tmp_path / "model.joblib").read_bytes() == body


def test_a_file_that_has_become_shorter_is_refused(web: Web, body: bytes, tmp_path: Path) -> None:
    """The server refuses the range, and from its beginning the file is too short for ever."""
    part_of(tmp_path).write_bytes(body[:300])
    web.script[MODEL] = [ranged(body[:200], [])]
    with pytest.raises(RefusedError, match=f"has 200 bytes, but the manifest says {len(body)}"):
        bring(web.url, tmp_path)


def test_what_is_wrong_from_its_beginning_is_refused(web: Web, body: bytes, tmp_path: Path) -> None:
    part_of(tmp_path).write_bytes(body[:100])
    web.script[MODEL] = [ranged(b"y" * len(body), [])]
    with pytest.raises(RefusedError, match="but the manifest says"):
        bring(web.url, tmp_path)
    assert not part_of(tmp_path).exists()


def test_a_slow_server_is_waited_for(web: Web, body: bytes, tmp_path: Path) -> None:
    """Bytes that come in drops are no failure, however many there are."""

    def dripping(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        for start in range(0, len(body), 97):
            handler.wfile.write(body[start : start + 97])
            handler.wfile.flush()

    web.script[MODEL] = [dripping]
    bring(web.url, tmp_path, patience=0)
    assert (tmp_path / "model.joblib").read_bytes() == body


def test_a_process_that_is_told_to_stop_leaves_what_it_has(
    web: Web, artifact: Exported, body: bytes, tmp_path: Path
) -> None:
    release = threading.Event()

    def stalling(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        handler.wfile.write(body[:500])
        handler.wfile.flush()
        release.wait(60)

    web.script[MODEL] = [stalling]
    command = [sys.executable, "-m", "modelrelease_serving", "fetch"]
    environment = {
        "PYTHONPATH": os.environ.get("PYTHONPATH", ""),
        "MODEL_URI": web.url,
        "MODEL_SHA256": artifact.digest,
        "MODEL_PATH": str(tmp_path),
    }
    with subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL) as process:
        try:
            wait_until("it asks for the model", lambda: MODEL in web.asked, within=60)
            wait_until("its file is there", part_of(tmp_path).exists)
            process.send_signal(signal.SIGTERM)
            assert process.wait(30) == 128 + signal.SIGTERM
        finally:
            release.set()
            process.kill()
    web.script[MODEL] = [ranged(body, [])]
    bring(web.url, tmp_path, model_sha256=artifact.digest)
    assert (
        hashlib.sha256((tmp_path / "model.joblib").read_bytes()).digest()
        == hashlib.sha256(body).digest()
    )


@pytest.mark.parametrize(
    ("values", "header"),
    [
        pytest.param({"http_token": "s3cret"}, "Bearer s3cret", id="token"),
        pytest.param({"http_username": "ann", "http_password": "pw"}, "Basic YW5uOnB3", id="basic"),
        pytest.param({"http_token": "s3cret\r\n"}, "Bearer s3cret", id="line of an editor"),
        pytest.param(
            {"http_username": "ann\n", "http_password": "pw\n"},
            "Basic YW5uOnB3",
            id="lines of an editor",
        ),
    ],
)
@pytest.mark.parametrize("at_another_server", [False, True])
def test_credentials_go_to_the_server_that_was_asked_and_to_no_other(
    at_another_server: bool,
    values: dict[str, Any],
    header: str,
    web: Web,
    body: bytes,
    artifact: Exported,
    tmp_path: Path,
) -> None:
    seen: list[str | None] = []

    def elsewhere(handler: BaseHTTPRequestHandler) -> None:
        seen.append(handler.headers.get("Authorization"))
        ranged((artifact.path / MANIFEST_NAME).read_bytes(), [])(handler)

    with web_server() as another:
        keeper = another if at_another_server else web

        def redirecting(handler: BaseHTTPRequestHandler) -> None:
            seen.append(handler.headers.get("Authorization"))
            handler.send_response(302)
            handler.send_header("Location", f"{keeper.url}/elsewhere")
            handler.send_header("Content-Length", "0")
            handler.end_headers()

        web.script["/qna/manifest.json"] = [redirecting]
        keeper.script["/qna/elsewhere"] = [elsewhere]
        bring(web.url, tmp_path, **values)
    assert seen == [header, None if at_another_server else header]


@pytest.mark.parametrize("said", ["many", "-1", "9" * 5000])
def test_a_length_that_is_no_number_is_not_looked_at(
    said: str, web: Web, body: bytes, tmp_path: Path
) -> None:
    def answering(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", said)
        handler.end_headers()
        handler.wfile.write(body)
        handler.close_connection = True

    web.script[MODEL] = [answering]
    bring(web.url, tmp_path)
    assert (tmp_path / "model.joblib").read_bytes() == body


def test_a_redirect_to_what_is_no_address_is_told_with_a_sentence(web: Web, tmp_path: Path) -> None:
    def redirecting(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(302)
        handler.send_header("Location", "http://[nowhere/")
        handler.send_header("Content-Length", "0")
        handler.end_headers()

    web.script["/qna/manifest.json"] = [redirecting]
    with pytest.raises(UnreachableError, match="does not answer: "):
        bring(web.url, tmp_path)


@pytest.mark.parametrize("code", [401, 403])
def test_missing_credentials_are_named_and_can_still_come(
    code: int, web: Web, tmp_path: Path
) -> None:
    """Not refused for ever: whoever mends the Secret need not touch the release."""
    web.script["/qna/manifest.json"] = [(code, b"")]
    with pytest.raises(UnreachableError, match=f"answers {code}: check the credentials"):
        bring(web.url, tmp_path)
    assert len(web.asked) == 1
