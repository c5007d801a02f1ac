"""From a tag or a digest of a stand-in for an OCI registry to one digest, as the operator reads."""

import base64
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from modelrelease_contract import manifest_digest
from modelrelease_operator.api.spec import ModelSource
from modelrelease_operator.api.status import Resolved
from modelrelease_operator.core.whatif.warnings import about_pulls, about_trust
from modelrelease_operator.errors import Invalid, Unavailable
from modelrelease_operator.manifests.workload import fetcher
from modelrelease_operator.runtime import oci_registry as oci_registry_of_operator
from modelrelease_operator.runtime.resolve import NeedsPod, is_current, resolve, target_for_spec
from modelrelease_operator.runtime.stores import Stores
from modelrelease_operator.runtime.web import Reach
from modelrelease_operator.settings import Settings
from testbed.builders import a_spec
from tests.support.oci_registry import (
    FILE_PATH,
    IMAGE_CONFIG,
    INDEX_TYPE,
    MODEL_TYPE,
    Layer,
    Login,
    OciRegistry,
    digest_of,
    oci_registry,
)
from tests.support.registering import a_manifest
from tests.support.tar_archives import packed

QNA = "team/qna"
GOOD, NEWER = a_manifest("7"), a_manifest("8")
FILE = Layer.of_file("manifest.json", GOOD)
ALLOWED = Settings(prometheus_allow_secret_refs=True)


@pytest.fixture
def registry() -> Iterator[OciRegistry]:
    with oci_registry() as server:
        yield server


def source(uri: str, **changes: Any) -> ModelSource:
    return ModelSource(uri=uri, **changes)


class Secrets:
    """Gives one Secret, as the API server does."""

    def __init__(self, **values: str) -> None:
        self.values = values

    async def get(self, kind: str, namespace: str, name: str) -> dict[str, Any]:
        data = {key: base64.b64encode(text.encode()).decode() for key, text in self.values.items()}
        return {"data": data}


def stores(**values: str) -> Stores:
    return Stores(settings=ALLOWED, kube=Secrets(**values))  # type: ignore[arg-type]


async def resolved_with(registry: OciRegistry, **secret: str) -> Resolved:
    named = source(registry.uri(QNA, "v3"), credentialsSecretRef={"name": "store"})
    return await resolve(named, stores=stores(**secret), namespace="ml")


async def test_a_tag_is_resolved_to_the_digest_that_it_names_now(registry: OciRegistry):
    digest = registry.push(QNA, "v3", FILE)
    found = await resolve(source(registry.uri(QNA, "v3")))
    assert (found.version, found.sha256) == ("7", manifest_digest(GOOD))
    assert found.location == registry.uri(QNA, digest)
    assert found.uri == registry.uri(QNA, "v3")


async def test_a_tag_and_its_digest_are_one_revision_and_pods_are_given_the_digest(
    registry: OciRegistry,
):
    digest = registry.push(QNA, "v3", FILE)
    targets = []
    for version in ("v3", digest):
        spec = a_spec(model={"uri": registry.uri(QNA, version)})
        targets.append(target_for_spec(spec, await resolve(spec.model), default_image="image"))
    assert targets[0] == targets[1]
    (uri,) = [
        item["value"] for item in fetcher(targets[0], {})["env"] if item["name"] == "MODEL_URI"
    ]
    assert uri == registry.uri(QNA, digest)


async def test_a_tag_that_moves_changes_nothing_until_the_spec_does(registry: OciRegistry):
    registry.push(QNA, "v3", FILE)
    before = await resolve(source(registry.uri(QNA, "v3")))
    registry.push(QNA, "v3", Layer.of_file("manifest.json", NEWER))
    assert is_current(before, source(registry.uri(QNA, "v3")))
    assert (await resolve(source(registry.uri(QNA, "v3")))).version == "8"
    assert (await resolve(source(before.location or ""))).version == "7"


async def test_what_is_pinned_by_version_and_digest_is_not_read(registry: OciRegistry):
    found = await resolve(source(registry.uri(QNA, "v3"), version="7", sha256="a" * 64))
    assert (found.version, found.sha256, found.location) == ("7", "a" * 64, None)
    assert registry.asked == []


