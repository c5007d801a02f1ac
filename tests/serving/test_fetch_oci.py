"""Fetching from a stand-in for an OCI registry: models as people push them, and what goes wrong."""

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from modelrelease_contract import MANIFEST_NAME
from modelrelease_contract.runtime import EXIT_REFUSED
from modelrelease_serving.errors import RefusedError, UnreachableError
from modelrelease_serving.model import Model
from modelrelease_training.export import Exported
from tests.serving.support import train
from tests.serving.test_fetch import bring, names, run_fetch
from tests.support.oci_registry import (
    FILE_PATH,
    INDEX_TYPE,
    MODEL_TYPE,
    TITLE,
    Layer,
    Login,
    OciRegistry,
    digest_of,
    oci_registry,
)
from tests.support.tar_archives import a_device, a_link, packed, packed_by_zstd

QNA = "team/qna"
ME: dict[str, Any] = {"http_username": "me", "http_password": "pw"}


@pytest.fixture
def registry() -> Iterator[OciRegistry]:
    with oci_registry() as server:
        yield server


@pytest.fixture
def elsewhere() -> Iterator[OciRegistry]:
    """Another server, such as the object store behind a registry."""
    with oci_registry() as server:
        yield server


@pytest.fixture
def files(artifact: Exported) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in artifact.path.iterdir()}


def can_be_served(folder: Path, artifact: Exported) -> bool:
    model = Model.open(folder, sha256=artifact.digest)
    model.load()
    return model.ready and names(folder) == {MANIFEST_NAME, "model.joblib"}


def test_a_tag_can_be_served(registry: OciRegistry, artifact: Exported, tmp_path: Path) -> None:
    registry.push_folder(QNA, "v3", artifact.path)
    bring(registry.uri(QNA, "v3"), tmp_path, model_sha256=artifact.digest)
    assert can_be_served(tmp_path, artifact)


def test_a_digest_can_be_served_whatever_became_of_the_tag(
    registry: OciRegistry, artifact: Exported, tmp_path: Path
) -> None:
    digest = registry.push_folder(QNA, "v3", artifact.path)
    registry.push(QNA, "v3", Layer.of_file("README.md", b"moved"))
    bring(registry.uri(QNA, digest), tmp_path, model_sha256=artifact.digest)
    assert can_be_served(tmp_path, artifact)


def test_a_tag_that_was_moved_is_held_to_the_digest_of_the_model(
    registry: OciRegistry, artifact: Exported, tmp_path: Path
) -> None:
    registry.push_folder(QNA, "v3", train(tmp_path / "other", "2", seed=8).path)
    with pytest.raises(RefusedError, match="sha256"):
        bring(registry.uri(QNA, "v3"), tmp_path / "models", model_sha256=artifact.digest)
    assert names(tmp_path / "models") == set()


def model_pack(files: dict[str, bytes], packing: str) -> list[Layer]:
    """Return a layer for each file, as `modctl` makes them."""
    packs: dict[str, Callable[[dict[str, bytes]], bytes]] = {
        ".tar": packed,
        ".tar+gzip": partial(packed, mode="w:gz"),
        ".tar+zstd": packed_by_zstd,
    }
    pack = packs.get(packing)
    return [
        Layer(
            pack({path: content}) if pack else content,
            media_type=MODEL_TYPE + packing,
            annotations={FILE_PATH: path},
        )
        for path, content in files.items()
    ]


@pytest.mark.parametrize("packing", [".raw", ".tar", ".tar+gzip", ".tar+zstd"])
def test_layers_of_model_pack_can_be_served(
    packing: str,
    registry: OciRegistry,
    artifact: Exported,
    files: dict[str, bytes],
    tmp_path: Path,
) -> None:
    registry.push(QNA, "v3", *model_pack(files, packing))
    bring(registry.uri(QNA, "v3"), tmp_path, model_sha256=artifact.digest)
    assert can_be_served(tmp_path, artifact)


