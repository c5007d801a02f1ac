"""One request on one connection: what comes back, and what counts as nobody and as no response."""

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress

import pytest

from modelrelease_serving import http_client
from modelrelease_serving.http_client import NoConnectionError, NoResponseError, Peer

Answering = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def listening(answering: Answering) -> AsyncIterator[str]:
    """Give the address of a server that reads the head of each request and answers by a script."""

    handling: set[asyncio.Task[None] | None] = set()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        handling.add(asyncio.current_task())
        # A client that has what it wants, or gives up, may leave first.
        with suppress(ConnectionError):
            await reader.readuntil(b"\r\n\r\n")
            await answering(reader, writer)
            writer.close()
            await writer.wait_closed()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        yield f"http://127.0.0.1:{port}"
        await asyncio.gather(*(task for task in handling if task))


def saying(content: bytes) -> Answering:
    async def answering(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(content)

    return answering


async def never(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Wait until the client leaves."""
    await reader.read()


async def test_a_response_comes_whole_with_its_status_and_headers() -> None:
    content = b"HTTP/1.1 422 No\r\nX-Model-Version: 7\r\nContent-Length: 5\r\n\r\nwrong"
    async with listening(saying(content)) as url:
        response = await Peer(url).ask("GET", "/shadow", seconds=5)
    assert (response.status, response.body) == (422, b"wrong")
    assert response.headers[b"x-model-version"] == b"7"


async def test_a_response_that_only_announces_another_is_none() -> None:
    first = b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n"
    content = first + b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
    async with listening(saying(content)) as url:
        response = await Peer(url).ask("GET", "/shadow", seconds=5)
    assert response == (200, {b"content-length": b"2"}, b"ok")


async def test_a_body_whose_length_nobody_said_ends_with_the_connection() -> None:
    async with listening(saying(b"HTTP/1.0 200 OK\r\nServer: simple\r\n\r\n[1]")) as url:
        response = await Peer(url).ask("POST", "/score", seconds=5)
    assert (response.status, response.body) == (200, b"[1]")


async def test_a_request_goes_to_its_path_with_its_headers_and_body() -> None:
    asked: list[bytes] = []

    async def repeating(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append(await reader.readexactly(4))
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n")

    async with listening(repeating) as url:
        peer = Peer(f"{url}/models/")
        headers = [(b"content-type", b"text/plain")]
        response = await peer.ask("POST", "/x", headers=headers, body=b"body", seconds=5)
        assert peer._request("POST", "/x", headers, b"body").splitlines() == [
            b"POST /models/x HTTP/1.1",
            b"Host: " + url.removeprefix("http://").encode(),
            b"Connection: close",
            b"Content-Length: 4",
            b"content-type: text/plain",
            b"",
            b"body",
        ]
    assert asked == [b"body"]
    assert response.body == b"ok"


async def test_nobody_who_listens_and_a_name_of_nobody_are_no_connection() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    for url in (f"http://127.0.0.1:{port}", "http://nobody.invalid", f"http://{'x' * 70}.invalid"):
        with pytest.raises(NoConnectionError):
            await Peer(url).ask("GET", "/", seconds=5)


async def test_a_connection_that_does_not_come_in_time_is_none(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(http_client, "CONNECT_SECONDS", 0.05)
    peer = Peer("http://127.0.0.1:9")

    async def wait(*_: object, **__: object) -> None:
        await asyncio.Event().wait()

    loop = asyncio.get_running_loop()
    monkeypatch.setattr(loop, "create_connection", wait)
    with pytest.raises(NoConnectionError):
        await peer.ask("GET", "/", seconds=5)


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\nhalf", id="a part"),
        pytest.param(b"SSH-2.0-OpenSSH\r\n\r\n", id="another protocol"),
        pytest.param(b"HTTP/1.1 200 OK\r\nContent-Length: 5000\r\n\r\n" + b"x" * 5000, id="much"),
    ],
)
async def test_what_is_not_whole_is_no_response(
    monkeypatch: pytest.MonkeyPatch, content: bytes
) -> None:
    monkeypatch.setattr(http_client, "MAX_RESPONSE_BYTES", 1000)
    async with listening(saying(content)) as url:
        with pytest.raises(NoResponseError):
            await Peer(url).ask("GET", "/", seconds=5)


async def test_what_comes_too_late_is_no_response() -> None:
    async with listening(never) as url:
        with pytest.raises(NoResponseError):
            await Peer(url).ask("GET", "/", seconds=0.1)


async def test_an_address_is_looked_up_once_and_a_missing_one_again_after_a_while(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    lookups: list[str] = []
    known: dict[str, str] = {}
    loop = asyncio.get_running_loop()

    async def look_up(host: str, port: int, **_: object) -> list[object]:
        lookups.append(host)
        if host not in known:
            raise socket.gaierror(socket.EAI_NONAME, "no such name")
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (known[host], port))]

    async with listening(saying(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")) as url:
        monkeypatch.setattr(loop, "getaddrinfo", look_up)
        peer = Peer(url.replace("127.0.0.1", "qna-canary"))
        for _ in range(3):
            with pytest.raises(NoConnectionError):
                await peer.ask("GET", "/", seconds=5)
        assert lookups == ["qna-canary"]
        known["qna-canary"] = "127.0.0.1"
        peer._known_until = 0.0
        for _ in range(3):
            assert (await peer.ask("GET", "/", seconds=5)).status == 200
    assert lookups == ["qna-canary"] * 2
