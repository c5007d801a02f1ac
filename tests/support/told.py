"""Servers whose answers are told them: some thousands a second, where a socket gives a hundred.

What sockets do is in tests/unit/runtime/metric_sources/test_hostile_servers.py.
"""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from modelrelease_operator.runtime.credentials import Credentials
from modelrelease_operator.runtime.stores import Reply, Stores
from modelrelease_operator.runtime.web import Reach, TooLarge, Web

PIECE = 7000


@dataclass(frozen=True)
class Told:
    """An answer, as `runtime.web.Answer` gives it."""

    content: bytes
    status: int = 200
    challenge: str = ""

    async def pieces(self, most: int, setting: str = "") -> AsyncIterator[bytes]:
        for start in range(0, len(self.content), PIECE):
            yield self.content[start : start + PIECE]

    async def body(self, most: int) -> bytes:
        if len(self.content) > most:
            raise TooLarge
        return self.content

    async def error(self) -> bytes:
        return self.content[:PIECE]


class ToldWeb(Web):
    """Answers everything with one answer."""

    def __init__(self, answer: Told) -> None:
        super().__init__()
        self.answer = answer

    @asynccontextmanager
    async def ask(self, *_: Any, **__: Any) -> AsyncIterator[Told]:  # type: ignore[override]
        yield self.answer


class ToldStores(Stores):
    """Answers each address as a function says."""

    def __init__(self, reply_to: Callable[[str], Reply]) -> None:
        super().__init__()
        object.__setattr__(self, "reply_to", reply_to)

    async def ask(
        self,
        url: str,
        credentials: Credentials,
        *,
        limit: int,
        reach: Reach | None,
        accept: str = "*/*",
        may_redirect: bool = False,
    ) -> Reply:
        reply: Reply = self.reply_to(url)  # type: ignore[attr-defined]
        return reply
