"""Why Prometheus shows nothing of a pod that is ready: a sentence that says what to set."""

import json
from typing import Any

import pytest
from aiohttp import web

from modelrelease_operator.core.measurement.queries import QueryScope
from modelrelease_operator.runtime.measure import measure
from modelrelease_operator.runtime.metric_sources.prometheus.diagnose import diagnosis_of
from testbed.builders import a_spec, a_target
from testbed.servers import serving
from tests.support.asking import asking, revisions

POD = "qna-rev2-abc"
SERIES = {"__name__": "predictions_total", "release": "qna", "revision": "rev2", "code": "200"}
RIGHT = {"namespace": "ml", "pod": POD}
OLD_JOB = {"kubernetes_namespace": "ml", "kubernetes_pod_name": POD}
RENAMED = {**RIGHT, "release": "prod", "exported_release": "qna"}


@pytest.mark.parametrize(
    ("rows", "sentence"),
    [
        ([({**SERIES, **OLD_JOB}, 4)], f"of pod {POD}, but not under the label `namespace` (it has "
         "`kubernetes_namespace`) and `pod` (it has `kubernetes_pod_name`): relabel its scrape "
         "job"),
        ([({**SERIES, **RENAMED}, 4)], (
            "not under the label `release` (it has "
            "`exported_release`): relabel"
        )),
        ([({**SERIES, "namespace": "ml"}, 4)], (
            "not under the label `pod` (nothing has "
            "it): relabel"
        )),
        ([({**SERIES, "namespace": "other", "pod": "theirs"}, 4)], (
            "has no target for pod "
            f"{POD} (yet)"
        )),
        ([({"__name__": "up", **RIGHT}, 0)], f"cannot scrape pod {POD}: its `up` is 0"),
        ([({"__name__": "up", **RIGHT}, 1)], (
            f"scrapes pod {POD}, which shows no "
            "predictions_total of"
        )),
        ([], f"has no target for pod {POD} (yet)"),
    ],
    ids=["a common job", "a pod's label", "no pod", "another tenant", "down", "another server",
    "no target"],
)  # fmt: skip
def test_what_is_wrong_is_told(rows: Any, sentence: str):
    found = [{"metric": labels, "value": [1, str(value)]} for labels, value in rows]
    said = diagnosis_of(found, revisions("rev2"), revision="rev2", pods=[POD])
    assert said.startswith("Prometheus ")
    assert sentence in said
    assert "theirs" not in said
    assert "other" not in said


async def test_it_is_asked_when_a_ready_pod_is_missing_and_once_a_minute_at_most():
    asked: list[str] = []

    async def handler(request: web.Request) -> web.Response:
        query = str((await request.post())["query"])
        asked.append(query)
        labels = {
            **SERIES,
            **(OLD_JOB if "exported_revision" in query else RIGHT | {"pod": "another"}),
        }
        rows = [{"metric": labels, "value": [1, "4"]}]
        return web.Response(text=json.dumps({"status": "success", "data": {"result": rows}}))

    query_scope = QueryScope(
        namespace="ml", release="qna", canary=a_target("2"), stable=a_target("1"),
        interval=a_spec().analysis.period,
    )  # fmt: skip
    async with serving(handler) as address, asking(address) as source:
        pods = {"rev2": [POD]}
        found = [await measure(source, a_spec(), query_scope, pods=pods) for _ in range(3)]
        shown = await measure(source, a_spec(), query_scope, pods={"rev2": ["another"]})
    assert [one.hint for one in found] == [found[0].hint] * 3
    assert found[0].hint is not None
    assert "`pod` (it has `kubernetes_pod_name`)" in found[0].hint
    assert len([query for query in asked if "exported_revision" in query]) == 1
    assert shown.hint is None