async def test_another_manifest_than_the_pinned_one_is_refused(registry: OciRegistry):
    registry.push(QNA, "v3", FILE)
    with pytest.raises(Invalid, match=r"spec\.model\.sha256 is a{64}, but the artifact"):
        await resolve(source(registry.uri(QNA, "v3"), sha256="a" * 64))


def in_archive(mode: str) -> Layer:
    content = packed({"manifest.json": GOOD}, mode=mode)
    suffix = ".tar" if mode == "w" else ".tar+gzip"
    return Layer(content, MODEL_TYPE + suffix, {FILE_PATH: "manifest.json"})


@pytest.mark.parametrize("mode", ["w", "w:gz"])
async def test_a_manifest_in_a_small_archive_is_read(mode: str, registry: OciRegistry):
    weights = Layer(bytes(9_000_000), MODEL_TYPE + ".tar", {FILE_PATH: "model.joblib"})
    registry.push(QNA, "v3", in_archive(mode), weights)
    assert (await resolve(source(registry.uri(QNA, "v3")))).sha256 == manifest_digest(GOOD)


async def test_an_image_of_a_build_is_read_through_its_index(registry: OciRegistry):
    image = registry.push(QNA, "amd64", Layer(packed({"models/manifest.json": GOOD})))
    index = {
        "mediaType": INDEX_TYPE,
        "manifests": [
            {"digest": f"sha256:{'0' * 64}", "size": 1, "platform": {"os": "unknown"}},
            {"digest": image, "size": 1, "platform": {"os": "linux"}},
        ],
    }
    digest = registry.push_document(QNA, "v3", index)
    found = await resolve(source(registry.uri(QNA, "v3")))
    assert (found.version, found.location) == ("7", registry.uri(QNA, digest))


REFUSED: dict[str, tuple[tuple[Layer, ...], str]] = {
    "no manifest of ours": ((Layer.of_file("README.md", b"x"),), "has no manifest.json"),
    "a path that leads out": ((Layer.of_file("../x/manifest.json", GOOD),), "leads out"),
    "a manifest that is too large": (
        (Layer.of_file("manifest.json", bytes(9_000_000)),),
        "is larger than 8388608 bytes",
    ),
    "an archive that unpacks to much more": (
        (Layer(packed({"zeros": bytes(40_000_000)}, mode="w:gz"), MODEL_TYPE + ".tar+gzip"),),
        "holds more than 33554432 bytes when it is unpacked",
    ),
    "what is no manifest": ((Layer.of_file("manifest.json", b"{}"),), "manifest.json is not valid"),
}


@pytest.mark.parametrize(("layers", "sentence"), REFUSED.values(), ids=REFUSED)
async def test_what_cannot_be_released_is_refused_with_a_sentence(
    layers: tuple[Layer, ...], sentence: str, registry: OciRegistry
):
    registry.push(QNA, "v3", *layers)
    with pytest.raises(Invalid, match=sentence):
        await resolve(source(registry.uri(QNA, "v3")))


@pytest.mark.parametrize(
    "layers",
    [
        (Layer(bytes(9_000_000)),),
        (Layer.of_file("MLmodel", b"x"),),
        (Layer(packed({"MLmodel": b"x"})),),
    ],
    ids=["a large archive", "a file of MLflow's", "an archive without our manifest"],
)
async def test_what_takes_more_to_read_is_left_to_a_pod_at_its_digest(
    layers: tuple[Layer, ...], registry: OciRegistry
):
    digest = registry.push(QNA, "v3", *layers)
    with pytest.raises(NeedsPod) as left:
        await resolve(source(registry.uri(QNA, "v3")))
    assert left.value.place.location == registry.uri(QNA, digest)


async def test_other_bytes_than_a_digest_names_are_refused(registry: OciRegistry):
    digest = registry.push(QNA, "v3", FILE)
    registry.blobs[digest_of(GOOD)] = NEWER
    with pytest.raises(Invalid, match="the registry gives other bytes"):
        await resolve(source(registry.uri(QNA, "v3")))
    registry.manifests[QNA, digest] += b" "
    with pytest.raises(Invalid, match="the registry gives other bytes"):
        await resolve(source(registry.uri(QNA, digest)))


