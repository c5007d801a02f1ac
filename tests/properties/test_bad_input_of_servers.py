"""Whatever a server answers, it is understood, or it is a sentence that names the server.

An exception of another kind would end every pass of the release that asks there.
"""

import asyncio
import hashlib
import io
import json
import tarfile
from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from functools import partial
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelrelease_operator.api.spec import ModelSource
from modelrelease_operator.api.status import Status
from modelrelease_operator.core.measurement.queries import ARM, KIND, QueryScope
from modelrelease_operator.core.observed import Counter, Metrics, MetricsUnavailable
from modelrelease_operator.core.query_results import NotMeasured
from modelrelease_operator.errors import Invalid, Unavailable
from modelrelease_operator.runtime import mlflow
from modelrelease_operator.runtime.metric_sources.pods import readings
from modelrelease_operator.runtime.metric_sources.pods.addresses import PodAddress
from modelrelease_operator.runtime.metric_sources.pods.page import Lines
from modelrelease_operator.runtime.metric_sources.pods.reader import Ask, Read
from modelrelease_operator.runtime.metric_sources.prometheus.samples import (
    LAST_MOMENT,
    SAMPLE_TIME,
)
from modelrelease_operator.runtime.metric_sources.prometheus.source import PrometheusSource
from modelrelease_operator.runtime.metric_sources.source import Revisions
from modelrelease_operator.runtime.mlflow import Registry
from modelrelease_operator.runtime.resolve import NeedsPod, resolve, target_for_spec
from modelrelease_operator.runtime.stores import Reply
from modelrelease_operator.runtime.web import Trouble
from modelrelease_operator.serving_runtimes import runtime_of
from modelrelease_operator.serving_runtimes.predictor import PREDICTOR
from modelrelease_operator.traffic.gateway_counters import COUNTING
from testbed.builders import a_spec, a_target
from tests.support.bad_input import DEEP, damaged, odd_texts, odd_values, unhurried
from tests.support.foreign_server import THEIRS
from tests.support.registering import a_manifest
from tests.support.told import Told, ToldStores, ToldWeb
from tests.unit.api.test_golden_status import ASKED, OLDER, TODAY, decided, stored

OURS = Revisions(
    namespace="ml", release="qna", metrics=dict.fromkeys(("rev2", "rev1"), PREDICTOR.metrics)
)
FOREIGN = replace(OURS, metrics=dict.fromkeys(("rev2", "rev1"), runtime_of(THEIRS).metrics))
BY_GATEWAY = replace(OURS, gateway=next(iter(COUNTING.values())))
SCOPE = QueryScope(
    namespace="ml",
    release="qna",
    canary=a_target("2"),
    stable=a_target("1"),
    interval=timedelta(seconds=5),
)
GATES = [gate for gate in a_spec(**ASKED).analysis.gates if gate.counts or gate.threshold]
NAMES = (
    "predictions_total", "prediction_duration_seconds_bucket", "prediction_bin_total",
    "prediction_bins_info", "probe_answers_total", "process_start_time_seconds",
    "shadow_pairs_total", "feature_bin_total", "feature_baseline_rows", "up",
)  # fmt: skip
LABELS = {
    "namespace": "ml", "job": "pods", "release": "qna", "code": "200", "le": "0.1", "bin": "0",
    "layout": "x", "result": "same", "feature": "f", "process": "p",
}  # fmt: skip
GOOD = a_manifest("7")


def a_row(
    name: str, number: int, value: float = 10, marks: Mapping[str, str] | None = None
) -> dict[str, Any]:
    own = {"pod": f"qna-rev{number}-1", "instance": f"10.0.0.{number}", "revision": f"rev{number}"}
    labels = {"__name__": name, **LABELS, **own, **(marks or {})}
    return {"metric": labels, "value": [1.7e9, str(value)]}


