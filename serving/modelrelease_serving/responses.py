"""Answers as bytes, and how they leave: for FastAPI's routes and those in front of them."""

import json
from collections.abc import Mapping
from http import HTTPStatus
from typing import Final, NamedTuple

from starlette.responses import Response
from starlette.types import Send

JSON: Final = b"application/json"
PROBLEM_JSON: Final = b"application/problem+json"

Headers = list[tuple[bytes, bytes]]


class Reply(NamedTuple):
    """A whole answer."""

    status: int
    headers: Headers
    body: bytes

    def response(self) -> Response:
        """Return it as an answer of a FastAPI route."""
        response = Response(self.body, self.status)
        response.raw_headers = self.headers
        return response

    async def send(self, send: Send, *, close: bool) -> None:
        """Send it; `close` tells the client, and uvicorn, that the connection ends."""
        headers = [*self.headers, (b"connection", b"close")] if close else self.headers
        await send({"type": "http.response.start", "status": self.status, "headers": headers})
        await send({"type": "http.response.body", "body": self.body})


def reply(status: int, body: bytes, headers: Headers, *, media_type: bytes = JSON) -> Reply:
    """Return an answer with its length and type beside `headers`."""
    length = str(len(body)).encode()
    return Reply(
        status, [(b"content-length", length), (b"content-type", media_type), *headers], body
    )


def problem(
    status: int, detail: str, headers: Headers | None = None, **members: str | int | None
) -> Reply:
    """Return a problem document (RFC 9457) without members that are None, and no traceback."""
    return reply(status, _problem(status, detail, members), headers or [], media_type=PROBLEM_JSON)


def protocol_error(
    status: int, detail: str, headers: Headers | None = None, **members: str | int | None
) -> Reply:
    """Return a problem document that is an error of the Open Inference Protocol, too.

    Its clients read `error`, and only where the media type is JSON's own.
    """
    return reply(status, _problem(status, detail, {"error": detail, **members}), headers or [])


def mlflow_error(
    status: int, detail: str, headers: Headers | None = None, **members: str | int | None
) -> Reply:
    """Return a problem document that is an error of MLflow's scoring server, too."""
    code = "BAD_REQUEST" if status < HTTPStatus.INTERNAL_SERVER_ERROR else "INTERNAL_ERROR"
    also = {"error_code": code, "message": detail, **members}
    return reply(status, _problem(status, detail, also), headers or [])


def _problem(status: int, detail: str, members: Mapping[str, str | int | None]) -> bytes:
    document = {
        "type": "about:blank",
        "title": HTTPStatus(status).phrase,
        "status": status,
        "detail": detail,
    }
    document |= {name: value for name, value in members.items() if value is not None}
    return json.dumps(document, separators=(",", ":")).encode()


def as_headers(headers: Mapping[str, str] | None) -> Headers:
    """Return headers as ASGI has them."""
    return [
        (name.lower().encode("latin-1"), value.encode("latin-1"))
        for name, value in (headers or {}).items()
    ]
