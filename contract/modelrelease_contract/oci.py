"""Models in OCI registries: what a reference means, and which layers of a manifest hold files.

The operator reads a model's `manifest.json` there, and the fetch container the whole model. Both
follow what stands here, so that they find the same files; neither trusts what a registry says
before its digest was computed.
"""

import hashlib
import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import PurePosixPath
from typing import Annotated, Final
from urllib.parse import urlencode, urlsplit

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from modelrelease_contract import schemes

OCI_MANIFEST_BYTES_MAX: Final = 4 * 1024 * 1024
"""What registries take of a manifest, by their specification."""
TOKEN_BYTES_MAX: Final = 64 * 1024
MEDIA_TYPES: Final = (
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.docker.distribution.manifest.v2+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
)
"""The manifests that are understood, for the header `Accept`."""
_IMAGE_LAYERS: Final = (
    "application/vnd.oci.image.layer.",
    "application/vnd.docker.image.rootfs.",
)
_IMAGE_CONFIGS: Final = (
    "application/vnd.oci.image.config.v1+json",
    "application/vnd.docker.container.image.v1+json",
)
_TITLE: Final = "org.opencontainers.image.title"
_UNPACK: Final = "io.deis.oras.content.unpack"
_NAMES: Final = ("org.cncf.model.filepath", "org.cnai.model.filepath", _TITLE)
"""Annotations that say which file a layer is: ModelPack's, its older one, and everybody's."""


class OciError(ValueError):
    """What a registry holds cannot be read as a model: the end of a sentence that names it."""


@dataclass(frozen=True, slots=True)
class Reference:
    """One manifest of a repository, by tag or by digest."""

    scheme: str
    host: str
    repository: str
    name: str
    """A tag, or `sha256:` and 64 digits."""

    @classmethod
    def parse(cls, uri: str) -> "Reference":
        """Read a URI that matches the pattern of its scheme."""
        scheme, _, rest = uri.partition("://")
        host, _, place = rest.partition("/")
        repository, sign, name = place.partition("@")
        if not sign:
            repository, _, name = place.partition(":")
        return cls(scheme, host, repository, name)

    @property
    def uri(self) -> str:
        """Return the URI again."""
        sign = "@" if self.is_pinned else ":"
        return f"{self.scheme}://{self.host}/{self.repository}{sign}{self.name}"

    @property
    def image(self) -> str:
        """The name under which nodes pull it."""
        return self.uri.partition("://")[2]

    @property
    def is_pinned(self) -> bool:
        """Whether it names a digest, which nobody can move."""
        return self.name.startswith("sha256:")

    @property
    def api(self) -> str:
        """The address below which the registry has the repository."""
        protocol = "http" if self.scheme == schemes.PLAIN_OCI.name else "https"
        return f"{protocol}://{self.host}/v2/{self.repository}"

    def may_lead_to(self, url: str) -> bool:
        """Say whether a registry may send one there: by TLS, or without it to its own host."""
        try:
            place, own = urlsplit(url), urlsplit(self.api)
        except ValueError:
            return False
        return bool(place.hostname) and (
            place.scheme == "https" or (place.scheme, place.hostname) == (own.scheme, own.hostname)
        )

    def at(self, digest: str) -> str:
        """Return the URI of the manifest with that digest, in the same repository."""
        return f"{self.scheme}://{self.host}/{self.repository}@{digest}"


def digest_of(raw: bytes) -> str:
    """Return the digest of bytes as registries write it."""
    return f"sha256:{hashlib.sha256(raw).hexdigest()}"


def check_digest(raw: bytes, wanted: str) -> None:
    """Raise OciError for other bytes than those that a digest names."""
    if (found := digest_of(raw)) != wanted:
        msg = f"has the digest {found}, but {wanted} was asked for: the registry gives other bytes"
        raise OciError(msg)


class Packing(StrEnum):
    """How a layer holds files."""

    FILE = "file"
    TAR = "tar"
    GZIP = "tar+gzip"
    ZSTD = "tar+zstd"


