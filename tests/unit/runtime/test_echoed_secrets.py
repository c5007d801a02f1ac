"""A server that repeats the credentials which it was shown brings them into nothing that anybody
reads.

Both who ask Prometheus are tried: the operator, whose sentences go into status, and `modelrelease
replay`, which a person reads. Both ask through one client.
"""

import asyncio
import json
import logging
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from html import escape
from pathlib import Path
from urllib.parse import quote

import pytest
from aiohttp import web

from modelrelease_operator.api.status import CanaryStatus, StableStatus, Status
from modelrelease_operator.cli import main
from modelrelease_operator.core.analysis.judge import judge
from modelrelease_operator.core.measurement.queries import QueryScope
from modelrelease_operator.errors import Unavailable
from modelrelease_operator.runtime.credentials import Credentials
from modelrelease_operator.runtime.measure import measure
from modelrelease_operator.runtime.metric_sources.prometheus.client import (
    Limits,
    PrometheusClient,
    PrometheusError,
    Query,
)
from modelrelease_operator.runtime.metric_sources.prometheus.history import PrometheusHistory
from testbed.builders import START, a_spec, a_target
from testbed.servers import Handler, serving
from tests.support.asking import asking

PASSWORD = 'p"ss/w\\rd<&> äö'
TOKEN = "s3cr3t-t0k3n"
LOGINS = [
    pytest.param(Credentials(token=TOKEN), id="a token"),
    pytest.param(Credentials(username="ann", password=PASSWORD), id="a password"),
]
QUEUE = {"name": "queue", "threshold": {"query": "queue_length", "max": 1}}
Page = Callable[[str], str]


def row(labels: dict[str, str], value: str) -> str:
    rows = [{"metric": labels, "value": [1.0, value], "values": [[1.0, value]]}]
    return json.dumps({"status": "success", "data": {"result": rows}})


PAGES: dict[str, tuple[int, Page]] = {
    "Prometheus' own error": (
        400,
        lambda said: json.dumps({"status": "error", "error": f"bad {said}"}),
    ),
    "an error of a query": (
        422,
        lambda said: json.dumps({"status": "error", "error": f"{said} " * 200}),
    ),
    "another JSON": (401, lambda said: json.dumps({"message": f"who is {said}?"})),
    "another JSON, not escaped": (
        403,
        lambda said: json.dumps({"message": said}, ensure_ascii=False),
    ),
    "plain text": (401, lambda said: f"who is {said}?"),
    "HTML": (500, lambda said: f"<p>{escape(said)}</p>"),
    "an address": (502, lambda said: f"no such page: /login?as={quote(said, safe='')}"),
    "no error, but no answer": (200, lambda said: said),
    "a warning": (200, lambda said: row({}, "1")[:-1] + f', "warnings": [{json.dumps(said)}]}}'),
    "a number that is none": (200, lambda said: row({"__name__": "predictions_total"}, said)),
    "a metric": (200, lambda said: row({"__name__": said}, "1")),
    "a label": (200, lambda said: row({said: "1"}, "1")),
}


def echoing(page: str) -> Handler:
    status, write = PAGES[page]

    async def handler(request: web.Request) -> web.Response:
        shown = request.headers["Authorization"]
        secret = PASSWORD if shown.startswith("Basic") else TOKEN
        body = write(f"{shown} {secret}").encode()
        return web.Response(status=status, body=body, headers={"Content-Type": "text/plain"})

    return handler


def shows(text: str, credentials: Credentials) -> list[str]:
    return [secret for secret in credentials.secrets if secret in text]


def chain_of(problem: BaseException | None) -> str:
    """Return everything that a traceback, or a tool that reports errors, could show."""
    texts = []
    while problem is not None:
        texts.append(repr(problem))
        problem = problem.__cause__ or problem.__context__
    return "\n".join(texts)


@pytest.mark.parametrize("credentials", LOGINS)
@pytest.mark.parametrize("page", PAGES)
async def test_no_status_holds_it(
    page: str, credentials: Credentials, caplog: pytest.LogCaptureFixture
):
    caplog.set_level(logging.DEBUG)
    stable, canary = a_target("1"), a_target("2")
    query_scope = QueryScope(
        namespace="ml", release="qna", canary=canary, stable=stable, interval=timedelta(seconds=10)
    )
    spec = a_spec(analysis={"gates": [{"name": "errors", "errorRate": {}}, QUEUE]})
    async with (
        serving(echoing(page)) as address,
        asking(address, credentials=credentials) as source,
    ):
        measured = await measure(source, spec, query_scope, pods={"rev2": ["rev2-a"]})
    status = Status(
        stable=StableStatus(**stable.parts(), since=START),
        canary=CanaryStatus(**canary.parts(), since=START),
    )
    judgement = judge(
        spec=spec,
        status=status,
        metrics=measured.metrics,
        answers=measured.answers,
        next_weight=50,
        now=START,
    )
    status = status.model_copy(update={"gates": judgement.gates, "message": judgement.message})
    everything = f"{measured!r} {status.to_dict()!r} {json.dumps(status.to_dict())} {caplog.text}"
    assert shows(everything, credentials) == []


@pytest.mark.parametrize("quotes", [False, True], ids=["the operator", "a person"])
@pytest.mark.parametrize("credentials", LOGINS)
@pytest.mark.parametrize("page", [name for name, (status, _) in PAGES.items() if status != 200])
async def test_no_exception_of_the_client_holds_it(
    page: str, credentials: Credentials, quotes: bool
):
    limits = Limits(seconds=5, max_bytes=10**6)
    question = Query(path="query", fields={"query": "up"}, take=lambda _: None, max_series=10)
    async with serving(echoing(page)) as address:
        client = PrometheusClient(address, limits=limits, credentials=credentials, quotes=quotes)
        with pytest.raises(PrometheusError) as caught:
            await client.ask(question)
        await client.close()
    assert shows(chain_of(caught.value), credentials) == []


@pytest.mark.parametrize("credentials", LOGINS)
@pytest.mark.parametrize("page", [name for name in PAGES if name not in ("a warning", "a label")])
async def test_no_exception_of_the_history_holds_it(page: str, credentials: Credentials):
    noon = datetime(2026, 11, 1, 12, tzinfo=UTC)
    async with serving(echoing(page)) as address:
        history = PrometheusHistory(address, credentials=credentials)
        with pytest.raises(Unavailable) as caught:
            await history.read(
                namespace="ml", release="qna", start=noon, end=noon, interval=timedelta(seconds=10)
            )
    assert shows(chain_of(caught.value), credentials) == []


RELEASE = """\
kind: ModelRelease
metadata: {name: qna, namespace: ml}
spec: {model: {uri: "http://store/qna/7"}}
"""


@pytest.mark.parametrize("page", PAGES)
async def test_no_output_of_the_command_line_holds_it(
    page: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    (tmp_path / "release.yaml").write_text(RELEASE)
    (tmp_path / "password").write_text(PASSWORD)
    async with serving(echoing(page)) as address:
        given = ["replay", str(tmp_path / "release.yaml"), "--prometheus", address, "--user", "ann",
                 "--password-file", str(tmp_path / "password"),
                 "--start", "2026-11-01T12:00:00Z", "--end", "2026-11-01T12:01:00Z"]  # fmt: skip
        assert await asyncio.to_thread(main, given) == 1
    output = "".join(capsys.readouterr())
    assert f"Prometheus at {address}" in " ".join(output.split())
    assert shows(output, Credentials(username="ann", password=PASSWORD)) == []
