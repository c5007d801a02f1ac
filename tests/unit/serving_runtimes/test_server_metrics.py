"""One sample of any server's metrics page: what it tells, and what it must not be taken for."""

import pytest

from modelrelease_operator.serving_runtimes import (
    DurationHistogram,
    RequestSeries,
    ServerMetrics,
)
from modelrelease_operator.serving_runtimes.metrics import NOTHING_YET, Reading

BY_LABEL = ServerMetrics(
    port=8000,
    path="/metrics",
    requests=(
        RequestSeries(name="requests_total", code_label="status", where=(("path", "/v2/*/infer"),)),
    ),
    duration=DurationHistogram(name="latency_ms", per_second=1000),
)
BY_NAME = ServerMetrics(
    port=8000,
    path="/metrics",
    requests=(RequestSeries(name="good", code="200"), RequestSeries(name="bad", code="500")),
)
IN_WORDS = ServerMetrics(
    port=8000, path="/metrics",
    requests=(
        RequestSeries(
            name="requests", code_label="status", codes=(("OK", "200"), ("DENIED", "400")),
            other_code="500",
        ),
    ),
)  # fmt: skip
INFER = {"path": "/v2/models/qna/infer"}


def test_a_request_is_counted_under_the_code_of_its_label():
    reading = BY_LABEL.reading_of("requests_total", {"status": "503", **INFER})
    assert reading == Reading(code="503")


@pytest.mark.parametrize(
    ("name", "labels"),
    [
        pytest.param("requests_total", {"status": "200", "path": "/v2/health/ready"}, id="a probe"),
        pytest.param("requests_total", {"status": "200"}, id="without the label that must match"),
        pytest.param("requests_total", INFER, id="without a code"),
        pytest.param("requests_created", {"status": "200", **INFER}, id="another name"),
        pytest.param("latency_ms_sum", {}, id="a histogram's sum"),
        pytest.param("latency_ms_bucket", {}, id="a bucket without its bound"),
    ],
)
def test_what_is_no_prediction_is_not_read(name: str, labels: dict[str, str]):
    assert BY_LABEL.reading_of(name, labels) is None


@pytest.mark.parametrize(
    ("pattern", "fitting", "other"),
    [
        pytest.param("/predict", "/predict", "/predict/2", id="one value"),
        pytest.param("/v1/*|/generate", "/generate", "/health", id="several"),
        pytest.param("!/readyz|/live*", "/predict", "/livez", id="none of several"),
    ],
)
def test_a_label_must_be_one_of_several_or_none_of_them(pattern: str, fitting: str, other: str):
    series = RequestSeries(name="n", code="200", where=(("path", pattern),))
    assert series.code_of({"path": fitting}) == "200"
    assert series.code_of({"path": other}) is None


def test_outcomes_with_counters_of_their_own_are_told_by_their_names():
    assert BY_NAME.reading_of("good", {}) == Reading(code="200")
    assert BY_NAME.reading_of("bad", {"reason": "BACKEND"}) == Reading(code="500")


@pytest.mark.parametrize(("word", "code"), [("OK", "200"), ("DENIED", "400"), ("LOST", "500")])
def test_outcomes_in_words_are_the_codes_that_they_mean(word: str, code: str):
    assert IN_WORDS.reading_of("requests", {"status": word}) == Reading(code=code)


@pytest.mark.parametrize(
    ("bound", "seconds"),
    [("0.3", "0.0003"), ("100", "0.1"), ("2500.0", "2.5"), ("+Inf", "+Inf"), ("nought", "nought")],
)
def test_bounds_are_told_in_seconds(bound: str, seconds: str):
    assert BY_LABEL.reading_of("latency_ms_bucket", {"le": bound}) == Reading(bound=seconds)


def test_series_that_tell_the_same_are_one_counter():
    page = [
        ("requests_total", {"status": "200", "method": "POST", **INFER}, 3.0),
        ("requests_total", {"status": "200", "method": "GET", **INFER}, 1.0),
        ("requests_total", {"status": "500", "method": "POST", **INFER}, 2.0),
        ("latency_ms_bucket", {"le": "+Inf"}, 6.0),
    ]
    assert BY_LABEL.totals(page) == {
        Reading(code="200"): 4,
        Reading(code="500"): 2,
        Reading(bound="+Inf"): 6,
    }


def test_a_page_without_a_request_shows_that_it_counted_nothing():
    assert BY_NAME.totals([]) == {Reading(code=NOTHING_YET): 0}
    shown = BY_LABEL.totals([("latency_ms_bucket", {"le": "1"}, 0.0)])
    assert shown == {Reading(bound="0.001"): 0, Reading(code=NOTHING_YET): 0}


def test_only_a_server_with_a_histogram_is_asked_for_its_buckets():
    assert BY_LABEL.names == ("requests_total", "latency_ms_bucket")
    assert BY_NAME.names == ("good", "bad")
