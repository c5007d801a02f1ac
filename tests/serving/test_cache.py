"""Artifacts that stay beside the pods: a store that is away stops no restart, and nothing is
believed that was not checked.
"""

import errno
import fcntl
import os
import shutil
import threading
from pathlib import Path
from typing import Any

import pytest

from modelrelease_contract import MANIFEST_NAME, runtime
from modelrelease_contract.runtime import SIGNATURE_NAME
from modelrelease_serving import __main__ as command
from modelrelease_serving.errors import RefusedError, UnreachableError
from modelrelease_serving.fetch import Patience, fetch
from modelrelease_serving.model import Model
from modelrelease_training.export import Exported
from tests.serving.support import Web, settings, train, wait_until
from tests.support.oci_registry import Layer, oci_registry
from tests.support.tar_archives import packed

NOBODY = "http://127.0.0.1:1/qna"
"""A store that is away."""


@pytest.fixture(scope="module")
def newer(tmp_path_factory: pytest.TempPathFactory) -> Exported:
    return train(tmp_path_factory.mktemp("newer"), "2", seed=8)


@pytest.fixture
def kept(tmp_path: Path) -> Path:
    return tmp_path / "cache" / "qna"


def start(uri: str, artifact: Exported, to: Path, cache: Path, **others: Any) -> None:
    """Fetch as a pod does that begins with an empty volume."""
    fetch(
        settings(
            model_uri=uri,
            model_path=to,
            model_sha256=artifact.digest,
            artifact_cache_path=cache,
            **others,
        ),
        patience=Patience(0.05, first_pause=0.01),
    )
    Model.open(to, sha256=artifact.digest).load()


def artifacts_in(cache: Path) -> set[str]:
    return {path.name for path in cache.iterdir() if path.is_dir()}


def size_of(artifact: Exported) -> int:
    return sum(path.stat().st_size for path in artifact.path.iterdir())


def test_a_pod_starts_again_while_the_store_is_away(
    web: Web, artifact: Exported, tmp_path: Path, kept: Path
) -> None:
    web.publish(artifact.path)
    start(web.url, artifact, tmp_path / "first", kept)
    start(NOBODY, artifact, tmp_path / "again", kept)
    assert artifacts_in(kept) == {artifact.digest}


def signed(folder: Path, text: str) -> Path:
    (folder / SIGNATURE_NAME).write_text(text)
    return folder


def test_a_signature_is_kept_with_the_artifact_and_the_stores_is_taken_before_it(
    web: Web, artifact: Exported, tmp_path: Path, kept: Path
) -> None:
    store = shutil.copytree(artifact.path, tmp_path / "store")
    web.publish(signed(store, "old"))
    for pod in ("first", "second"):
        start(web.url, artifact, tmp_path / pod, kept, fetch_signature=True)
    web.publish(signed(store, "new"))
    start(web.url, artifact, tmp_path / "third", kept, fetch_signature=True)
    start(NOBODY, artifact, tmp_path / "away", kept, fetch_signature=True)
    found = [(tmp_path / pod / SIGNATURE_NAME).read_text() for pod in ("second", "third", "away")]
    assert found == ["old", "new", "new"]
    assert not list(kept.rglob("*.part"))


def test_a_cache_that_cannot_keep_a_new_signature_stops_no_start(
    web: Web, artifact: Exported, tmp_path: Path, kept: Path
) -> None:
    store = shutil.copytree(artifact.path, tmp_path / "store")
    web.publish(signed(store, "old"))
    start(web.url, artifact, tmp_path / "first", kept, fetch_signature=True)
    # Whoever may write nothing there finds it as this folder is in the way of its part.
    (kept / artifact.digest / f".{SIGNATURE_NAME}.part").mkdir()
    web.publish(signed(store, "new"))
    start(web.url, artifact, tmp_path / "second", kept, fetch_signature=True)
    assert (tmp_path / "second" / SIGNATURE_NAME).read_text() == "new"


def test_a_store_that_has_nothing_any_more_stops_no_start(
    web: Web, artifact: Exported, tmp_path: Path, kept: Path
) -> None:
    web.publish(signed(shutil.copytree(artifact.path, tmp_path / "store"), "signed"))
    start(web.url, artifact, tmp_path / "first", kept, fetch_signature=True)
    web.script.clear()
    start(web.url, artifact, tmp_path / "again", kept, fetch_signature=True)
    assert (tmp_path / "again" / SIGNATURE_NAME).read_text() == "signed"