async def test_no_more_of_a_layer_is_read_than_its_manifest_says(registry: OciRegistry):
    layer = Layer(packed({"zeros": bytes(1_000)}, mode="w:gz"), MODEL_TYPE + ".tar+gzip")
    registry.push(QNA, "v2", layer)
    registry.push_document(QNA, "v3", {"layers": [{**layer.descriptor, "size": 0}]})
    with pytest.raises(Invalid, match="is larger than 0 bytes"):
        await resolve(source(registry.uri(QNA, "v3")))


async def test_a_tag_or_a_blob_that_is_not_there_is_refused(registry: OciRegistry):
    with pytest.raises(Invalid, match=r"manifests/v3 answered 404: there is no artifact"):
        await resolve(source(registry.uri(QNA, "v3")))
    registry.push(QNA, "v3", FILE)
    registry.blobs.clear()
    with pytest.raises(Invalid, match=r"blobs/sha256:\w+ answered 404"):
        await resolve(source(registry.uri(QNA, "v3")))


async def test_a_registry_that_is_down_is_asked_again_later():
    with pytest.raises(Unavailable, match="does not answer"):
        await resolve(source("oci+http://127.0.0.1:1/team/qna:v3"))


async def test_a_registry_that_is_slow_at_each_request_is_waited_for_once(
    registry: OciRegistry, monkeypatch: pytest.MonkeyPatch
):
    registry.push(QNA, "v3", FILE)
    registry.delay = 0.2
    monkeypatch.setattr(oci_registry_of_operator, "SECONDS", 0.3)
    with pytest.raises(Unavailable, match=r"does not answer \(not all of it within 0\.3 s\)"):
        await resolve(source(registry.uri(QNA, "v3")))


@pytest.mark.parametrize("by", ["bearer", "basic"])
async def test_a_private_repository_is_shown_the_secret_that_the_release_names(
    by: str, registry: OciRegistry
):
    registry.push(QNA, "v3", FILE)
    registry.login = Login("me", "pw", by=by)
    assert (await resolved_with(registry, username="me", password="pw")).version == "7"
    assert registry.shown[0] == ""


async def test_a_token_of_a_secret_is_shown_as_it_is(registry: OciRegistry):
    registry.push(QNA, "v3", FILE)
    registry.login = Login("me", "pw")
    token = registry.new_token("repository:team/qna:pull")
    assert (await resolved_with(registry, token=token)).version == "7"
    assert "/token" not in registry.asked


async def test_a_registry_that_gives_everybody_tokens_is_read_without_a_secret(
    registry: OciRegistry,
):
    registry.push(QNA, "v3", FILE)
    registry.login = Login()
    assert (await resolve(source(registry.uri(QNA, "v3")))).version == "7"


@pytest.mark.parametrize("secret", [{"username": "me", "password": "wr0ng"}, {"token": "wr0ng"}])
async def test_wrong_credentials_are_refused_without_showing_them(
    secret: dict[str, str], registry: OciRegistry
):
    registry.push(QNA, "v3", FILE)
    registry.login = Login("me", "pw")
    with pytest.raises(Invalid, match="does not take the credentials") as caught:
        await resolved_with(registry, **secret)
    assert "wr0ng" not in str(caught.value)


async def test_a_private_repository_says_that_it_wants_a_secret(registry: OciRegistry):
    registry.push(QNA, "v3", FILE)
    registry.login = Login("me", "pw")
    with pytest.raises(Invalid, match="it wants credentials: name a Secret"):
        await resolve(source(registry.uri(QNA, "v3")))


@pytest.mark.parametrize(
    ("place", "is_shown"),
    [
        ("oci://registry.example", True),
        ("oci://registry.example:443", True),
        ("oci+http://registry.example", False),
        ("oci+http://registry.example:443", False),
        ("oci://registry.example:5000", False),
        ("oci+http://plain.example", True),
    ],
)
async def test_a_login_of_the_operators_is_for_a_registry_by_tls_unless_its_port_is_named(
    place: str, is_shown: bool, tmp_path: Path
):
    file = tmp_path / "netrc"
    hosts = ("registry.example", "plain.example:80")
    file.write_text("".join(f"machine {host} login me password pw\n" for host in hosts))
    stores = Stores(settings=Settings(credentials_file=str(file)))
    found = await oci_registry_of_operator.Repository.of(
        source(f"{place}/qna:v3"), stores, namespace="ml"
    )
    assert bool(found.credentials.secrets) is is_shown


