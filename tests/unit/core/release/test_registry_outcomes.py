"""What the registry is told of a version, by whom it is moved,
and that a release never depends on it.
"""

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import pytest

from modelrelease_operator.api.registry import Registered
from modelrelease_operator.api.status import (
    Phase,
    Reason,
    RegistryFate,
    RegistryOutcome,
    Status,
    Target,
)
from modelrelease_operator.core.desired import Decision
from modelrelease_operator.core.observed import Commands, RecordedOutcome
from modelrelease_operator.core.release.decide import decide
from modelrelease_operator.core.release.registry_outcomes import MAX_WAITING
from modelrelease_operator.errors import Unavailable
from modelrelease_operator.runtime.mlflow import Registry
from modelrelease_operator.runtime.outcomes import OutcomeRecorder, record
from testbed.builders import START, a_target
from testbed.servers import answering, serving
from testbed.world import Behaviour, World, a_serving_world
from tests.support.registering import Registering, a_manifest, a_registered_model

KEY = ("ml", "qna")
CANDIDATE = {"model": {"uri": "models:/qna@candidate"}}


def registered(version: str, **changes: Any) -> Target:
    return a_target(version, registered=Registered(name="qna", version=version), **changes)


class Recording(World):
    """A world whose operator tells a registry, which takes in everything when `told` is called."""

    told: dict[str, RecordedOutcome] | None = None

    @property
    def observed(self) -> Any:
        found = super().observed
        object.__setattr__(found, "recorded", self.told)
        return found


def recording(**changes: Any) -> Recording:
    """A world in which version 1 serves, and which has told the registry so."""
    plain = a_serving_world(target=registered("1"))
    world = Recording(spec=plain.spec, target=plain.target, rps=plain.rps)
    world.told = {}
    world.ask(**(CANDIDATE | changes))
    return world


def serving_one(**changes: Any) -> Recording:
    world = recording(**changes)
    world.run()
    return world


def outcomes(world: World) -> list[tuple[str, str, RegistryFate]]:
    return [
        (each.registered.name, each.registered.version, each.fate) for each in world.status.outcomes
    ]


def test_a_first_version_that_serves_is_told_and_champion_moves_from_nowhere():
    world = serving_one()
    (outcome,) = world.status.outcomes
    assert (outcome.fate, outcome.reason) == (RegistryFate.PROMOTED, Reason.FIRST_VERSION_SERVES)
    assert (outcome.moves_champion, outcome.champion_before) == (True, None)


def test_a_promotion_is_told_and_moves_champion_from_the_version_that_served():
    world = serving_one()
    world.told = {each.key: RecordedOutcome(message="done") for each in world.status.outcomes}
    world.release(registered("2")).run(until=Phase.PROMOTING)
    world.run(until=Phase.STABLE)
    (outcome,) = world.status.outcomes
    assert (outcome.fate, outcome.reason) == (RegistryFate.PROMOTED, Reason.PROMOTED)
    assert (outcome.registered.version, outcome.champion_before) == ("2", "1")


def test_a_rollback_is_told_with_its_reason_and_moves_nothing():
    world = serving_one()
    world.told = {each.key: RecordedOutcome(message="done") for each in world.status.outcomes}
    world.behaviours["rev2"] = Behaviour(error_rate=0.5)
    world.release(registered("2")).run(until=Phase.ROLLING_BACK)
    (outcome,) = world.status.outcomes
    assert (outcome.fate, outcome.reason) == (RegistryFate.ROLLED_BACK, Reason.REGRESSION)
    assert "canary 2" in outcome.message
    assert not outcome.moves_champion


@pytest.mark.parametrize(
    "uri",
    ["models:/qna@champion", "models:/qna/1", "http://store/qna/1"],
    ids=["champion", "number", "http"],
)
def test_a_release_that_follows_no_other_alias_moves_no_champion(uri: str):
    (outcome,) = serving_one(model={"uri": uri}).status.outcomes
    assert not outcome.moves_champion


def test_a_candidate_that_was_superseded_is_no_verdict_on_it():
    world = serving_one()
    before = outcomes(world)
    world.release(registered("2")).run(until=Phase.PROGRESSING)
    world.release(registered("3")).run(until=Phase.ROLLING_BACK)
    assert outcomes(world) == before


