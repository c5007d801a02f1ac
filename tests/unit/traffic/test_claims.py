"""Two releases that ask a Gateway for the same requests: the older one has them."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelrelease_operator.traffic.claims import Claim, Claimant, claimant_of, conflicts

GATEWAY = {"name": "public", "namespace": "infra"}


def release(name: str, *, age: int = 0, namespace: str = "ml", **routing: Any) -> dict[str, Any]:
    """Build a release that names one Gateway; a greater age is an earlier birth."""
    created = f"2026-11-{20 - age:02d}T12:00:00Z"
    meta = {"name": name, "namespace": namespace, "creationTimestamp": created}
    gateway_api = {"parentRefs": [GATEWAY], **routing}
    return {"metadata": meta, "spec": {"canary": {"routing": {"gatewayAPI": gateway_api}}}}


def lost(*releases: dict[str, Any]) -> dict[str, str]:
    """Return by loser's name who has its requests."""
    claimants = [claimant for each in releases if (claimant := claimant_of(each))]
    return {loser[1]: each.winner[1] for loser, each in conflicts(claimants).items()}


@pytest.mark.parametrize(
    ("one", "other"),
    [
        pytest.param({}, {}, id="everything of a Gateway"),
        pytest.param({"hostnames": ["a.io", "b.io"]}, {"hostnames": ["b.io"]}, id="one host"),
        pytest.param({"path": "/v1"}, {"path": "/v1/"}, id="one path, with a slash at its end"),
        pytest.param(
            {"parentRefs": [{**GATEWAY, "sectionName": "http"}]}, {}, id="one listener and all"
        ),
        pytest.param(
            {"parentRefs": [{**GATEWAY, "port": 80}]},
            {"parentRefs": [{**GATEWAY, "sectionName": "http"}]},
            id="a port and a listener, which may be the same",
        ),
    ],
)
def test_the_older_of_two_has_what_both_ask_for(one: dict[str, Any], other: dict[str, Any]):
    assert lost(release("old", age=1, **one), release("new", **other)) == {"new": "old"}
    assert lost(release("new", **one), release("old", age=1, **other)) == {"new": "old"}


@pytest.mark.parametrize(
    ("one", "other"),
    [
        pytest.param({"path": "/"}, {"path": "/a"}, id="nested paths: the longer one wins"),
        pytest.param({"hostnames": ["a.io"]}, {"hostnames": ["b.io"]}, id="other hosts"),
        pytest.param(
            {"hostnames": ["*.a.io"]}, {"hostnames": ["x.a.io"]}, id="a host below a wildcard"
        ),
        pytest.param({}, {"parentRefs": [{"name": "other"}]}, id="other Gateways"),
        pytest.param(
            {"parentRefs": [{**GATEWAY, "sectionName": "http"}]},
            {"parentRefs": [{**GATEWAY, "sectionName": "tls"}]},
            id="other listeners",
        ),
    ],
)
def test_what_a_gateway_can_tell_apart_is_no_conflict(one: dict[str, Any], other: dict[str, Any]):
    assert lost(release("old", age=1, **one), release("new", **other)) == {}


def test_a_gateway_in_the_releases_own_namespace_is_another_than_its_namesake_elsewhere():
    own: dict[str, Any] = {"parentRefs": [{"name": "public"}]}
    assert lost(release("a", **own), release("b", namespace="web", **own)) == {}
    assert lost(release("a", **own), release("b", namespace="ml", **own)) == {"b": "a"}


def test_of_one_age_the_first_by_namespace_and_name_has_them():
    assert lost(release("b", namespace="ml"), release("a", namespace="web")) == {"a": "b"}
    assert lost(release("b"), release("a")) == {"b": "a"}


def test_a_release_that_has_nothing_itself_keeps_nobody_from_anything():
    first = release("first", age=2, hostnames=["a.io"])
    loses = release("loses", age=1, hostnames=["a.io", "b.io"])
    last = release("last", hostnames=["b.io"])
    assert lost(first, loses, last) == {"loses": "first"}
    assert lost(loses, last) == {"last": "loses"}


def test_a_release_that_is_being_deleted_asks_for_nothing():
    going = release("old", age=1)
    going["metadata"]["deletionTimestamp"] = "2026-11-29T12:00:00Z"
    assert lost(going, release("new")) == {}


def test_a_release_without_a_gateway_asks_for_nothing():
    meta = {"name": "qna", "namespace": "ml"}
    assert claimant_of({"metadata": meta, "spec": {"canary": {}}}) is None
    assert claimant_of({"metadata": meta}) is None


def test_a_routing_that_cannot_be_read_is_no_answer():
    wrong = release("qna")
    wrong["spec"]["canary"]["routing"]["gatewayAPI"] = {"parentRefs": "all"}
    with pytest.raises(ValueError, match="ml/qna: its routing cannot be read"):
        claimant_of(wrong)


def test_the_sentence_names_both_what_both_ask_for_and_what_to_do():
    claimants = [
        claimant
        for each in (
            release("old", age=1, hostnames=["a.io"], path="/v1"),
            release("new", namespace="web", hostnames=["a.io"], path="/v1"),
        )
        if (claimant := claimant_of(each))
    ]
    (conflict,) = conflicts(claimants).values()
    assert str(conflict) == (
        "ModelRelease web/new is not routed: ModelRelease ml/old, which is older, has the same "
        "requests (Gateway infra/public, host a.io, path /v1); give one of the two another host "
        "name or path in spec.canary.routing.gatewayAPI"
    )


claims = st.builds(
    Claim,
    st.tuples(st.sampled_from(["g", "h"]), st.sampled_from(["", "a.io"]), st.just("/")),
    st.sampled_from([None, "http", "tls"]),
    st.sampled_from([None, 80]),
)
claimants = st.lists(
    st.builds(
        Claimant,
        namespace=st.just("ml"),
        name=st.text("abcdefgh", min_size=1, max_size=3),
        created=st.sampled_from(["1", "2", "3"]),
        claims=st.lists(claims, min_size=1, max_size=3).map(tuple),
    ),
    unique_by=lambda each: each.name,
    max_size=8,
)


@given(claimants)
def test_no_two_that_are_routed_meet_and_whoever_loses_lost_to_an_older_one_that_is_routed(
    asking: list[Claimant],
):
    losers = conflicts(asking)
    by_key = {each.key: each for each in asking}
    routed = [each for each in asking if each.key not in losers]
    for one in routed:
        for other in routed:
            if one is not other:
                meeting = [mine for mine in one.claims for its in other.claims if mine.meets(its)]
                assert not meeting
    for key, conflict in losers.items():
        winner = by_key[conflict.winner]
        assert winner in routed
        assert (winner.created, winner.key) < (by_key[key].created, key)