def test_an_artifact_of_an_archive_starts_from_the_cache_with_its_signature(
    artifact: Exported, tmp_path: Path, kept: Path
) -> None:
    files = {f"qna/{path.name}": path.read_bytes() for path in artifact.path.iterdir()}
    with oci_registry() as registry:
        registry.push("team/qna", "1", Layer(packed({**files, f"qna/{SIGNATURE_NAME}": b"signed"})))
        uri = registry.uri("team/qna", "1")
        for pod in ("first", "second"):
            start(uri, artifact, tmp_path / pod, kept, fetch_signature=True)
    start(uri, artifact, tmp_path / "away", kept, fetch_signature=True)
    for pod in ("second", "away"):
        assert (tmp_path / pod / SIGNATURE_NAME).read_bytes() == b"signed"


def test_an_artifact_that_was_kept_without_its_signature_is_asked_for_again(
    web: Web, artifact: Exported, tmp_path: Path, kept: Path
) -> None:
    store = shutil.copytree(artifact.path, tmp_path / "store")
    web.publish(store)
    start(web.url, artifact, tmp_path / "first", kept)
    web.publish(signed(store, "late"))
    start(web.url, artifact, tmp_path / "second", kept, fetch_signature=True)
    start(NOBODY, artifact, tmp_path / "away", kept, fetch_signature=True)
    assert (tmp_path / "away" / SIGNATURE_NAME).read_text() == "late"


def test_without_the_cache_it_does_not_start(artifact: Exported, tmp_path: Path) -> None:
    with pytest.raises(UnreachableError, match="gave up"):
        start(NOBODY, artifact, tmp_path / "again", tmp_path / "empty")


def test_the_store_is_asked_once(web: Web, artifact: Exported, tmp_path: Path, kept: Path) -> None:
    web.publish(artifact.path)
    for pod in ("first", "second"):
        start(web.url, artifact, tmp_path / pod, kept)
    assert sorted(web.asked) == ["/qna/manifest.json", "/qna/model.joblib"]


@pytest.mark.parametrize("file", [MANIFEST_NAME, "model.joblib"])
def test_wrong_bytes_are_fetched_again_and_replaced(
    file: str, web: Web, artifact: Exported, tmp_path: Path, kept: Path
) -> None:
    web.publish(artifact.path)
    start(web.url, artifact, tmp_path / "first", kept)
    (kept / artifact.digest / file).write_bytes(b"wrong")
    start(web.url, artifact, tmp_path / "second", kept)
    start(NOBODY, artifact, tmp_path / "third", kept)


def test_wrong_bytes_are_not_served_where_the_store_is_away(
    web: Web, artifact: Exported, tmp_path: Path, kept: Path
) -> None:
    web.publish(artifact.path)
    start(web.url, artifact, tmp_path / "first", kept)
    (kept / artifact.digest / "model.joblib").write_bytes(b"wrong")
    with pytest.raises(UnreachableError, match="gave up"):
        start(NOBODY, artifact, tmp_path / "second", kept)


def test_a_file_that_is_lost_is_fetched_again(
    web: Web, artifact: Exported, tmp_path: Path, kept: Path
) -> None:
    web.publish(artifact.path)
    start(web.url, artifact, tmp_path / "first", kept)
    (kept / artifact.digest / "model.joblib").unlink()
    start(web.url, artifact, tmp_path / "second", kept)
    start(NOBODY, artifact, tmp_path / "third", kept)


def test_of_many_pods_at_once_one_asks_the_store(
    web: Web, artifact: Exported, tmp_path: Path, kept: Path
) -> None:
    web.publish(artifact.path)
    problems: list[Exception] = []

    def pod(name: str) -> None:
        try:
            start(web.url, artifact, tmp_path / name, kept)
        except Exception as problem:
            problems.append(problem)

    pods = [threading.Thread(target=pod, args=(f"pod{number}",)) for number in range(5)]
    for thread in pods:
        thread.start()
    for thread in pods:
        thread.join()
    assert problems == []
    assert web.asked.count("/qna/model.joblib") == 1
    assert artifacts_in(kept) == {artifact.digest}