ROWS = [
    *(a_row(name, number) for name in NAMES for number in (1, 2)),
    *(a_row("predictions_total", number, 1.7e9, {KIND: SAMPLE_TIME}) for number in (1, 2)),
    a_row("x", 1, marks={KIND: "requests", ARM: "rev1"}),
    a_row("x", 2, 1.7e9, {KIND: "times", ARM: "rev2"}),
    a_row("x", 2, marks={KIND: "buckets", ARM: "rev2"}),
]
ANSWER = {"status": "success", "data": {"resultType": "vector", "result": ROWS}}
TEXT = json.dumps(ANSWER).encode()
NO_ANSWERS = (
    b"", b"null", b"[]", b"{", TEXT[:-9], TEXT[:200], b'"\\ud800"', DEEP.encode(), b"[" * 100_000,
    b'{"status":"success","data":{"result":[' + b"[" * 900_000,
    b'{"status":"error","error":"\\ud800"}', b'{"status":"error","error":[1]}',
)  # fmt: skip


def decisions_about(metrics: Metrics) -> None:
    for file in (OLDER, TODAY):
        decided(Status.parse(stored(file)), metrics=metrics)


async def all_that_is_asked(content: bytes, status: int = 200) -> None:
    source = PrometheusSource("http://p", timeout_seconds=5, web=ToldWeb(Told(content, status)))
    for arms in (OURS, FOREIGN, BY_GATEWAY):
        decisions_about(await source.read_counters(arms, predictions=True, probes=True))
    for read in (source.read_pairs(OURS, canary="rev2", stable="rev1"), source.read_bins(OURS)):
        found = await read
        assert isinstance(found, tuple) or found.message.startswith("Prometheus at http://p ")
    for gate in GATES:
        answer = await source.answer(gate, SCOPE)
        assert not isinstance(answer, NotMeasured) or gate.name in answer.message
        decided(Status.parse(stored(TODAY)), answers={gate.name: answer})
    await source.explain_missing(OURS, revision="rev1", pods=["qna-rev1-1"])


@unhurried
@given(damaged(ANSWER))
def test_a_damaged_answer_of_prometheus_ends_in_a_decision(answer: Any):
    asyncio.run(all_that_is_asked(json.dumps(answer).encode()))


@pytest.mark.parametrize("status", [200, 302, 400, 401, 422, 500])
@pytest.mark.parametrize("content", NO_ANSWERS, ids=[repr(each[:30]) for each in NO_ANSWERS])
def test_what_is_no_answer_of_prometheus_ends_in_a_decision(content: bytes, status: int):
    asyncio.run(all_that_is_asked(content, status))


@pytest.mark.parametrize("at", [-1.0, LAST_MOMENT, 1.7e12, 1e300])
async def test_milliseconds_that_are_told_as_seconds_are_no_sample(at: float):
    """The time of a sample is written to status as a date, and no date is that late."""
    rows = [a_row("predictions_total", 2), a_row("predictions_total", 2, at, {KIND: SAMPLE_TIME})]
    content = json.dumps({"status": "success", "data": {"result": rows}}).encode()
    source = PrometheusSource("http://p", timeout_seconds=5, web=ToldWeb(Told(content)))
    assert await source.read_counters(OURS) == MetricsUnavailable(
        message="Prometheus at http://p answered nonsense (ValueError)"
    )


