"""Artifacts in OCI registries: files that are layers, and files in layers that are archives.

The digest of the registry's manifest names those of all layers. A layer that is a file is read as a
file of a web server is. An archive is copied whole and checked before anything in it is looked at;
the copy has no name any more by then, so that it ends with this process.
"""

from collections.abc import Generator
from contextlib import closing, suppress
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path, PurePosixPath
from typing import Final
from weakref import finalize

from modelrelease_contract import MANIFEST_NAME, MLMODEL_NAME, ModelFile
from modelrelease_contract.oci import (
    MEDIA_TYPES,
    OCI_MANIFEST_BYTES_MAX,
    TOKEN_BYTES_MAX,
    Challenge,
    Layer,
    Layers,
    OciError,
    Reference,
    check_digest,
    layers_of,
    manifest_in_index,
    nearest,
    token_in,
)
from modelrelease_contract.schemes import matches
from modelrelease_contract.tar_layers import Archive
from modelrelease_serving.errors import RefusedError
from modelrelease_serving.settings import Settings
from modelrelease_serving.sources.copying import bring, check_size
from modelrelease_serving.sources.source import (
    CHUNK_BYTES,
    MissingError,
    Reading,
    read_small,
    unknown_place,
)
from modelrelease_serving.sources.web import UnauthorizedError, WebSource, basic_of, bearer_of

_COPIES: Final = ".layers"
"""Folder of archives that are being copied."""


@dataclass(slots=True)
class Repository:
    """A repository of a registry, which says itself how it wants to be asked."""

    reference: Reference
    settings: Settings
    _authorization: str | None = field(default=None, init=False, repr=False)

    def __post_init__(self) -> None:
        """Show a token from the first request on; a password only to whom the registry names."""
        self._authorization = bearer_of(self.settings)

    def manifest(self, name: str) -> bytes:
        """Return a manifest by its tag or digest. Raises RefusedError for other bytes."""
        raw = read_small(_Manifests(self), name, limit=OCI_MANIFEST_BYTES_MAX)
        if name.startswith("sha256:"):
            check_digest(raw, name)
        return raw

    def read(self, path: str, offset: int = 0) -> Reading:
        """Open the blob with the sha256 `path`: so it is a source, too."""
        return self.ask(f"{self.reference.api}/blobs/sha256:{path}", offset)

    def ask(self, url: str, offset: int = 0, accept: str = "") -> Reading:
        """Open something, and log in once where that is wanted: tokens end after minutes."""
        try:
            return WebSource(url, self._authorization, accept).read("", offset)
        except UnauthorizedError as error:
            self._authorization = self._log_in(error)
        return WebSource(url, self._authorization, accept).read("", offset)

    def _log_in(self, error: UnauthorizedError) -> str:
        challenge, basic = Challenge.parse(error.challenge), basic_of(self.settings)
        if challenge is None or bearer_of(self.settings):
            raise error
        if challenge.kind == "basic":
            if basic is None:
                raise error
            return basic
        url = challenge.token_url(self.reference)
        answer = read_small(WebSource(url, basic), "", limit=TOKEN_BYTES_MAX)
        return f"Bearer {token_in(answer)}"


@dataclass(frozen=True, slots=True)
class _Manifests:
    """The manifests of a repository."""

    repository: Repository

    def read(self, path: str, offset: int = 0) -> Reading:
        url = f"{self.repository.reference.api}/manifests/{path}"
        return self.repository.ask(url, offset, ", ".join(MEDIA_TYPES))


class OciSource:
    """The files of one manifest."""

    def __init__(self, repository: Repository, settings: Settings) -> None:
        self._repository = repository
        self._copies = settings.model_path / _COPIES
        self._room = self._most = settings.artifact_max_bytes
        self._layers: Layers | None = None
        self._archives: dict[str, Archive] = {}
        self._root: PurePosixPath | None = None

    def read(self, path: str, offset: int = 0) -> Reading:
        """Open one file, below the folder that has the artifact's manifest."""
        try:
            return self._read(path, offset)
        except OciError as error:
            raise self._refused(error) from error

    def _read(self, path: str, offset: int) -> Reading:
        layers = self._layers = self._layers or self._list()
        if found := self._find(layers.files, path):
            layer = layers.files[found]
            reading = self._repository.read(layer.sha256, offset)
            return Reading(reading.start, self._checked(layer, reading), reading.total)
        for layer in layers.archives_for(path):
            archive = self._opened(layer)
            if found := self._find(archive.paths, path):
                return Reading(offset, self._unpacked(archive, found, offset), archive.size(found))
        msg = f"has no file {path} in its layers: push the whole folder that was exported"
        raise MissingError(str(self._refused(OciError(msg))))

    def _list(self) -> Layers:
        raw = self._repository.manifest(self._repository.reference.name)
        if inner := manifest_in_index(raw):
            raw = self._repository.manifest(inner)
        return layers_of(raw)

    def _find(self, paths: dict[str, Layer] | tuple[str, ...], path: str) -> str | None:
        """Return where a file is; the first that is found says which folder is the artifact's."""
        if self._root is not None:
            whole = str(self._root / path)
            return whole if whole in paths else None
        if path not in (MANIFEST_NAME, MLMODEL_NAME):
            return path if path in paths else None
        if found := nearest(paths, path):
            self._root = PurePosixPath(found).parent
        return found

    def _checked(self, layer: Layer, reading: Reading) -> Generator[bytes]:
        """Yield a layer. One that is begun in the middle is checked as a whole file, by `fetch`."""
        digest = sha256()
        with closing(reading.chunks) as chunks:
            for chunk in chunks:
                digest.update(chunk)
                yield chunk
        if not reading.start and digest.hexdigest() != layer.sha256:
            msg = f"has a layer {layer.digest} ({layer.name}) whose bytes have another digest"
            raise self._refused(OciError(msg))

    def _opened(self, layer: Layer) -> Archive:
        if layer.digest not in self._archives:
            check_size(layer.size, self._room)
            copy = self._copies / layer.sha256
            file = ModelFile(path=layer.sha256, sha256=layer.sha256, size=layer.size)
            bring(self._repository, file, self._copies)
            self._archives[layer.digest] = self._nameless(copy, layer)
            self._room -= layer.size
        return self._archives[layer.digest]

    def _nameless(self, copy: Path, layer: Layer) -> Archive:
        """Open a copy and take its name away: what is left of it goes when this process ends."""
        stream = copy.open("rb")
        finalize(self, stream.close)
        copy.unlink()
        with suppress(OSError):
            # Another copy may have broken off in it, of an artifact that was wanted before.
            self._copies.rmdir()
        return Archive(stream, layer.packing, most=self._most)

    def _unpacked(self, archive: Archive, path: str, offset: int) -> Generator[bytes]:
        try:
            yield from archive.chunks(path, offset, CHUNK_BYTES)
        except OciError as error:
            raise self._refused(error) from error

    def _refused(self, error: OciError) -> RefusedError:
        return RefusedError(f"{self._repository.reference.uri} {error}")


def open_oci(uri: str, settings: Settings) -> OciSource:
    """Return the files of a manifest in a registry, asked with the settings' credentials."""
    if not matches(uri):
        raise unknown_place(uri)
    return OciSource(Repository(Reference.parse(uri), settings), settings)
