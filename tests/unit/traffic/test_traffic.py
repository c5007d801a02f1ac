"""Weights from pods, and the selector that lets clients reach them."""

from collections.abc import Iterable, Mapping
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelrelease_operator.api import names
from modelrelease_operator.api.spec import Canary
from modelrelease_operator.api.status import Phase
from modelrelease_operator.core.desired import Desired
from modelrelease_operator.manifests import Owner, render
from modelrelease_operator.traffic import registry
from modelrelease_operator.traffic.provider import (
    Asked,
    Effect,
    Object,
    ObjectKey,
    Route,
    Split,
    TrafficProvider,
)
from modelrelease_operator.traffic.replicas import rounding_note, routed_by, selector_for, split
from testbed.builders import a_target
from testbed.world import a_serving_world

OWNER = Owner(namespace="ml", name="qna", uid="uid-1")
WEIGHTS, REPLICAS = st.integers(1, 99), st.integers(1, 1000)


@given(weight=WEIGHTS, replicas=REPLICAS)
def test_a_split_is_never_nothing_and_never_more_than_half(weight: int, replicas: int):
    chosen = split(weight=weight, replicas=replicas)
    assert chosen.stable == replicas, "stable keeps every pod"
    assert 1 <= chosen.canary <= replicas
    assert 0 < chosen.weight <= 50


@given(weight=WEIGHTS, replicas=st.integers(1, 60))
def test_no_other_number_of_pods_comes_closer(weight: int, replicas: int):
    """In whole numbers: |100c/(r+c) - w| <= |100d/(r+d) - w| for every other d;
    the smaller of equals.
    """
    canary = split(weight=weight, replicas=replicas).canary
    miss = abs(100 * canary - weight * (replicas + canary))
    for other in range(1, replicas + 1):
        other_miss = abs(100 * other - weight * (replicas + other))
        left, right = miss * (replicas + other), other_miss * (replicas + canary)
        assert left < right or (left == right and canary <= other), other


@given(replicas=REPLICAS, pair=st.tuples(WEIGHTS, WEIGHTS))
def test_a_higher_weight_never_means_fewer_pods(replicas: int, pair: tuple[int, int]):
    low, high = sorted(pair)
    assert (
        split(weight=low, replicas=replicas).canary <= split(weight=high, replicas=replicas).canary
    )


@pytest.mark.parametrize(
    ("weight", "replicas", "canary"),
    [
        (25, 3, 1),
        (50, 3, 3),
        (5, 19, 1),
        (10, 9, 1),
        (20, 8, 2),
        (99, 4, 4),
        (45, 3, 2),
        (49, 13, 12),
    ],
)
def test_weights_that_people_use(weight: int, replicas: int, canary: int):
    assert split(weight=weight, replicas=replicas).canary == canary


@pytest.mark.parametrize(
    ("weight", "replicas", "note"),
    [
        pytest.param(25, 3, None, id="exact"),
        pytest.param(5, 20, None, id="within half a percent"),
        pytest.param(
            5, 3, "5 % cannot be had with 3 stable replicas: 1 canary replicas give 25 %", id="more"
        ),
        pytest.param(
            80, 4,
            "80 % cannot be had with 4 stable replicas, which all stay while a canary is tested: "
            "50 % is the most",
            id="above half",
        ),
    ],
)  # fmt: skip
def test_a_share_that_is_not_the_one_asked_for_is_explained(
    weight: int, replicas: int, note: str | None
):
    assert rounding_note(weight=weight, chosen=split(weight=weight, replicas=replicas)) == note


def test_one_revision_is_selected_by_its_label():
    assert selector_for("qna", {"a"}) == {names.LABEL_RELEASE: "qna", names.LABEL_REVISION: "a"}


def test_several_revisions_are_selected_as_the_whole_release():
    assert selector_for("qna", {"a", "b"}) == {names.LABEL_RELEASE: "qna"}


@given(st.frozensets(st.sampled_from("abcdef"), min_size=1, max_size=2))
def test_a_route_reads_back_as_it_was_written(revisions: frozenset[str]):
    assert routed_by(selector_for("qna", revisions), revisions) == revisions


def test_an_open_route_reaches_every_revision_that_has_pods():
    assert routed_by({names.LABEL_RELEASE: "qna"}, ["a", "b", "stranger"]) == {"a", "b", "stranger"}


def test_a_pinned_route_names_its_revision_even_when_that_has_no_pods():
    assert routed_by(selector_for("qna", {"gone"}), ["a"]) == {"gone"}


class Gateway(TrafficProvider):
    """A gateway as simple as one can be:
    one canary pod, and exact weights in an object of its own.
    """

    leads_to_arms = False
    endpoints_delay = timedelta(0)

    def takes(self, canary: Canary) -> bool:
        return True

    def deals_by_request(self, canary: Canary) -> bool:
        return False

    def split(self, *, weight: int, replicas: int) -> Split:
        return Split(stable=replicas, canary=1, weight=weight)

    def note(self, *, weight: int, replicas: int) -> str | None:
        return None

    def objects(self, route: Route) -> list[dict[str, Any]]:
        spec = {"weight": route.weight, "revisions": sorted(route.revisions)}
        return [
            {
                "apiVersion": "test/v1",
                "kind": "Route",
                "metadata": {"name": route.release},
                "spec": spec,
            }
        ]

    def sources(self, release: str) -> tuple[ObjectKey, ...]:
        return (("Route", release),)

    def in_effect(
        self,
        objects: Mapping[ObjectKey, Object],
        revisions: Iterable[str],
        asked: Asked | None = None,
    ) -> Effect:
        reached = [frozenset(route["spec"]["revisions"]) for route in objects.values()]
        return Effect(revisions=next(iter(reached), None))

    def made(self, release: str) -> tuple[ObjectKey, ...]:
        return self.sources(release)


@pytest.fixture
def gateway(monkeypatch: pytest.MonkeyPatch) -> Gateway:
    """Put a provider in, as its module and one entry would."""
    provider = Gateway()
    monkeypatch.setattr(registry, "PROVIDERS", (provider, *registry.PROVIDERS))
    return provider


def test_a_provider_that_is_put_in_gives_the_weight_that_was_asked_for(gateway: Gateway):
    world = a_serving_world().release(a_target("2")).run(until=Phase.PROGRESSING)
    assert world.status.weight == world.trail[-1].desired.weight == 25
    assert len(world.pods[world.canary.revision]) == 1, "one pod is enough for a gateway"
    assert world.canary.note is None, "and nothing is rounded"


def test_a_providers_objects_are_rendered_as_our_own_and_read_back(gateway: Gateway):
    desired = Desired(routed=frozenset({"a", "b"}), stable="a", canary="b", weight=1)
    route = render(OWNER, desired, provider=gateway)[-1]
    assert (route["kind"], route["spec"]["weight"]) == ("Route", 1)
    assert route["metadata"]["ownerReferences"][0]["uid"] == OWNER.uid
    effect = gateway.in_effect({("Route", "qna"): route}, ["a", "b", "c"])
    assert effect.revisions == frozenset({"a", "b"})