def test_an_abort_is_told():
    world = serving_one()
    world.release(registered("2")).run(until=Phase.PROGRESSING)
    world.commands = Commands(abort="2")
    world.step()
    assert outcomes(world)[-1] == ("qna", "2", RegistryFate.ROLLED_BACK)


def test_a_version_that_is_taken_back_after_a_switch_is_told_and_champion_goes_back():
    canary = {"steps": [{"weight": 100, "bake": "10s"}], "shadow": {}, "keepPrevious": "2m"}
    world = serving_one(canary=canary)
    world.release(registered("2")).run(until=Phase.PROGRESSING).run(until=Phase.STABLE)
    assert outcomes(world)[-1] == ("qna", "2", RegistryFate.PROMOTED)
    world.behaviours["rev2"] = Behaviour(error_rate=0.3)
    world.run(until=Phase.ROLLING_BACK)
    assert outcomes(world)[-2:] == [
        ("qna", "1", RegistryFate.PROMOTED),
        ("qna", "2", RegistryFate.ROLLED_BACK),
    ]
    assert world.status.outcomes[-2].champion_before == "2"


def test_another_image_of_the_same_version_says_nothing_of_the_model():
    world = serving_one()
    before = outcomes(world)
    world.behaviours["rev1b"] = Behaviour(error_rate=0.5)
    world.release(registered("1", revision="rev1b")).run(until=Phase.ROLLING_BACK)
    assert outcomes(world) == before


def test_a_version_that_is_not_registered_is_told_to_nobody():
    plain = a_serving_world()
    world = Recording(spec=plain.spec, target=plain.target, rps=plain.rps)
    world.told = {}
    assert world.run().status.outcomes == ()


def test_an_operator_that_may_not_write_remembers_nothing():
    world = serving_one()
    world.told = None
    world.step()
    assert world.status.outcomes == ()


def test_an_outcome_stays_until_it_was_told_and_then_an_event_says_so():
    world = serving_one()
    assert outcomes(world) == outcomes(world.steps(3))
    (outcome,) = world.status.outcomes
    world.told = {outcome.key: RecordedOutcome(message="models:/qna/1 is tagged Promoted")}
    decision = world.step()
    assert world.status.outcomes == ()
    assert [(notice.reason, notice.warning) for notice in decision.notices] == [
        (Reason.OUTCOME_RECORDED, False)
    ]
    world.told = {outcome.key: RecordedOutcome(message="again")}
    assert world.step().notices == ()


def test_what_could_not_be_told_for_good_is_a_warning():
    world = serving_one()
    (outcome,) = world.status.outcomes
    world.told = {outcome.key: RecordedOutcome(message="no such version", done=False)}
    (notice,) = world.step().notices
    assert (notice.reason, notice.warning) == (Reason.OUTCOME_NOT_RECORDED, True)


def test_a_registry_that_is_away_for_long_costs_no_unbounded_status():
    world = serving_one()
    many = tuple(an_outcome(str(number)) for number in range(30))
    world.status = world.status.model_copy(update={"outcomes": many})
    world.step()
    assert world.status.outcomes == many[-MAX_WAITING:]


def test_a_crash_before_the_status_was_written_tells_the_same_again():
    world = serving_one()
    world.told = {each.key: RecordedOutcome(message="done") for each in world.status.outcomes}
    world.release(registered("2")).run(until=Phase.PROMOTING)
    before = world.status

    def once() -> tuple[RegistryOutcome, ...]:
        decision: Decision = decide(
            spec=world.spec, status=before, observed=world.observed, now=world.now
        )
        return Status.parse(json.loads(json.dumps(decision.status.to_dict()))).outcomes

    assert once() == once()


# Telling a real MLflow server.


@pytest.fixture
def model(mlflow_url: str) -> Registering:
    return a_registered_model(mlflow_url)


def an_outcome(version: str = "2", name: str = "qna", **changes: Any) -> RegistryOutcome:
    fields: dict[str, Any] = {
        "registered": Registered(name=name, version=version), "fate": RegistryFate.PROMOTED,
        "reason": Reason.PROMOTED, "message": "version 2 serves", "at": START,
    }  # fmt: skip
    return RegistryOutcome(**(fields | changes))


async def tell(model: Registering, **changes: Any) -> RecordedOutcome:
    outcome = an_outcome(name=model.name, **changes)
    return await record(Registry(model.url), outcome, release="ml/qna")


