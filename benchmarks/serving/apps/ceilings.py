"""Constant answers: what the server and the framework cost when nothing is predicted."""

from typing import Any

from fastapi import FastAPI

ANSWER = b'{"prediction":0.5,"probabilities":[0.5,0.5]}'
_HEADERS = [(b"content-type", b"application/json"), (b"content-length", str(len(ANSWER)).encode())]

fastapi = FastAPI()


async def raw(scope: dict[str, Any], receive: Any, send: Any) -> None:
    """Read the body and answer the same bytes always: the least that an ASGI application can do."""
    if scope["type"] != "http":
        return
    while (await receive()).get("more_body"):
        pass
    await send({"type": "http.response.start", "status": 200, "headers": _HEADERS})
    await send({"type": "http.response.body", "body": ANSWER})


@fastapi.post("/predict")
async def predict() -> dict[str, Any]:
    """Answer the same dict always."""
    return {"prediction": 0.5, "probabilities": [0.5, 0.5]}
