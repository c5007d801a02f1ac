"""The page over HTTP: its files, what it shows as JSON, what changes as server-sent events."""

import asyncio
import html
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Final

from fastapi import APIRouter, Depends, FastAPI, Request
from fastapi.responses import HTMLResponse, JSONResponse, PlainTextResponse, Response
from fastapi.sse import EventSourceResponse, ServerSentEvent
from fastapi.staticfiles import StaticFiles
from pydantic import BaseModel

from modelrelease_operator import __version__
from modelrelease_operator.api import names
from modelrelease_operator.core.explain import Action, explain, spec_of
from modelrelease_operator.errors import Invalid, ReleaseError
from modelrelease_operator.ui.guard import HEALTH, Guard, from_this_page, prefix_of
from modelrelease_operator.ui.report import report
from modelrelease_operator.ui.story import actions, row, story, value_of
from modelrelease_operator.ui.viewers import Refused, Viewer, Viewers
from modelrelease_operator.ui.watching import Key, Listener, Releases

STATIC: Final = Path(__file__).parent / "static"
TOGETHER_SECONDS: Final = 0.25
"""For which changes are gathered: a burst of hundreds is told at once."""
AT_LEAST_EVERY: Final = 10.0
"""Seconds after which one release is told anew, because its deadlines come closer."""
STREAM_SECONDS: Final = 600.0
"""After which a browser has to come again, with a proxy's newest token."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """What the page is made of."""

    releases: Releases
    viewers: Viewers
    title: str
    """Where these releases are, such as the kubeconfig's context."""
    context: str | None = None
    """Goes into the commands for kubectl."""
    hosts: tuple[str, ...]
    """Names by which it may be asked; `*` is any."""
    base_path: str = ""
    """Below which it is, where no proxy takes that away."""


class Command(BaseModel):
    """What a viewer wants done, as the page showed it to them."""

    value: str
    """Which the action had then: names the revision that was looked at."""
    anyway: bool = False


def create_app(page: Page) -> FastAPI:
    """Return the application."""
    app = FastAPI(title="modelrelease", openapi_url=None, docs_url=None, redoc_url=None)
    app.state.page = page
    app.include_router(router, prefix=page.base_path)
    app.mount(f"{page.base_path}/static", StaticFiles(directory=STATIC))
    if page.base_path:
        app.add_api_route(HEALTH, _health)
    app.add_exception_handler(Refused, _refused)
    app.add_exception_handler(ReleaseError, _failed)
    app.add_middleware(Guard, hosts=page.hosts)
    return app


async def _refused(_: Request, problem: Exception) -> JSONResponse:
    status = problem.status if isinstance(problem, Refused) else 500
    return JSONResponse({"message": str(problem)}, status)


async def _failed(_: Request, problem: Exception) -> JSONResponse:
    """Answer with the operator's own sentence: 409 where a person must act, 502 where the world."""
    return JSONResponse({"message": str(problem)}, 409 if isinstance(problem, Invalid) else 502)


def _page(request: Request) -> Page:
    page: Page = request.app.state.page
    return page


def _viewer(request: Request) -> Viewer:
    return _page(request).viewers.of(request.headers)


ThePage = Annotated[Page, Depends(_page)]
TheViewer = Annotated[Viewer, Depends(_viewer)]
router = APIRouter()


@router.get(HEALTH)
async def _health() -> PlainTextResponse:
    return PlainTextResponse("ok\n")


@router.get("/")
async def _index(request: Request, page: ThePage) -> HTMLResponse:
    """Return the page itself, which is the same for everybody."""
    # Where links are from: the address itself, unless its path is known, slash at its end or not.
    base = html.escape(f"{prefix_of(request.headers, page.base_path) or '.'}/", quote=True)
    text = (STATIC / "index.html").read_text()
    return HTMLResponse(text.replace("{{base}}", base))


@router.get("/api/about")
async def _about(page: ThePage, _: TheViewer) -> dict[str, Any]:
    viewers = page.viewers
    return {
        "title": page.title,
        "version": __version__,
        "commands": viewers.commands,
        "asks_code": viewers.commands and viewers.asks_code,
    }


@router.get("/api/releases")
async def _rows(page: ThePage, viewer: TheViewer) -> list[dict[str, Any]]:
    return [row(release) for release in await _visible(page, viewer)]


@router.get("/api/releases/{namespace}/{name}")
async def _story(namespace: str, name: str, page: ThePage, viewer: TheViewer) -> dict[str, Any]:
    release = await _known(page, viewer, (namespace, name))
    return _story_of(page, release)


@router.get("/api/releases/{namespace}/{name}/report")
async def _report(namespace: str, name: str, page: ThePage, viewer: TheViewer) -> Response:
    release = await _known(page, viewer, (namespace, name))
    text = report(_story_of(page, release), source=f"as the page of {page.title} saw it")
    file = f"{namespace}-{name}-{datetime.now(UTC):%Y%m%dT%H%M%SZ}.html"
    return HTMLResponse(text, headers={"content-disposition": f'attachment; filename="{file}"'})