async def test_a_version_is_tagged_with_what_became_of_it(model: Registering):
    await tell(model, fate=RegistryFate.ROLLED_BACK, reason=Reason.REGRESSION, message="fails 2 %")
    tags = model.tags("2")
    assert tags["modelrelease.outcome"] == "RolledBack"
    assert tags["modelrelease.reason"] == "Regression: fails 2 %"
    assert tags["modelrelease.release"] == "ml/qna"
    assert tags["modelrelease.at"] == START.isoformat()
    assert model.aliases("1") == ["champion"], "a rollback moves nothing"


async def test_champion_moves_from_the_version_that_served_before_and_twice_is_fine(
    model: Registering,
):
    for _ in range(2):
        said = await tell(model, moves_champion=True, champion_before="1")
        assert said.done
    assert (model.aliases("1"), model.aliases("2")) == ([], ["champion"])


async def test_champion_moves_from_nowhere(model: Registering):
    model.delete_alias("champion")
    said = await tell(model, moves_champion=True, champion_before=None)
    assert "moved to it from nowhere" in said.message
    assert model.aliases("2") == ["champion"]


async def test_champion_that_a_person_pointed_elsewhere_stays_there(model: Registering):
    model.alias("champion", model.version(a_manifest("3")))
    said = await tell(model, moves_champion=True, champion_before="1")
    assert not said.done
    assert "stays there" in said.message
    assert model.aliases("2") == []
    assert model.tags("2")["modelrelease.outcome"] == "Promoted"


Woken = asyncio.Queue[tuple[str, str]]


@pytest.fixture
async def woken() -> Woken:
    return asyncio.Queue()


@pytest.fixture
async def recorder(model: Registering, woken: Woken) -> AsyncIterator[OutcomeRecorder]:
    recorder = OutcomeRecorder(Registry(model.url), timedelta(seconds=0.05), wake=woken.put_nowait)
    yield recorder
    await recorder.stop()


async def test_outcomes_are_told_in_order_and_their_release_is_woken(
    recorder: OutcomeRecorder, model: Registering, woken: Woken
):
    pending = [
        an_outcome(name=model.name, fate=RegistryFate.ROLLED_BACK),
        an_outcome(name=model.name, at=START + timedelta(hours=1)),
    ]
    recorder.record(KEY, pending)
    async with asyncio.timeout(30):
        assert [await woken.get() for _ in pending] == [KEY, KEY]
    assert list(recorder.recorded(KEY) or {}) == [each.key for each in pending]
    assert model.tags("2")["modelrelease.outcome"] == "Promoted"
    recorder.record(KEY, [])
    assert recorder.recorded(KEY) == {}


async def test_a_version_that_is_gone_is_given_up_with_a_sentence(
    recorder: OutcomeRecorder, model: Registering, woken: Woken
):
    outcome = an_outcome("99", name=model.name)
    recorder.record(KEY, [outcome])
    async with asyncio.timeout(30):
        await woken.get()
    said = (recorder.recorded(KEY) or {})[outcome.key]
    assert not said.done
    assert "was not recorded" in said.message


async def test_a_registry_that_is_away_is_told_when_it_is_back():
    up = False
    asked: asyncio.Queue[str] = asyncio.Queue()

    async def handler(request: Any) -> Any:
        asked.put_nowait(request.path)
        return await answering("{}" if up else "down", 200 if up else 503)(request)

    done = asyncio.Event()
    async with serving(handler) as url:
        recorder = OutcomeRecorder(
            Registry(url), timedelta(seconds=0.01), wake=lambda _: done.set()
        )
        recorder.record(KEY, [an_outcome()])
        async with asyncio.timeout(30):
            await asked.get()
            await asked.get()
            assert recorder.recorded(KEY) == {}
            up = True
            await done.wait()
        await recorder.stop()


async def test_an_operator_that_may_not_write_asks_nothing():
    recorder = OutcomeRecorder()
    recorder.record(KEY, [an_outcome()])
    assert recorder.recorded(KEY) is None


async def test_a_server_that_refuses_the_operator_is_not_taken_for_a_version_that_is_gone():
    async with serving(answering("forbidden", 403)) as url:
        with pytest.raises(Unavailable, match="answered 403"):
            await record(Registry(url), an_outcome(), release="ml/qna")