@pytest.mark.parametrize("host", ["registry:99999", "[registry]", "registry:port"])
async def test_what_is_no_address_of_a_registry_is_refused_with_a_sentence(host: str):
    with pytest.raises(Invalid, match="is no address of a server"):
        await resolve(source(f"oci://{host}/qna:v3"))


async def test_no_password_goes_to_a_server_of_tokens_without_tls_elsewhere(registry: OciRegistry):
    registry.push(QNA, "v3", FILE)
    registry.login = Login("me", "pw", realm="http://tokens.example/token")
    with pytest.raises(Invalid, match=r"wants a token from 'http://tokens\.example/token'"):
        await resolved_with(registry, username="me", password="pw")


async def test_blobs_are_read_where_the_registry_sends_one_without_credentials(
    registry: OciRegistry,
):
    registry.push(QNA, "v3", FILE)
    registry.login = Login("me", "pw")
    with oci_registry() as elsewhere:
        elsewhere.push(QNA, "v3", FILE)
        registry.blobs_at = f"http://{elsewhere.host}/v2/{QNA}/blobs"
        found = await resolved_with(registry, username="me", password="pw")
    assert found.version == "7"
    assert elsewhere.shown == [""]


@pytest.mark.parametrize("place", ["http://store.example/blobs", "file:///etc", "http://["])
async def test_the_operator_goes_nowhere_else_without_tls(place: str, registry: OciRegistry):
    registry.push(QNA, "v3", FILE)
    registry.blobs_at = place
    with pytest.raises((Invalid, Unavailable)) as caught:
        await resolve(source(registry.uri(QNA, "v3")))
    assert "s1gn" not in str(caught.value)


async def test_a_registry_that_sends_one_round_and_round_is_left(registry: OciRegistry):
    registry.push(QNA, "v3", FILE)
    registry.blobs_at = f"http://{registry.host}/v2/{QNA}/blobs"
    with pytest.raises(Invalid, match="is sent on more than 3 times"):
        await resolve(source(registry.uri(QNA, "v3")))


async def test_a_registry_that_may_not_be_named_is_not_asked(registry: OciRegistry):
    registry.push(QNA, "v3", FILE)
    with pytest.raises(Invalid, match="the operator itself, which releases may not name"):
        await resolve(source(registry.uri(QNA, "v3")), stores=Stores(reach=Reach()))
    assert registry.asked == []


@pytest.mark.parametrize(
    ("model", "remark"),
    [
        ({"uri": "oci+http://r/qna:v3"}, "oci+http://, and spec.model.sha256 is not set"),
        ({"uri": "oci://r/qna:v3", "version": "7", "sha256": "a" * 64}, "nobody resolves it"),
    ],
)
def test_a_tag_that_is_believed_too_much_is_remarked_on(model: dict[str, str], remark: str):
    (said,) = about_trust(a_spec(model=model))
    assert remark in said


@pytest.mark.parametrize(
    "uri", ["oci://r/qna:v3", f"oci://r/qna@sha256:{'a' * 64}", f"oci+http://r/q@sha256:{'a' * 64}"]
)
def test_nothing_is_remarked_on_what_holds(uri: str):
    assert list(about_trust(a_spec(model={"uri": uri}))) == []


# -- to be mounted by nodes ------------------------------------------------------------------

IN_MODELS = Layer(packed({"models/manifest.json": GOOD}))
AT_TOP = Layer(packed({"manifest.json": GOOD}))


def mounted(uri: str, path: str | None = None, **pins: str) -> ModelSource:
    return source(uri, imageVolume={"path": path} if path else {}, **pins)


@pytest.mark.parametrize(("layer", "path"), [(IN_MODELS, "models"), (AT_TOP, None)])
async def test_an_image_is_mounted_by_the_digest_of_its_tag(
    layer: Layer, path: str | None, registry: OciRegistry
):
    digest = registry.push(QNA, "v3", layer, config=IMAGE_CONFIG)
    spec = a_spec(
        model={
            "uri": registry.uri(QNA, "v3"),
            "imageVolume": {"path": path} if path else {},
        }
    )
    target = target_for_spec(spec, await resolve(spec.model), default_image="image")
    assert target.uri == registry.uri(QNA, digest)
    assert target.recipe.pod["imageVolume"] == {"path": path or ""}


