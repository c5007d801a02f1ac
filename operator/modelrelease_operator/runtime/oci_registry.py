"""What the operator reads in an OCI registry: manifests, and one small file of a model.

A tag is looked up once. Every byte is held to the digest that named it, so that whoever answers for
a blob, the registry or the server that it redirects to, cannot choose what is believed.
"""

import asyncio
from dataclasses import dataclass
from io import BytesIO
from typing import Final

from yarl import URL

from modelrelease_contract import MLMODEL_NAME
from modelrelease_contract.oci import (
    MEDIA_TYPES,
    OCI_MANIFEST_BYTES_MAX,
    TOKEN_BYTES_MAX,
    Challenge,
    Layer,
    OciError,
    Reference,
    check_digest,
    check_image,
    digest_of,
    layers_of,
    manifest_in_index,
    nearest,
    token_in,
)
from modelrelease_contract.tar_layers import Archive
from modelrelease_operator.api.spec import ModelSource
from modelrelease_operator.errors import Invalid, NotRead, Unavailable
from modelrelease_operator.runtime.credentials import Credentials
from modelrelease_operator.runtime.stores import PIN, Reply, Stores, refusal, shown_url

NOTHING: Final = Credentials()
SECONDS = 30.0
"""For all requests together: a pass of the release waits for them."""
MOST_REDIRECTS: Final = 3
UNPACKED: Final = 4
"""How many times as large as it is an archive may become, of those that are looked into."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """One file of an artifact."""

    location: str
    """Where the artifact is for good: its manifest by digest."""
    folder: str
    """The folder of the artifact that the file lies in; empty: the top."""
    content: bytes


class _ForPodsError(OciError):
    """There is a model, or may be one, that takes more to read than the operator gives."""


@dataclass(slots=True, kw_only=True)
class Repository:
    """A repository, as one release may read it."""

    reference: Reference
    stores: Stores
    credentials: Credentials
    shown: Credentials
    """What requests prove themselves with: a password only after the registry said to whom."""

    @classmethod
    async def of(cls, source: ModelSource, stores: Stores, namespace: str) -> "Repository":
        """Return the repository that a source names, with the credentials for it."""
        reference = Reference.parse(source.uri)
        credentials = await stores.credentials(reference.api, source, namespace)
        shown = credentials if credentials.token else NOTHING
        return cls(reference=reference, stores=stores, credentials=credentials, shown=shown)

    async def read(self, name: str, *, limit: int, to_mount: bool = False) -> Found:
        """Return the artifact's file of that name. `to_mount`: nodes are to mount the artifact.

        Raises Unavailable when the registry does not answer, Invalid when it will never give it,
        NotRead where a pod may find what this cannot.
        """
        location = None
        try:
            async with asyncio.timeout(SECONDS):
                raw = await self._manifest(self.reference.name)
                location = self.reference.at(digest_of(raw))
                if inner := manifest_in_index(raw):
                    raw = await self._manifest(inner)
                if to_mount:
                    check_image(raw)
                path, content = await self._file(raw, name, limit)
                folder = path.rpartition("/")[0]
                return Found(location=location, folder=folder, content=content)
        except OciError as problem:
            msg = f"spec.model.uri {self.reference.uri} {problem}"
            if isinstance(problem, _ForPodsError):
                raise NotRead(msg, location=location) from problem
            raise Invalid(msg) from problem
        except TimeoutError as problem:
            msg = f"{self.reference.api} does not answer (not all of it within {SECONDS:g} s)"
            raise Unavailable(msg) from problem

    async def _manifest(self, name: str) -> bytes:
        url = f"{self.reference.api}/manifests/{name}"
        reply = await self._ask(url, OCI_MANIFEST_BYTES_MAX, accept=", ".join(MEDIA_TYPES))
        if name.startswith("sha256:"):
            check_digest(reply.body, name)
        return reply.body

    async def _file(self, manifest: bytes, name: str, limit: int) -> tuple[str, bytes]:
        """Return path and bytes of a file that is a layer, or in an archive which is small, too."""
        layers = layers_of(manifest)
        if path := nearest(layers.files, name):
            return path, await self._blob(layers.files[path], limit)
        room = limit
        for layer in layers.archives_for(name):
            room -= layer.size
            if room < 0:
                msg = (
                    f"has {name} in no layer of its own, and the operator looks into no archives "
                    f"of more than {limit} bytes"
                )
                raise _ForPodsError(msg)
            raw = await self._blob(layer, limit)
            # Not between the passes of other releases: it may take a moment.
            found = await asyncio.to_thread(_unpacked, raw, layer, name, limit)
            if found is not None:
                return found
        msg = f"has no {name} in its layers: push the whole folder that was exported"
        # An archive may hold what MLflow wrote: to search it for that as well is a pod's work.
        is_mlflow = layers.archives or nearest(layers.files, MLMODEL_NAME)
        raise _ForPodsError(msg) if is_mlflow else OciError(msg)

    async def _blob(self, layer: Layer, limit: int) -> bytes:
        # As much as the manifest says, of which the archives' sum is bounded.
        most = min(limit, layer.size)
        reply = await self._ask(f"{self.reference.api}/blobs/{layer.digest}", most)
        check_digest(reply.body, layer.digest)
        return reply.body

    async def _ask(self, url: str, limit: int, *, accept: str = "*/*") -> Reply:
        """Ask as the registry wants it, which it says itself at the first request."""
        reply = await self._once(url, self.shown, limit, accept)
        if reply.status == 401 and self.shown is NOTHING:
            self.shown = await self._logged_in(Challenge.parse(reply.challenge))
            reply = await self._once(url, self.shown, limit, accept)
        if reply.location:
            url, reply = await self._followed(url, reply, limit)
        if reply.status != 200:
            raise refusal(url, reply.status, self.credentials)
        return reply

    async def _logged_in(self, challenge: Challenge | None) -> Credentials:
        if challenge is None or challenge.kind == "basic":
            return self.credentials
        url = challenge.token_url(self.reference)
        reply = await self._once(url, self.credentials, TOKEN_BYTES_MAX, "*/*")
        if reply.status != 200:
            raise refusal(url, reply.status, self.credentials)
        return Credentials(token=token_in(reply.body))

    async def _followed(self, url: str, reply: Reply, limit: int) -> tuple[str, Reply]:
        """Go where a registry keeps its blobs, and show nothing there."""
        for _ in range(MOST_REDIRECTS):
            url = _joined(url, reply.location)
            if not self.reference.may_lead_to(url):
                msg = (
                    f"is in a registry that sends one on to {shown_url(url)[:200]!r}, which is no "
                    f"https:// address, so the operator does not go there: {PIN}"
                )
                raise OciError(msg)
            reply = await self._once(url, NOTHING, limit, "*/*")
            if not reply.location:
                return url, reply
        msg = f"is sent on more than {MOST_REDIRECTS} times"
        raise OciError(msg)

    async def _once(self, url: str, shown: Credentials, limit: int, accept: str) -> Reply:
        return await self.stores.ask(
            url, shown, limit=limit, reach=self.stores.reach, accept=accept, may_redirect=True
        )


def _joined(url: str, location: str) -> str:
    try:
        # As it stands: a signature is of these very letters.
        return str(URL(url, encoded=True).join(URL(location, encoded=True)))
    except ValueError as problem:
        msg = "is sent on to what is no address"
        raise OciError(msg) from problem


def _unpacked(raw: bytes, layer: Layer, name: str, limit: int) -> tuple[str, bytes] | None:
    """Return path and bytes of a file of an archive, None where it is not in it."""
    archive = Archive(BytesIO(raw), layer.packing, most=UNPACKED * limit)
    found = nearest(archive.paths, name)
    if found is None:
        return None
    if archive.size(found) > limit:
        msg = f"has a {name} of more than {limit} bytes: that is no manifest"
        raise OciError(msg)
    return found, b"".join(archive.chunks(found, 0, 256 * 1024))
