"""Exact weights by a Gateway: what the route says, what counts as taken,
and a release that goes by it.
"""

from copy import deepcopy
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typing_extensions import override

from modelrelease_operator.api.spec import ReleaseSpec
from modelrelease_operator.api.status import Phase, Reason
from modelrelease_operator.core.desired import Desired
from modelrelease_operator.core.observed import Observed
from modelrelease_operator.core.statistics.random_variates import binomial
from modelrelease_operator.manifests import Owner, render
from modelrelease_operator.traffic.gateway_api import GATEWAY_API, HTTP_ROUTE
from modelrelease_operator.traffic.provider import Effect
from modelrelease_operator.traffic.registry import made_by_others, provider_of
from testbed.builders import a_spec, a_target
from testbed.world import QUICK, Behaviour, World

OWNER = Owner(namespace="ml", name="qna", uid="uid-1")
GATEWAY = {"name": "public", "namespace": "infra", "sectionName": "http"}
ROUTING = {"gatewayAPI": {"parentRefs": [GATEWAY], "hostnames": ["qna.example.com"], "path": "/v2"}}
Object = dict[str, Any]


def spec_with(**canary: Any) -> ReleaseSpec:
    return a_spec(**(QUICK | {"canary": {**QUICK["canary"], "routing": ROUTING, **canary}}))


def objects_of(desired: Desired) -> dict[tuple[str, str], Object]:
    rendered = render(OWNER, desired, provider=GATEWAY_API, canary=spec_with().canary)
    return {(item["kind"], item["metadata"]["name"]): item for item in rendered}


def taken(route: Object, **conditions: Any) -> Object:
    """Return a route that its Gateway has answered."""
    generation = route["metadata"].setdefault("generation", 1)
    answers = {"Accepted": "True", "ResolvedRefs": "True"} | conditions
    told = [
        {
            "type": kind,
            "status": answer,
            "reason": "R",
            "message": "m",
            "observedGeneration": generation,
        }
        for kind, answer in answers.items()
    ]
    return {**route, "status": {"parents": [{"parentRef": dict(GATEWAY), "conditions": told}]}}


def both_arms(weight: int) -> Desired:
    return Desired(routed=frozenset({"a", "b"}), stable="a", canary="b", weight=weight)


def test_the_route_deals_exactly_the_weight_to_the_services_of_both_arms():
    objects = objects_of(both_arms(5))
    spec = objects[HTTP_ROUTE, "qna"]["spec"]
    assert [(it["name"], it["weight"]) for it in spec["rules"][0]["backendRefs"]] == [
        ("qna-stable", 95), ("qna-canary", 5),
    ]  # fmt: skip
    assert spec["hostnames"] == ["qna.example.com"]
    assert spec["rules"][0]["matches"] == [{"path": {"type": "PathPrefix", "value": "/v2"}}]
    (parent,) = spec["parentRefs"]
    assert parent.items() >= GATEWAY.items()


def test_the_main_service_leads_to_stable_alone_whatever_the_weight():
    for weight in (1, 50, 99):
        selector = objects_of(both_arms(weight))["Service", "qna"]["spec"]["selector"]
        assert selector["modelrelease.dev/revision"] == "a"


@pytest.mark.parametrize(
    ("desired", "weights"),
    [
        pytest.param(Desired(routed=frozenset({"a"}), stable="a"), (100, 0), id="stable alone"),
        pytest.param(
            Desired(routed=frozenset({"a"}), stable="a", canary="b"), (100, 0), id="in the dark"
        ),
        pytest.param(
            Desired(routed=frozenset({"b"}), stable="a", canary="b"), (0, 100), id="canary alone"
        ),
    ],
)
def test_one_revision_alone_has_everything(desired: Desired, weights: tuple[int, int]):
    backends = objects_of(desired)[HTTP_ROUTE, "qna"]["spec"]["rules"][0]["backendRefs"]
    assert tuple(it["weight"] for it in backends) == weights


@given(weight=st.integers(1, 99), replicas=st.integers(1, 1000))
def test_a_canary_has_the_pods_that_its_share_of_the_requests_needs(weight: int, replicas: int):
    split = GATEWAY_API.split(weight=weight, replicas=replicas)
    assert split.weight == weight
    assert split.stable == replicas, "going back meets enough pods"
    assert 1 <= split.canary <= replicas
    assert split.canary >= replicas * weight / 100
    assert GATEWAY_API.note(weight=weight, replicas=replicas) is None


