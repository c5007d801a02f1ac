"""What operator and fetch container both read of a registry: references, manifests, archives."""

import io
import json
import random
import tarfile
from collections.abc import Callable
from importlib import import_module
from typing import Any

import pytest

from modelrelease_contract.oci import (
    Challenge,
    OciError,
    Packing,
    Reference,
    check_image,
    layers_of,
    manifest_in_index,
    token_in,
)
from modelrelease_contract.schemes import matches
from modelrelease_contract.tar_layers import MODULE_OF_ZSTD, Archive
from tests.support.oci_registry import FILE_PATH, LAYER_TYPE, TITLE
from tests.support.tar_archives import packed, packed_by_zstd

DIGEST = f"sha256:{'a' * 64}"


@pytest.mark.parametrize(
    ("uri", "api"),
    [
        ("oci://registry.example/team/qna:v3", "https://registry.example/v2/team/qna"),
        (f"oci://registry.example:5000/qna@{DIGEST}", "https://registry.example:5000/v2/qna"),
        ("oci+http://registry:5000/qna:1.0_b", "http://registry:5000/v2/qna"),
        ("oci://[fd00::7]:5000/qna:v3", "https://[fd00::7]:5000/v2/qna"),
    ],
)
def test_a_reference_is_an_address_and_can_be_written_again(uri: str, api: str):
    reference = Reference.parse(uri)
    assert matches(uri)
    assert (reference.api, reference.uri) == (api, uri)


@pytest.mark.parametrize(
    "uri",
    [
        "oci://registry/qna",
        "oci://registry:v3",
        "oci://registry/QNA:v3",
        "oci://registry/qna:v3/file",
        "oci://registry/../qna:v3",
        "oci://registry/qna@sha256:abc",
        f"oci://registry/qna:v3@{DIGEST}",
        "oci://me:pw@registry/qna:v3",
        "oci://registry/qna:v3?x",
    ],
)
def test_what_is_no_reference_is_not_taken(uri: str):
    assert not matches(uri)


def layer(media_type: str, **annotations: str) -> bytes:
    entry = {"mediaType": media_type, "digest": DIGEST, "size": 1, "annotations": annotations}
    return json.dumps({"layers": [entry]}).encode()


@pytest.mark.parametrize(
    ("media_type", "packing"),
    [
        ("application/vnd.cncf.model.weight.v1.tar", Packing.TAR),
        ("application/vnd.cncf.model.weight.v1.tar+gzip", Packing.GZIP),
        ("application/vnd.cncf.model.weight.v1.tar+zstd", Packing.ZSTD),
        ("application/vnd.kitops.modelkit.model.v1.tar+gzip", Packing.GZIP),
        ("application/vnd.docker.image.rootfs.diff.tar.gzip", Packing.GZIP),
        (LAYER_TYPE, Packing.TAR),
    ],
)
def test_a_media_type_says_how_a_layer_is_packed(media_type: str, packing: Packing):
    (archive,) = layers_of(layer(media_type)).archives
    assert archive.packing is packing


def test_a_file_that_oras_pushed_is_a_file_whatever_it_is_called():
    assert list(layers_of(layer(LAYER_TYPE, **{TITLE: "model.joblib"})).files) == ["model.joblib"]


@pytest.mark.parametrize("key", [FILE_PATH, "org.cnai.model.filepath", TITLE])
def test_a_raw_layer_of_model_pack_is_the_file_that_its_annotation_names(key: str):
    raw = layer("application/vnd.cncf.model.weight.v1.raw", **{key: "model.joblib"})
    assert list(layers_of(raw).files) == ["model.joblib"]


@pytest.mark.parametrize(
    ("raw", "sentence"),
    [
        (b"[]", "is no manifest of a registry"),
        (b"{}", "has no layers"),
        (b'{"layers": [{"digest": "sha512:00", "size": 1}]}', r"at 'layers\.0\.digest'"),
        (layer(LAYER_TYPE, **{TITLE: "a\\b"}), "leads out of the artifact"),
    ],
)
def test_what_is_no_manifest_is_refused_with_a_sentence(raw: bytes, sentence: str):
    with pytest.raises(OciError, match=sentence):
        layers_of(raw)


def test_an_index_of_nothing_is_refused():
    with pytest.raises(OciError, match="is an index without a manifest"):
        manifest_in_index(b'{"manifests": []}')


@pytest.mark.parametrize(
    "header",
    ['Bearer realm="https://r/token", service="s"', "bearer service=s,realm=https://r/token"],
)
def test_a_token_is_asked_for_one_repository_to_pull(header: str):
    challenge = Challenge.parse(header)
    assert challenge is not None
    assert challenge.token_url(Reference.parse("oci://r/team/qna:v3")) == (
        "https://r/token?scope=repository%3Ateam%2Fqna%3Apull&service=s"
    )


def test_an_unknown_way_to_log_in_is_none():
    assert Challenge.parse("Negotiate") is None


@pytest.mark.parametrize(
    "realm", ["http://r/token", "https://me:pw@r/token", "ftp://r", "", "https://[r"]
)
def test_no_password_is_sent_where_others_could_read_it(realm: str):
    with pytest.raises(OciError, match="which is no https:// address"):
        Challenge("bearer", realm).token_url(Reference.parse("oci://r/qna:v3"))


@pytest.mark.parametrize("body", [b"", b"[]", b'{"token": 7}', b'{"token": "a b"}', b"[" * 100_000])
def test_an_answer_without_a_token_is_refused(body: bytes):
    with pytest.raises(OciError, match="answers with no token"):
        token_in(body)


