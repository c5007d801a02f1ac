"""How the operator proves itself to Prometheus,
and that no Secret is ever seen where it must not be.
"""

import asyncio
import base64
import logging
import ssl
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from aiohttp import web

from modelrelease_operator.api.prometheus import Prometheus
from modelrelease_operator.api.spec import Analysis
from modelrelease_operator.core.observed import MetricsUnavailable
from modelrelease_operator.errors import Gone, Invalid, Unavailable
from modelrelease_operator.runtime.credentials import Credentials, read_credentials
from modelrelease_operator.runtime.metric_sources.prometheus.servers import PrometheusServers
from modelrelease_operator.runtime.metric_sources.prometheus.source import PrometheusSource
from modelrelease_operator.runtime.telemetry import log_as_json
from modelrelease_operator.settings import Settings
from testbed.servers import answering, serving
from tests.support.asking import asking

TOKEN = "s3cr3t-t0k3n"
CHART = Path(__file__).parents[3] / "charts/modelrelease"


class Secrets:
    """Gives Secrets of one namespace, or an error."""

    def __init__(self, problem: Exception | None = None, **values: str | bytes) -> None:
        self.problem, self.values = problem, values
        self.asked: list[tuple[str, str, str]] = []

    async def get(self, kind: str, namespace: str, name: str) -> dict[str, Any]:
        self.asked.append((kind, namespace, name))
        if self.problem:
            raise self.problem
        coded = {
            key: base64.b64encode(value.encode() if isinstance(value, str) else value).decode()
            for key, value in self.values.items()
        }
        return {"data": coded}


def naming(**parts: Any) -> Prometheus:
    return Prometheus.model_validate({"url": "http://p:9090", **parts})


BEARER = {"bearerTokenSecretRef": {"name": "prometheus", "key": "token"}}
BASIC = {"basicAuthSecretRef": {"name": "prometheus"}}


async def read(
    secrets: Secrets, prometheus: Prometheus | None, *, allowed: bool = True
) -> Credentials:
    return await read_credentials(secrets, "ml", prometheus, allowed=allowed)  # type: ignore[arg-type]


async def test_a_release_that_names_no_secret_has_none_read():
    secrets = Secrets()
    for prometheus in (None, naming(), naming(insecureSkipVerify=True)):
        await read(secrets, prometheus, allowed=False)
    assert secrets.asked == []


async def test_only_the_secret_that_is_named_is_read_and_only_in_the_releases_namespace():
    secrets = Secrets(token=f"{TOKEN}\n", other="x")
    assert (await read(secrets, naming(**BEARER))).token == TOKEN, (
        "the line break of an editor is left out"
    )
    assert secrets.asked == [("Secret", "ml", "prometheus")]


async def test_without_the_right_no_secret_is_asked_for_and_the_value_to_set_is_named():
    secrets = Secrets(token=TOKEN)
    with pytest.raises(Unavailable, match=r"chart value prometheus\.allowSecretRefs=true"):
        await read(secrets, naming(**BEARER), allowed=False)
    assert secrets.asked == []


@pytest.mark.parametrize(
    ("secrets", "sentence"),
    [
        pytest.param(
            Secrets(Invalid("403 Forbidden")),
            r"prometheus\.allowSecretRefs=true",
            id="the right is missing",
        ),
        pytest.param(
            Secrets(Gone("404")), "Secret ml/prometheus, .* does not exist", id="no Secret"
        ),
        pytest.param(
            Secrets(Unavailable("the API server does not answer")),
            "does not answer",
            id="no server",
        ),
        pytest.param(Secrets(other="x"), "Secret ml/prometheus has no key token", id="no key"),
        pytest.param(Secrets(token=""), "has no key token", id="an empty key"),
        pytest.param(Secrets(token=b"\xff\xfe"), "key token is no text", id="bytes"),
        pytest.param(
            Secrets(token=f"{TOKEN}\nX-Evil: 1"), "is no bearer token", id="a second header"
        ),
        pytest.param(Secrets(token=f"Bearer {TOKEN}"), "is no bearer token", id="a space"),
    ],
)
async def test_a_secret_that_cannot_be_used_gets_a_sentence_that_does_not_hold_it(
    secrets: Secrets, sentence: str
):
    with pytest.raises(Unavailable, match=sentence) as caught:
        await read(secrets, naming(**BEARER))
    assert TOKEN not in repr(caught.value)
    assert TOKEN not in repr(caught.value.__cause__)


