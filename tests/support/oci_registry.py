"""A stand-in for an OCI registry: the half of its HTTP API that pulls, and tags that can be moved.

It follows the specification and is none of the real ones: no list of tags, no upload, no referrers.
It needs nothing but Python, so that it runs in a pod as well: python oci_registry.py PORT
FOLDER=REPOSITORY:TAG... shows the files of folders, FOLDER=image/REPOSITORY:TAG as an image.
"""

import hashlib
import json
import os
import re
import sys
import tarfile
import threading
import time
from base64 import b64encode
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

MANIFEST_TYPE = "application/vnd.oci.image.manifest.v1+json"
INDEX_TYPE = "application/vnd.oci.image.index.v1+json"
LAYER_TYPE = "application/vnd.oci.image.layer.v1.tar"
"""What ORAS calls each file."""
MODEL_TYPE = "application/vnd.cncf.model.weight.v1"
"""ModelPack's, before `.raw`, `.tar` and the like."""
IMAGE_CONFIG = {"mediaType": "application/vnd.oci.image.config.v1+json"}
"""As a manifest names the configuration of what is an image."""
IMAGE = "image/"
"""What the repositories begin with that the stand-in keeps as images."""
TITLE = "org.opencontainers.image.title"
FILE_PATH = "org.cncf.model.filepath"