def test_a_pod_that_dies_while_it_brings_an_artifact_keeps_nobody_waiting(
    web: Web,
    artifact: Exported,
    tmp_path: Path,
    kept: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("INFO")
    web.publish(artifact.path)
    kept.mkdir(parents=True)
    dying = os.open(kept / f"{artifact.digest}.lock", os.O_RDWR | os.O_CREAT)
    fcntl.flock(dying, fcntl.LOCK_EX)
    half = kept / f"{artifact.digest}.part"
    half.mkdir()
    (half / "model.joblib").write_bytes(b"half")
    waiting = threading.Thread(target=start, args=(web.url, artifact, tmp_path / "next", kept))
    waiting.start()
    try:
        wait_until("a pod waits", lambda: "waiting for a pod" in caplog.text)
    finally:
        # What the kernel does at a process's end.
        os.close(dying)
        waiting.join()
    start(NOBODY, artifact, tmp_path / "third", kept)
    assert artifacts_in(kept) == {artifact.digest}


def test_the_one_used_longest_ago_makes_room(
    web: Web, artifact: Exported, newer: Exported, tmp_path: Path, kept: Path
) -> None:
    room = size_of(artifact) + size_of(newer) - 1
    for each in (artifact, newer):
        web.publish(each.path)
        start(web.url, each, tmp_path / each.digest, kept, artifact_cache_max_bytes=room)
    assert artifacts_in(kept) == {newer.digest}
    assert {path.name for path in kept.glob("*.lock")} == {f"{newer.digest}.lock"}


def test_both_stay_where_there_is_room(
    web: Web, artifact: Exported, newer: Exported, tmp_path: Path, kept: Path
) -> None:
    room = size_of(artifact) + size_of(newer)
    for each in (artifact, newer):
        web.publish(each.path)
        start(web.url, each, tmp_path / each.digest, kept, artifact_cache_max_bytes=room)
    assert artifacts_in(kept) == {artifact.digest, newer.digest}


def test_a_canary_takes_no_room_from_what_serves(
    web: Web,
    artifact: Exported,
    newer: Exported,
    tmp_path: Path,
    kept: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    room = size_of(artifact) + size_of(newer) - 1
    for each, keep in ((artifact, None), (newer, artifact.digest)):
        web.publish(each.path)
        start(
            web.url,
            each,
            tmp_path / each.digest,
            kept,
            artifact_cache_max_bytes=room,
            artifact_cache_keep=keep,
        )
    assert artifacts_in(kept) == {artifact.digest}
    assert "raise ARTIFACT_CACHE_MAX_BYTES" in str(caplog.records[-1].__dict__)


def test_one_that_has_no_room_at_all_removes_no_other(
    web: Web, artifact: Exported, newer: Exported, tmp_path: Path, kept: Path
) -> None:
    for each, room in ((artifact, size_of(artifact)), (newer, size_of(newer) - 1)):
        web.publish(each.path)
        start(web.url, each, tmp_path / each.digest, kept, artifact_cache_max_bytes=room)
    assert artifacts_in(kept) == {artifact.digest}


def test_what_another_pod_reads_is_not_removed(
    web: Web, artifact: Exported, newer: Exported, tmp_path: Path, kept: Path
) -> None:
    web.publish(artifact.path)
    start(web.url, artifact, tmp_path / "first", kept)
    reading = os.open(kept / f"{artifact.digest}.lock", os.O_RDWR)
    fcntl.flock(reading, fcntl.LOCK_SH)
    web.publish(newer.path)
    start(web.url, newer, tmp_path / "newer", kept, artifact_cache_max_bytes=size_of(newer))
    os.close(reading)
    assert artifacts_in(kept) == {artifact.digest}


def test_pods_of_another_user_and_the_same_group_may_lock_it_and_make_room(
    web: Web, artifact: Exported, tmp_path: Path, kept: Path
) -> None:
    web.publish(artifact.path)
    before = os.umask(0o022)
    try:
        start(web.url, artifact, tmp_path / "first", kept)
    finally:
        os.umask(before)
    lock = kept / f"{artifact.digest}.lock"
    assert lock.stat().st_mode & 0o777 == 0o660
    for folder in (kept, kept / artifact.digest):
        assert folder.stat().st_mode & 0o070 == 0o070


def test_one_that_cannot_be_removed_is_left_and_another_makes_room(
    web: Web,
    artifact: Exported,
    newer: Exported,
    tmp_path: Path,
    kept: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A folder that another user owns is what it stands for: tests may run as root."""
    real, foreign = shutil.rmtree, "0" * 64

    def forbidding(path: Path) -> None:
        if path.name.startswith(foreign):
            raise PermissionError(errno.EACCES, "Permission denied")
        real(path)

    monkeypatch.setattr(shutil, "rmtree", forbidding)
    (kept / foreign).mkdir(parents=True)
    (kept / foreign / "model").write_bytes(b"x" * 10)
    room = 10 + size_of(artifact) + size_of(newer) - 1
    for each in (artifact, newer):
        web.publish(each.path)
        start(web.url, each, tmp_path / each.digest, kept, artifact_cache_max_bytes=room)
    assert artifacts_in(kept) == {f"{foreign}.part", newer.digest}


def test_what_somebody_else_keeps_there_is_left_alone(
    web: Web, artifact: Exported, newer: Exported, tmp_path: Path, kept: Path
) -> None:
    (kept / "photos").mkdir(parents=True)
    (kept / "photos" / "cat.jpg").write_bytes(b"x" * 10_000_000)
    web.publish(artifact.path)
    start(web.url, artifact, tmp_path / "first", kept, artifact_cache_max_bytes=size_of(artifact))
    assert artifacts_in(kept) == {artifact.digest, "photos"}


def test_half_artifacts_of_killed_pods_are_removed(
    web: Web, artifact: Exported, tmp_path: Path, kept: Path
) -> None:
    (kept / f"{'0' * 64}.part").mkdir(parents=True)
    web.publish(artifact.path)
    start(web.url, artifact, tmp_path / "first", kept)
    assert artifacts_in(kept) == {artifact.digest}


def test_a_cache_that_cannot_be_written_stops_no_start(
    web: Web, artifact: Exported, tmp_path: Path
) -> None:
    (tmp_path / "cache").write_bytes(b"a file, and no folder")
    web.publish(artifact.path)
    start(web.url, artifact, tmp_path / "first", tmp_path / "cache")


def test_a_full_disk_stops_no_start(
    web: Web,
    artifact: Exported,
    tmp_path: Path,
    kept: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(shutil, "copyfile", full)
    web.publish(artifact.path)
    start(web.url, artifact, tmp_path / "first", kept)
    assert artifacts_in(kept) == set()


def test_files_that_cannot_be_locked_are_kept_all_the_same_and_make_room(
    web: Web,
    artifact: Exported,
    newer: Exported,
    tmp_path: Path,
    kept: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuses(*_: Any) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", refuses)
    web.publish(artifact.path)
    start(web.url, artifact, tmp_path / "first", kept)
    start(NOBODY, artifact, tmp_path / "again", kept)
    web.publish(newer.path)
    start(web.url, newer, tmp_path / "newer", kept, artifact_cache_max_bytes=size_of(newer))
    assert artifacts_in(kept) == {newer.digest}


def test_a_link_in_place_of_an_artifact_is_replaced_and_what_it_leads_to_stays(
    web: Web, artifact: Exported, tmp_path: Path, kept: Path
) -> None:
    precious = tmp_path / "precious"
    precious.mkdir()
    (precious / "file").write_bytes(b"mine")
    kept.mkdir(parents=True)
    (kept / artifact.digest).symlink_to(precious)
    web.publish(artifact.path)
    start(web.url, artifact, tmp_path / "first", kept)
    assert (precious / "file").read_bytes() == b"mine"
    start(NOBODY, artifact, tmp_path / "again", kept)


def test_the_container_reads_where_the_cache_is_from_its_environment(
    web: Web, artifact: Exported, tmp_path: Path, kept: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    web.publish(artifact.path)
    for name, value in {
        runtime.ENV_MODEL_SHA256: artifact.digest,
        runtime.ENV_ARTIFACT_CACHE_PATH: str(kept),
        runtime.ENV_ARTIFACT_CACHE_KEEP: "0" * 64,
        "ARTIFACT_CACHE_MAX_BYTES": "1000000000",
        "FETCH_PATIENCE_SECONDS": "0",
        "TERMINATION_LOG": str(tmp_path / "said"),
    }.items():
        monkeypatch.setenv(name, value)
    ends = []
    for pod, uri in (("first", web.url), ("again", NOBODY)):
        monkeypatch.setenv(runtime.ENV_MODEL_URI, uri)
        monkeypatch.setenv(runtime.ENV_MODEL_PATH, str(tmp_path / pod))
        ends.append(command.main(["fetch"]))
    assert ends == [0, 0]


def test_an_artifact_that_is_refused_is_not_kept(
    web: Web, artifact: Exported, tmp_path: Path, kept: Path
) -> None:
    web.publish(artifact.path)
    web.script["/qna/model.joblib"] = [(200, b"other")]
    with pytest.raises(RefusedError, match="the manifest says"):
        start(web.url, artifact, tmp_path / "first", kept)
    assert artifacts_in(kept) == set()