async def headers_seen_by_a_server(credentials: Credentials) -> str | None:
    seen: list[str | None] = []

    async def handler(request: web.Request) -> web.Response:
        seen.append(request.headers.get("Authorization"))
        return web.Response(text=NO_ROWS)

    async with serving(handler) as address, asking(address, credentials=credentials) as source:
        assert await source.query("up") == []
    return seen[0]


async def test_a_token_is_shown_to_the_server():
    credentials = await read(Secrets(token=TOKEN), naming(**BEARER))
    assert await headers_seen_by_a_server(credentials) == f"Bearer {TOKEN}"


async def test_a_name_and_a_password_are_shown_to_the_server_whatever_letters_they_have():
    credentials = await read(Secrets(username="me", password="pässwörd…"), naming(**BASIC))
    coded = base64.b64encode("me:pässwörd…".encode()).decode()
    assert await headers_seen_by_a_server(credentials) == f"Basic {coded}"


async def test_a_tenant_is_told_to_a_server_of_many_and_divides_its_sources():
    seen: list[tuple[str | None, ...]] = []

    async def handler(request: web.Request) -> web.Response:
        seen.append(tuple(map(request.headers.get, ("X-Scope-OrgID", "THANOS-TENANT"))))
        return web.Response(text=NO_ROWS)

    kube, servers = Secrets(), PrometheusServers()
    async with serving(handler) as address:
        settings = Settings(prometheus_url=address, prometheus_tenant="ours", allowed_hosts="0/0")
        for prometheus in ({}, {"url": address}, {"url": address, "tenant": "team-a"}):
            analysis = Analysis.model_validate({"prometheus": prometheus} if prometheus else {})
            source = await servers.source_of(kube, "ml", analysis, settings)  # type: ignore[arg-type]
            assert await source.query("up") == []
        await servers.close()
    assert seen == [("ours", "ours"), (None, None), ("team-a", "team-a")]


async def test_a_server_without_credentials_is_shown_none():
    assert await headers_seen_by_a_server(Credentials()) is None


@pytest.mark.parametrize("status", [401, 200])
@pytest.mark.parametrize(
    "credentials",
    [Credentials(token=TOKEN), Credentials(username="me", password=TOKEN)],
    ids=["a token", "a password"],
)
async def test_a_server_that_repeats_a_secret_does_not_bring_it_into_any_sentence(
    credentials: Credentials, status: int
):
    async def echo(request: web.Request) -> web.Response:
        shown = request.headers["Authorization"]
        return web.json_response(
            {"error": f"{shown} {TOKEN}", "data": f"{shown} {TOKEN}"}, status=status
        )

    async with serving(echo) as address, asking(address, credentials=credentials) as source:
        found = await source.query("up")
    assert isinstance(found, MetricsUnavailable)
    for secret in credentials.secrets:
        assert secret not in found.message


def test_credentials_do_not_show_themselves():
    shown = repr(Credentials(token=TOKEN, username="me", password=TOKEN, ca=TOKEN))
    assert shown == "Credentials(verify=True, tenant=None, fence=None)"


def test_the_client_of_the_api_server_does_not_log_answers_even_when_asked_for_everything():
    before = logging.getLogger("kubernetes").level
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    try:
        log_as_json("DEBUG")
        for name in ("kubernetes.aio.client.rest", "kubernetes.client.rest"):
            assert not logging.getLogger(name).isEnabledFor(logging.DEBUG)
    finally:
        logging.getLogger("kubernetes").setLevel(before)
        root.handlers[:] = handlers
        root.setLevel(level)


