"""A cohort: who is found, while the canary has clients, and what is said of the comparison."""

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelrelease_operator.api.routing import Cohort
from modelrelease_operator.api.spec import ReleaseSpec
from modelrelease_operator.api.status import Phase
from modelrelease_operator.core.desired import Desired
from modelrelease_operator.core.whatif.planning import Conditions, plan
from modelrelease_operator.core.whatif.warnings import warnings_of
from modelrelease_operator.manifests import Owner, render
from modelrelease_operator.traffic.cohort import matches_of, with_weights_alone
from modelrelease_operator.traffic.gateway_api import GATEWAY_API, HTTP_ROUTE
from testbed.builders import a_spec, a_target
from testbed.world import QUICK, Behaviour, World

Object = dict[str, Any]
OWNER = Owner(namespace="ml", name="qna", uid="uid-1")
BOUNDS = (0.01, 0.1, 1.0)
GATEWAY = {"name": "public", "namespace": "infra"}
PATH = {"type": "PathPrefix", "value": "/v2"}
BETA = {"headers": [{"name": "x-beta", "value": "always"}]}


def a_cohort(**ways: Any) -> Cohort:
    return Cohort.model_validate(ways)


def spec_with(cohort: Object, **canary: Any) -> ReleaseSpec:
    gateway_api = {"parentRefs": [GATEWAY], "path": "/v2", "cohort": cohort}
    routing = {"routing": {"gatewayAPI": gateway_api}}
    return a_spec(**(QUICK | {"canary": {**QUICK["canary"], **routing, **canary}}))


def rules_of(desired: Desired, spec: ReleaseSpec) -> list[Object]:
    objects = render(OWNER, desired, provider=GATEWAY_API, canary=spec.canary)
    (route,) = [each for each in objects if each["kind"] == HTTP_ROUTE]
    rules: list[Object] = route["spec"]["rules"]
    return rules


def both_arms(weight: int) -> Desired:
    return Desired(routed=frozenset({"a", "b"}), stable="a", canary="b", weight=weight)


def test_the_cohort_has_a_rule_of_its_own_before_the_weights_that_leads_to_the_canary_alone():
    first, last = rules_of(both_arms(5), spec_with(BETA))
    assert [(each["name"], each["weight"]) for each in first["backendRefs"]] == [("qna-canary", 1)]
    assert first["matches"] == [
        {"path": PATH, "headers": [{"type": "Exact", "name": "x-beta", "value": "always"}]}
    ]
    assert [each["weight"] for each in last["backendRefs"]] == [95, 5]
    assert last["matches"] == [{"path": PATH}]


def test_any_one_way_suffices():
    cohort = a_cohort(
        headers=[{"name": "x-beta", "value": "1"}, {"name": "x-beta", "value": "2"}],
        cookies=[{"name": "group", "value": "b"}],
        queryParams=[{"name": "canary", "value": "yes"}],
    )
    matches = matches_of(cohort, PATH)
    assert len(matches) == 4, "each is a match of its own"
    assert all(match["path"] == PATH and len(match) == 2 for match in matches)
    assert matches[3]["queryParams"] == [{"type": "Exact", "name": "canary", "value": "yes"}]


words = st.text("ab.-_~%+/=:", min_size=1, max_size=6)
names_of_cookies = st.text("ab.-_", min_size=1, max_size=4)


@given(name=names_of_cookies, value=words, others=st.lists(st.sampled_from(["x=1", "y=2"])))
def test_a_cookie_is_found_among_others_by_whoever_compares_all_or_a_part(
    name: str, value: str, others: list[str]
):
    ((match),) = matches_of(a_cohort(cookies=[{"name": name, "value": value}]), PATH)
    (header,) = match["headers"]
    assert (header["name"], header["type"]) == ("Cookie", "RegularExpression")
    for place in range(len(others) + 1):
        cookies = "; ".join([*others[:place], f"{name}={value}", *others[place:]])
        assert re.search(header["value"], cookies)
        assert re.fullmatch(header["value"], cookies)
    for wrong in (f"x{name}={value}", f"{name}={value}x", f"{name}=", "; ".join(others)):
        assert not re.search(header["value"], wrong)


@pytest.mark.parametrize("rejected", [False, True], ids=["promoted", "rejected"])
def test_the_cohort_is_led_to_a_canary_exactly_while_it_is_judged_beside_stable(rejected: bool):
    spec = spec_with(BETA)
    world = World(spec=spec, target=a_target("1"), rps=1000.0)
    world.run()
    world.behaviours["rev2"] = Behaviour(error_rate=0.5 if rejected else 0.0)
    world.release(a_target("2"))
    judged = 0
    while world.status.phase is not Phase.STABLE or world.status.canary or not judged:
        world.step()
        desired = world.trail[-1].desired
        has_rule = len(rules_of(desired, spec)) == 2
        assert has_rule == (desired.routed == {"rev1", "rev2"})
        judged += has_rule
        if world.trail[-1].status.phase is Phase.ROLLING_BACK:
            assert not has_rule, "gone in the very pass that rejects"
    assert judged
    assert world.stable.version == ("1" if rejected else "2")


def test_status_and_plan_say_that_a_cohort_is_no_random_sample():
    world = World(spec=spec_with(BETA), target=a_target("1"), rps=1000.0)
    world.run()
    world.release(a_target("2")).run(until=Phase.PROGRESSING)
    sentence = "the cohort (by headers) meets the canary whatever the weight"
    assert sentence in str(world.canary.note)
    spec, given_ = spec_with(BETA), Conditions(rps=100, stable_errors=0.01, bounds=BOUNDS)
    assert any(sentence in text for text in warnings_of(spec, given_, plan(spec, given_)))
    plain = a_spec()
    assert not any("cohort" in text for text in warnings_of(plain, given_, plan(plain, given_)))


def test_without_its_cohort_a_release_keeps_its_route():
    spec = spec_with(BETA)
    (only,) = rules_of(both_arms(5), spec.but(canary=with_weights_alone(spec.canary)))
    assert [each["weight"] for each in only["backendRefs"]] == [95, 5]


@pytest.mark.parametrize(
    ("cohort", "sentence"),
    [
        ({}, "a cohort needs headers, cookies or queryParams"),
        ({"headers": [{"name": "a b", "value": "x"}]}, "cohort.headers.0.name"),
        ({"headers": [{"name": "a", "value": ""}]}, "cohort.headers.0.value"),
        ({"cookies": [{"name": "a", "value": "b;c"}]}, "cohort.cookies.0.value"),
    ],
)
def test_a_cohort_that_finds_nobody_is_refused(cohort: Object, sentence: str):
    raw = {
        "model": {"uri": "http://s/1"},
        "canary": {"routing": {"gatewayAPI": {"parentRefs": [GATEWAY], "cohort": cohort}}},
    }
    with pytest.raises(Exception, match=re.escape(sentence)):
        ReleaseSpec.parse(raw)
