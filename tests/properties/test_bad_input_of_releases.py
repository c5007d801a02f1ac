"""Whatever is stored of a release, it is read, or it is a sentence that names the field.

The schema is another one after an upgrade or its undoing, and whoever may write Deployments or
statuses may write anything. One release's bad input never stops the work on another.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from modelrelease_operator.api.spec import ReleaseSpec
from modelrelease_operator.api.status import Status
from modelrelease_operator.core.observed import Counter
from modelrelease_operator.errors import LONGEST, Invalid
from modelrelease_operator.runtime.followed_spec import followed_spec
from modelrelease_operator.runtime.metric_sources.prometheus.samples import LAST_MOMENT
from modelrelease_operator.runtime.routing_conflicts import RoutingConflicts
from modelrelease_operator.runtime.workers import Workers
from modelrelease_operator.settings import Settings
from testbed.operating import PATIENCE_SECONDS, Operating, operating
from tests.support.bad_input import (
    DEEP,
    damaged,
    is_kept,
    kept_texts,
    kept_values,
    odd_numbers,
    odd_texts,
    unhurried,
)
from tests.unit.api.test_golden_status import ASKED, OLDER, TODAY, decided, stored

SPEC: Mapping[str, Any] = {
    "model": {"uri": "https://store/qna", "version": "1", "sha256": "0" * 64},
    **ASKED,
    "serving": {
        "replicas": 2,
        "env": [{"name": "A", "value": "b"}],
        "resources": {"limits": {"memory": "1Gi"}},
        "podTemplate": {"spec": {"nodeSelector": {"pool": "gpu"}}},
    },
    "drift": {"enabled": False},
}


@unhurried
@given(damaged(SPEC, values=kept_values, texts=kept_texts))
def test_a_damaged_spec_is_followed_or_is_a_sentence_about_spec(spec: Any):
    for before in (Status(), Status.parse(stored(TODAY))):
        followed = followed_spec({"spec": spec}, before, None)
        assert followed.spec is not None or followed.problem is not None
    try:
        ReleaseSpec.parse(spec)
    except Invalid as problem:
        assert "spec" in str(problem)  # noqa: PT017 - a value or this error, and no other


@pytest.mark.parametrize("spec", [None, [], "spec", 3, json.loads(DEEP)])
def test_what_is_no_spec_is_a_sentence(spec: Any):
    followed = followed_spec({"spec": spec}, Status(), None)
    assert followed.spec is None
    assert "spec" in str(followed.problem)


def test_a_pod_template_of_three_hundred_levels_is_refused():
    """The status that keeps it could not be written, at any pass."""
    with pytest.raises(Invalid, match="spec has more than 64 levels"):
        ReleaseSpec.parse({**SPEC, "serving": {"podTemplate": {"spec": json.loads(DEEP)}}})


@pytest.mark.parametrize("file", [OLDER, TODAY], ids=["an older one", "today's"])
@unhurried
@given(data=st.data())
def test_a_damaged_status_is_read_or_is_a_sentence_about_status(file: Any, data: st.DataObject):
    raw = data.draw(damaged(stored(file), values=kept_values, texts=kept_texts))
    try:
        status = Status.parse(raw)
        if status.canary and status.canary.next_look:
            decided(status).status.to_dict()
    except Invalid as problem:
        assert "status" in str(problem)  # noqa: PT017 - a value or this error, and no other


@pytest.mark.parametrize("test", stored(TODAY)["evidence"]["processes"])
@pytest.mark.parametrize("state", [[], [1], [None] * 7, [0.0] * 500, [-1.0] * 8, [1e308] * 34])
def test_evidence_in_another_form_begins_anew_and_the_others_goes_on(
    test: str, state: list[float | None]
):
    """Another version may have stored it, and no pass would ever come to an end."""
    raw = stored(TODAY)
    raw["evidence"]["processes"][test] = state
    others = {key for key in raw["evidence"]["processes"] if key != test}
    after = decided(Status.parse(raw)).status.evidence.processes
    assert others <= set(after)


counters = st.builds(
    Counter,
    revision=st.sampled_from(["rev1", "rev2", "x", ""]),
    pod=st.sampled_from(["rev1-1", "rev2-1", "a", ""]),
    code=st.none() | st.sampled_from(["200", "500", "none", "-1", "", "9" * 400, "\ud800"]),
    bound=st.none() | st.sampled_from(["0.02", "0.05", "+Inf", "NaN", "-1", "a", "1e400", ""]),
    bin=st.none() | st.sampled_from(["0", "1", "x", "\ud800"]),
    layout=st.none() | st.sampled_from(["x", "y", "\ud800"]),
    source=st.sampled_from(["", "s"]),
    at=st.none() | st.floats(0, LAST_MOMENT, exclude_max=True),
    started=st.none() | odd_numbers,
    value=odd_numbers,
    probe=st.booleans(),
)


@unhurried
@given(st.lists(counters, max_size=30))
def test_counters_that_count_nothing_end_in_a_decision_that_can_be_stored(counted: list[Counter]):
    for file in (OLDER, TODAY):
        decision = decided(Status.parse(stored(file)), metrics=tuple(counted))
        text = json.dumps(decision.status.to_dict(), allow_nan=False)
        assert Status.parse(json.loads(text)).phase is decision.status.phase


SETTABLE = odd_texts.filter(is_kept).filter(lambda text: "\0" not in text)


@unhurried
@given(st.dictionaries(st.sampled_from(sorted(Settings.model_fields)), SETTABLE, max_size=3))
def test_settings_of_nonsense_are_refused_by_name(words: dict[str, Any]):
    try:
        Settings(**words)
    except ValidationError as problem:
        wrong = {str(error["loc"][0]) for error in problem.errors()}
        assert wrong <= set(words)


def test_a_sentence_about_what_somebody_wrote_is_short_enough_for_status():
    problem = Invalid("a" * 8_000_000)
    assert len(str(problem)) < LONGEST + 50
    assert str(problem).endswith("(7,996,000 more characters)")


GATEWAY: Mapping[str, Any] = {
    "parentRefs": [{"name": "web", "namespace": "front"}],
    "hostnames": ["qna.example"],
}
EXISTING: Mapping[str, Any] = {
    "existingRoute": {"name": "front", "pools": {"stable": "a", "canary": "b"}}
}


def routed(name: str, gateway: Any) -> dict[str, Any]:
    """Return a release with such a routing, of whatever kind it is."""
    routing = {"canary": {"routing": {"gatewayAPI": gateway}}}
    spec = {"model": {"uri": "https://store/qna"}, **routing}
    return {"metadata": {"namespace": "ml", "name": name, "uid": name}, "spec": spec}


@unhurried
@given(st.sampled_from([GATEWAY, EXISTING]), st.data())
def test_a_damaged_routing_hides_no_other_releases(gateway: Any, data: st.DataObject):
    """Whose a Gateway's requests are is known from all releases together, read one by one."""
    damage = damaged(routed("bad", gateway), values=kept_values, texts=kept_texts)
    bad = {**routed("bad", None), "spec": data.draw(damage).get("spec")}
    routing = RoutingConflicts(wake=lambda key: None)
    for release in (bad, routed("good", EXISTING)):
        routing.take(release)
    assert ("ml", "good") in routing.naming(("ml", "front"))


