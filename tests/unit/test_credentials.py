"""How the operator proves itself to Prometheus, and that no Secret is ever seen where it must not be."""

import base64
import logging
from pathlib import Path
from typing import Any

import pytest
import yaml
from aiohttp import web

from modelrelease_operator.api.prometheus import Prometheus
from modelrelease_operator.core.state import MetricsUnavailable
from modelrelease_operator.errors import Gone, Invalid, Unavailable
from modelrelease_operator.runtime.credentials import Credentials, read_credentials
from modelrelease_operator.runtime.prometheus import MetricSource
from modelrelease_operator.runtime.sources import Sources
from modelrelease_operator.runtime.telemetry import log_as_json
from tests.support.servers import serving

TOKEN = "s3cr3t-t0k3n"
CHART = Path(__file__).parents[2] / "charts/modelrelease"


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


def asked(**parts: Any) -> Prometheus:
    return Prometheus.model_validate({"url": "http://p:9090", **parts})


BEARER = {"bearerTokenSecretRef": {"name": "prometheus", "key": "token"}}
BASIC = {"basicAuthSecretRef": {"name": "prometheus"}}


async def read(secrets: Secrets, prometheus: Prometheus | None, *, allowed: bool = True) -> Credentials:
    return await read_credentials(secrets, "ml", prometheus, allowed=allowed)  # type: ignore[arg-type]


async def test_a_release_that_names_no_secret_has_none_read():
    secrets = Secrets()
    for prometheus in (None, asked(), asked(insecureSkipVerify=True)):
        await read(secrets, prometheus, allowed=False)
    assert secrets.asked == []


async def test_only_the_secret_that_is_named_is_read_and_only_in_the_releases_namespace():
    secrets = Secrets(token=f"{TOKEN}\n", other="x")
    assert (await read(secrets, asked(**BEARER))).token == TOKEN, "the line break of an editor is left out"
    assert secrets.asked == [("Secret", "ml", "prometheus")]


async def test_without_the_right_no_secret_is_asked_for_and_the_value_to_set_is_named():
    secrets = Secrets(token=TOKEN)
    with pytest.raises(Unavailable, match=r"chart value prometheus\.allowSecretRefs=true"):
        await read(secrets, asked(**BEARER), allowed=False)
    assert secrets.asked == []


@pytest.mark.parametrize(
    ("secrets", "sentence"),
    [
        pytest.param(
            Secrets(Invalid("403 Forbidden")), r"prometheus\.allowSecretRefs=true", id="the right is missing"
        ),
        pytest.param(Secrets(Gone("404")), "Secret ml/prometheus, .* does not exist", id="no Secret"),
        pytest.param(
            Secrets(Unavailable("the API server does not answer")), "does not answer", id="no server"
        ),
        pytest.param(Secrets(other="x"), "Secret ml/prometheus has no key token", id="no key"),
        pytest.param(Secrets(token=""), "has no key token", id="an empty key"),
        pytest.param(Secrets(token=b"\xff\xfe"), "key token is no text", id="bytes"),
        pytest.param(Secrets(token=f"{TOKEN}\nX-Evil: 1"), "is no bearer token", id="a second header"),
        pytest.param(Secrets(token=f"Bearer {TOKEN}"), "is no bearer token", id="a space"),
    ],
)
async def test_a_secret_that_cannot_be_used_gets_a_sentence_that_does_not_hold_it(
    secrets: Secrets, sentence: str
):
    with pytest.raises(Unavailable, match=sentence) as caught:
        await read(secrets, asked(**BEARER))
    assert TOKEN not in repr(caught.value)
    assert TOKEN not in repr(caught.value.__cause__)


async def headers_seen_by_a_server(credentials: Credentials) -> str | None:
    seen: list[str | None] = []

    async def handler(request: web.Request) -> web.Response:
        seen.append(request.headers.get("Authorization"))
        return web.json_response({"status": "success", "data": {"result": []}})

    async with serving(handler) as address:
        source = MetricSource(address, timeout_seconds=5, credentials=credentials)
        assert await source.ask("up") == []
        source.close()
    return seen[0]


async def test_a_token_is_shown_to_the_server():
    credentials = await read(Secrets(token=TOKEN), asked(**BEARER))
    assert await headers_seen_by_a_server(credentials) == f"Bearer {TOKEN}"


async def test_a_name_and_a_password_are_shown_to_the_server_whatever_letters_they_have():
    credentials = await read(Secrets(username="me", password="pässwörd…"), asked(**BASIC))
    coded = base64.b64encode("me:pässwörd…".encode()).decode()
    assert await headers_seen_by_a_server(credentials) == f"Basic {coded}"


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
        return web.json_response({"error": f"{shown} {TOKEN}", "data": f"{shown} {TOKEN}"}, status=status)

    async with serving(echo) as address:
        source = MetricSource(address, timeout_seconds=5, credentials=credentials)
        found = await source.ask("up")
    assert isinstance(found, MetricsUnavailable)
    for secret in credentials.secrets:
        assert secret not in found.message


def test_credentials_do_not_show_themselves():
    shown = repr(Credentials(token=TOKEN, username="me", password=TOKEN, ca=TOKEN))
    assert shown == "Credentials(verify=True)"


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


def test_certificates_are_checked_with_those_that_are_given_and_forgotten_with_the_session():
    source = MetricSource("https://p", timeout_seconds=1, credentials=Credentials(ca="PEM"))
    path = Path(str(source._session.verify))
    assert path.read_text() == "PEM"
    source.close()
    assert not path.exists()


@pytest.mark.parametrize(
    ("credentials", "verify"), [(Credentials(), True), (Credentials(verify=False), False)]
)
def test_certificates_are_checked_unless_a_person_says_otherwise(credentials: Credentials, verify: bool):
    source = MetricSource("https://p", timeout_seconds=1, credentials=credentials)
    assert source._session.verify is verify
    source.close()


async def test_a_server_that_cannot_even_be_asked_says_why():
    source = MetricSource("http://p", timeout_seconds=1, trouble="no right to read Secrets")
    assert await source.ask("up") == MetricsUnavailable(message="no right to read Secrets")


def test_one_session_is_used_again_for_one_address_and_one_way_to_prove_oneself():
    sources = Sources()
    one = sources.get("http://p", Credentials(), timeout_seconds=1)
    assert sources.get("http://p", Credentials(), timeout_seconds=1) is one
    assert sources.get("http://q", Credentials(), timeout_seconds=1) is not one
    assert sources.get("http://p", Credentials(token=TOKEN), timeout_seconds=1) is not one
    sources.close()


def test_the_session_that_was_unused_for_longest_is_closed_when_there_are_too_many():
    closed: list[str] = []
    sources = Sources(most=2)
    for url in ("http://a", "http://b"):
        source = sources.get(url, Credentials(), timeout_seconds=1)
        source.close = lambda url=url: closed.append(url)  # type: ignore[method-assign,misc]
    sources.get("http://a", Credentials(), timeout_seconds=1)
    sources.get("http://c", Credentials(), timeout_seconds=1)
    assert closed == ["http://b"]
    sources.close()
    assert closed == ["http://b", "http://a"]


def test_the_chart_gives_the_right_to_read_secrets_only_when_told_to():
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    assert values["prometheus"]["allowSecretRefs"] is False
    rules = (CHART / "templates/_helpers.tpl").read_text()
    asks = rules[rules.index("{{- if .Values.prometheus.allowSecretRefs }}") :]
    assert "resources: [secrets]\n  verbs: [get]\n{{- end }}" in asks
    assert rules.count("secrets") == 1