def test_a_folder_that_oras_packed_can_be_served(
    registry: OciRegistry, artifact: Exported, files: dict[str, bytes], tmp_path: Path
) -> None:
    content = packed({f"out/{path}": text for path, text in files.items()}, mode="w:gz")
    notes = {TITLE: "out", "io.deis.oras.content.unpack": "true"}
    registry.push(QNA, "v3", Layer(content, "application/vnd.oci.image.layer.v1.tar+gzip", notes))
    bring(registry.uri(QNA, "v3"), tmp_path, model_sha256=artifact.digest)
    assert can_be_served(tmp_path, artifact)


def test_an_image_can_be_served_whose_upper_layers_hide_what_is_below(
    registry: OciRegistry, artifact: Exported, files: dict[str, bytes], tmp_path: Path
) -> None:
    base = Layer(packed({"models/manifest.json": b"old"}, others=(a_link("bin/sh", "busybox"),)))
    top = Layer(packed({f"./models/{path}": content for path, content in files.items()}))
    image = registry.push(QNA, "amd64", base, top)
    attested = registry.push(QNA, "attested", Layer(b"{}", "application/vnd.in-toto+json"))
    registry.push_document(
        QNA,
        "v3",
        {
            "mediaType": INDEX_TYPE,
            "manifests": [
                {"digest": attested, "size": 1, "platform": {"os": "unknown"}},
                {"digest": image, "size": 1, "platform": {"os": "linux"}},
            ],
        },
    )
    bring(registry.uri(QNA, "v3"), tmp_path, model_sha256=artifact.digest)
    assert can_be_served(tmp_path, artifact)


def test_files_may_lie_in_a_folder(
    registry: OciRegistry, artifact: Exported, files: dict[str, bytes], tmp_path: Path
) -> None:
    layers = [Layer.of_file(f"artifacts/qna/{path}", text) for path, text in files.items()]
    registry.push(QNA, "v3", *layers)
    bring(registry.uri(QNA, "v3"), tmp_path, model_sha256=artifact.digest)
    assert can_be_served(tmp_path, artifact)


@pytest.mark.parametrize("packing", [".raw", ".tar"])
def test_a_layer_that_broke_off_is_gone_on_with(
    packing: str,
    registry: OciRegistry,
    artifact: Exported,
    files: dict[str, bytes],
    tmp_path: Path,
) -> None:
    registry.push(QNA, "v3", *model_pack(files, packing))
    bring(registry.uri(QNA, "v3"), tmp_path, manifest_only=True)
    registry.break_off_at = 1000
    bring(registry.uri(QNA, "v3"), tmp_path, model_sha256=artifact.digest)
    assert can_be_served(tmp_path, artifact)


REFUSED: dict[str, tuple[list[Layer], str]] = {
    "a path that leads out": (
        [Layer.of_file("../manifest.json", b"{}")],
        r"team/qna:v3 names the path '\.\./manifest\.json', which leads out of the artifact",
    ),
    "an absolute path": ([Layer.of_file("/etc/manifest.json", b"{}")], "leads out"),
    "a path that leads out of an archive": (
        [Layer(packed({"models/../../manifest.json": b"{}"}))],
        r"names the path 'models/\.\./\.\./manifest\.json'",
    ),
    "a link": (
        [Layer(packed({}, others=(a_link("manifest.json", "/etc/passwd"),)))],
        "manifest.json as a link, a device or another special file",
    ),
    "a device": (
        [Layer(packed({}, others=(a_device("manifest.json"),)))],
        "manifest.json as a link, a device or another special file",
    ),
    "two models": (
        [Layer.of_file("a/manifest.json", b"{}"), Layer.of_file("b/manifest.json", b"{}")],
        "holds a/manifest.json and b/manifest.json, and only one model can be meant",
    ),
    "nothing that we know": ([Layer.of_file("README.md", b"hello")], "has no file manifest.json"),
    "what only looks like an archive": (
        [Layer(b"no tar" * 1000)],
        "no tar archive that can be read",
    ),
    "an archive in zstd that is none": ([Layer(b"x", MODEL_TYPE + ".tar+zstd")], "no tar archive"),
}


