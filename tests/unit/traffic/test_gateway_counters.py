"""Which gateway's counters are read, and of whom."""

import re
from typing import Any

import pytest

from modelrelease_operator.api.routing import CountingGateway
from modelrelease_operator.traffic.gateway_api import controllers_of
from modelrelease_operator.traffic.gateway_counters import COUNTING, REFUSED, counting_by


def test_every_gateway_that_a_release_may_name_has_its_counters():
    assert set(COUNTING) == set(CountingGateway)


def test_no_gateway_is_both_asked_and_refused():
    asked = {name for counters in COUNTING.values() for name in counters.controllers}
    assert not asked & set(REFUSED)


@pytest.mark.parametrize("gateway", CountingGateway)
def test_both_arms_are_told_apart(gateway: CountingGateway):
    counters = COUNTING[gateway]
    arms = {counters.requests("ml", f"qna-{arm}") for arm in ("stable", "canary")}
    assert len(arms) == 2
    assert all("{namespace}" not in arm and "{service}" not in arm for arm in arms)
    for failed in counters.failures("ml", "qna-canary"):
        assert failed.startswith(counters.requests("ml", "qna-canary").removesuffix("}"))


@pytest.mark.parametrize(
    ("route", "backend", "is_ours"),
    [
        ("ml-qna-gw-gateway-public-ep-web-0", "svc-ml-qna-canary-1", True),
        ("ml-front-gw-infra-public-ep-web-3", "svc-ml-qna-canary-0", True),
        ("ml-qna-gw-gateway-public-ep-web-0", "svc-ml-qna-stable-0", False),
        ("ml-qna-gw-gateway-public-ep-web-0", "svc-ml-my-qna-canary-1", False),
        ("other-qna-gw-gateway-public-ep-web-0", "svc-other-qna-canary-1", False),
        ("ml-qna-gw-gateway-public-ep-web-0", "wrr", False),
    ],
)
def test_traefik_names_a_backend_by_its_route_and_its_service(
    route: str, backend: str, is_ours: bool
):
    service = f"httproute-{route}-{backend}@kubernetesgateway"
    requests = COUNTING[CountingGateway.TRAEFIK].requests("ml", "qna-canary")
    pattern = requests.partition('service=~"')[2].removesuffix('"}')
    assert bool(re.fullmatch(pattern, service)) is is_ours


@pytest.mark.parametrize(
    ("controllers", "gateway"),
    [
        (("traefik.io/gateway-controller",), CountingGateway.TRAEFIK),
        (("istio.io/gateway-controller",), CountingGateway.ISTIO),
        (("istio.io/gateway-controller", "traefik.io/gateway-controller"), None),
        (("example.com/gw",), None),
        ((), None),
    ],
)
def test_a_gateway_is_known_by_who_has_taken_the_route(
    controllers: tuple[str, ...], gateway: CountingGateway | None
):
    assert counting_by(controllers) is gateway


def a_status(
    controller: str, accepted: str, *, gateway: str = "public", generation: int = 3
) -> dict[str, Any]:
    ref = {"name": gateway, "namespace": "gateways"}
    answer = {"type": "Accepted", "status": accepted, "observedGeneration": generation}
    conditions = [answer, {"type": "Other", "status": "True"}]
    return {"parentRef": ref, "controllerName": controller, "conditions": conditions}


@pytest.mark.parametrize(
    ("statuses", "controllers"),
    [
        ([], ()),
        ([a_status("a", "True"), a_status("b", "False")], ("a",)),
        ([a_status("b", "True"), a_status("a", "True"), a_status("a", "True")], ("a", "b")),
        ([{**a_status("a", "True"), "conditions": None}], ()),
        ([a_status("a", "True"), a_status("b", "True", gateway="private")], ("a", "b")),
        # A Gateway that the route named before.
        ([a_status("a", "True"), a_status("b", "True", gateway="left")], ("a",)),
        # A controller that the Gateway had before.
        ([a_status("a", "True"), a_status("b", "True", generation=2)], ("a",)),
    ],
)
def test_the_gateways_that_count_are_those_that_let_the_route_in(
    statuses: list[dict[str, Any]], controllers: tuple[str, ...]
):
    refs = [{"name": name, "namespace": "gateways"} for name in ("public", "private")]
    route = {
        "metadata": {"name": "qna", "namespace": "ml", "generation": 3},
        "spec": {"parentRefs": refs},
        "status": {"parents": statuses},
    }
    assert controllers_of(route) == controllers
