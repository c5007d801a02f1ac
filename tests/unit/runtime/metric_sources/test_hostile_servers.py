"""Servers that a release may name and that do harm:
none holds up or endangers any other release.
"""

import asyncio
import gzip
import ipaddress
import json
import tracemalloc
from contextlib import AsyncExitStack
from itertools import pairwise
from typing import Any

import pytest
from aiohttp import web
from aiohttp.abc import AbstractResolver, ResolveResult
from hypothesis import given
from hypothesis import strategies as st

from modelrelease_operator.core.observed import Counter, MetricsUnavailable
from modelrelease_operator.runtime import web as module
from modelrelease_operator.runtime.credentials import Credentials
from modelrelease_operator.runtime.metric_sources.prometheus.client import Lane
from modelrelease_operator.runtime.metric_sources.prometheus.rows import Rows
from modelrelease_operator.runtime.metric_sources.prometheus.servers import PrometheusServers
from modelrelease_operator.runtime.web import NotAllowed, Reach, Trouble, Web
from modelrelease_operator.settings import Settings
from testbed.builders import a_spec
from testbed.servers import Handler, answering, hanging_up, never, serving
from tests.support.asking import asking, revisions

ARMS = revisions("rev1", "rev2")
ROW = (
    b'{"metric":{"__name__":"predictions_total","pod":"p","revision":"a","code":"200"},'
    b'"value":[1,"1"]},'
)
HEAD = b'{"status":"success","data":{"resultType":"vector","result":['
MEGABYTE = 1024 * 1024


def an_answer(*values: str) -> str:
    rows = [
        {
            "metric": {"__name__": "predictions_total", "pod": "p", "revision": "a", "code": "200"},
            "value": [1, value],
        }
        for value in values
    ]
    return json.dumps({"status": "success", "data": {"resultType": "vector", "result": rows}})


async def dripping(request: web.Request) -> web.StreamResponse:
    """Send a byte now and then, so that no pause is ever long."""
    answer = web.StreamResponse()
    await answer.prepare(request)
    while True:
        await answer.write(b" ")
        await asyncio.sleep(0.02)


