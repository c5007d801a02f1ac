"""How the benchmark of whole releases looks at a cluster: its client, without a cluster."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from benchmarks.rollouts import api as looks
from benchmarks.rollouts.api import Api, UnansweredError
from benchmarks.rollouts.contenders import Contender, Controller
from benchmarks.rollouts.courses import Watch
from benchmarks.rollouts.figures import PROMOTED, UNDECIDED

STATS = {
    "sent": 9,
    "answered": 8,
    "outcomes": [
        {"connection": "kept", "version": "1", "outcome": "200", "count": 4},
        {"connection": "fresh", "version": "1", "outcome": "200", "count": 3},
        {"connection": "fresh", "version": "none", "outcome": "reset", "count": 1},
    ],
    "last_failures": [],
}
LOAD = "/api/v1/namespaces/space/pods?labelSelector=app%3Dload"
PODS = "/api/v1/namespaces/space/pods?labelSelector=app!%3Dload"


@dataclass(kw_only=True)
class Pages(Api):
    """An API server of a few pages, which may be silent for a while."""

    kubeconfig: Path = Path()
    pages: Mapping[str, Any] = field(default_factory=dict)
    silent_for: int = 0
    asked: list[str] = field(default_factory=list)

    def _text(self, path: str) -> str:
        self.asked.append(path)
        if len(self.asked) <= self.silent_for or path not in self.pages:
            raise UnansweredError(path)
        page = self.pages[path]
        return page if isinstance(page, str) else json.dumps(page)


@pytest.fixture(autouse=True)
def no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(looks, "time", SimpleNamespace(sleep=lambda _: None))


def pods(*names: str, **metadata: Any) -> dict[str, Any]:
    return {"items": [{"metadata": {"name": n, "uid": f"uid-{n}", **metadata}} for n in names]}


def test_answers_are_counted_whatever_connection_they_came_by():
    api = Pages(
        pages={LOAD: pods("load-1"), "/api/v1/namespaces/space/pods/load-1:8000/proxy/stats": STATS}
    )
    assert api.counts("space") == {("1", "200"): 7, ("none", "reset"): 1}
    api.counts("space")
    assert api.asked.count(LOAD) == 1, "a pod's name is looked up once"


def test_a_silent_server_is_asked_again_and_not_for_ever():
    api = Pages(pages={PODS: pods("a", "b")}, silent_for=2)
    assert api.pods("space") == {"uid-a", "uid-b"}
    with pytest.raises(UnansweredError):
        Pages(pages={PODS: pods("a")}, silent_for=3).pods("space")


def test_without_a_pod_there_is_nothing_to_ask():
    gone = Pages(pages={LOAD: pods("load-1", deletionTimestamp="2026-11-29T19:00:00Z")})
    with pytest.raises(UnansweredError, match="namespace space has no pod with the label app=load"):
        gone.counts("space")


@pytest.mark.parametrize(
    ("page", "seconds"),
    [
        ("# TYPE process_cpu_seconds_total counter\nprocess_cpu_seconds_total 12.5\n", 12.5),
        ("process_cpu_seconds_total 1.25e+01\n", 12.5),
        ("other_total 1\n", None),
    ],
)
def test_a_controller_says_itself_what_it_used(page: str, seconds: float | None):
    path = "/api/v1/namespaces/space/pods/c-1:8080/proxy/metrics"
    label = "/api/v1/namespaces/space/pods?labelSelector=app%3Dc"
    api = Pages(pages={label: pods("c-1"), path: page})
    assert api.cpu_seconds("space", "app=c", 8080) == seconds


def test_failed_probes_are_added_up_over_events():
    path = "/api/v1/namespaces/gateway/events?fieldSelector=reason%3DUnhealthy"
    events = {"items": [{"count": 4}, {"count": None}, {}]}
    assert Pages(pages={path: events}).probes_failed("gateway") == 6


def a_watch(api: Api, outcome: Any) -> Watch:
    controller = Controller(space="space", label="app=c", port=8080)
    contender = SimpleNamespace(
        name="flagger", space="space", api=api, controller=controller, outcome=outcome
    )
    return Watch(contender=cast(Contender, contender), before={"uid-a"})


def test_pods_that_were_there_before_were_not_started():
    stats = "/api/v1/namespaces/space/pods/load-1:8000/proxy/stats"
    api = Pages(pages={LOAD: pods("load-1"), stats: STATS, PODS: pods("a", "b", "c")})
    watch = a_watch(api, lambda _: UNDECIDED)
    watch.look()
    watch.look()
    assert watch.started == {"uid-b", "uid-c"}
    assert len(watch.samples) == 2


def test_a_look_that_is_not_answered_is_left_out_and_decides_nothing():
    def unanswered(_: str) -> str:
        raise UnansweredError("GET /")

    watch = a_watch(Pages(), unanswered)
    watch.look()
    assert watch.samples == []
    assert watch.outcome("2") == UNDECIDED
    assert a_watch(Pages(), lambda _: PROMOTED).outcome("2") == PROMOTED
