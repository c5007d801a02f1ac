"""Pods and Prometheus are two ways to the same counters: what one page says, both bring."""

from dataclasses import replace
from typing import Any

from hypothesis import example, given
from hypothesis import strategies as st

from modelrelease_operator.core.observed import Counter
from modelrelease_operator.runtime.metric_sources.pods.addresses import PodAddress
from modelrelease_operator.runtime.metric_sources.pods.page import Lines
from modelrelease_operator.runtime.metric_sources.pods.readings import (
    bins_of,
    counters_of,
    names_of,
    page_of,
)
from modelrelease_operator.runtime.metric_sources.prometheus.series import CounterRows, bin_sample
from modelrelease_operator.serving_runtimes.metrics import NOTHING_YET
from modelrelease_operator.serving_runtimes.predictor import PREDICTOR

METRICS = PREDICTOR.metrics
AT, STARTED = 1_700_000_100.5, 1_700_000_000.25
WHO = {"release": "qna", "revision": "rev2"}
TARGET = {"namespace": "ml", "pod": "canary-a", "instance": "10.0.0.2:8000", "job": "pods"}

texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\r\n"), max_size=12)
values = st.one_of(
    st.integers(0, 2**53).map(float), st.floats(allow_nan=False), st.just(float("inf"))
)
series = st.one_of(
    st.tuples(st.just("predictions_total"), st.fixed_dictionaries({"code": texts})),
    st.tuples(st.just("prediction_duration_seconds_bucket"), st.fixed_dictionaries({"le": texts})),
    st.tuples(st.just("prediction_bin_total"), st.fixed_dictionaries({"bin": texts})),
    st.tuples(st.just("prediction_bins_info"), st.fixed_dictionaries({"layout": texts})),
)
pages = st.lists(
    st.tuples(series, values), min_size=1, max_size=8, unique_by=lambda it: repr(it[0])
).filter(lambda page: any(name == "predictions_total" for (name, _), _ in page))


def escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace("\n", "\\n").replace('"', '\\"')


def line(name: str, labels: dict[str, str], value: float) -> str:
    inside = ",".join(f'{label}="{escaped(text)}"' for label, text in labels.items())
    return f"{name}{{{inside}}} {value!r}"


def by_pods(page: str) -> tuple[Counter, ...]:
    pod = PodAddress(
        name="canary-a", uid="u/0", revision="rev2", ip="10.0.0.2", ready=True, leaving=False,
        since=None,
    )  # fmt: skip
    lines = Lines(names_of(METRICS, predictions=True))
    for start in range(0, len(page.encode()), 7):
        lines.feed(page.encode()[start : start + 7])
    return counters_of(page_of(pod, lines.series(), AT), "qna", METRICS)


def by_prometheus(shown: list[tuple[tuple[str, dict[str, str]], float]]) -> tuple[Counter, ...]:
    rows = CounterRows(None)
    for (name, labels), value in shown:
        metric = {"__name__": name, **TARGET, **WHO, "model_version": "1", **labels}
        rows.take({"metric": metric, "value": [0, repr(value)]})
    rows.take({"metric": {"modelrelease_kind": "sample_time", **TARGET}, "value": [0, repr(AT)]})
    start = {"__name__": "process_start_time_seconds", **TARGET}
    rows.take({"metric": start, "value": [0, repr(STARTED)]})
    return tuple(replace(counter, source="") for counter in rows.counters())


@given(pages)
@example([(("predictions_total", {"code": NOTHING_YET}), 3.0)])
def test_a_page_means_the_same_whoever_reads_it(shown: Any):
    lines = [line(name, {**WHO, **labels}, value) for (name, labels), value in shown]
    page = "\n".join(["# HELP x y", *lines, f"process_start_time_seconds {STARTED}", ""])
    assert sorted(by_pods(page), key=repr) == sorted(by_prometheus(shown), key=repr)


@given(texts, texts, st.integers(0, 2**53))
def test_bins_mean_the_same_whoever_reads_them(feature: str, name: str, value: int):
    labels = {**WHO, "feature": feature, "bin": name}
    lines = Lines(["feature_bin_total"])
    lines.feed((line("feature_bin_total", labels, float(value)) + "\n").encode())
    pod = PodAddress(
        name="canary-a", uid="u/0", revision="rev2", ip="10.0.0.2", ready=True, leaving=False,
        since=None,
    )  # fmt: skip
    row = {
        "metric": {"__name__": "feature_bin_total", **TARGET, **labels},
        "value": [0, str(value)],
    }
    assert bins_of(page_of(pod, lines.series(), AT), "qna") == (bin_sample(row),)