def sending(megabytes: int) -> Handler:
    async def handler(request: web.Request) -> web.StreamResponse:
        answer = web.StreamResponse()
        await answer.prepare(request)
        await answer.write(HEAD)
        many = ROW * (MEGABYTE // len(ROW))
        for _ in range(megabytes):
            await answer.write(many)
        await answer.write(ROW[:-1] + b"]}}")
        return answer

    return handler


async def half(request: web.Request) -> web.StreamResponse:
    """Promise more than what comes, and close."""
    answer = web.StreamResponse(headers={"Content-Length": "1000"})
    await answer.prepare(request)
    await answer.write(HEAD + ROW)
    assert request.transport is not None
    request.transport.close()
    return answer


def redirecting(to: str) -> Handler:
    async def handler(_: web.Request) -> web.Response:
        return web.Response(status=307, headers={"Location": to})

    return handler


HARMFUL: list[tuple[str, Handler, str]] = [
    ("drips", dripping, "does not answer (not all of it within 0.5 s)"),
    ("sends 100 MB", sending(100), "answered with more than "),
    ("never answers", never, "does not answer (not all of it within 0.5 s)"),
    ("redirects", redirecting("http://127.0.0.1:1/"), "answered with a redirect (HTTP status 307)"),
    ("breaks off", half, "does not answer (it hangs up)"),
    ("hangs up", hanging_up, "does not answer (it hangs up)"),
    ("is no text", answering(b'{"status": "\xff\xfe"}'), "answered nonsense: it is no UTF-8"),
    ("is no number", answering(an_answer("many")), "answered nonsense (ValueError)"),
]


@pytest.mark.parametrize(
    ("handler", "sentence"), [it[1:] for it in HARMFUL], ids=[it[0] for it in HARMFUL]
)
async def test_whatever_a_server_does_is_a_sentence_that_names_it(handler: Handler, sentence: str):
    seconds = 0.5 if "0.5 s" in sentence else 30
    async with (
        serving(handler) as address,
        asking(address, timeout_seconds=seconds, max_bytes=MEGABYTE) as it,
    ):
        for found in (await it.read_counters(ARMS), await it.query("up")):
            if "ValueError" in sentence and isinstance(found, list):
                # a person's own query may give anything; core/measurement/queries.py reads it
                continue
            assert isinstance(found, MetricsUnavailable)
            assert found.message.startswith(f"Prometheus at {address} {sentence}")


async def test_a_healthy_releases_look_ends_before_those_of_all_servers_that_do_harm():
    """Not one of the harmful looks is over when three looks in a row at a healthy server are."""
    async with AsyncExitStack() as stack:
        healthy = await stack.enter_async_context(serving(answering(an_answer("3"))))
        good = await stack.enter_async_context(asking(healthy, timeout_seconds=60))
        harmful = []
        for handler in (dripping, never) * 10:
            address = await stack.enter_async_context(serving(handler))
            source = await stack.enter_async_context(asking(address, timeout_seconds=60))
            harmful.append(asyncio.create_task(source.read_counters(ARMS)))
        await asyncio.sleep(0)
        for _ in range(3):
            found = await good.read_counters(ARMS)
            assert found == (Counter(revision="a", pod="p", code="200", value=3.0),)
        assert not any(task.done() for task in harmful)
        for task in harmful:
            task.cancel()
        await asyncio.gather(*harmful, return_exceptions=True)


async def test_an_answer_of_100_mb_costs_less_than_40():
    async with serving(sending(100)) as address, asking(address, timeout_seconds=300) as source:
        tracemalloc.start()
        try:
            found = await source.read_counters(ARMS)
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    assert isinstance(found, MetricsUnavailable)
    assert "answered with more than 131,072 series" in found.message
    assert "MODELRELEASE_PROMETHEUS_MAX_BYTES" in found.message
    assert peak < 40 * MEGABYTE


async def test_a_large_answer_lets_others_have_their_turn():
    """While 10 MB are read, somebody else's task runs many times."""
    turns = 0

    async def somebody_else() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    async with serving(sending(10)) as address, asking(address, timeout_seconds=60) as source:
        other = asyncio.create_task(somebody_else())
        found = await source.read_counters(ARMS)
        other.cancel()
    assert len(found) == 10 * (MEGABYTE // len(ROW)) + 1  # type: ignore[arg-type]
    assert turns > 100


async def test_the_limit_holds_for_what_was_compressed():
    bomb = gzip.compress(HEAD + b" " * 50 * MEGABYTE)

    async def handler(_: web.Request) -> web.Response:
        return web.Response(body=bomb, headers={"Content-Encoding": "gzip"})

    async with serving(handler) as address, asking(address, max_bytes=2 * MEGABYTE) as source:
        found = await source.query("up")
    assert isinstance(found, MetricsUnavailable)
    assert (
        "answered with more than 2,097,152 bytes, which is the limit (MODELRELEASE_"
        in found.message
    )


async def test_a_compressed_answer_is_read():
    async def handler(request: web.Request) -> web.Response:
        assert request.headers["Accept-Encoding"] == "gzip"
        body = gzip.compress(an_answer("3").encode())
        return web.Response(body=body, headers={"Content-Encoding": "gzip"})

    async with serving(handler) as address, asking(address) as source:
        found = await source.read_counters(ARMS)
    assert found == (Counter(revision="a", pod="p", code="200", value=3.0),)


async def test_a_redirect_is_not_followed():
    asked: list[str] = []

    async def inside(request: web.Request) -> web.Response:
        asked.append(request.path)
        return web.Response(text=an_answer("3"))

    async with (
        serving(inside) as address,
        serving(redirecting(f"{address}/secret")) as outside,
        asking(outside) as source,
    ):
        found = await source.read_counters(ARMS)
    assert asked == []
    assert isinstance(found, MetricsUnavailable)
    assert "/secret" not in found.message


@pytest.mark.parametrize("status", [400, 401, 403, 404, 418, 422, 500, 503])
@pytest.mark.parametrize(
    "body", ["db-password=hunter2", '{"error": "hunter2"}', '{"status": "error", "error": 7}']
)
async def test_an_error_that_is_not_prometheus_own_is_told_by_its_code_alone(
    status: int, body: str
):
    async with serving(answering(body, status)) as address, asking(address) as source:
        found = await source.query("up")
    assert isinstance(found, MetricsUnavailable)
    assert f"HTTP status {status}" in found.message
    assert "hunter2" not in found.message


async def test_prometheus_own_reason_for_refusing_a_query_is_told_in_at_most_200_characters():
    said = json.dumps({"status": "error", "errorType": "bad_data", "error": "x" * 1000})
    async with serving(answering(said, 400)) as address, asking(address) as source:
        found = await source.query("up")
    assert isinstance(found, MetricsUnavailable)
    assert found.message.endswith(f"it cannot run the query, HTTP status 400: {'x' * 200}")


@pytest.mark.parametrize(
    ("more", "used"),
    [
        ({"warnings": ["receive series from Addr: store-2: context deadline exceeded"]}, False),
        ({"isPartial": True}, False),
        ({"warnings": [], "infos": ["PromQL info: metric might not be a counter"]}, True),
        ({"warnings": ["PromQL info: metric might not be a counter"]}, True),
    ],
    ids=["Thanos' warning", "a partial answer", "a remark", "a remark of an older Prometheus"],
)
async def test_an_answer_in_part_decides_no_gate(more: dict[str, Any], used: bool):
    body = json.dumps({**json.loads(an_answer("3")), **more})
    async with serving(answering(body)) as address, asking(address) as source:
        found = await source.query("up")
    assert isinstance(found, list) is used
    if not used:
        assert isinstance(found, MetricsUnavailable)
        assert "answered in part only" in found.message


async def test_a_query_is_sent_in_the_body_or_in_the_address_where_a_server_wants_that():
    asked: list[tuple[str, str]] = []

    async def old(request: web.Request) -> web.Response:
        asked.append((request.method, request.content_type))
        if request.method == "POST":
            return web.Response(status=405)
        assert request.query["query"] == "up"
        return web.Response(text=an_answer("3"))

    async with serving(old) as address, asking(address) as source:
        found = await source.query("up")
    assert isinstance(found, list)
    assert len(found) == 1
    assert asked[0] == ("POST", "application/x-www-form-urlencoded")
    assert [method for method, _ in asked] == ["POST", "GET"]


async def test_slow_queries_of_people_leave_room_for_counters_of_the_same_server():
    """Every place for people's own queries is taken:
    the counters come, and one query more is refused.
    """

    async def handler(request: web.Request) -> web.StreamResponse:
        query = str((await request.post())["query"])
        return await never(request) if query == "slow" else web.Response(text=an_answer("3"))

    async with serving(handler) as address:
        lane = Lane(own=2)
        async with asking(address, lane=lane) as mine, asking(address, lane=lane) as others:
            slow = [asyncio.create_task(mine.query("slow")) for _ in range(2)]
            await asyncio.sleep(0)
            assert len(await others.read_counters(ARMS)) == 1  # type: ignore[arg-type]
            refused = await others.query("up")
            assert not any(task.done() for task in slow)
            for task in slow:
                task.cancel()
            await asyncio.gather(*slow, return_exceptions=True)
    assert isinstance(refused, MetricsUnavailable)
    assert "is slow: it has more questions open" in refused.message


async def test_few_large_answers_are_in_memory_at_once_and_small_ones_are_read_beside_them():
    begun, go_on = asyncio.Event(), asyncio.Event()

    async def large(request: web.Request) -> web.StreamResponse:
        answer = web.StreamResponse()
        await answer.prepare(request)
        await answer.write(HEAD + ROW * (3 * MEGABYTE // len(ROW)))
        begun.set()
        await go_on.wait()
        await answer.write(ROW[:-1] + b"]}}")
        return answer

    room = asyncio.Semaphore(1)
    async with (
        serving(large) as address,
        serving(answering(an_answer("3"))) as small,
        asking(address, lane=Lane(large=room), timeout_seconds=60) as first,
        asking(address, lane=Lane(large=room), timeout_seconds=60) as second,
        asking(small, lane=Lane(large=room)) as third,
    ):
        reading = asyncio.create_task(first.read_counters(ARMS))
        await begun.wait()
        while not room.locked():  # noqa: ASYNC110 - a semaphore has no event
            await asyncio.sleep(0)
        refused = await second.read_counters(ARMS)
        assert len(await third.read_counters(ARMS)) == 1  # type: ignore[arg-type]
        go_on.set()
        assert len(await reading) == 3 * MEGABYTE // len(ROW) + 1  # type: ignore[arg-type]
    assert isinstance(refused, MetricsUnavailable)
    assert (
        "answered with more than 2,097,152 bytes, as 4 others do at this moment" in refused.message
    )


# --- where a release may send the operator

OWN = "the operator itself"
REFUSED_ADDRESSES = {
    "127.0.0.1": OWN, "127.9.9.9": OWN, "::1": OWN, "::ffff:127.0.0.1": OWN, "::": OWN,
    "0.0.0.0": OWN,  # noqa: S104
    "64:ff9b::7f00:1": OWN, "2002:7f00:1::": OWN,
    "169.254.169.254": "a link-local address", "fe80::1": "a link-local address",
    "::ffff:169.254.169.254": "a link-local address",
    "224.0.0.1": "a multicast address", "ff02::1": "a multicast address",
    "100.100.100.200": "a machine's own address", "168.63.129.16": "a machine's own address",
    "fd00:ec2::254": "a machine's own address",
}  # fmt: skip


@pytest.mark.parametrize("text", REFUSED_ADDRESSES)
def test_no_release_may_name_an_address_of_the_machine_or_of_its_neighbours(text: str):
    with pytest.raises(NotAllowed, match=REFUSED_ADDRESSES[text]):
        Reach.of("").check("prometheus.example.com", ipaddress.ip_address(text))


@pytest.mark.parametrize("text", ["10.0.0.1", "192.168.1.1", "8.8.8.8", "fd00::1", "2001:db8::1"])
def test_addresses_of_the_cluster_and_of_the_world_may_be_named(text: str):
    Reach.of("").check("prometheus", ipaddress.ip_address(text))


@pytest.mark.parametrize(
    ("allowed", "host", "address", "fine"),
    [
        ("*.monitoring, 10.0.0.0/8", "prometheus.monitoring", "192.168.0.1", True),
        ("*.monitoring, 10.0.0.0/8", "PROMETHEUS.MONITORING.", "192.168.0.1", True),
        ("*.monitoring, 10.0.0.0/8", "another", "10.1.2.3", True),
        ("*.monitoring, 10.0.0.0/8", "another", "192.168.0.1", False),
        ("*.monitoring", "evil.monitoring", "127.0.0.1", False),
        ("127.0.0.0/8", "localhost", "127.0.0.1", True),
        ("*,169.254.0.0/16", "anything", "8.8.8.8", True),
        ("10.0.0.7", "10.0.0.7", "10.0.0.7", True),
        ("10.0.0.7", "10.0.0.8", "10.0.0.8", False),
    ],
)
def test_the_chart_says_which_servers_releases_may_name(
    allowed: str, host: str, address: str, fine: bool
):
    reach = Reach.of(allowed)
    if fine:
        reach.check(host, ipaddress.ip_address(address))
    else:
        with pytest.raises(NotAllowed, match="allowedAddresses"):
            reach.check(host, ipaddress.ip_address(address))


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1",
        "localhost",
        "2130706433",
        "0x7f.1",
        "[::1]",
        "[::ffff:7f00:1]",
        "①②⑦.⓪.⓪.①",
        "0",
    ],
)
async def test_an_address_is_looked_at_however_it_is_spelled(host: str):
    asked: list[str] = []

    async def handler(request: web.Request) -> web.Response:
        asked.append(request.path)
        return web.Response(text=an_answer("3"))

    async with serving(handler) as address:
        port = address.rpartition(":")[2]
        sources = PrometheusServers()
        found = await sources.get(f"http://{host}:{port}", Credentials(), Settings()).query("up")
        await sources.close()
    assert isinstance(found, MetricsUnavailable)
    assert any(why in found.message for why in ("is at ", "is no address of a server"))
    assert asked == []


async def test_a_name_that_means_something_else_a_moment_later_helps_nobody(
    monkeypatch: pytest.MonkeyPatch,
):
    """The address that was looked at is the one that is connected to: the name is resolved once."""
    meanings = iter(("127.0.0.1",))

    class Rebinding(AbstractResolver):
        async def resolve(self, host: str, port: int = 0, family: Any = 0) -> list[ResolveResult]:
            return [
                ResolveResult(
                    hostname=host, host=next(meanings), port=port, family=2, proto=0, flags=0
                )
            ]

        async def close(self) -> None:
            """Hold nothing."""

    monkeypatch.setattr(module, "DefaultResolver", Rebinding)
    guarded = Web(reach=Reach.of(""))
    with pytest.raises(NotAllowed, match="the operator itself"):
        async with guarded.ask("GET", "http://rebinding.example.com:1/", seconds=5):
            raise AssertionError
    await guarded.close()


async def test_the_operators_own_prometheus_may_be_anywhere():
    async with serving(answering(an_answer("3"))) as address:
        sources, settings = PrometheusServers(), Settings(prometheus_url=f"{address}/")
        own = await sources.get(address, Credentials(), settings).query("up")
        assert isinstance(own, list)
        assert len(own) == 1
        found = await sources.get(f"{address}/x", Credentials(), settings).query("up")
        await sources.close()
    assert isinstance(found, MetricsUnavailable)
    assert "the operator itself" in found.message


async def test_every_question_to_the_charts_prometheus_names_the_releases_namespace():
    """A prom-label-proxy takes it from there; the release's own word for the address changes
    nothing.
    """
    asked: list[str] = []
    no_kube: Any = None

    async def handler(request: web.Request) -> web.Response:
        form = await request.post()
        asked.append(str(form.get("fenced", "")))
        return web.Response(text=an_answer("3"))

    async with serving(handler) as address:
        settings = Settings(
            prometheus_url=address,
            prometheus_namespace_parameter="fenced",
            allowed_hosts="127.0.0.0/8",
        )
        sources = PrometheusServers()
        for url in (None, address, f"{address}/", f"{address}/other"):
            analysis = a_spec(analysis={"prometheus": {"url": url}} if url else {}).analysis
            for namespace in ("ml", "web"):
                source = await sources.source_of(no_kube, namespace, analysis, settings)
                await source.query("orders_total{namespace='web'}")
        await sources.close()
    assert asked == ["ml", "web"] * 3 + ["", ""]


# --- reading an answer while it comes

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


def taken(body: bytes, cuts: list[int]) -> tuple[list[Any], dict[str, Any]]:
    found: list[Any] = []
    rows = Rows(found.append, most=1000, too_many="too many")
    places = sorted({0, *(cut % (len(body) + 1) for cut in cuts), len(body)})
    for start, end in pairwise(places):
        rows.feed(body[start:end])
    return found, rows.end()


@given(
    rows=st.lists(JSON, max_size=6),
    cuts=st.lists(st.integers(0, 10_000), max_size=12),
    ascii_only=st.booleans(),
    warnings=st.lists(st.text(), max_size=2),
    first=st.booleans(),
)
def test_an_answer_in_any_pieces_gives_what_the_whole_gives(
    rows: list[Any], cuts: list[int], ascii_only: bool, warnings: list[str], first: bool
):
    data = {"data": {"resultType": "vector", "result": rows}}
    others = {"status": "success", "warnings": ['"result":[', *warnings]}
    body = json.dumps(
        {**others, **data} if first else {**data, **others}, ensure_ascii=ascii_only
    ).encode(errors="surrogatepass")
    try:
        body.decode()
    except UnicodeDecodeError:
        return
    found, envelope = taken(body, cuts)
    assert found == rows
    assert envelope == {**others, "data": {"resultType": "vector", "result": []}}


@given(
    body=st.binary(max_size=200)
    | st.text(max_size=200).map(lambda text: text.encode(errors="replace")),
    cuts=st.lists(st.integers(0, 300), max_size=5),
    inside=st.booleans(),
)
def test_an_answer_of_anything_is_an_error_of_one_kind(body: bytes, cuts: list[int], inside: bool):
    try:
        found, _ = taken(HEAD + body if inside else body, cuts)
    except Trouble:
        return
    assert isinstance(found, list)


def test_a_series_that_never_ends_is_given_up():
    rows = Rows(lambda _: None, most=10, too_many="too many")
    rows.feed(HEAD + b'{"metric": {"x": "')
    for _ in range(15):
        rows.feed(b"x" * 64 * 1024)
    with pytest.raises(Trouble, match="more than 1,048,576 characters"):
        rows.feed(b"x" * 64 * 1024)
