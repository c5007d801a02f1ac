"""Drains: what has clients keeps pods while nodes go, and no other owner's budget is worked
against.
"""

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from modelrelease_operator.api import names
from modelrelease_operator.runtime import cache
from modelrelease_operator.runtime.neighbours import Neighbours, selects
from testbed.api_server import Object
from testbed.operating import Operating, operating

PDB = "PodDisruptionBudget"


@pytest.fixture
async def world() -> AsyncIterator[Operating]:
    async with operating() as running:
        running.reconciler.neighbours.believed_seconds = 0
        yield running


def versions_with_a_budget(world: Operating) -> set[str]:
    """Return the versions whose pods a budget selects."""
    versions = set()
    for deployment in world.server.of("Deployment"):
        labels = deployment["spec"]["template"]["metadata"]["labels"]
        if any(selects(each["spec"]["selector"], labels) for each in world.server.of(PDB)):
            versions.add(labels[names.LABEL_VERSION])
    return versions


async def test_what_serves_has_a_budget_by_which_a_drain_always_goes_on(world: Operating):
    await world.serves("1")
    (budget,) = world.server.of(PDB)
    assert budget["spec"]["maxUnavailable"] == 1
    assert budget["spec"]["unhealthyPodEvictionPolicy"] == "AlwaysAllow"
    assert budget["metadata"]["ownerReferences"][0]["name"] == "qna"
    assert versions_with_a_budget(world) == {"1"}


async def test_a_canary_has_a_budget_of_its_own_once_it_has_users(world: Operating):
    await world.serves("1")
    world.release("2")
    await world.until(lambda status: status["phase"] == "Starting")
    assert versions_with_a_budget(world) == {"1"}
    await world.until(lambda status: status["phase"] == "Progressing")
    assert versions_with_a_budget(world) == {"1", "2"}
    assert len(world.server.of(PDB)) == 2, "the API server evicts no pod of two budgets"


async def test_the_budget_of_a_canary_goes_when_it_has_no_users_any_more(world: Operating):
    await world.with_canary()
    world.release("1")
    await world.until(lambda status: status["phase"] == "Stable")
    await world.once()
    assert versions_with_a_budget(world) == {"1"}
    assert len(world.server.of(PDB)) == 1


async def test_a_promotion_leaves_one_budget_for_the_version_that_serves(world: Operating):
    status = await world.with_canary()
    world.annotate(promote=status["canary"]["revision"])
    await world.until(lambda status: status["stable"]["version"] == "2")
    await world.once()
    assert versions_with_a_budget(world) == {"2"}


async def test_a_budget_can_be_loosened_and_taken_away(world: Operating):
    await world.serves("1", serving={"replicas": 2, "disruptionBudget": {"maxUnavailable": 2}})
    assert world.server.of(PDB)[0]["spec"]["maxUnavailable"] == 2
    world.release("1", serving={"replicas": 2, "disruptionBudget": {"enabled": False}})
    await world.once()
    assert not world.server.of(PDB)


async def test_a_budget_that_somebody_deleted_comes_back(world: Operating):
    await world.serves("1")
    world.server.remove(PDB, world.server.of(PDB)[0]["metadata"]["name"])
    await world.once()
    assert versions_with_a_budget(world) == {"1"}


@pytest.mark.parametrize(
    "selector",
    [
        {"matchLabels": {names.LABEL_RELEASE: "qna"}},
        {},
        {"matchExpressions": [{"key": names.LABEL_VERSION, "operator": "Exists"}]},
    ],
    ids=["the release", "everything", "an expression"],
)
async def test_beside_another_owners_budget_of_the_same_pods_none_is_made(
    world: Operating, selector: dict[str, Any]
):
    theirs = {"minAvailable": 1, "selector": selector}
    await world.serves("1")
    world.server.put(PDB, "theirs", spec=theirs)
    await world.once()
    assert [each["metadata"]["name"] for each in world.server.of(PDB)] == ["theirs"]
    world.server.remove(PDB, "theirs")
    await world.once()
    assert versions_with_a_budget(world) == {"1"}


async def test_a_budget_of_other_pods_is_none_of_our_business(world: Operating):
    theirs = {"minAvailable": 1, "selector": {"matchLabels": {"app": "billing"}}}
    world.server.put(PDB, "theirs", spec=theirs)
    await world.serves("1")
    assert versions_with_a_budget(world) == {"1"}