@router.post("/api/releases/{namespace}/{name}/{verb}")
async def _act(
    namespace: str, name: str, verb: str, command: Command, request: Request, page: ThePage,
    viewer: TheViewer,
) -> dict[str, Any]:  # fmt: skip
    """Give a command with the viewer's rights, if it is still the one that they were shown."""
    if not page.viewers.commands:
        raise Refused(403, "this page only shows: it was not started with commands")
    if not from_this_page(request.headers):
        raise Refused(403, "commands are taken from this page alone")
    page.viewers.check_command(request.headers)
    release = await viewer.read(namespace, name)
    action = _wanted(release, verb, command)
    await viewer.patch(namespace, name, action.patch)
    return {"message": f"{names.KIND} {namespace}/{name}: asked to {action.does}"}


def _wanted(release: Mapping[str, Any], verb: str, command: Command) -> Action:
    told = explain(dict(release), datetime.now(UTC))
    spec, _ = spec_of(dict(release))
    ways = {action.verb: action for action in actions(told, spec)}
    action = ways.get(verb)
    if action is None or value_of(action) != command.value:
        raise Refused(
            409, f"the release has gone on since: it is {told.status.phase} now; look again"
        )
    if action.doubt and not command.anyway:
        raise Refused(409, f"{action.doubt}: say that it shall be done all the same")
    return action


@router.get("/api/stream", response_class=EventSourceResponse)
async def _stream(
    page: ThePage, viewer: TheViewer, release: str | None = None
) -> AsyncIterator[ServerSentEvent]:
    """Tell all releases, or with `release=NAMESPACE/NAME` that one, and then what changes.

    Events: `rows`, all lines of the list; `row` and `gone`, one of them; `story`, one release with
    what was seen of it; `state`, whether what is shown may be old.
    """
    loop = asyncio.get_running_loop()
    end = loop.time() + STREAM_SECONDS
    with page.releases.listening() as listener:
        one = _key_of(release)
        events = _of_one(page, viewer, listener, one) if one else _of_all(page, viewer, listener)
        async for event in events:
            yield event
            if loop.time() > end:
                return


async def _of_all(page: Page, viewer: Viewer, listener: Listener) -> AsyncIterator[ServerSentEvent]:
    yield _event("rows", [row(release) for release in await _visible(page, viewer)])
    yield _state(page)
    while True:
        changed = await listener.wait(AT_LEAST_EVERY)
        for key in changed:
            if not await viewer.may_see(key[0]):
                continue
            known = page.releases.by_key.get(key)
            yield _event("row", row(known)) if known else _event("gone", list(key))
        yield _state(page)
        await asyncio.sleep(TOGETHER_SECONDS)


async def _of_one(
    page: Page, viewer: Viewer, listener: Listener, key: Key
) -> AsyncIterator[ServerSentEvent]:
    changed = {key}
    waited = False
    while True:
        may_see = await viewer.may_see(key[0])
        release = page.releases.by_key.get(key)
        if release is None or not may_see:
            yield _event("gone", list(key))
        elif key in changed or waited:
            yield _event("story", _told(page, release))
        yield _state(page)
        await asyncio.sleep(TOGETHER_SECONDS)
        changed = await listener.wait(AT_LEAST_EVERY)
        waited = not changed


def _told(page: Page, release: Mapping[str, Any]) -> dict[str, Any]:
    """Return a release's story, or its line alone where no more of it can be read."""
    try:
        return _story_of(page, release)
    except Invalid:
        return {**row(release), "unreadable": True}


def _story_of(page: Page, release: Mapping[str, Any]) -> dict[str, Any]:
    meta = release["metadata"]
    past = page.releases.past((meta["namespace"], meta["name"]))
    return story(dict(release), page.releases.clock(), past, context=page.context)


def _event(kind: str, data: Any) -> ServerSentEvent:
    return ServerSentEvent(event=kind, data=data)


def _state(page: Page) -> ServerSentEvent:
    releases = page.releases
    return _event("state", {"trouble": releases.trouble, "filled": not releases.unseen})


async def _visible(page: Page, viewer: Viewer) -> list[dict[str, Any]]:
    """Return the releases that a viewer may see, in order."""
    known = page.releases.by_key
    may = {space: await viewer.may_see(space) for space in {space for space, _ in known}}
    # As they are now: while it was asked, releases came and went.
    return [known[key] for key in sorted(known) if may.get(key[0])]


async def _known(page: Page, viewer: Viewer, key: Key) -> dict[str, Any]:
    """Return a release; one that may not be seen is as one that is not there."""
    may_see = await viewer.may_see(key[0])
    release = page.releases.by_key.get(key)
    if release is None or not may_see:
        raise Refused(404, f"{names.KIND} {'/'.join(key)} is not there, or not for you to see")
    return release


def _key_of(text: str | None) -> Key | None:
    if text is None:
        return None
    namespace, _, name = text.partition("/")
    return namespace, name