@given(weight=st.integers(1, 99))
def test_what_every_gateway_has_taken_reads_back_as_it_was_asked(weight: int):
    objects = objects_of(both_arms(weight))
    objects[HTTP_ROUTE, "qna"] = taken(objects[HTTP_ROUTE, "qna"])
    effect = GATEWAY_API.in_effect(objects, ["a", "b", "stranger"])
    assert effect == Effect(revisions=frozenset({"a", "b"}), weight=weight)


def test_before_there_is_a_route_nothing_is_routed():
    assert GATEWAY_API.in_effect({}, ["a"]) == Effect()


def test_a_gateway_that_has_not_answered_may_send_clients_anywhere_and_is_named():
    effect = GATEWAY_API.in_effect(objects_of(both_arms(5)), ["a", "b"])
    assert effect.revisions == frozenset({"a", "b"})
    assert effect.weight is None
    assert effect.refused
    assert "HTTPRoute qna: Gateway infra/public has not answered" in str(effect.problem)


def test_weights_that_are_newer_than_the_gateways_answer_are_not_in_effect():
    objects = objects_of(both_arms(5))
    route = taken(objects[HTTP_ROUTE, "qna"])
    route["metadata"]["generation"] += 1
    effect = GATEWAY_API.in_effect({**objects, (HTTP_ROUTE, "qna"): route}, ["a", "b"])
    assert (effect.weight, effect.refused) == (None, False)
    assert "has not taken its newest weights yet" in str(effect.problem)


@pytest.mark.parametrize("kind", ["Accepted", "ResolvedRefs"])
def test_a_refusal_is_told_with_the_gateways_own_words(kind: str):
    objects = objects_of(both_arms(5))
    objects[HTTP_ROUTE, "qna"] = taken(objects[HTTP_ROUTE, "qna"], **{kind: "False"})
    effect = GATEWAY_API.in_effect(objects, ["a", "b"])
    assert effect.refused
    assert f"Gateway infra/public refuses it: {kind} is False, R: m" in str(effect.problem)


@pytest.mark.parametrize("partly", ["True", "False"])
def test_a_route_of_which_a_gateway_drops_a_rule_is_refused(partly: str):
    objects = objects_of(both_arms(5))
    objects[HTTP_ROUTE, "qna"] = taken(objects[HTTP_ROUTE, "qna"], PartiallyInvalid=partly)
    effect = GATEWAY_API.in_effect(objects, ["a", "b"])
    problem = "Gateway infra/public refuses a part of it: PartiallyInvalid, R: m"
    assert (problem in str(effect.problem)) == effect.refused == (partly == "True")


def test_another_gateways_answer_counts_for_nothing():
    objects = objects_of(both_arms(5))
    route = taken(objects[HTTP_ROUTE, "qna"])
    route["status"]["parents"][0]["parentRef"]["sectionName"] = "https"
    assert GATEWAY_API.in_effect({**objects, (HTTP_ROUTE, "qna"): route}, ["a", "b"]).refused


def test_a_release_says_who_deals_and_what_the_other_made_goes():
    by_gateway, by_pods = spec_with(), a_spec()
    assert provider_of(by_gateway) is GATEWAY_API
    assert made_by_others(by_gateway, "qna") == ()
    assert made_by_others(by_pods, "qna") == ((HTTP_ROUTE, "qna"),)


