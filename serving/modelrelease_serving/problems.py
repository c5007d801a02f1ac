"""Problem documents (RFC 9457): every answer that is not a success has this one shape."""

import json
from collections.abc import Mapping
from http import HTTPStatus

from starlette.responses import Response


def problem(
    status: int, detail: str, *, headers: Mapping[str, str] | None = None, **members: str | int | None
) -> Response:
    """Return a problem document; members that are None are left out. Never holds a traceback."""
    document = {"type": "about:blank", "title": HTTPStatus(status).phrase, "status": status, "detail": detail}
    document |= {name: value for name, value in members.items() if value is not None}
    content = json.dumps(document, separators=(",", ":"))
    return Response(content, status, dict(headers or {}), media_type="application/problem+json")
