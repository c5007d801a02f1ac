"""Whatever is sent to the drift service as CloudEvents, it is counted, or refused with a reason.

Neither an answer of 500 nor a page of metrics that cannot be read may come of it, and no batch that
was taken may be lost for what is in it.
"""

import asyncio
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from modelrelease_contract.events import BATCH, SAMPLED_TYPE, STRUCTURED
from modelrelease_training.drift import baseline
from modelrelease_training.drift.encoder import Vectors
from modelrelease_training.drift.exported import Exported
from modelrelease_training.drift.service import MAX_BODY_BYTES, create_app
from modelrelease_training.drift.settings import ServiceSettings
from modelrelease_training.drift.worker import Worker
from tests.support.bad_input import DEEP, damaged, odd_texts, odd_values, unhurried

EVENT: dict[str, Any] = {
    "specversion": "1.0", "id": "1", "source": "/qna", "type": SAMPLED_TYPE,
    "time": "2026-12-01T00:00:00Z", "datacontenttype": "application/json",
    "release": "qna", "revision": "abc", "modelversion": "1", "predictionid": "x",
    "data": {
        "features": ["text", "age"],
        "rows": [["how do I reset it", 3.5], ["where is it", None]],
        "predictions": ["yes", 0.5],
    },
}  # fmt: skip
REFUSED = (400, 413, 415, 422, 429)


class Letters:
    """Stands where the sentence encoder does: a direction by the letters that a text has."""

    name = "letters"

    def encode(self, texts: Sequence[str], *, progress: bool = False) -> Vectors:
        del progress
        counts = np.zeros((len(texts), 32), dtype=np.float32)
        for row, text in enumerate(texts):
            for byte in text.encode()[:200]:
                counts[row, byte % 32] += 1
            counts[row, 0] += 1
        return np.asarray(counts / np.linalg.norm(counts, axis=1, keepdims=True), np.float32)


KNOWN = baseline.make([f"question number {n} of many" for n in range(200)], Letters())


class Service:
    """The service without its socket and its thread: a test says when is encoded."""

    def __init__(self, feature: str | None) -> None:
        self.exported = Exported(KNOWN.about.histograms)
        settings = ServiceSettings(baseline=Path("none"), window_texts=2, window_minimum=1)
        self.worker = Worker(KNOWN, settings, self.exported, lambda _: Letters())
        self.worker.ready = True
        self.app = create_app(self.worker, self.exported, feature=feature)

    async def ask(self, body: bytes, headers: list[tuple[bytes, bytes]]) -> httpx.Response:
        transport = httpx.ASGITransport(self.app)
        async with httpx.AsyncClient(transport=transport, base_url="http://drift") as client:
            answer = await client.post("/events", content=body, headers=headers)
            while self.worker._waiting:
                self.worker._take(Letters(), self.worker._next())
            page = await client.get("/metrics")
        assert list(text_string_to_metric_families(page.text))
        return answer


def asked(body: bytes, headers: list[tuple[bytes, bytes]], feature: str | None = "text") -> int:
    """Send a request; return its status, one that says what became of it."""
    answer = asyncio.run(Service(feature).ask(body, headers))
    assert answer.status_code in (202, *REFUSED), answer.text
    if answer.status_code != 202:
        assert len(answer.json()["detail"]) < 5000
    return answer.status_code


def of_type(media_type: str) -> list[tuple[bytes, bytes]]:
    return [(b"content-type", media_type.encode())]


features = st.sampled_from([None, "text"])


def test_the_event_that_is_damaged_here_is_taken_whole():
    assert asked(json.dumps(EVENT).encode(), of_type(STRUCTURED)) == 202
    assert asked(json.dumps([EVENT, EVENT]).encode(), of_type(BATCH), None) == 202


@unhurried
@given(damaged(EVENT) | odd_values, features)
def test_a_damaged_event_is_counted_or_refused(event: Any, feature: str | None):
    asked(json.dumps(event).encode(), of_type(STRUCTURED), feature)


@unhurried
@given(damaged([EVENT, EVENT]) | odd_values, features)
def test_a_damaged_batch_is_counted_or_refused(events: Any, feature: str | None):
    asked(json.dumps(events).encode(), of_type(BATCH), feature)


header_values = odd_texts.map(
    lambda text: text.encode(errors="replace").translate(None, b"\r\n\0")[:8000]
)


@unhurried
@given(
    st.dictionaries(st.sampled_from([*EVENT, "data", "x", ""]), header_values, max_size=4),
    damaged(EVENT["data"]) | odd_values,
    features,
)
def test_a_damaged_event_in_headers_is_counted_or_refused(
    odd: dict[str, bytes], data: Any, feature: str | None
):
    kept = {key: str(value).encode() for key, value in EVENT.items() if key != "data"} | odd
    headers = [(f"ce-{key}".encode(), value) for key, value in kept.items()]
    asked(json.dumps(data).encode(), [*headers, *of_type("application/json")], feature)


@pytest.mark.parametrize("media_type", [STRUCTURED, BATCH, "text/plain", ""])
@pytest.mark.parametrize(
    "body",
    [b"", b"\xff", b"{", DEEP.encode(), b"[" * 100_000, b"9" * 10_000, b"NaN",
     b" " * (MAX_BODY_BYTES + 1)],
    ids=["nothing", "no text", "half", "deep", "deeper", "digits", "NaN", "long"],
)  # fmt: skip
def test_what_is_no_event_is_refused(body: bytes, media_type: str):
    assert asked(body, of_type(media_type)) in REFUSED