@dataclass
class GatewayWorld(World):
    """A world whose clients come through a gateway, which takes what it is given, or does not."""

    objects: dict[tuple[str, str], Object] = field(default_factory=dict)
    followed: Object | None = None
    """The route that the gateway goes by."""
    answers: bool = True
    refuses: bool = False

    @property
    @override
    def observed(self) -> Observed:
        effect = GATEWAY_API.in_effect(self.objects, self._revisions())
        return replace(
            super().observed,
            routed=effect.revisions,
            routed_weight=effect.weight,
            route_problem=effect.problem,
            route_refused=effect.refused,
        )

    @override
    def _apply(self, desired: Desired) -> None:
        super()._apply(desired)
        for key, item in objects_of(desired).items():
            before = self.objects.get(key)
            if before and before["spec"] == item["spec"]:
                continue
            generation = before["metadata"]["generation"] + 1 if before else 1
            status = before.get("status", {}) if before else {}
            meta = {**item["metadata"], "generation": generation}
            self.objects[key] = {**item, "metadata": meta, "status": status}
        self.gateway_looks()

    def gateway_looks(self) -> None:
        """Have the gateway take what the route asks for, if it does."""
        route = self.objects.get((HTTP_ROUTE, "qna"))
        if route is None or not self.answers:
            return
        conditions = {"Accepted": "False"} if self.refuses else {}
        self.objects[HTTP_ROUTE, "qna"] = taken(route, **conditions)
        if not self.refuses:
            self.followed = deepcopy(self.objects[HTTP_ROUTE, "qna"])

    @property
    def shares(self) -> dict[str, int]:
        """By revision: percent of the requests that the gateway sends there now."""
        if self.followed is None:
            return {}
        services = {name: item for (kind, name), item in self.objects.items() if kind == "Service"}
        shares: dict[str, int] = {}
        for backend in self.followed["spec"]["rules"][0]["backendRefs"]:
            selector = services[backend["name"]]["spec"]["selector"]
            revision = selector.get("modelrelease.dev/revision", "any")
            shares[revision] = shares.get(revision, 0) + backend["weight"]
        return {revision: weight for revision, weight in shares.items() if weight}

    @override
    def _serve(self, requests: int) -> None:
        left, share = requests, 100
        for name, weight in self.shares.items():
            count = binomial(self.random, left, weight / share) if share else 0
            left, share = left - count, share - weight
            pods = [pod for pod in self.pods.get(name, ()) if pod.ready]
            if not pods:
                self.unanswered += count if self.served else 0
                continue
            for pod in pods:
                self._count(name, pod, count // len(pods))


def a_gateway_world(**canary: Any) -> GatewayWorld:
    """Build a world in which version 1 serves behind a gateway."""
    world = GatewayWorld(spec=spec_with(**canary), target=a_target("1"), rps=1000.0)
    world.run()
    return world


def test_a_release_goes_through_weights_that_pods_cannot_express():
    world = a_gateway_world(steps=[{"weight": 1, "bake": "10s"}, {"weight": 80, "bake": "10s"}])
    world.release(a_target("2"))
    seen = []
    while world.stable.version == "1":
        world.step()
        if world.status.phase is Phase.PROGRESSING and world.canary.step_since:
            seen.append(world.shares["rev2"])
    assert set(seen) == {1, 80}
    assert world.unanswered == 0
    assert world.run().stable.version == "2"
    assert world.shares == {"rev2": 100}


def test_a_failing_canary_has_no_requests_as_soon_as_it_is_rejected():
    world = a_gateway_world()
    world.behaviours["rev2"] = Behaviour(error_rate=0.5)
    world.release(a_target("2")).run(until=Phase.ROLLING_BACK)
    assert world.shares == {"rev1": 100}
    assert world.run().stable.version == "1"
    assert world.unanswered == 0
    assert "rev2" not in world.pods


def test_a_step_begins_when_the_gateway_has_taken_its_weight_and_not_before():
    world = a_gateway_world()
    world.release(a_target("2")).run(until=Phase.PROGRESSING)
    world.answers = False
    while world.canary.step == 0:
        world.step()
    world.steps(3)
    assert world.canary.step_since is None
    assert (
        "waiting until the weight is seen in effect; HTTPRoute qna: Gateway" in world.status.message
    )
    world.answers = True
    assert world.run().stable.version == "2"


def test_a_rejected_canary_keeps_its_pods_while_the_gateway_may_still_send_clients_to_it():
    world = a_gateway_world()
    world.behaviours["rev2"] = Behaviour(error_rate=0.5)
    world.release(a_target("2")).run(until=Phase.PROGRESSING)
    world.answers = False
    while Reason.REGRESSION not in world.reasons:
        world.step()
        world.answers = (
            world.status.phase is not Phase.ROLLING_BACK and world.canary.step_since is None
        )
    world.steps(20)
    assert world.status.phase is Phase.ROLLING_BACK
    assert world.pods["rev2"], "the gateway has not let go of them"
    assert world.shares == {"rev1": 100}, "whatever weights the gateway follows"
    assert "its pods stay until the route does; HTTPRoute qna: Gateway" in world.status.message
    world.answers = True
    assert world.run().stable.version == "1"
    assert world.unanswered == 0


@pytest.mark.parametrize("seed", range(12))
def test_whatever_the_gateway_does_stable_answers_and_nobody_is_sent_to_pods_that_are_gone(
    seed: int,
):
    world = a_gateway_world()
    world.random.seed(seed)
    world.behaviours["rev2"] = Behaviour(error_rate=world.random.choice([0.0, 0.5]))
    world.release(a_target("2"))
    for _ in range(400):
        world.answers = world.random.random() < 0.7
        world.refuses = world.random.random() < 0.2
        world.gateway_looks()
        world.step()
        assert world.pods[world.stable.revision]
        assert all(world.pods.get(name) for name in world.shares), "a share without pods"
    world.answers, world.refuses = True, False
    world.gateway_looks()
    assert world.run().status.phase is Phase.STABLE
    assert world.unanswered == 0


def stable_fails(world: GatewayWorld) -> None:
    """Have no pod of stable ready any more, until they are started anew."""
    for pod in world.pods[world.stable.revision]:
        pod.ready, pod.ready_at = False, None


def test_a_canary_that_answers_alone_has_every_request_by_the_gateway_and_by_the_main_service():
    world = a_gateway_world(steps=[{"weight": 5, "bake": "10m"}])
    world.release(a_target("2")).run(until=Phase.PROGRESSING)
    world.steps(5)
    stable_fails(world)
    world.steps(3)
    assert world.canary.alone
    assert world.shares == {"rev2": 100}
    selector = world.objects["Service", "qna"]["spec"]["selector"]
    assert "modelrelease.dev/revision" not in selector, "callers in the cluster are answered too"
    missed = world.unanswered
    world.steps(5)
    assert world.unanswered == missed


def test_what_served_everybody_keeps_its_pods_until_its_share_is_seen_in_effect():
    """It is compared with its predecessor again, and what leads clients away comes after its pods,
    and may be refused.
    """
    world = a_gateway_world(steps=[{"weight": 20, "bake": "10m"}], keepPrevious="10m")
    world.release(a_target("2")).run(until=Phase.PROMOTING).run(until=Phase.STABLE)
    everybody = len(world.pods["rev2"])
    world.behaviours["rev2"] = Behaviour(error_rate=0.3)
    world.answers = False
    world.run(until=Phase.PROGRESSING)
    assert (world.canary.version, len(world.pods["rev2"])) == ("2", everybody)
    world.steps(2)
    assert len(world.pods["rev2"]) == everybody
    assert everybody > GATEWAY_API.split(weight=20, replicas=everybody).canary


def test_until_all_of_stable_is_back_the_ready_pods_share_the_requests():
    world = a_gateway_world(steps=[{"weight": 5, "bake": "10m"}])
    world.release(a_target("2")).run(until=Phase.PROGRESSING)
    world.steps(5)
    stable_fails(world)
    world.steps(30)
    first, *rest = world.pods["rev1"]
    first.ready_at = world.now
    world.steps(3)
    assert world.shares == {"rev1": 25, "rev2": 75}
    for pod in rest:
        pod.ready_at = world.now
    world.steps(3)
    assert world.shares == {"rev1": 95, "rev2": 5}
    assert not world.canary.alone


def test_what_is_not_stable_yet_may_serve_behind_the_route_alone():
    desired = Desired(routed=frozenset({"old"}), stable="new", retained=frozenset({"old"}))
    objects = objects_of(desired)
    for name in ("qna", "qna-stable", "qna-canary"):
        selector = objects["Service", name]["spec"]["selector"]
        assert selector["modelrelease.dev/revision"] == "old", name
    objects[HTTP_ROUTE, "qna"] = taken(objects[HTTP_ROUTE, "qna"])
    assert GATEWAY_API.in_effect(objects, ["old", "new"]).revisions == frozenset({"old"})


def test_on_the_way_back_to_a_warm_version_the_pods_of_both_answer_behind_the_route():
    world = a_gateway_world(keepPrevious="1h")
    world.release(a_target("2"))
    while world.stable.version == "1":
        world.step()
    world.steps(3)
    for pod in world.pods["rev1"][1:]:
        pod.ready, pod.ready_at = False, None
    world.release(a_target("1"))
    world.steps(3)
    assert "version 2 helps until all are" in world.status.message
    assert world.shares == {"any": 100}
    effect = GATEWAY_API.in_effect(world.objects, ["rev1", "rev2"])
    assert effect.revisions == frozenset({"rev1", "rev2"})
    for pod in world.pods["rev1"]:
        pod.ready_at = world.now
    world.steps(3)
    assert world.stable.version == "1"
    assert world.shares == {"rev1": 100}


def test_a_canary_that_loses_every_pod_has_no_weight_until_the_gateway_can_know_of_new_ones():
    world = a_gateway_world(steps=[{"weight": 5, "bake": "10m"}])
    world.release(a_target("2")).run(until=Phase.PROGRESSING)
    world.steps(5)
    assert world.shares == {"rev1": 95, "rev2": 5}
    world.start_seconds = 20.0
    world.lose_pods("rev2")
    world.step()
    assert world.shares == {"rev1": 100}
    while not world.ready("rev2"):
        world.step()
        assert world.shares == {"rev1": 100}
    back = world.now
    while world.shares == {"rev1": 100}:
        world.step()
    assert world.now - back >= GATEWAY_API.endpoints_delay
    assert world.shares == {"rev1": 95, "rev2": 5}
    assert world.status.rejected is None


def withdrawn_by_a_late_gateway(**parts: Any) -> GatewayWorld:
    world = a_gateway_world(steps=[{"weight": 5, "bake": "10m"}])
    if parts:
        world.ask(**parts)
    world.release(a_target("2")).run(until=Phase.PROGRESSING)
    world.steps(5)
    assert world.canary.step_since
    world.prometheus_up = world.answers = False
    while not world.canary.unseen:
        world.step()
    return world


def test_a_withdrawn_canary_has_no_clients_although_the_gateway_is_late():
    world = withdrawn_by_a_late_gateway()
    assert world.shares == {"rev1": 100}
    met = world.served["rev2"]
    world.steps(3)
    assert world.served["rev2"] == met
    late = "its Service leads to version 1 while the route is late: HTTPRoute qna: Gateway"
    assert late in world.status.message
    world.answers = True
    world.steps(3)
    assert late not in world.status.message
    assert world.shares == {"rev1": 100}


def test_a_withdrawn_canary_that_can_be_seen_again_has_its_weight_again():
    world = withdrawn_by_a_late_gateway()
    world.answers = world.prometheus_up = True
    while world.canary.unseen:
        world.step()
    world.steps(5)
    assert world.shares == {"rev1": 95, "rev2": 5}


def test_a_withdrawn_canary_with_a_prober_is_said_to_have_clients_while_the_gateway_is_late():
    """The prober asks by the canary's Service, and would take stable's answers for the canary's."""
    analysis = {**QUICK["analysis"], "probe": {}}
    world = withdrawn_by_a_late_gateway(analysis=analysis)
    world.steps(3)
    assert "clients may still reach it: HTTPRoute qna: Gateway" in world.status.message


def answer_of(
    controller: str = "example.com/one", *, generation: int = 2, accepted: str = "True", **ref: Any
) -> Object:
    conditions = [
        {"type": kind, "status": status, "reason": "R", "observedGeneration": generation}
        for kind, status in (("Accepted", accepted), ("ResolvedRefs", "True"))
    ]
    parent = {"group": "gateway.networking.k8s.io", "kind": "Gateway", "name": "public", **ref}
    return {"parentRef": parent, "controllerName": controller, "conditions": conditions}


@pytest.mark.parametrize(
    ("answers", "expected"),
    [
        pytest.param([answer_of(namespace="ml")], None, id="with the route's own namespace"),
        pytest.param(
            [
                answer_of(sectionName="http"),
                answer_of(sectionName="tls", accepted="False"),
            ],
            None,
            id="once for each listener, of which one lets it in",
        ),
        pytest.param(
            [answer_of(sectionName="http", accepted="False")], "refuses it", id="of no listener"
        ),
        pytest.param(
            [answer_of(sectionName="http"), answer_of(sectionName="tls", generation=1)],
            "newest weights",
            id="not of every listener yet",
        ),
        pytest.param(
            [answer_of("example.com/gone", generation=1), answer_of()],
            None,
            id="beside what a controller left that has the Gateway no more",
        ),
        pytest.param(
            [answer_of("example.com/gone", generation=1), answer_of(accepted="False")],
            "refuses it",
            id="a refusal beside what is left of another",
        ),
        pytest.param([answer_of(name="other")], "has not answered", id="another Gateway's"),
    ],
)
def test_controllers_answer_in_ways_of_their_own(answers: list[Object], expected: str | None):
    spec = {"parentRefs": [{"name": "public"}], "rules": []}
    meta = {"name": "qna", "namespace": "ml", "generation": 2}
    route = {"metadata": meta, "spec": spec, "status": {"parents": answers}}
    problem = GATEWAY_API.in_effect({(HTTP_ROUTE, "qna"): route}, ["a"]).problem
    assert (problem is None) if expected is None else (expected in str(problem))


def test_a_canary_has_clients_only_when_the_gateway_can_have_learnt_of_its_pods():
    world = a_gateway_world()
    world.release(a_target("2")).run(until=Phase.STARTING)
    while world.ready("rev2") == 0:
        world.step()
    ready_at = world.now
    told = set()
    while world.status.phase is Phase.STARTING:
        world.step()
        told.add(world.status.message)
    assert (world.now - ready_at).total_seconds() >= 5
    assert "canary 2 is ready; the gateway is given time to learn of its pods" in told
