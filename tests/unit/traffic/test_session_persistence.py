"""Clients who keep to a version: what is asked of the Gateway, and what the evidence is worth."""

from typing import Any

import pytest

from modelrelease_operator.api.spec import ReleaseSpec
from modelrelease_operator.api.status import Evidence
from modelrelease_operator.core.analysis import gate_tests, sample_ratio
from modelrelease_operator.core.desired import Desired
from modelrelease_operator.core.whatif.planning import Conditions, plan
from modelrelease_operator.core.whatif.warnings import warnings_of
from modelrelease_operator.errors import Invalid
from modelrelease_operator.manifests import Owner, render
from modelrelease_operator.traffic.gateway_api import GATEWAY_API, HTTP_ROUTE
from testbed.builders import a_spec, a_target
from testbed.world import QUICK
from tests.unit.traffic.test_gateway_api import GatewayWorld

OWNER = Owner(namespace="ml", name="qna", uid="uid-1")
COHORT = {"headers": [{"name": "x-beta", "value": "1"}]}
BOUNDS = (0.01, 0.1, 1.0)


def spec_with(analysis: dict[str, Any] | None = None, **gateway_api: Any) -> ReleaseSpec:
    routing = {"gatewayAPI": {"parentRefs": [{"name": "public"}], **gateway_api}}
    canary = {**QUICK["canary"], "routing": routing}
    parts = {**QUICK, "canary": canary}
    return a_spec(**{**parts, "analysis": {**QUICK.get("analysis", {}), **(analysis or {})}})


def rules_of(spec: ReleaseSpec) -> list[dict[str, Any]]:
    desired = Desired(routed=frozenset({"a", "b"}), stable="a", canary="b", weight=20)
    objects = render(OWNER, desired, provider=GATEWAY_API, canary=spec.canary)
    (route,) = [each for each in objects if each["kind"] == HTTP_ROUTE]
    rules: list[dict[str, Any]] = route["spec"]["rules"]
    return rules


@pytest.mark.parametrize(
    ("asked", "rendered"),
    [
        ({}, {"type": "Cookie"}),
        ({"cookieName": "qna"}, {"type": "Cookie", "sessionName": "qna"}),
    ],
)
def test_the_rule_with_the_weights_keeps_clients_by_a_cookie(
    asked: dict[str, Any], rendered: dict[str, Any]
):
    (rule,) = rules_of(spec_with(sessionPersistence=asked))
    assert rule["sessionPersistence"] == rendered


def test_the_rule_of_a_cohort_leads_to_one_version_and_keeps_nobody():
    first, last = rules_of(spec_with(sessionPersistence={}, cohort=COHORT))
    assert "sessionPersistence" not in first
    assert "sessionPersistence" in last


def test_without_it_no_rule_keeps_anybody():
    (rule,) = rules_of(spec_with())
    assert "sessionPersistence" not in rule


@pytest.mark.parametrize(("own", "counted"), [(1, 10), (2, 2), (40, 40)])
def test_evidence_is_divided_by_what_a_client_sends(own: int, counted: int):
    spec = spec_with({"dispersion": own}, sessionPersistence={})
    assert gate_tests.TestParameters.of(spec, Evidence(), 100).dispersion == counted
    assert (
        gate_tests.TestParameters.of(spec_with({"dispersion": own}), Evidence(), 100).dispersion
        == own
    )


def test_the_share_of_requests_is_not_held_against_the_weight():
    assert sample_ratio.is_checked(spec_with())
    assert not sample_ratio.is_checked(spec_with(sessionPersistence={}))


@pytest.mark.parametrize(
    ("own", "words"),
    [
        (1, "evidence is divided by 10 (spec.analysis.dispersion sets another number)"),
        (25, "evidence is divided by 25 (as spec.analysis.dispersion says)"),
    ],
)
def test_plan_and_status_say_what_the_evidence_is_divided_by(own: int, words: str):
    spec = spec_with({"dispersion": own}, sessionPersistence={})
    conditions = Conditions(rps=100, stable_errors=0.01, bounds=BOUNDS)
    warnings = warnings_of(spec, conditions, plan(spec, conditions))
    assert any(words in warning for warning in warnings)
    world = GatewayWorld(spec=spec, target=a_target("1"), rps=1000.0)
    world.run()
    world.release(a_target("2"))
    while not world.status.canary or not world.canary.step_since:
        world.step()
    assert words in str(world.canary.note)


def test_a_canary_that_is_good_still_passes_with_fewer_chances():
    world = GatewayWorld(spec=spec_with(sessionPersistence={}), target=a_target("1"), rps=1000.0)
    world.run()
    assert world.release(a_target("2")).run().stable.version == "2"


def test_in_a_route_of_others_it_is_theirs_to_write():
    with pytest.raises(Invalid, match="sessionPersistence belong to the existingRoute itself"):
        a_spec(
            canary={
                "routing": {
                    "gatewayAPI": {"existingRoute": {"name": "front"}, "sessionPersistence": {}}
                }
            }
        )


@pytest.mark.parametrize("name", ["a b", "a=b", "", "ä"])
def test_a_cookie_of_a_name_that_cannot_be_sent_is_refused(name: str):
    with pytest.raises(Invalid, match="cookieName"):
        spec_with(sessionPersistence={"cookieName": name})