@pytest.mark.parametrize(("layers", "sentence"), REFUSED.values(), ids=REFUSED)
def test_what_is_no_model_is_refused_with_a_sentence(
    layers: list[Layer], sentence: str, registry: OciRegistry, tmp_path: Path
) -> None:
    registry.push(QNA, "v3", *layers)
    with pytest.raises(RefusedError, match=sentence):
        bring(registry.uri(QNA, "v3"), tmp_path / "models")
    assert names(tmp_path / "models") == set()


def test_a_layer_with_other_bytes_than_its_digest_is_refused(
    registry: OciRegistry, artifact: Exported, files: dict[str, bytes], tmp_path: Path
) -> None:
    registry.push_folder(QNA, "v3", artifact.path)
    registry.blobs[digest_of(files[MANIFEST_NAME])] = files[MANIFEST_NAME].replace(b"qna", b"bad")
    with pytest.raises(RefusedError, match=r"has a layer sha256:.* whose bytes have another"):
        bring(registry.uri(QNA, "v3"), tmp_path)


def test_an_archive_with_other_bytes_than_its_digest_is_not_opened(
    registry: OciRegistry, files: dict[str, bytes], tmp_path: Path
) -> None:
    archive, other = packed(files), packed({**files, "more": b""})[: len(packed(files))]
    registry.push(QNA, "v3", Layer(archive))
    registry.blobs[digest_of(archive)] = other
    with pytest.raises(RefusedError, match="has sha256"):
        bring(registry.uri(QNA, "v3"), tmp_path)


def test_a_manifest_with_another_digest_than_was_asked_for_is_refused(
    registry: OciRegistry, artifact: Exported, tmp_path: Path
) -> None:
    digest = registry.push_folder(QNA, "v3", artifact.path)
    registry.manifests[QNA, digest] += b" "
    with pytest.raises(RefusedError, match="the registry gives other bytes"):
        bring(registry.uri(QNA, digest), tmp_path)


def test_a_layer_that_was_lost_is_refused_at_once(
    registry: OciRegistry, artifact: Exported, files: dict[str, bytes], tmp_path: Path
) -> None:
    registry.push_folder(QNA, "v3", artifact.path)
    del registry.blobs[digest_of(files["model.joblib"])]
    with pytest.raises(RefusedError, match=r"/blobs/sha256:\w+ answers 404"):
        bring(registry.uri(QNA, "v3"), tmp_path)


def test_a_tag_that_does_not_exist_is_refused_at_once(
    registry: OciRegistry, tmp_path: Path
) -> None:
    with pytest.raises(RefusedError, match=r"/v2/team/qna/manifests/v3 answers 404"):
        bring(registry.uri(QNA, "v3"), tmp_path)


@pytest.mark.parametrize("packing", [".raw", ".tar", ".tar+gzip", ".tar+zstd"])
def test_more_than_may_be_fetched_is_refused(
    packing: str, registry: OciRegistry, files: dict[str, bytes], tmp_path: Path
) -> None:
    registry.push(QNA, "v3", *model_pack(files, packing))
    with pytest.raises(RefusedError, match=r"more than the 500 that"):
        bring(registry.uri(QNA, "v3"), tmp_path, artifact_max_bytes=500)


def test_an_archive_that_is_much_larger_when_it_is_unpacked_is_refused(
    registry: OciRegistry, tmp_path: Path
) -> None:
    bomb = packed({"zeros": bytes(50_000_000), "manifest.json": b"{}"}, mode="w:gz")
    registry.push(QNA, "v3", Layer(bomb, MODEL_TYPE + ".tar+gzip"))
    with pytest.raises(RefusedError, match="holds more than 1000000 bytes when it is unpacked"):
        bring(registry.uri(QNA, "v3"), tmp_path, artifact_max_bytes=1_000_000)


@pytest.mark.parametrize("by", ["bearer", "basic"])
def test_a_private_repository_is_read_with_a_name_and_a_password(
    by: str, registry: OciRegistry, artifact: Exported, tmp_path: Path
) -> None:
    registry.push_folder(QNA, "v3", artifact.path)
    registry.login = Login("me", "pw", by=by)
    bring(registry.uri(QNA, "v3"), tmp_path, model_sha256=artifact.digest, **ME)
    assert can_be_served(tmp_path, artifact)
    assert registry.shown[0] == ""