class _Descriptor(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)

    media_type: str = Field(default="", alias="mediaType")
    digest: Annotated[str, StringConstraints(pattern=r"^sha256:[0-9a-f]{64}$")]
    size: int = Field(ge=0)
    annotations: dict[str, str] | None = None
    platform: dict[str, object] | None = None


class _Config(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)

    media_type: str = Field(default="", alias="mediaType")


class _Document(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)

    config: _Config = _Config()
    layers: tuple[_Descriptor, ...] | None = None
    manifests: tuple[_Descriptor, ...] | None = None


@dataclass(frozen=True, slots=True)
class Layer:
    """One blob, with what its descriptor says of it."""

    digest: str
    size: int
    packing: Packing
    name: str | None
    """The path of the file that it is, or of what it is said to hold."""

    @property
    def sha256(self) -> str:
        """The digest without its algorithm."""
        return self.digest.removeprefix("sha256:")


@dataclass(frozen=True, slots=True)
class Layers:
    """What a manifest holds: layers that are a file each, and archives, as an image has them."""

    files: dict[str, Layer]
    archives: tuple[Layer, ...]

    def archives_for(self, path: str) -> tuple[Layer, ...]:
        """Return the archives in the order in which they are searched for a file.

        Those that say that they hold it come first, then the last layer: in an image it hides what
        those below it have.
        """
        name = PurePosixPath(path).name
        last_first = self.archives[::-1]
        return tuple(sorted(last_first, key=lambda it: PurePosixPath(it.name or "").name != name))


def manifest_in_index(raw: bytes) -> str | None:
    """Return the digest of the manifest that an index means; None for what is no index.

    A model is the same on each platform, so the first is taken; what is for an unknown platform
    tells of the others (attestations of a build).
    """
    entries = _document(raw).manifests
    if entries is None:
        return None
    for entry in entries:
        if (entry.platform or {}).get("os") != "unknown":
            return entry.digest
    msg = "is an index without a manifest: push the model itself"
    raise OciError(msg)


def layers_of(raw: bytes) -> Layers:
    """Return the layers of a manifest. Raises OciError for one that is none."""
    descriptors = _document(raw).layers
    if descriptors is None:
        msg = "has no layers, so it is no image manifest: push the model as an OCI artifact"
        raise OciError(msg)
    files: dict[str, Layer] = {}
    archives: list[Layer] = []
    for descriptor in descriptors:
        layer = _layer(descriptor)
        if layer.packing is not Packing.FILE:
            archives.append(layer)
        elif layer.name is not None:
            files[layer.name] = layer
    return Layers(files, tuple(archives))


def check_image(raw: bytes) -> None:
    """Raise OciError for a manifest of what is no image: nodes with containerd mount nothing else.

    An artifact of another kind has no list of its unpacked layers, from which a root is made.
    """
    document = _document(raw)
    kinds = [document.config.media_type, *(layer.media_type for layer in document.layers or ())]
    is_image = kinds[0] in _IMAGE_CONFIGS
    if is_image and all(kind.startswith(_IMAGE_LAYERS) for kind in kinds[1:]):
        return
    known = (*_IMAGE_CONFIGS, *_IMAGE_LAYERS)
    odd = next((kind for kind in kinds if not kind.startswith(known)), kinds[0])
    msg = (
        f"is no image that a node can mount: it has a part of the type {odd[:100]!r}. Build one "
        "(FROM scratch, COPY of the folder), or take spec.model.imageVolume away, and pods fetch it"
    )
    raise OciError(msg)


def nearest(paths: Iterable[str], name: str) -> str | None:
    """Return the path of that name in the topmost folder; raise OciError where two are as near."""
    named = sorted(
        (path for path in paths if PurePosixPath(path).name == name), key=lambda it: it.count("/")
    )
    if len(named) > 1 and named[0].count("/") == named[1].count("/"):
        msg = f"holds {named[0]} and {named[1]}, and only one model can be meant: push one alone"
        raise OciError(msg)
    return named[0] if named else None