@pytest.fixture
async def world() -> AsyncIterator[Operating]:
    async with operating() as found:
        yield found


BAD: Mapping[str, Any] = {
    "no spec": {"spec": "text"},
    "a deep spec": {"spec": {**SPEC, "serving": {"podTemplate": {"spec": json.loads(DEEP)}}}},
    "a spec without end": {"spec": {"model": {"uri": "a" * 1_000_000}}},
    "a status of another kind": {"spec": SPEC, "status": {"phase": "Unheard", "stable": 3}},
    "a deep status": {"spec": SPEC, "status": {"stable": {"recipe": {"pod": json.loads(DEEP)}}}},
    "evidence of another form": {"spec": SPEC, "status": {**stored(TODAY), "uid": None}},
}


@pytest.mark.parametrize("bad", BAD)
async def test_a_release_of_nonsense_stops_no_other(world: Operating, bad: str):
    world.server.put("ModelRelease", "bad", **BAD[bad])
    world.release("1", "good")
    await world.caught_up()
    workers = Workers(world.reconciler)
    keys = {("ml", "bad"), ("ml", "good")}
    for _, name in keys:
        world.kube.release_told(world.server.get("ModelRelease", name))
    try:
        async with asyncio.timeout(PATIENCE_SECONDS):
            while world.status("good").get("phase") != "Stable":
                for key in keys:
                    workers.wake(key)
                await asyncio.sleep(0.02)
        assert workers.known() == keys, "the bad one is looked at again when it is mended"
    finally:
        await workers.stop()
