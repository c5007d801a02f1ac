"""Fetching as a company has it: a certificate of its own, a proxy in between, and credentials."""

import os
import select
import socket
import ssl
import subprocess
import sys
import threading
from base64 import b64encode
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_address
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from modelrelease_contract import MANIFEST_NAME
from modelrelease_training.export import Exported
from tests.serving.support import Web


def certificate(folder: Path) -> tuple[Path, Path]:
    """Write an authority, and a key with a certificate of it for loopback; return both files."""
    ca_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    authority = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Own CA")])
    now = datetime.now(UTC)

    def built(
        subject: x509.Name,
        of: ec.EllipticCurvePrivateKey,
        extension: x509.ExtensionType,
        *,
        critical: bool,
    ):
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(authority)
            .public_key(of.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(days=1))
            .not_valid_after(now + timedelta(days=1))
            .add_extension(extension, critical=critical)
            .sign(ca_key, hashes.SHA256())
            .public_bytes(serialization.Encoding.PEM)
        )

    ca_file, pair = folder / "ca.pem", folder / "server.pem"
    ca_file.write_bytes(
        built(authority, ca_key, x509.BasicConstraints(ca=True, path_length=None), critical=True)
    )
    names = x509.SubjectAlternativeName(
        [x509.IPAddress(ip_address("127.0.0.1")), x509.DNSName("localhost")]
    )
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    secret = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    pair.write_bytes(secret + built(subject, key, names, critical=False))
    return ca_file, pair


class Guarded:
    """Answers a path only to who shows the right credentials."""

    def __init__(self, web: Web, expected: str) -> None:
        self.expected = expected
        for path, script in web.script.items():
            ((status, body),) = script  # type: ignore[misc]
            assert status == 200
            web.script[path] = [self.answer(body)]

    def answer(self, body: bytes) -> Callable[[BaseHTTPRequestHandler], None]:
        def respond(handler: BaseHTTPRequestHandler) -> None:
            known = handler.headers.get("Authorization") == self.expected
            content = body if known else b"who are you?"
            handler.send_response(200 if known else 401)
            handler.send_header("Content-Length", str(len(content)))
            handler.end_headers()
            handler.wfile.write(content)

        return respond


class Proxy(ThreadingHTTPServer):
    """Tunnels to loopback, and remembers where to."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Tunnel)
        self.asked: list[str] = []


class Tunnel(BaseHTTPRequestHandler):
    def do_CONNECT(self) -> None:
        assert isinstance(self.server, Proxy)
        self.server.asked.append(self.path)
        with socket.create_connection(("127.0.0.1", int(self.path.rpartition(":")[2]))) as target:
            self.send_response(200)
            self.end_headers()
            ends = {self.connection: target, target: self.connection}
            while True:
                for ready in select.select([*ends], [], [], 10)[0]:
                    data = ready.recv(65536)
                    if not data:
                        self.close_connection = True
                        return
                    ends[ready].sendall(data)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Stay silent."""


@contextmanager
def served(server: ThreadingHTTPServer) -> Iterator[None]:
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture
def secure(artifact: Exported, tmp_path: Path) -> Iterator[tuple[Web, Path]]:
    """A web server with a certificate of an authority that nobody knows,
    and that authority's file.
    """
    authority, pair = certificate(tmp_path)
    web = Web()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pair)
    web.socket = context.wrap_socket(web.socket, server_side=True)
    web.publish(artifact.path)
    with served(web):
        yield web, authority


def run_fetch(uri: str, to: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    kept = {name: os.environ[name] for name in ("PATH", "PYTHONPATH") if name in os.environ}
    return subprocess.run(
        [sys.executable, "-m", "modelrelease_serving", "fetch"],
        env={
            **kept,
            "FETCH_PATIENCE_SECONDS": "0",
            "MODEL_URI": uri,
            "MODEL_PATH": str(to),
            **environment,
        },
        capture_output=True,
        check=False,
        text=True,
        timeout=60,
    )


def url_of(web: Web, host: str = "127.0.0.1") -> str:
    return f"https://{host}:{web.server_address[1]}/qna"


def test_an_authority_of_ones_own_is_trusted_when_named(
    secure: tuple[Web, Path], tmp_path: Path
) -> None:
    web, authority = secure
    refused = run_fetch(url_of(web), tmp_path / "a")
    assert refused.returncode == 1
    assert "a certificate that is not trusted here" in refused.stderr
    assert "set SSL_CERT_FILE" in refused.stderr
    trusted = run_fetch(url_of(web), tmp_path / "b", SSL_CERT_FILE=str(authority))
    assert trusted.returncode == 0, trusted.stderr
    assert (tmp_path / "b" / MANIFEST_NAME).exists()


@pytest.mark.parametrize(
    ("credentials", "expected"),
    [
        pytest.param({"HTTP_TOKEN": "s3cret"}, "Bearer s3cret", id="bearer"),
        pytest.param(
            {"HTTP_USERNAME": "me", "HTTP_PASSWORD": "s3cret"},
            f"Basic {b64encode(b'me:s3cret').decode()}",
            id="basic",
        ),
    ],
)
def test_credentials_are_shown_over_tls_and_never_logged(
    secure: tuple[Web, Path], credentials: dict[str, str], expected: str, tmp_path: Path
) -> None:
    web, authority = secure
    Guarded(web, expected)
    unknown = run_fetch(url_of(web), tmp_path / "a", SSL_CERT_FILE=str(authority))
    assert unknown.returncode == 1
    assert "answers 401" in unknown.stderr
    known = run_fetch(url_of(web), tmp_path / "b", SSL_CERT_FILE=str(authority), **credentials)
    assert known.returncode == 0, known.stderr
    assert "s3cret" not in known.stderr


def test_a_proxy_is_used_and_left_out_where_told(secure: tuple[Web, Path], tmp_path: Path) -> None:
    web, authority = secure
    proxy = Proxy()
    variables = {
        "SSL_CERT_FILE": str(authority),
        "HTTPS_PROXY": f"http://127.0.0.1:{proxy.server_address[1]}",
    }
    with served(proxy):
        through = run_fetch(url_of(web, "localhost"), tmp_path / "a", **variables)
        assert through.returncode == 0, through.stderr
        assert set(proxy.asked) == {f"localhost:{web.server_address[1]}"}
        proxy.asked.clear()
        past = run_fetch(
            url_of(web, "localhost"), tmp_path / "b", NO_PROXY="localhost,.corp", **variables
        )
    assert past.returncode == 0, past.stderr
    assert proxy.asked == []


def test_a_proxy_that_is_not_there_is_told(secure: tuple[Web, Path], tmp_path: Path) -> None:
    web, authority = secure
    failed = run_fetch(
        url_of(web), tmp_path / "a", SSL_CERT_FILE=str(authority), HTTPS_PROXY="http://127.0.0.1:9"
    )
    assert failed.returncode == 1
    assert "does not answer" in failed.stderr