def inner_path(text: str) -> str | None:
    """Return a path inside the artifact, None for the top itself. Raises OciError for others."""
    path = PurePosixPath(text)
    if path.is_absolute() or ".." in path.parts or "\\" in text or "\0" in text:
        msg = f"names the path {text[:200]!r}, which leads out of the artifact: push it again"
        raise OciError(msg)
    return str(path) if path.parts else None


def _layer(descriptor: _Descriptor) -> Layer:
    notes = descriptor.annotations or {}
    name = next((notes[key] for key in _NAMES if notes.get(key)), None)
    return Layer(
        digest=descriptor.digest,
        size=descriptor.size,
        packing=_packing(descriptor.media_type, notes),
        name=inner_path(name) if name else None,
    )


def _packing(media_type: str, notes: dict[str, str]) -> Packing:
    # ORAS calls a file a layer of an image, unless told better; what it packs, it marks.
    is_file_of_oras = _TITLE in notes and notes.get(_UNPACK) != "true"
    if is_file_of_oras and media_type.startswith(_IMAGE_LAYERS):
        return Packing.FILE
    if media_type.endswith(".tar"):
        return Packing.TAR
    if media_type.endswith((".tar+gzip", ".tar.gzip")):
        return Packing.GZIP
    return Packing.ZSTD if media_type.endswith((".tar+zstd", ".tar.zstd")) else Packing.FILE


def _document(raw: bytes) -> _Document:
    try:
        return _Document.model_validate_json(raw)
    except ValidationError as problem:
        first = problem.errors(include_url=False)[0]
        where = ".".join(map(str, first["loc"]))
        msg = f"is no manifest of a registry: at {where!r}: {first['msg']}"
        raise OciError(msg) from problem


@dataclass(frozen=True, slots=True)
class Challenge:
    """How a registry wants to be asked, as it says with status 401."""

    kind: str
    """`basic`, or `bearer` for a token that another server gives."""
    realm: str = ""
    service: str = ""

    @classmethod
    def parse(cls, header: str) -> "Challenge | None":
        """Read the header `WWW-Authenticate`; None for a kind that is not known."""
        if not header.isascii():
            return None
        found = re.match(r"\s*(basic|bearer)\b(.*)", header, re.IGNORECASE | re.DOTALL)
        if not found:
            return None
        named = dict(_parameters(found[2]))
        return cls(found[1].lower(), named.get("realm", ""), named.get("service", ""))

    def token_url(self, reference: Reference) -> str:
        """Return where a token is had that may read the repository and nothing else.

        Raises OciError for a place without TLS, unless the registry is such a place itself.
        """
        if not reference.may_lead_to(self.realm) or urlsplit(self.realm).username is not None:
            msg = f"wants a token from {self.realm[:200]!r}, which is no https:// address"
            raise OciError(msg)
        asked = {"scope": f"repository:{reference.repository}:pull"}
        if self.service:
            asked["service"] = self.service
        sign = "&" if urlsplit(self.realm).query else "?"
        return f"{self.realm.partition('#')[0]}{sign}{urlencode(asked)}"


def token_in(body: bytes) -> str:
    """Return the token that a registry's own server of tokens answers. Raises OciError."""
    try:
        answer = json.loads(body)
    except (ValueError, RecursionError):
        answer = None
    known = answer if isinstance(answer, dict) else {}
    token = known.get("token") or known.get("access_token")
    if not (isinstance(token, str) and re.fullmatch(r"[!-~]+", token)):
        msg = "answers with no token"
        raise OciError(msg)
    return token


def _parameters(text: str) -> Iterator[tuple[str, str]]:
    for name, quoted, plain in re.findall(r'([A-Za-z_]+)\s*=\s*(?:"([^"]*)"|([^\s,"]+))', text):
        yield name.lower(), quoted or plain