async def test_a_foreign_budget_of_the_name_is_left_alone_and_the_release_goes_on(world: Operating):
    status = await world.serves(
        "1", serving={"replicas": 2, "disruptionBudget": {"enabled": False}}
    )
    name = f"qna-{status['stable']['revision']}"
    spec = {"selector": {"matchLabels": {"app": "billing"}}}
    foreign = world.server.put(PDB, name, spec=spec)
    world.release("1")
    await world.once()
    assert world.server.get(PDB, name) == foreign
    condition = world.server.condition("Protected")
    assert condition["status"] == "False"
    assert f"{PDB} ml/{name} exists and belongs to somebody else" in condition["message"]
    assert world.server.condition("Ready")["status"] == "True"
    assert "ApplyRefused" in world.server.reasons()
    told = world.server.reasons().count("ApplyRefused")
    world.release("2")
    await world.until(lambda status: status["phase"] == "Progressing")
    assert world.server.reasons().count("ApplyRefused") == told, "it is told once"
    world.server.remove(PDB, name)
    await world.once()
    assert not world.server.condition("Protected")


async def test_an_operator_without_the_right_to_budgets_releases_all_the_same():
    def refuse(verb: str, plural: str, _: Object) -> tuple[int, str] | None:
        return (403, "forbidden: policy") if plural == "poddisruptionbudgets" else None

    async with operating() as world:
        world.server.refuse = refuse
        await world.serves("1")
        world.release("2")
        await world.until(lambda status: status["phase"] == "Progressing")
        assert "forbidden: policy" in world.server.condition("Protected")["message"]
        assert world.server.condition("Stalled")["status"] == "False"


async def test_a_budget_that_a_quota_refuses_stops_nothing(world: Operating):
    def refuse(verb: str, plural: str, _: Object) -> tuple[int, str] | None:
        asked = (verb, plural) == ("PATCH", "poddisruptionbudgets")
        return (403, "exceeded quota: objects") if asked else None

    world.server.refuse = refuse
    await world.serves("1")
    assert "exceeded quota" in world.server.condition("Protected")["message"]
    world.server.refuse = lambda *_: None
    await world.once()
    assert not world.server.condition("Protected")
    assert versions_with_a_budget(world) == {"1"}