async def test_a_tag_to_mount_is_resolved_although_version_and_digest_are_pinned(
    registry: OciRegistry,
):
    """Else each node would find out for itself what it means."""
    digest = registry.push(QNA, "v3", AT_TOP, config=IMAGE_CONFIG)
    pins = {"version": "7", "sha256": manifest_digest(GOOD)}
    found = await resolve(mounted(registry.uri(QNA, "v3"), **pins))
    assert found.location == registry.uri(QNA, digest)


async def test_a_pinned_digest_to_mount_is_not_read(registry: OciRegistry):
    uri = registry.uri(QNA, f"sha256:{'0' * 64}")
    found = await resolve(mounted(uri, version="7", sha256="a" * 64))
    assert (found.location, registry.asked) == (None, [])


async def test_files_that_oras_pushed_are_no_image_and_the_way_out_is_said(registry: OciRegistry):
    empty = {"mediaType": "application/vnd.oci.empty.v1+json"}
    registry.push(QNA, "v3", FILE, config=empty)
    with pytest.raises(
        Invalid, match=r"vnd\.oci\.empty\.v1\+json'.* take spec\.model\.imageVolume"
    ):
        await resolve(mounted(registry.uri(QNA, "v3")))
    assert (await resolve(source(registry.uri(QNA, "v3")))).version == "7"


@pytest.mark.parametrize(
    ("layer", "path", "mended"),
    [
        (IN_MODELS, None, "set spec.model.imageVolume.path to models"),
        (IN_MODELS, "model", "set spec.model.imageVolume.path to models"),
        (AT_TOP, "models", "leave path out"),
    ],
)
async def test_another_folder_than_the_images_is_named(
    layer: Layer, path: str | None, mended: str, registry: OciRegistry
):
    registry.push(QNA, "v3", layer, config=IMAGE_CONFIG)
    with pytest.raises(Invalid, match=mended):
        await resolve(mounted(registry.uri(QNA, "v3"), path))


async def test_a_model_that_was_fetched_is_looked_up_again_to_be_mounted(registry: OciRegistry):
    uri = registry.uri(QNA, "v3")
    registry.push(QNA, "v3", AT_TOP, config=IMAGE_CONFIG)
    fetched = await resolve(source(uri))
    assert is_current(fetched, source(uri))
    assert not is_current(fetched, mounted(uri))
    seen = Resolved.model_validate((await resolve(mounted(uri))).model_dump(by_alias=True))
    assert is_current(seen, mounted(uri))
    assert is_current(seen, source(uri)), "the way back needs no registry"


async def test_what_a_job_reads_to_be_mounted_is_named_by_digest(registry: OciRegistry):
    large = Layer(packed({"manifest.json": GOOD, "model.bin": bytes(9_000_000)}))
    digest = registry.push(QNA, "v3", large, config=IMAGE_CONFIG)
    with pytest.raises(NeedsPod) as needed:
        await resolve(mounted(registry.uri(QNA, "v3")))
    assert needed.value.place.location == registry.uri(QNA, digest)


@pytest.mark.parametrize(
    ("serving", "is_said"),
    [
        ({}, True),
        ({"imagePullSecrets": [{"name": "r"}]}, False),
        ({"serviceAccountName": "a"}, False),
    ],
)
def test_a_login_that_nodes_are_not_given_is_remarked_on(serving: dict[str, Any], is_said: bool):
    model = {
        "uri": "oci://registry/qna:v3",
        "imageVolume": {},
        "credentialsSecretRef": {"name": "store"},
    }
    said = list(about_pulls(a_spec(model=model, serving=serving)))
    assert ["set spec.serving.imagePullSecrets" in each for each in said] == [True] * is_said


@pytest.mark.parametrize(
    ("more", "reason"),
    [
        ({"uri": "https://store/qna/1"}, "imageVolume needs a uri of a registry"),
        ({"cache": {"persistentVolumeClaim": {"claimName": "c"}}}, "either imageVolume or cache"),
        ({"imageVolume": {"path": "../etc"}}, "should match pattern"),
        ({"imageVolume": {"path": "/models"}}, "should match pattern"),
    ],
)
def test_what_no_node_can_mount_is_not_taken(more: dict[str, Any], reason: str):
    model = {"uri": "oci://registry/qna:v3", "imageVolume": {}, **more}
    with pytest.raises(ValueError, match=reason):
        ModelSource.model_validate(model)
