"""Claims on a Gateway's requests, kept in step with what the watch tells of releases."""

from typing import Any

from modelrelease_operator.runtime.namespaced_name import NamespacedName
from modelrelease_operator.runtime.routing_conflicts import RoutingConflicts
from testbed.operating import model

QNA, RAG = ("ml", "qna"), ("ml", "rag")
HERE = {"parentRefs": [{"name": "public"}]}


def release(name: str, born: int, gateway_api: Any, **more: Any) -> dict[str, Any]:
    meta = {"name": name, "namespace": "ml", "creationTimestamp": f"2026-11-01T{born:02d}:00:00Z"}
    canary = {"routing": {"gatewayAPI": gateway_api}, **more}
    return {"metadata": meta, "spec": {"model": model("1"), "canary": canary}}


def of_two() -> tuple[RoutingConflicts, list[NamespacedName]]:
    """Return claims of which the younger release loses, and who is woken from now on."""
    woken: list[NamespacedName] = []
    routing = RoutingConflicts(woken.append)
    routing.take(release("qna", 1, HERE))
    routing.take(release("rag", 2, HERE))
    routing.listed()
    assert routing.of(RAG)
    woken.clear()
    return routing, woken


def test_nothing_is_told_before_all_releases_are_known():
    routing = RoutingConflicts(lambda _: None)
    routing.take(release("rag", 2, HERE))
    routing.take(release("qna", 1, HERE))
    assert (routing.of(RAG), routing.complete) == (None, False)
    routing.listed()
    conflict = routing.of(RAG)
    assert conflict
    assert conflict.winner == QNA


def test_whose_verdict_changes_is_woken_and_nobody_else():
    routing, woken = of_two()
    routing.take(release("other", 3, {"parentRefs": [{"name": "elsewhere"}]}))
    routing.take(release("qna", 1, HERE))
    assert woken == []
    routing.drop(QNA)
    assert woken == [RAG]
    assert routing.of(RAG) is None


def test_a_routing_that_cannot_be_read_keeps_the_claim_that_the_release_goes_on_with():
    routing, woken = of_two()
    routing.take(release("qna", 1, {"parentRefs": "all of them"}))
    assert routing.of(RAG)
    assert woken == []


ELSEWHERE = {"parentRefs": [{"name": "elsewhere"}]}
NO_STEPS: dict[str, Any] = {"steps": [{"weight": 50}, {"weight": 10}]}
"""What no release can follow: weights that fall."""


def test_a_spec_that_is_refused_for_another_field_takes_no_requests_and_gives_none_away():
    routing, woken = of_two()
    routing.take(release("other", 3, ELSEWHERE))
    assert not routing.of(("ml", "other"))
    routing.take(release("qna", 1, ELSEWHERE, **NO_STEPS))
    assert routing.of(("ml", "other")) is None, "it goes on having what it had"
    assert routing.of(RAG), "and so does the release whose spec is refused"
    assert woken == []
    routing.take(release("qna", 1, ELSEWHERE))
    assert routing.of(("ml", "other"))
    assert set(woken) == {RAG, ("ml", "other")}


def test_a_new_release_whose_spec_is_refused_takes_nobodys_requests():
    routing, woken = of_two()
    routing.take(release("first", 0, HERE, **NO_STEPS))
    assert routing.of(QNA) is None
    assert woken == []


def test_a_refused_spec_names_the_route_of_others_that_the_release_goes_on_with():
    routing, _ = of_two()
    routing.take(release("qna", 1, {"existingRoute": {"name": "front"}}))
    routing.take(release("qna", 1, {"existingRoute": {"name": "back"}}, **NO_STEPS))
    assert routing.naming(("ml", "front")) == {QNA}
    assert routing.naming(("ml", "back")) == set()


def test_a_release_that_is_being_deleted_asks_for_nothing_whatever_its_spec_is():
    routing, woken = of_two()
    gone = release("qna", 1, HERE, **NO_STEPS)
    gone["metadata"]["deletionTimestamp"] = "2026-11-02T00:00:00Z"
    routing.take(gone)
    assert woken == [RAG]


def test_a_route_of_others_is_found_by_the_releases_that_name_it():
    routing, _ = of_two()
    routing.take(release("qna", 1, {"existingRoute": {"name": "front"}}))
    assert routing.naming(("ml", "front")) == {QNA}
    assert routing.naming(("web", "front")) == set()
    assert routing.of(RAG) is None, "it asks for nothing of its own any more"
    routing.drop(QNA)
    assert routing.naming(("ml", "front")) == set()