@pytest.fixture(scope="module")
def tls(tmp_path_factory: pytest.TempPathFactory) -> tuple[ssl.SSLContext, str]:
    """Return a server's side, and the certificate by which it is believed."""
    folder = tmp_path_factory.mktemp("tls")
    made = ("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256",
    "-nodes",
            "-days", "2", "-subj", "/CN=p", "-addext", "subjectAltName=IP:127.0.0.1",
            "-keyout", str(folder / "key.pem"), "-out", str(folder / "cert.pem"))  # fmt: skip
    subprocess.run(made, check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "cert.pem", folder / "key.pem")
    return context, (folder / "cert.pem").read_text()


NO_ROWS = '{"status": "success", "data": {"resultType": "vector", "result": []}}'


async def test_certificates_are_checked_with_those_that_are_given_or_not_at_all_when_asked(
    tls: tuple[ssl.SSLContext, str],
):
    context, certificate = tls
    async with serving(answering(NO_ROWS), tls=context) as address:

        async def found(credentials: Credentials) -> Any:
            async with asking(address, credentials=credentials) as source:
                return await source.query("up")

        assert await found(Credentials(ca=certificate)) == []
        assert await found(Credentials(verify=False)) == []
        assert await found(Credentials()) == MetricsUnavailable(
            message=f"Prometheus at {address} does not answer (its certificate is not trusted)"
        )
        unreadable = await found(Credentials(ca=f"PEM {TOKEN}"))
    assert isinstance(unreadable, MetricsUnavailable)
    assert "the certificates to trust cannot be read" in unreadable.message
    assert TOKEN not in unreadable.message


async def test_the_operators_own_certificates_are_trusted_beside_the_systems(
    tls: tuple[ssl.SSLContext, str], tmp_path: Path
):
    context, certificate = tls
    (tmp_path / "ca.crt").write_text(certificate)
    async with serving(answering(NO_ROWS), tls=context) as address:
        sources = PrometheusServers()
        settings = Settings(prometheus_url=address, ca_file=str(tmp_path / "ca.crt"))
        assert await sources.get(address, Credentials(), settings).query("up") == []
        await sources.close()


async def test_a_server_that_cannot_even_be_asked_says_why():
    source = PrometheusSource("http://p", timeout_seconds=1, trouble="no right to read Secrets")
    assert await source.query("up") == MetricsUnavailable(message="no right to read Secrets")


async def test_one_source_is_used_again_for_one_address_and_one_way_to_prove_oneself():
    sources, settings = PrometheusServers(), Settings()
    one = sources.get("http://p", Credentials(), settings)
    assert sources.get("http://p", Credentials(), settings) is one
    assert sources.get("http://q", Credentials(), settings) is not one
    assert sources.get("http://p", Credentials(token=TOKEN), settings) is not one
    await sources.close()


async def test_a_source_that_is_crowded_out_answers_what_it_was_asked_and_may_be_asked_again():
    begun, go_on = asyncio.Event(), asyncio.Event()

    async def slowly(_: web.Request) -> web.Response:
        begun.set()
        await go_on.wait()
        return web.Response(text=NO_ROWS)

    async with serving(slowly) as address:
        sources, settings = PrometheusServers(most=1), Settings(allowed_hosts="127.0.0.0/8")
        source = sources.get(address, Credentials(), settings)
        asked = asyncio.create_task(source.query("up"))
        await begun.wait()
        assert sources.get("http://another", Credentials(), settings) is not source
        go_on.set()
        assert await asked == []
        assert await source.query("up") == [], "who holds it, as drift does, may go on"
        await sources.close()


def test_the_chart_gives_the_right_to_read_secrets_only_when_told_to():
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    assert values["prometheus"]["allowSecretRefs"] is False
    rules = (CHART / "templates/_helpers.tpl").read_text()
    asks = rules[rules.index("{{- if .Values.prometheus.allowSecretRefs }}") :]
    assert "resources: [secrets]\n  verbs: [get]\n{{- end }}" in asks
    assert rules.count("secrets") == 1