SERIES_OF_PAGES = (
    PREDICTOR.metrics.names + readings.PROBE_NAMES + readings.PAIR_NAMES + readings.BIN_NAMES
)
PAGE = "".join(
    f"{each}\n"
    for each in (
        "# TYPE predictions_total counter",
        'predictions_total{release="qna",revision="rev2",code="200",model_version="1"} 10',
        'prediction_duration_seconds_bucket{release="qna",revision="rev2",le="0.1"} 10',
        'prediction_duration_seconds_bucket{release="qna",revision="rev2",le="+Inf"} 1e1',
        "process_start_time_seconds 1.7e9",
        'shadow_pairs_total{release="qna",revision="rev2",canary="c",process="p",result="same"} 3',
        'probe_answers_total{release="qna",revision="rev2",result="same"} 3',
        'feature_bin_total{release="qna",revision="rev2",feature="f",bin="0"} 4',
        'feature_baseline_rows{release="qna",revision="rev2",feature="f",bin="0"} 4',
        'prediction_bins_info{layout="x"} 1',
    )
)
BITS = (
    "{", "}", '"', ",", "=", "\\", "\n", " ", "NaN", "+Inf", "-1", "1e999", "#", "\x00", "9" * 40,
    "{" * 50, "predictions_total", 'le="NaN"', 'le="x"', "0x1p3", "ä",
)  # fmt: skip
edits = st.lists(
    st.tuples(st.integers(0, len(PAGE) - 1), st.integers(0, 12), st.sampled_from(BITS)), max_size=6
)


def understood(page: readings.Page) -> None:
    """Read a page in every way; a problem is a sentence about the pod."""
    ask = Ask(release=("ml", "qna"), pod=page.pod, port=1, path="/m", names=SERIES_OF_PAGES)
    for meaning in (
        lambda page: readings.counters_of(page, "qna", PREDICTOR.metrics),
        lambda page: readings.probes_of(page, "qna", ["rev1", "rev2"]),
        lambda page: readings.pairs_of(page, "qna", canary="c", stable="rev2"),
        lambda page: readings.bins_of(page, "qna"),
    ):
        found = Read(pages=[(ask, page)]).understood(meaning)
        assert all("rev2-1" in problem for problem in found.problems.values())
        counters = [it for part in found.parts for it in part if isinstance(it, Counter)]
        decisions_about(tuple(counters))


@unhurried
@given(edits, st.integers(1, 50))
def test_a_damaged_page_of_a_pod_ends_in_a_decision(edits: list[Any], size: int):
    page = PAGE
    for at, cut, put in edits:
        page = page[:at] + put + page[at + cut :]
    raw = page.encode()
    lines = Lines(SERIES_OF_PAGES)
    pod = PodAddress(
        name="rev2-1", uid="u", revision="rev2", ip="10.0.0.1", ready=True, leaving=False,
        since=None,
    )  # fmt: skip
    try:
        for start in range(0, len(raw), size):
            lines.feed(raw[start : start + size])
        read = readings.page_of(pod, lines.series(), 1.7e9)
    except Trouble:
        return
    understood(read)


def released(uri: str, reply_to: Any, registry: Registry | None = None) -> Exception | None:
    """Resolve a model and say what it means; return the sentence why it has no meaning."""
    source = ModelSource(uri=uri)
    try:
        found = asyncio.run(resolve(source, registry, stores=ToldStores(reply_to), namespace="ml"))
    except NeedsPod:
        return None
    except (Invalid, Unavailable) as problem:
        return problem
    target_for_spec(a_spec(model={"uri": uri}), found, default_image="image")
    assert Status.parse(Status(resolved=found).to_dict()).resolved == found
    return None


@unhurried
@given(damaged(json.loads(GOOD)) | odd_values)
def test_a_damaged_manifest_is_a_sentence(manifest: Any):
    reply = Reply(status=200, body=json.dumps(manifest).encode())
    problem = released("https://store/qna", lambda url: reply)
    assert problem is None or "https://store/qna" in str(problem)


@pytest.mark.parametrize("raw", [b"", b"\xff", GOOD[:100], DEEP.encode(), b"[" * 100_000])
def test_what_is_no_manifest_is_a_sentence(raw: bytes):
    problem = released("https://store/qna", lambda url: Reply(status=200, body=raw))
    assert "https://store/qna" in str(problem)


def digest_of(raw: bytes) -> str:
    return f"sha256:{hashlib.sha256(raw).hexdigest()}"


def an_archive() -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        entry = tarfile.TarInfo("m/manifest.json")
        entry.size = len(GOOD)
        archive.addfile(entry, io.BytesIO(GOOD))
    return buffer.getvalue()


