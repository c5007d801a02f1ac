"""What is remembered and shown: conditions, history, and a status that survives every trip."""

import json
from datetime import timedelta
from typing import Any

import pytest

from modelrelease_operator.api.status import (
    HISTORY_LIMIT,
    Condition,
    Evidence,
    HistoryEntry,
    Phase,
    Reason,
    Status,
)
from modelrelease_operator.core.observed import Observed
from modelrelease_operator.core.release.conditions import with_conditions, with_stall
from modelrelease_operator.errors import Invalid
from testbed.builders import START, a_problem, a_target, seconds
from testbed.world import Behaviour, World, a_serving_world, a_world, a_world_in


def conditions(status: Status) -> dict[str, tuple[str, str]]:
    return {it.type: (it.status, it.reason) for it in status.conditions}


def flags(world: World) -> str:
    """Return Ready, Reconciling and Stalled as three letters."""
    found = conditions(world.decide().status)
    return "".join(found[kind][0][0] for kind in ("Ready", "Reconciling", "Stalled"))


@pytest.mark.parametrize(
    ("phase", "expected"),
    [
        (Phase.PENDING, "FTF"),
        (Phase.STABLE, "TFF"),
        (Phase.STARTING, "FTF"),
        (Phase.PROGRESSING, "FTF"),
        (Phase.PAUSED, "FTF"),
        (Phase.PROMOTING, "FTF"),
    ],
)
def test_conditions_say_what_a_machine_needs_to_know(phase: Phase, expected: str):
    world = a_world_in(phase, canary={"steps": [{"weight": 25}]}, start_seconds=20)
    assert flags(world) == expected


def test_a_person_who_is_awaited_is_no_failure_and_has_a_condition_of_its_own():
    world = a_world_in(Phase.PROGRESSING, canary={"approval": "Manual"}).run(until=Phase.PAUSED)
    found = conditions(world.status)
    assert found["WaitingForPerson"] == ("True", "WaitingForApproval")
    assert found["Reconciling"] == ("True", "WaitingForApproval")
    assert found["Stalled"] == ("False", "Reconciled")
    assert conditions(a_world_in(Phase.PROGRESSING).status)["WaitingForPerson"] == (
        "False",
        "NobodyAwaited",
    )


def test_a_rejected_revision_is_not_ready_and_needs_a_person():
    world = (
        a_serving_world(behaviours={"rev2": Behaviour(error_rate=0.3)}).release(a_target("2")).run()
    )
    found = conditions(world.status)
    assert {kind: found[kind] for kind in ("Ready", "Reconciling", "Stalled")} == {
        "Ready": ("False", "Rejected"),
        "Reconciling": ("False", "Rejected"),
        "Stalled": ("True", "Rejected"),
    }


def test_a_first_version_whose_artifact_is_refused_needs_a_person():
    world = a_world(behaviours={"rev1": Behaviour(refuses="digest differs")}).steps(2)
    stalled = next(it for it in world.status.conditions if it.type == "Stalled")
    assert (stalled.status, stalled.reason, stalled.message) == (
        "True",
        "ArtifactRefused",
        "digest differs",
    )


def test_a_model_that_cannot_be_released_needs_a_person_and_what_serves_stays():
    world = a_serving_world()
    world.target, world.problem = None, a_problem()
    assert flags(world) == "FFT"
    assert world.decide().desired.routed == frozenset({"rev1"})


def test_a_store_that_does_not_answer_may_come_back_by_itself():
    world = a_serving_world()
    world.target, world.problem = None, a_problem(reason=Reason.MODEL_UNAVAILABLE)
    assert flags(world) == "FTF"


def test_stable_without_a_ready_pod_is_not_ready():
    world = a_serving_world()
    world.behaviour("rev1").starts = False
    world.lose_pods("rev1")
    found = next(it for it in world.decide().status.conditions if it.type == "Ready")
    assert (found.status, found.reason) == ("False", "StableNotReady")
    assert found.message == "no pod of version 1 is ready"


