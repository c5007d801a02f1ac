"""What keeps the page true while the API server, and what it holds, do anything."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from typing_extensions import override

from modelrelease_operator.api.status import Phase
from modelrelease_operator.ui import app, watching
from modelrelease_operator.ui.app import Page
from modelrelease_operator.ui.viewers import Anybody, Refused, Viewer
from modelrelease_operator.ui.watching import Lists, Object, Releases, watched
from testbed.world import a_world_in
from tests.unit.ui.test_story import the_object

PATIENCE_SECONDS = 60
QNA = ("ml", "qna")


def a_release() -> Object:
    return the_object(a_world_in(Phase.PROGRESSING))


class OddOnce(Lists):
    """Tells an event first that is none, as a proxy in between may."""

    def __init__(self) -> None:
        self.watches = 0

    @override
    async def list_all(
        self, kind: str, namespace: str | None, selector: str
    ) -> tuple[list[Object], str]:
        return ([a_release()] if self.watches else []), "1"

    @override
    async def watch(
        self, kind: str, namespace: str | None, selector: str, since: str
    ) -> AsyncIterator[tuple[str, Object]]:
        self.watches += 1
        if self.watches == 1:
            yield "ADDED", {"kind": "Status"}
        await asyncio.Event().wait()


async def test_an_event_that_is_none_ends_no_watch_and_is_said(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(watching, "PAUSES", (0.0,))
    releases = Releases()
    said = []
    with releases.listening() as listener:
        async with asyncio.timeout(PATIENCE_SECONDS), watched(OddOnce(), releases, [None]):
            while not releases.by_key:
                await listener.wait(PATIENCE_SECONDS)
                said.append(releases.trouble)
    assert said[-1] is None
    assert any(
        "what the API server tells of releases cannot be read" in (text or "") for text in said
    )


class Slow(Viewer):
    """Whose rights are asked of the API server, and meanwhile the release is deleted."""

    def __init__(self, releases: Releases) -> None:
        self.releases = releases

    @override
    async def may_see(self, namespace: str) -> bool:
        self.releases.drop(QNA)
        return True

    @override
    async def read(self, namespace: str, name: str) -> dict[str, Any]:
        raise NotImplementedError

    @override
    async def patch(self, namespace: str, name: str, patch: dict[str, Any]) -> None:
        raise NotImplementedError


@pytest.fixture
def page() -> Page:
    releases = Releases()
    releases.put(a_release())
    # Who looks is given beside it, so nobody is asked by this client.
    viewers = Anybody(api=None)  # type: ignore[arg-type]
    return Page(releases=releases, viewers=viewers, title="here", hosts=("localhost",))


async def test_a_release_that_goes_while_a_viewers_rights_are_asked_is_not_listed(page: Page):
    assert await app._rows(page, Slow(page.releases)) == []


async def test_a_release_that_goes_while_a_viewers_rights_are_asked_is_not_there(page: Page):
    with pytest.raises(Refused, match="ModelRelease ml/qna is not there"):
        await app._story(*QNA, page, Slow(page.releases))


@pytest.mark.parametrize(("one", "told"), [(None, "rows"), ("ml/qna", "gone")])
async def test_a_stream_tells_that_a_release_went_while_rights_were_asked(
    page: Page, one: str | None, told: str
):
    stream = app._stream(page, Slow(page.releases), one)
    event = await anext(stream)
    assert (event.event, event.data) == (told, list(QNA) if one else [])