ARCHIVE = an_archive()
FILE_LAYER = {
    "mediaType": "application/octet-stream",
    "digest": digest_of(GOOD),
    "size": len(GOOD),
    "annotations": {"org.opencontainers.image.title": "manifest.json"},
}
TAR_LAYER = {
    "mediaType": "application/vnd.oci.image.layer.v1.tar+gzip",
    "digest": digest_of(ARCHIVE),
    "size": len(ARCHIVE),
}
MANIFEST = {"schemaVersion": 2, "layers": [FILE_LAYER, TAR_LAYER]}
INDEX = {"manifests": [{"digest": digest_of(b"x"), "size": 1, "platform": {"os": "linux"}}]}
OCI = "oci://registry.example/team/qna:v3"


def registry_reply(document: bytes, archive: bytes, url: str) -> Reply:
    wanted = url.rpartition("/")[2]
    blobs = {digest_of(each): each for each in (GOOD, archive)}
    if wanted in blobs:
        return Reply(status=200, body=blobs[wanted])
    return Reply(status=200, body=document) if wanted == "v3" else Reply(status=404)


@unhurried
@given(
    damaged(MANIFEST) | damaged({"layers": [TAR_LAYER]}) | damaged(INDEX),
    st.lists(st.tuples(st.integers(0, len(ARCHIVE) - 1), st.integers(0, 255)), max_size=3),
)
def test_a_damaged_answer_of_a_registry_is_a_sentence(document: Any, flips: list[tuple[int, int]]):
    archive = bytearray(ARCHIVE)
    for place, byte in flips:
        archive[place] = byte
    text = json.dumps(document).replace(digest_of(ARCHIVE), digest_of(bytes(archive)))
    reply_to = partial(registry_reply, text.encode(), bytes(archive))
    problem = released(OCI, reply_to)
    assert problem is None or "registry.example" in str(problem)


@unhurried
@given(odd_texts, st.binary(max_size=30))
def test_a_registry_that_wants_nonsense_is_a_sentence(word: str, token: bytes):
    # As an HTTP client reads a header: bytes that are no UTF-8 become halves of pairs.
    text = word + token.decode("utf-8", "surrogateescape")
    replies: list[Reply] = [
        Reply(status=401, challenge=f'Bearer realm="https://t{text}",service="{text}"'),
        Reply(status=401, challenge=text),
        Reply(status=307, location=text),
        Reply(status=200, body=token),
    ]
    for reply in replies:
        assert released(OCI, lambda url, reply=reply: reply) is not None


@unhurried
@given(damaged({"sha": "a" * 40}) | odd_values)
def test_a_damaged_answer_of_the_hub_is_a_sentence(answer: Any):
    reply = Reply(status=200, body=json.dumps(answer).encode())
    assert released("hf://team/qna@main", lambda url: reply) is not None


OF_MLFLOW: Mapping[str, Any] = {
    "model_version": {
        "name": "qna", "version": "3", "status": "READY",
        "tags": [
            {"key": "modelrelease.sha256", "value": "0" * 64},
            {"key": "modelrelease.version", "value": "7"},
        ],
    },
    "artifact_uri": "mlflow-artifacts:/1/x",
    "run": {"info": {"artifact_uri": "s3://bucket/x"}},
    "registered_model": {"aliases": [{"alias": "champion"}]},
    "message": "no such version",
    "error_code": "INVALID_PARAMETER_VALUE",
}  # fmt: skip


@unhurried
@given(
    damaged(OF_MLFLOW),
    st.sampled_from([200, 200, 400, 404, 500]),
    st.sampled_from(["models:/qna@champion", "models:/qna/3", "runs:/abc/artifact"]),
)
def test_a_damaged_answer_of_mlflow_is_a_sentence(answer: Any, status: int, uri: str):
    told = ToldWeb(Told(json.dumps(answer).encode(), status))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(mlflow, "Web", lambda **_: told)
        released(uri, lambda url: Reply(status=200, body=GOOD), Registry("http://mlflow"))