@pytest.mark.parametrize("phase", Phase)
@pytest.mark.parametrize(
    "changes",
    [{}, {"problem": a_problem()}, {"problem": a_problem(reason=Reason.MODEL_UNAVAILABLE)}],
    ids=["no problem", "a model that is wrong", "a store that is away"],
)
def test_ready_and_reconciling_and_stalled_never_contradict_each_other(
    phase: Phase, changes: dict[str, Any]
):
    world = a_world_in(phase)
    if changes:
        world.target, world.problem = None, changes["problem"]
    for _ in range(40):
        found = conditions(world.step().status)
        assert [found[kind][0] for kind in ("Ready", "Reconciling", "Stalled")].count("True") <= 1
        assert set(found) - {"Drifted", "WaitingForPerson"} == {"Ready", "Reconciling", "Stalled"}


def test_every_condition_carries_the_generation_that_was_looked_at():
    status = with_conditions(Status(), Observed(generation=7), START)
    assert status.observed_generation == 7
    assert {it.observed_generation for it in status.conditions} == {7}


def test_the_transition_time_moves_only_with_the_status():
    status = Status()

    def at(minute: int, generation: int, problem: bool) -> dict[str, timedelta]:
        nonlocal status
        seen = Observed(generation=generation, problem=a_problem() if problem else None)
        status = with_conditions(status, seen, START + timedelta(minutes=minute))
        return {it.type: it.last_transition_time - START for it in status.conditions}

    first = at(0, 1, problem=False)
    assert at(1, 2, problem=False) == first, "another generation alone is no transition"
    changed = at(2, 2, problem=True)
    assert changed["Stalled"] == changed["Reconciling"] == timedelta(minutes=2)
    assert changed["Ready"] == first["Ready"], "it was not ready before either"
    assert at(3, 3, problem=False)["Stalled"] == timedelta(minutes=3)


def test_a_condition_of_another_owner_is_kept():
    foreign = Condition(
        type="BackedUp", status="True", reason="X", message="", observed_generation=1,
        last_transition_time=START,
    )  # fmt: skip
    status = with_conditions(Status(conditions=(foreign,)), Observed(generation=2), START)
    assert foreign in status.conditions
    assert [it.type for it in status.conditions] == sorted(it.type for it in status.conditions)


def test_a_condition_is_replaced_not_repeated():
    one = with_stall(Status(), Reason.SPEC_INVALID, "A", 1, START)
    two = with_stall(one, Reason.APPLY_REFUSED, "B", 1, START + seconds(9))
    expected = [it.but(reason=Reason.APPLY_REFUSED, message="B") for it in one.conditions]
    assert list(two.conditions) == expected, "and the time stays that of the first"


def test_trouble_that_no_decision_knows_of_needs_a_person_until_the_next_decision():
    world = a_serving_world()
    world.status = with_stall(world.status, Reason.SPEC_INVALID, "spec.canary: no", 4, world.now)
    found = conditions(world.status)
    assert {kind: found[kind] for kind in ("Ready", "Reconciling", "Stalled")} == {
        "Ready": ("False", "SpecInvalid"),
        "Reconciling": ("False", "SpecInvalid"),
        "Stalled": ("True", "SpecInvalid"),
    }
    assert (world.status.message, world.status.observed_generation) == ("spec.canary: no", 4)
    assert flags(world) == "TFF"


def test_history_is_bounded_and_newest_first():
    status = Status()
    for number in range(HISTORY_LIMIT + 5):
        status = status.with_history(
            HistoryEntry(
                revision=f"r{number}", version="1", outcome=Reason.PROMOTED, message="", at=START
            )
        )
    assert [entry.revision for entry in status.history] == [
        f"r{14 - number}" for number in range(10)
    ]