def test_a_later_entry_of_an_archive_hides_an_earlier_one():
    raw = packed({"a": b"old"})[:1024] + packed({"a": b"new"})
    archive = Archive(io.BytesIO(raw), Packing.TAR, most=10**6)
    assert b"".join(archive.chunks("a", 0, 10)) == b"new"


def test_a_file_of_an_archive_is_read_from_the_middle():
    archive = Archive(io.BytesIO(packed({"a": b"0123456789"})), Packing.TAR, most=10**6)
    assert b"".join(archive.chunks("a", 4, 3)) == b"456789"


def test_an_archive_in_zstd_is_read_from_the_middle_and_again():
    archive = Archive(io.BytesIO(packed_by_zstd({"a": b"0123456789"})), Packing.ZSTD, most=10**6)
    for start in (4, 0):
        assert b"".join(archive.chunks("a", start, 3)) == b"0123456789"[start:]


def test_a_frame_of_zstd_grows_to_its_limit_and_no_further():
    bomb = packed_by_zstd({"a": bytes(50_000_000), "b": b""})
    assert len(bomb) < 10_000
    with pytest.raises(OciError, match="holds more than 1000000 bytes when it is unpacked"):
        Archive(io.BytesIO(bomb), Packing.ZSTD, most=10**6)


def test_a_frame_of_zstd_that_wants_memory_is_refused():
    """At 8 MiB it is what the highest of the usual levels makes; 128 MiB is asked for by name."""
    zstd: Any = import_module(MODULE_OF_ZSTD)
    window = zstd.CompressionParameter.window_log
    content = random.Random(7).randbytes(9_000_000)
    usual, greedy = (packed_by_zstd({"a": content}, options={window: log}) for log in (23, 27))
    assert Archive(io.BytesIO(usual), Packing.ZSTD, most=10**8).paths == ("a",)
    sentence = r"window above 8388608 bytes, .* at a level up to 19 and without --long"
    with pytest.raises(OciError, match=sentence):
        Archive(io.BytesIO(greedy), Packing.ZSTD, most=10**8)


def with_attributes(**attributes: str) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as archive:
        entry = tarfile.TarInfo("a")
        entry.pax_headers = attributes
        archive.addfile(entry)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("raw", "sentence"),
    [
        (with_attributes(size="-1024"), "entries have no end|no tar archive"),
        (with_attributes(size=str(2**62)), "no tar archive|holds more than"),
        (with_attributes(**{"GNU.sparse.map": "a,b"}), "is no tar archive"),
        (with_attributes(**{"GNU.sparse.size": "much"}), "is no tar archive"),
        (with_attributes(**{"GNU.sparse.major": "1", "GNU.sparse.minor": "0"}), "no tar archive"),
        (with_attributes(comment="x" * 2_000_000), "attributes are too long"),
    ],
    ids=[
        "a size that leads back",
        "a size beyond the end",
        "a map that is none",
        "a size of words",
        "a map that is missing",
        "attributes that want memory",
    ],
)
def test_an_archive_that_was_made_to_do_harm_is_refused(raw: bytes, sentence: str):
    with pytest.raises(OciError, match=sentence):
        Archive(io.BytesIO(raw), Packing.TAR, most=10**7)


@pytest.mark.parametrize(
    ("pack", "packing"), [(packed, Packing.TAR), (packed_by_zstd, Packing.ZSTD)]
)
def test_whatever_is_damaged_in_an_archive_is_refused_or_read(
    pack: Callable[..., bytes], packing: Packing
):
    chance = random.Random(7)
    whole = pack({"manifest.json": b"{}" * 100, "models/model.joblib": bytes(2000)})
    for _ in range(500):
        raw = bytearray(whole)
        for _ in range(chance.randint(1, 20)):
            raw[chance.randrange(min(4000, len(raw)))] = chance.randrange(256)
        try:
            archive = Archive(io.BytesIO(bytes(raw)), packing, most=10**6)
            for path in archive.paths:
                b"".join(archive.chunks(path, 0, 1000))
        except OciError:
            pass


OF_IMAGE, OF_DOCKER = (
    ("application/vnd.oci.image.config.v1+json", "application/vnd.oci.image.layer.v1.tar+gzip"),
    (
        "application/vnd.docker.container.image.v1+json",
        "application/vnd.docker.image.rootfs.diff.tar.gzip",
    ),
)


def a_manifest_of(config: str | None, *layers: str) -> bytes:
    parts = [{"mediaType": kind, "digest": DIGEST, "size": 1} for kind in layers]
    named = {"config": {"mediaType": config, "digest": DIGEST, "size": 1}} if config else {}
    return json.dumps({"layers": parts, **named}).encode()


@pytest.mark.parametrize(("config", "layer"), [OF_IMAGE, OF_DOCKER])
def test_an_image_can_be_mounted(config: str, layer: str):
    check_image(a_manifest_of(config, layer, layer))


@pytest.mark.parametrize(
    ("config", "layer", "named"),
    [
        pytest.param(None, OF_IMAGE[1], "''", id="without a configuration"),
        pytest.param(
            "application/vnd.oci.empty.v1+json", OF_IMAGE[1], "vnd.oci.empty", id="of oras"
        ),
        pytest.param(
            "application/vnd.cncf.model.config.v1+json",
            "application/vnd.cncf.model.weight.v1.tar",
            "vnd.cncf.model.config",
            id="a ModelPack",
        ),
        pytest.param(OF_IMAGE[0], "text/plain", "text/plain", id="with a layer of another kind"),
    ],
)
def test_what_is_no_image_is_named_by_its_odd_part(config: str | None, layer: str, named: str):
    with pytest.raises(OciError, match=r"no image that a node can mount") as refused:
        check_image(a_manifest_of(config, layer))
    assert named in str(refused.value)