def digest_of(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


@dataclass(frozen=True)
class Layer:
    """A blob and what a manifest says of it."""

    content: bytes
    media_type: str = LAYER_TYPE
    annotations: dict[str, str] = field(default_factory=dict)

    @classmethod
    def of_file(cls, path: str, content: bytes) -> "Layer":
        return cls(content, annotations={TITLE: path})

    @property
    def descriptor(self) -> dict[str, Any]:
        return {
            "mediaType": self.media_type,
            "digest": digest_of(self.content),
            "size": len(self.content),
            "annotations": self.annotations,
        }


@dataclass(frozen=True)
class Login:
    """Who may read. `by`: basic authentication, or a token that the registry gives for it."""

    username: str = ""
    password: str = ""
    by: str = "bearer"
    realm: str = ""
    """Where tokens are said to be had; empty: here."""

    def fits(self, authorization: str) -> bool:
        pair = b64encode(f"{self.username}:{self.password}".encode()).decode()
        return authorization == (f"Basic {pair}" if self.username else "")


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        registry = self.server
        assert isinstance(registry, OciRegistry)
        time.sleep(registry.delay)
        parts = urlsplit(self.path)
        registry.asked.append(parts.path)
        shown = self.headers.get("Authorization", "")
        registry.shown.append(shown)
        if parts.path == "/token":
            self._give_token(registry, parts.query, shown)
            return
        if parts.path == "/v2/":
            self._answer(200, b"{}")
            return
        found = re.fullmatch(r"/v2/(.+)/(manifests|blobs)/([^/]+)", parts.path)
        if not found:
            self._answer(404, b"{}")
        elif not registry.lets_in(found[1], shown):
            self._challenge(registry)
        elif found[2] == "manifests":
            self._give_manifest(registry, found[1], found[3])
        else:
            self._give_blob(registry, found[3])

    def do_POST(self) -> None:
        """Begin an upload: a place to put the blob to."""
        self._body()
        found = re.fullmatch(r"/v2/(.+)/blobs/uploads/", urlsplit(self.path).path)
        place = {"Location": f"/v2/{found[1]}/blobs/uploads/1"} if found else {}
        self._answer(202 if found else 404, b"", place)

    def do_PUT(self) -> None:
        """Take a blob, in one piece, or a manifest; nobody has to log in."""
        registry, body = self.server, self._body()
        assert isinstance(registry, OciRegistry)
        parts = urlsplit(self.path)
        found = re.fullmatch(r"/v2/(.+)/(manifests|blobs/uploads)/([^/]+)", parts.path)
        wanted = parse_qs(parts.query).get("digest", [digest_of(body)])[0]
        if not found or wanted != digest_of(body):
            self._answer(400, b"{}")
            return
        if found[2] == "manifests":
            registry.manifests[found[1], found[3]] = registry.manifests[found[1], wanted] = body
        else:
            registry.blobs[wanted] = body
        self._answer(201, b"", {"Docker-Content-Digest": wanted, "Location": parts.path})

    def _body(self) -> bytes:
        return self.rfile.read(int(self.headers.get("Content-Length", 0)))

    def _give_token(self, registry: "OciRegistry", query: str, shown: str) -> None:
        login = registry.login
        if login is None or not login.fits(shown):
            self._answer(401, b"{}")
            return
        token = registry.new_token(parse_qs(query).get("scope", [""])[0])
        self._answer(200, json.dumps({"token": token}).encode())

    def _challenge(self, registry: "OciRegistry") -> None:
        assert registry.login is not None
        realm = registry.login.realm or f"http://{registry.host}/token"
        bearer = f'Bearer realm="{realm}",service="stand-in"'
        wanted = bearer if registry.login.by == "bearer" else 'Basic realm="stand-in"'
        self._answer(401, b"{}", {"WWW-Authenticate": wanted})

    def _give_manifest(self, registry: "OciRegistry", repository: str, name: str) -> None:
        content = registry.manifests.get((repository, name))
        if content is None:
            self._answer(404, b"{}")
            return
        media_type = json.loads(content).get("mediaType", MANIFEST_TYPE)
        accepted = media_type in self.headers.get("Accept", "")
        self._answer(200 if accepted else 404, content, {"Content-Type": media_type})

    def _give_blob(self, registry: "OciRegistry", digest: str) -> None:
        if registry.blobs_at:
            self._answer(307, b"", {"Location": f"{registry.blobs_at}/{digest}?signature=s1gn"})
            return
        content = registry.blobs.get(digest)
        if content is None:
            self._answer(404, b"{}")
            return
        asked = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        start = int(asked[1]) if asked else 0
        extent = {"Content-Range": f"bytes {start}-{len(content) - 1}/{len(content)}"}
        self._answer(206 if asked else 200, content[start:], extent if asked else {})

    def _answer(self, status: int, body: bytes, headers: Mapping[str, str] | None = None) -> None:
        registry = self.server
        assert isinstance(registry, OciRegistry)
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        for name, text in (headers or {}).items():
            self.send_header(name, text)
        self.end_headers()
        cut, registry.break_off_at = registry.break_off_at if "/blobs/" in self.path else None, None
        if self.command != "HEAD":
            self.wfile.write(body[:cut])
        self.close_connection = cut is not None

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        """Stay silent."""


class OciRegistry(ThreadingHTTPServer):
    """The registry. What it should do wrong is set on it."""

    daemon_threads = True

    def __init__(self, address: tuple[str, int] = ("127.0.0.1", 0)) -> None:
        super().__init__(address, Handler)
        self.blobs: dict[str, bytes] = {}
        self.manifests: dict[tuple[str, str], bytes] = {}
        self.login: Login | None = None
        self.blobs_at: str | None = None
        """Where it sends those who ask for blobs."""
        self.break_off_at: int | None = None
        """After how many bytes the next blob ends."""
        self.delay = 0.0
        """Seconds before each answer."""
        self.asked: list[str] = []
        self.shown: list[str] = []
        """What each request had in its header `Authorization`."""
        self.token_lasts: int | None = None
        """How many requests a token is good for."""
        self._tokens: dict[str, str] = {}
        self._uses: Counter[str] = Counter()

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self.server_address[1]}"

    def uri(self, repository: str, version: str) -> str:
        """Return the URI of a tag or a digest."""
        sign = "@" if version.startswith("sha256:") else ":"
        return f"oci+http://{self.host}/{repository}{sign}{version}"

    def push(self, repository: str, tag: str, *layers: Layer, **more: Any) -> str:
        """Keep layers and a manifest of them; return its digest."""
        for layer in layers:
            self.blobs[digest_of(layer.content)] = layer.content
        manifest = {
            "schemaVersion": 2,
            "mediaType": MANIFEST_TYPE,
            "layers": [layer.descriptor for layer in layers],
            **more,
        }
        return self.push_document(repository, tag, manifest)

    def push_document(self, repository: str, tag: str, document: dict[str, Any]) -> str:
        raw = json.dumps(document).encode()
        for name in (tag, digest_of(raw)):
            self.manifests[repository, name] = raw
        return digest_of(raw)

    def push_folder(self, repository: str, tag: str, folder: Path) -> str:
        """Keep each file of a folder as a layer, as `oras push` does."""
        files = sorted(path for path in folder.iterdir() if path.is_file())
        layers = [Layer.of_file(path.name, path.read_bytes()) for path in files]
        return self.push(repository, tag, *layers)

    def push_image(self, repository: str, tag: str, folder: Path) -> str:
        """Keep the files of a folder as an image that a node can mount: its folder `models`."""
        archive = BytesIO()
        with tarfile.open(fileobj=archive, mode="w") as packed:
            for path in sorted(path for path in folder.iterdir() if path.is_file()):
                entry = tarfile.TarInfo(f"models/{path.name}")
                content = path.read_bytes()
                entry.size, entry.mode = len(content), 0o644
                packed.addfile(entry, BytesIO(content))
        layer = Layer(archive.getvalue())
        machine = {"x86_64": "amd64", "aarch64": "arm64"}.get(os.uname().machine, "amd64")
        roots = {"type": "layers", "diff_ids": [digest_of(layer.content)]}
        config = json.dumps({"architecture": machine, "os": "linux", "rootfs": roots}).encode()
        self.blobs[digest_of(config)] = config
        described = {**IMAGE_CONFIG, "digest": digest_of(config), "size": len(config)}
        return self.push(repository, tag, layer, config=described)

    def lets_in(self, repository: str, shown: str) -> bool:
        if self.login is None:
            return True
        if self.login.by == "basic":
            return self.login.fits(shown)
        self._uses[shown] += 1
        if self.token_lasts is not None and self._uses[shown] > self.token_lasts:
            return False
        return self._tokens.get(shown.removeprefix("Bearer ")) == f"repository:{repository}:pull"

    def new_token(self, scope: str) -> str:
        token = f"t0k3n-{len(self._tokens)}"
        self._tokens[token] = scope
        return token


@contextmanager
def oci_registry() -> Iterator[OciRegistry]:
    """Serve an empty registry on loopback."""
    with OciRegistry() as registry:
        thread = threading.Thread(target=registry.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield registry
        finally:
            registry.shutdown()
            thread.join()


if __name__ == "__main__":
    shelf = OciRegistry(("", int(sys.argv[1])))
    for shown in sys.argv[2:]:
        folder, _, named = shown.partition("=")
        repository, _, tag = named.partition(":")
        push = shelf.push_image if named.startswith(IMAGE) else shelf.push_folder
        push(repository, tag, Path(folder))
    shelf.serve_forever()