def test_many_releases_do_not_let_the_status_grow_without_end():
    world = a_serving_world()
    sizes = []
    for version in range(2, 20):
        world.behaviours[f"rev{version}"] = Behaviour(error_rate=0.3)
        world.release(a_target(str(version))).run()
        sizes.append(len(json.dumps(world.status.to_dict())))
    assert len(world.status.history) == HISTORY_LIMIT
    assert max(sizes[-4:]) < max(sizes[:10]) + 2_500
    assert world.status.evidence == Evidence()


@pytest.mark.parametrize("phase", Phase)
def test_a_status_survives_its_trip_through_the_api_server(phase: Phase):
    status = a_world_in(phase).decide().status
    assert Status.parse(json.loads(json.dumps(status.to_dict()))) == status


def test_numbers_that_an_api_server_writes_without_a_fraction_are_read_back():
    evidence = Evidence(processes={"a": [0.0, -3.0, None]})
    stored = json.loads(
        json.dumps(evidence.model_dump(mode="json")).replace("0.0", "0").replace("-3.0", "-3")
    )
    assert Evidence.model_validate(stored) == evidence


def test_minus_infinity_is_stored_as_null():
    assert json.dumps(
        Status(evidence=Evidence(processes={"a": [None, 1.0]})).to_dict(), allow_nan=False
    )


def test_an_absent_status_is_that_of_a_new_release():
    assert Status.parse(None) == Status.parse({}) == Status()
    assert Status().phase is Phase.PENDING


def test_a_status_of_a_newer_operator_does_not_stop_an_older_one():
    entry = {"revision": "r", "version": "1", "message": "", "at": START.isoformat()}
    status = Status.parse(
        {
            "phase": "Stable",
            "fromTheFuture": {"x": 1},
            "history": [{**entry, "outcome": "Teleported"}, {**entry, "outcome": "Promoted"}],
            "rejected": {**entry, "reason": "BadOmen"},
        }
    )
    assert [it.outcome for it in status.history] == ["Teleported", "Promoted"]
    assert status.history[1].outcome is Reason.PROMOTED
    assert status.rejected is not None
    assert status.rejected.reason == "BadOmen"


def test_keys_are_written_as_kubernetes_spells_them():
    stored = a_world_in(Phase.PROGRESSING).steps(1).status.to_dict()
    assert {"observedGeneration", "phase", "canary", "conditions"} <= set(stored)
    assert {"requestedWeight", "askedSince", "stepSince", "nextLook"} <= set(stored["canary"])
    assert None not in stored.values()


def evidence_of(pods: int) -> Evidence:
    """Build what is remembered of so many pods with the predictor's series."""
    kinds = ("code=200", "code=500", "le=0.0107", "le=0.0214", "le=0.0856", "le=0.1712", "le=+Inf")
    names = [f"rev{1 + pod % 2}|qna-3e6089e7df-{pod:05x}-x2kqp" for pod in range(pods)]
    return Evidence(
        counters={f"{name}|{kind}": 977 * n for n, name in enumerate(names) for kind in kinds},
        scraped={name: 1_790_000_000.123 + n for n, name in enumerate(names)},
        born={name: 1_789_000_000.5 + n for n, name in enumerate(names)},
    )


def test_what_is_remembered_of_a_thousand_pods_stays_far_from_the_limit_of_an_object():
    status = Status(evidence=evidence_of(1_000))
    written = json.dumps(status.to_dict())
    assert len(written) < 150_000, "an object may have 1.5 MB, and managed fields repeat every key"
    assert Status.parse(json.loads(written)) == status


def test_little_evidence_is_written_for_people_to_read():
    assert Status(evidence=evidence_of(2)).to_dict()["evidence"]["scraped"]


@pytest.mark.parametrize("packed", ["", "no base64!", "aGVsbG8=", 7], ids=str)
def test_packed_evidence_that_nobody_packed_is_refused(packed: Any):
    with pytest.raises(Invalid, match=r"status\.evidence"):
        Status.parse({"evidence": {"packed": packed}})