def test_a_registry_that_gives_everybody_tokens_is_read_without_a_secret(
    registry: OciRegistry, artifact: Exported, tmp_path: Path
) -> None:
    registry.push_folder(QNA, "v3", artifact.path)
    registry.login = Login()
    bring(registry.uri(QNA, "v3"), tmp_path, model_sha256=artifact.digest)
    assert registry.asked.count("/token") == 1


def test_a_token_of_a_secret_is_shown_as_it_is(
    registry: OciRegistry, artifact: Exported, tmp_path: Path
) -> None:
    registry.push_folder(QNA, "v3", artifact.path)
    registry.login = Login("me", "pw")
    token = registry.new_token("repository:team/qna:pull")
    bring(registry.uri(QNA, "v3"), tmp_path, http_token=token)
    assert "/token" not in registry.asked


def test_a_token_that_ended_is_asked_for_again(
    registry: OciRegistry, artifact: Exported, tmp_path: Path
) -> None:
    registry.push_folder(QNA, "v3", artifact.path)
    registry.login = Login("me", "pw")
    registry.token_lasts = 1
    bring(registry.uri(QNA, "v3"), tmp_path, model_sha256=artifact.digest, **ME)
    assert can_be_served(tmp_path, artifact)
    assert registry.asked.count("/token") == 3


@pytest.mark.parametrize("credentials", [{}, {**ME, "http_password": "wr0ng"}, {"http_token": "x"}])
def test_wrong_credentials_can_be_mended(
    credentials: dict[str, Any], registry: OciRegistry, artifact: Exported, tmp_path: Path
) -> None:
    registry.push_folder(QNA, "v3", artifact.path)
    registry.login = Login("me", "pw")
    with pytest.raises(UnreachableError, match="answers 401: check the credentials") as caught:
        bring(registry.uri(QNA, "v3"), tmp_path, **credentials)
    assert "wr0ng" not in str(caught.value)


def test_no_password_goes_to_a_server_of_tokens_without_tls_elsewhere(
    registry: OciRegistry, artifact: Exported, tmp_path: Path
) -> None:
    registry.push_folder(QNA, "v3", artifact.path)
    registry.login = Login("me", "pw", realm="http://tokens.example/token")
    with pytest.raises(RefusedError, match=r"wants a token from 'http://tokens\.example/token'"):
        bring(registry.uri(QNA, "v3"), tmp_path, **ME)


def test_blobs_of_another_server_are_read_without_credentials(
    registry: OciRegistry, elsewhere: OciRegistry, artifact: Exported, tmp_path: Path
) -> None:
    for server in (registry, elsewhere):
        server.push_folder(QNA, "v3", artifact.path)
    registry.login = Login("me", "pw")
    registry.blobs_at = f"http://{elsewhere.host}/v2/{QNA}/blobs"
    bring(registry.uri(QNA, "v3"), tmp_path, model_sha256=artifact.digest, **ME)
    assert can_be_served(tmp_path, artifact)
    assert set(elsewhere.shown) == {""}


def test_another_server_cannot_ask_for_the_password(
    registry: OciRegistry, elsewhere: OciRegistry, artifact: Exported, tmp_path: Path
) -> None:
    registry.push_folder(QNA, "v3", artifact.path)
    registry.blobs_at = f"http://{elsewhere.host}/v2/{QNA}/blobs"
    elsewhere.login = Login("me", "pw")
    with pytest.raises(UnreachableError, match="answers 401"):
        bring(registry.uri(QNA, "v3"), tmp_path, **ME)
    assert set(elsewhere.shown) == {""}


def test_the_process_ends_with_a_sentence(registry: OciRegistry, tmp_path: Path) -> None:
    registry.push(QNA, "v3", Layer.of_file("README.md", b"hello"))
    ended = run_fetch(MODEL_URI=registry.uri(QNA, "v3"), MODEL_PATH=str(tmp_path))
    assert ended.returncode == EXIT_REFUSED
    assert "has no file manifest.json in its layers" in ended.stderr
