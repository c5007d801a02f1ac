"""Where an operator works that may read nothing outside namespaces, and what it says of that."""

from modelrelease_operator.core.own_rights import OUTSIDE, SCANS, OwnRights, judged, wanted

BOTH = ("ml", "web")
ALL = frozenset(wanted(BOTH))


def test_who_may_read_everything_works_without_nothing():
    assert judged(BOTH, ALL) == OwnRights(namespaces=BOTH, scans=True, without=())
    assert judged((), frozenset(wanted(()))) == OwnRights(namespaces=(), scans=True, without=())


def test_who_has_roles_only_looks_after_their_namespaces_and_says_what_is_lost():
    found = judged(BOTH, ALL - {*OUTSIDE})
    assert (found.namespaces, found.scans) == (BOTH, False)
    kinds, gateways, routes = found.without
    assert kinds.startswith(
        "it may not list customresourcedefinitions and watch customresourcedefinitions and list "
        "namespaces and watch namespaces: "
    )
    assert gateways.startswith("it may not get gateways and get gatewayclasses: ")
    assert routes.startswith(
        "it may not get customresourcedefinitions httproutes.gateway.networking.k8s.io: "
    )


def test_only_what_is_lacking_is_named():
    (sentence,) = judged(BOTH, ALL - {SCANS[-1]}).without
    assert sentence.startswith("it may not watch namespaces: ")


def test_a_namespace_without_a_role_does_not_keep_the_others_from_being_looked_after():
    lost = {right for right in ALL if right.namespace == "web"}
    found = judged(BOTH, ALL - {*OUTSIDE} - lost)
    assert found.namespaces == ("ml",)
    assert (
        "modelreleases in namespace web: releases there are not looked after" in (found.without[-1])
    )


def test_who_may_follow_namespaces_waits_for_a_role_that_comes_later():
    lost = {right for right in ALL if right.namespace == "web"}
    assert judged(BOTH, ALL - lost) == OwnRights(namespaces=BOTH, scans=True, without=())
