"""A reverse proxy that passes a request on only when it carries a bearer token. Runs in a pod, on
port 8080.

python guard.py TOKEN UPSTREAM
"""

import sys

from aiohttp import ClientSession, web


async def open_door(_: web.Request) -> web.Response:
    """Answer the kubelet, which has no token."""
    return web.Response(text="ok")


async def guarded(request: web.Request) -> web.Response:
    """Pass on what carries the token."""
    if request.headers.get("Authorization") != f"Bearer {sys.argv[1]}":
        return web.Response(status=401, text="who are you?")
    passed = {
        name: text for name, text in request.headers.items() if name in ("Content-Type", "Accept")
    }
    async with (
        ClientSession() as session,
        session.request(
            request.method,
            f"{sys.argv[2]}{request.path_qs}",
            data=await request.read(),
            headers=passed,
        ) as answer,
    ):
        return web.Response(
            status=answer.status, body=await answer.read(), content_type=answer.content_type
        )  # fmt: skip


def main() -> None:
    """Serve until told to stop."""
    app = web.Application()
    app.router.add_get("/-/open", open_door)
    app.router.add_route("*", "/{path:.*}", guarded)
    web.run_app(app, port=8080)


if __name__ == "__main__":
    main()