async def test_a_release_that_waits_asks_nothing_of_the_api_server_for_its_budget(
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setattr(cache, "OPTIONAL_PAUSE_SECONDS", 60)
    async with operating() as world:
        await world.serves("1")
        for _ in range(3):
            await world.once()
        before = world.server.requests.copy()
        for _ in range(5):
            await world.once()
        asked = world.server.requests - before
        assert not {what for what in asked if "poddisruptionbudgets" in what}


async def test_while_others_budgets_cannot_be_listed_none_is_made_beside_them(world: Operating):
    theirs = {"minAvailable": 1, "selector": {"matchLabels": {names.LABEL_RELEASE: "qna"}}}
    world.server.put(PDB, "theirs", spec=theirs)
    world.server.refuse = unlisted
    await world.serves("1")
    requeue = await world.once()
    assert requeue is not None
    assert requeue <= timedelta(minutes=1)
    assert [each["metadata"]["name"] for each in world.server.of(PDB)] == ["theirs"]
    assert world.server.condition("Ready")["status"] == "True"
    world.server.refuse = lambda *_: None
    world.server.remove(PDB, "theirs")
    await world.until(lambda _: versions_with_a_budget(world) == {"1"})


async def test_a_list_that_fails_after_a_restart_removes_no_budget(world: Operating):
    await world.serves("1")
    world.reconciler = replace(world.reconciler, neighbours=Neighbours(believed_seconds=0))
    world.server.refuse = unlisted
    await world.once()
    assert versions_with_a_budget(world) == {"1"}


def unlisted(verb: str, plural: str, _: Object) -> tuple[int, str] | None:
    return (503, "try later") if (verb, plural) == ("LIST", "poddisruptionbudgets") else None


async def test_a_budget_that_fails_is_no_trouble_of_the_release(world: Operating):
    """A webhook, say, that is down for budgets alone."""

    def refuse(verb: str, plural: str, _: Object) -> tuple[int, str] | None:
        asked = (verb, plural) == ("PATCH", "poddisruptionbudgets")
        return (500, "failed calling webhook") if asked else None

    world.server.refuse = refuse
    await world.serves("1")
    for _ in range(5):
        requeue = await world.once()
    condition = world.server.condition("Protected")
    assert (condition["status"], condition["reason"]) == ("Unknown", "Failing")
    assert "failed calling webhook" in condition["message"]
    assert world.server.condition("Ready")["status"] == "True"
    assert world.status()["message"] == "version 1 serves"
    assert world.server.reasons() == ["FirstVersionServes"]
    assert requeue == timedelta(minutes=1)
    world.server.refuse = lambda *_: None
    await world.once()
    assert not world.server.condition("Protected")


async def test_budgets_that_are_not_heard_of_are_no_trouble_of_the_release(world: Operating):
    """The right to watch them was taken away."""
    await world.serves("1")
    await world.once()
    heard = world.kube.stores[PDB].heard
    heard.update({space: at - 500 for space, at in heard.items()})
    for _ in range(5):
        await world.once()
    assert world.server.condition("Protected")["status"] == "Unknown"
    assert world.server.condition("Ready")["status"] == "True"
    assert versions_with_a_budget(world) == {"1"}


async def test_one_cause_of_a_refusal_is_told_once_whichever_revision_meets_it(world: Operating):
    quota = "exceeded quota: objects"

    def refuse(verb: str, plural: str, body: Object) -> tuple[int, str] | None:
        asked = (verb, plural) == ("PATCH", "poddisruptionbudgets")
        return (403, f"{body['metadata']['name']}: {quota}") if asked else None

    world.server.refuse = refuse
    status = await world.with_canary()
    world.annotate(promote=status["canary"]["revision"])
    await world.until(lambda status: status["stable"]["version"] == "2")
    await world.once()
    assert quota in world.server.condition("Protected")["message"]
    assert world.server.reasons().count("ApplyRefused") == 1
    quota = "exceeded quota: pods"
    await world.once()
    assert world.server.reasons().count("ApplyRefused") == 2, "another cause is news"


async def test_another_owners_budget_of_one_revision_takes_none_from_the_others(world: Operating):
    theirs = {"maxUnavailable": 0, "selector": {"matchLabels": {names.LABEL_VERSION: "1"}}}
    world.server.put(PDB, "theirs", spec=theirs)
    status = await world.with_canary()
    canary = status["canary"]["revision"]
    both = {"theirs", f"qna-{canary}"}
    assert {each["metadata"]["name"] for each in world.server.of(PDB)} == both
    world.annotate(promote=canary)
    await world.until(lambda status: status["stable"]["version"] == "2")
    await world.once()
    assert {each["metadata"]["name"] for each in world.server.of(PDB)} == both


async def test_no_second_budget_is_made_even_for_a_moment(world: Operating):
    made = []

    def note(verb: str, plural: str, body: Object) -> tuple[int, str] | None:
        if (verb, plural) == ("PATCH", "poddisruptionbudgets"):
            made.append(body["metadata"]["name"])
        return None

    theirs = {"minAvailable": 1, "selector": {"matchLabels": {names.LABEL_RELEASE: "qna"}}}
    world.server.put(PDB, "theirs", spec=theirs)
    world.server.refuse = note
    status = await world.with_canary()
    world.annotate(promote=status["canary"]["revision"])
    await world.until(lambda status: status["stable"]["version"] == "2")
    assert not made


async def orphaned(world: Operating) -> str:
    """Take the owner reference from the release's budget; return the budget's name."""
    (budget,) = world.server.of(PDB)
    name: str = budget["metadata"]["name"]
    metadata = {**budget["metadata"], "ownerReferences": []}
    world.server.put(PDB, name, metadata=metadata, spec=budget["spec"])
    await world.caught_up()
    return name


async def test_a_budget_that_lost_its_owner_goes_when_none_is_wanted(world: Operating):
    await world.serves("1")
    await orphaned(world)
    world.release("1", serving={"replicas": 2, "disruptionBudget": {"enabled": False}})
    await world.once()
    assert not world.server.of(PDB)


async def test_a_budget_that_lost_its_owner_gives_way_to_another_owners(world: Operating):
    await world.serves("1")
    await orphaned(world)
    theirs = {"minAvailable": 1, "selector": {"matchLabels": {names.LABEL_RELEASE: "qna"}}}
    world.server.put(PDB, "theirs", spec=theirs)
    await world.once()
    assert [each["metadata"]["name"] for each in world.server.of(PDB)] == ["theirs"]
