"""When data has drifted: what is started, when it is not, what it is told,
and what is said of it.
"""

import json
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from modelrelease_contract import retrain as words
from modelrelease_operator.api import names
from modelrelease_operator.api.registry import Registered
from modelrelease_operator.api.retrain import RetrainCause, RetrainOutcome, RetrainStatus
from modelrelease_operator.api.status import Phase, Reason, Status
from modelrelease_operator.core.desired import Decision, DesiredRetraining
from modelrelease_operator.core.drift.retraining import refused
from modelrelease_operator.core.explain import explain
from modelrelease_operator.core.observed import Commands, ObservedJob
from modelrelease_operator.core.release.decide import decide
from modelrelease_operator.manifests import Owner, retrain_job
from modelrelease_operator.runtime.observe import read_jobs
from testbed.builders import START, a_spec, a_target, seconds
from testbed.world import World, a_serving_world, a_world_in
from tests.unit.core.drift.test_sustained import windows

RETRAIN = {"image": "train:1", "cooldown": "1h"}
OWNER = Owner(namespace="ml", name="qna", uid="u1")


@pytest.fixture
def world() -> World:
    """A world in which version 1 serves, and a retraining is asked for on drift."""
    return a_serving_world().ask(retrain=RETRAIN)


def see(
    world: World, letters: str = "DD", *, commands: Commands | None = None, **jobs: ObservedJob
) -> Decision:
    """Decide with these windows of stable and these Jobs seen; remember the outcome."""
    drift = {world.stable.revision: windows(letters)}
    seen = replace(world.observed, drift=drift, jobs=jobs, commands=commands or Commands())
    decision = decide(spec=world.spec, status=world.status, observed=seen, now=world.now)
    world.status = Status.parse(json.loads(json.dumps(decision.status.to_dict())))
    return decision


def last(world: World) -> RetrainStatus:
    assert world.status.retrain
    return world.status.retrain


def job(world: World, outcome: RetrainOutcome | None = None, message: str = "") -> dict[str, Any]:
    name = f"qna-retrain-{last(world).request}"
    return {last(world).request: ObservedJob(name=name, outcome=outcome, message=message)}


def retrained(
    world: World, outcome: RetrainOutcome = RetrainOutcome.SUCCEEDED, message: str = ""
) -> None:
    """Let drift start a retraining, and let it end."""
    see(world)
    see(world, **job(world))
    see(world, **job(world, outcome, message))


def test_sustained_drift_is_written_down_first_and_its_job_made_in_the_next_pass(world: World):
    first = see(world)
    assert first.desired.retraining is None
    assert Reason.RETRAIN_REQUESTED in [notice.reason for notice in first.notices]
    assert first.requeue == seconds(1)
    second = see(world)
    assert second.desired.retraining
    assert second.desired.retraining.request == last(world)
    assert (last(world).cause, last(world).features, last(world).version) == (
        "Drifted",
        ("age",),
        "1",
    )


@pytest.mark.parametrize("letters", ["", "S", "D", "SD", "DDSS"])
def test_without_sustained_drift_nothing_is_started(world: World, letters: str):
    see(world, letters)
    assert world.status.retrain is None


def test_drift_whose_newest_window_is_calm_starts_nothing(world: World):
    world.ask(paused=True)
    see(world, "DD")
    world.ask(paused=False)
    see(world, "DDS")
    assert world.status.drift
    assert world.status.drift.drifted
    assert world.status.retrain is None


def test_a_release_that_asks_for_no_retraining_has_none():
    world = a_serving_world()
    see(world)
    assert world.status.retrain is None


def test_a_job_that_runs_is_watched_and_no_other_is_made(world: World):
    see(world)
    decision = see(world, **job(world))
    assert decision.desired.retraining is None
    assert decision.requeue == seconds(60)
    assert last(world).job == f"qna-retrain-{last(world).request}"
    assert last(world).under_way


@pytest.mark.parametrize(
    ("outcome", "reason", "warning"),
    [
        (RetrainOutcome.SUCCEEDED, Reason.RETRAIN_SUCCEEDED, False),
        (RetrainOutcome.FAILED, Reason.RETRAIN_FAILED, True),
    ],
)
def test_how_a_job_ended_is_remembered_with_its_last_words(
    world: World, outcome: RetrainOutcome, reason: Reason, warning: bool
):
    see(world)
    see(world, **job(world))
    world.pass_time(90)
    decision = see(world, **job(world, outcome, "accepted version 9"))
    assert [(notice.reason, notice.warning) for notice in decision.notices] == [(reason, warning)]
    assert last(world).outcome is outcome
    assert last(world).message.endswith(": accepted version 9")
    assert last(world).ended == world.now


def test_a_job_that_somebody_deleted_is_lost_and_not_made_again(world: World):
    see(world)
    see(world, **job(world))
    decision = see(world)
    assert decision.desired.retraining is None
    assert last(world).outcome is RetrainOutcome.LOST


def test_drift_that_goes_on_waits_for_the_cool_down(world: World):
    retrained(world)
    before = last(world)
    decision = see(world)
    assert last(world).request == before.request
    assert decision.requeue is not None
    assert decision.requeue <= seconds(3600)
    assert last(world).next_allowed == before.since + seconds(3600)
    world.pass_time(3600)
    see(world)
    assert last(world).request != before.request


def test_a_cool_down_that_a_person_shortens_counts_at_once(world: World):
    retrained(world)
    before = last(world)
    world.ask(retrain={**RETRAIN, "cooldown": "0s"})
    see(world)
    assert last(world).request != before.request


def test_while_a_canary_is_tested_nothing_is_started():
    world = a_world_in(Phase.PROGRESSING).ask(retrain=RETRAIN)
    see(world)
    assert world.status.drift
    assert world.status.drift.drifted
    assert world.status.retrain is None


def test_while_paused_nothing_is_started(world: World):
    world.ask(paused=True)
    see(world)
    assert world.status.retrain is None


def test_a_pause_between_request_and_job_holds_the_job(world: World):
    see(world)
    world.ask(paused=True)
    assert see(world).desired.retraining is None
    world.ask(paused=False)
    assert see(world).desired.retraining


def test_a_release_that_begins_between_request_and_job_cancels_it_without_a_cool_down(world: World):
    see(world)
    world.release(a_target("2"))
    see(world)
    assert last(world).outcome is RetrainOutcome.CANCELLED
    world.release(a_target("1")).run(until=Phase.STABLE)
    see(world)
    assert last(world).under_way


def test_a_running_job_of_which_nothing_is_known_is_in_the_way(world: World):
    """The status was lost with a restored backup; its Job goes on."""
    see(world, old=ObservedJob(name="qna-retrain-old"))
    assert world.status.retrain is None
    see(world, old=ObservedJob(name="qna-retrain-old", outcome=RetrainOutcome.SUCCEEDED))
    assert world.status.retrain


def test_a_spec_that_asks_no_more_lets_a_running_job_end(world: World):
    see(world)
    running = job(world)
    see(world, **running)
    world.spec = a_spec()
    see(world, **running)
    assert last(world).under_way
    see(world, **job(world, RetrainOutcome.SUCCEEDED))
    assert last(world).outcome is RetrainOutcome.SUCCEEDED


# A person asks.


@pytest.mark.parametrize("about", ["1", "rev1", "rev1/tuesday"])
def test_a_person_may_ask_without_drift_and_within_the_cool_down(world: World, about: str):
    retrained(world)
    before = last(world)
    see(world, "SS", commands=Commands(retrain=about))
    assert last(world).request != before.request
    assert last(world).cause is RetrainCause.ASKED


def test_the_same_annotation_counts_once_and_another_note_again(world: World):
    see(world, "S", commands=Commands(retrain="1"))
    see(world, "S", commands=Commands(retrain="1"), **job(world))
    see(world, "S", commands=Commands(retrain="1"), **job(world, RetrainOutcome.SUCCEEDED))
    first = last(world)
    world.pass_time(5)
    see(world, "S", commands=Commands(retrain="1"))
    assert last(world).request == first.request
    see(world, "S", commands=Commands(retrain="1/again"))
    assert last(world).request != first.request


def test_an_annotation_about_another_version_does_nothing(world: World):
    see(world, "S", commands=Commands(retrain="0"))
    assert world.status.retrain is None


def test_who_asks_while_a_job_runs_waits_for_its_end(world: World):
    see(world)
    see(world, commands=Commands(retrain="1"), **job(world))
    first = last(world)
    see(world, commands=Commands(retrain="1"), **job(world, RetrainOutcome.SUCCEEDED))
    world.pass_time(1)
    see(world, commands=Commands(retrain="1"))
    assert last(world).request != first.request


# The Job.


def made(**changes: Any) -> dict[str, Any]:
    asked = a_spec(retrain={"image": "train:1", **changes}).retrain
    assert asked
    request = RetrainStatus(
        request="0a1b2c3d", cause=RetrainCause.DRIFTED, revision="rev1", version="1",
        features=("age", "a,b"), since=START,
    )  # fmt: skip
    stable = a_target("1", registered=Registered(name="qna", version="7"))
    return retrain_job(OWNER, DesiredRetraining(settings=asked, request=request, stable=stable))


def env_of(job: dict[str, Any]) -> dict[str, str]:
    return {
        each["name"]: each["value"]
        for each in job["spec"]["template"]["spec"]["containers"][0]["env"]
    }


def test_a_job_is_told_what_drifted_and_what_serves():
    found = env_of(made())
    assert json.loads(found[words.ENV_FEATURES]) == ["age", "a,b"]
    assert found[words.ENV_CHAMPION_URI] == "models:/qna/7"
    assert found[words.ENV_MODEL] == "qna"
    assert found[words.ENV_REQUEST] == "0a1b2c3d"
    spelled = {value for name, value in vars(words).items() if name.startswith("ENV_")}
    assert set(found) == spelled


def test_a_job_is_told_the_address_of_what_serves_where_there_is_no_registry():
    found = made()
    assert env_of(found)[words.ENV_RELEASE] == "qna"
    asked = a_spec(retrain={"image": "train:1"}).retrain
    assert asked
    request = RetrainStatus(request="0", cause="Asked", revision="rev1", version="1", since=START)
    plain = retrain_job(
        OWNER, DesiredRetraining(settings=asked, request=request, stable=a_target("1"))
    )
    assert env_of(plain)[words.ENV_CHAMPION_URI] == "http://store/qna/1"
    assert env_of(plain)[words.ENV_MODEL] == ""


def test_a_variable_of_the_spec_is_added_and_cannot_replace_one_of_ours():
    found = env_of(
        made(env=[{"name": "A", "value": "1"}, {"name": words.ENV_REQUEST, "value": "x"}])
    )
    assert (found["A"], found[words.ENV_REQUEST]) == ("1", "0a1b2c3d")


def test_no_service_of_the_release_can_select_a_jobs_pod():
    overlay = {"metadata": {"labels": {names.LABEL_RELEASE: "qna", "team": "ml"}}}
    job = made(podTemplate=overlay)
    assert job["spec"]["template"]["metadata"]["labels"] == {
        names.LABEL_RETRAIN: "0a1b2c3d",
        "team": "ml",
    }
    assert job["metadata"]["labels"][names.LABEL_RELEASE] == "qna"


def test_a_job_has_no_privilege_and_no_token_unless_an_account_is_named():
    pod = made()["spec"]["template"]["spec"]
    assert pod["automountServiceAccountToken"] is False
    assert pod["securityContext"]["runAsNonRoot"]
    assert pod["containers"][0]["securityContext"]["readOnlyRootFilesystem"]
    named = made(serviceAccountName="trainer")["spec"]["template"]["spec"]
    assert (named["serviceAccountName"], named["automountServiceAccountToken"]) == ("trainer", True)


def test_a_job_ends_at_its_deadline_and_is_owned_by_its_release():
    job = made(deadline="2h", retries=1, command=["python", "-m", "flow"])
    assert job["spec"]["activeDeadlineSeconds"] == 7200
    assert job["spec"]["backoffLimit"] == 1
    assert job["metadata"]["ownerReferences"][0]["uid"] == "u1"
    assert job["spec"]["template"]["spec"]["containers"][0]["command"] == ["python", "-m", "flow"]


@pytest.mark.parametrize("release", ["q", "qna", "a" * 50, "a" * 45 + "-bcde"])
def test_the_name_of_a_job_fits_into_a_label(release: str):
    name = names.retrain_job_name(release, "0a1b2c3d")
    assert len(name) <= 63
    assert name.endswith("-retrain-0a1b2c3d")
    assert "--" not in name


def test_a_job_that_the_api_server_refuses_has_failed_and_stops_nothing_else(world: World):
    see(world)
    decision = see(world)
    assert decision.desired.retraining
    after = refused(decision, decision.desired.retraining, "Job ml/x: forbidden", world.now)
    assert after.status.phase is Phase.STABLE
    assert after.status.retrain
    assert after.status.retrain.outcome is RetrainOutcome.FAILED
    assert "forbidden" in after.status.retrain.message
    assert after.notices[-1].reason is Reason.RETRAIN_FAILED


# What is seen of it.


class Listed:
    """A cluster that lists what it was given."""

    def __init__(self, jobs: list[dict[str, Any]], pods: list[dict[str, Any]]) -> None:
        self.found = {"Job": jobs, "Pod": pods}

    async def list(self, kind: str, namespace: str, labels: dict[str, str]) -> list[dict[str, Any]]:
        return self.found[kind]


def a_job(*conditions: str, message: str = "", **meta: Any) -> dict[str, Any]:
    found = [{"type": kind, "status": "True", "message": message} for kind in conditions]
    labels = {names.LABEL_RETRAIN: "0a1b"}
    return {
        "metadata": {
            "name": "qna-retrain-0a1b",
            "uid": "u9",
            "labels": labels,
            "ownerReferences": [{"uid": OWNER.uid}],
            **meta,
        },
        "status": {"conditions": found},
    }


def a_pod(message: str, finished: str) -> dict[str, Any]:
    ended = {"terminated": {"message": message, "finishedAt": finished}}
    return {"metadata": {}, "status": {"containerStatuses": [{"name": "retrain", "state": ended}]}}


async def jobs_of(jobs: list[dict[str, Any]], *pods: dict[str, Any]) -> dict[str, ObservedJob]:
    found, uids = await read_jobs(Listed(jobs, list(pods)), OWNER)  # type: ignore[arg-type]
    assert set(uids) == {job.name for job in found.values()}
    return found


async def test_a_job_runs_until_it_says_that_it_is_complete_or_failed():
    assert (await jobs_of([a_job()]))["0a1b"].outcome is None
    assert (await jobs_of([a_job("SuccessCriteriaMet")]))["0a1b"].outcome is None
    assert (await jobs_of([a_job("Complete")]))["0a1b"].outcome is RetrainOutcome.SUCCEEDED
    assert (await jobs_of([a_job("Failed")]))["0a1b"].outcome is RetrainOutcome.FAILED


async def test_the_last_words_of_the_last_pod_are_repeated_and_else_the_clusters():
    pods = (
        a_pod("first try", "2026-11-01T10:00:00Z"),
        a_pod("refused: worse", "2026-11-01T11:00:00Z"),
    )
    assert (await jobs_of([a_job("Failed")], *pods))["0a1b"].message == "refused: worse"
    silent = await jobs_of(
        [a_job("Failed", message="Job was active longer than specified deadline")]
    )
    assert silent["0a1b"].message == "Job was active longer than specified deadline"


def with_a_sidecar(
    code: int | None, *, phase: str = "Running", message: str = ""
) -> dict[str, Any]:
    """Return a Job's pod whose own container ended, and whose sidecar did not."""
    ended = {
        "terminated": {"exitCode": code, "message": message, "finishedAt": "2026-11-01T10:00:00Z"}
    }
    own = {"name": "retrain", "state": {"running": {}} if code is None else ended}
    side = {"name": "istio-proxy", "state": {"running": {}}}
    return {"metadata": {}, "status": {"phase": phase, "containerStatuses": [side, own]}}


async def test_a_job_whose_own_container_is_done_succeeded_though_a_sidecar_goes_on():
    seen = (await jobs_of([a_job()], with_a_sidecar(0, message="registered qna 8")))["0a1b"]
    assert (seen.outcome, seen.message) == (RetrainOutcome.SUCCEEDED, "registered qna 8")


async def test_a_job_whose_own_container_failed_beside_a_sidecar_failed():
    seen = (await jobs_of([a_job()], with_a_sidecar(4, message="refused: worse")))["0a1b"]
    assert seen.outcome is RetrainOutcome.FAILED
    assert seen.message == "refused: worse ended with 4, while other containers of its pod go on"


async def test_a_job_goes_on_while_its_own_container_runs_or_is_tried_again():
    assert (await jobs_of([a_job()], with_a_sidecar(None)))["0a1b"].outcome is None
    assert (await jobs_of([a_job()], with_a_sidecar(1, phase="Failed")))["0a1b"].outcome is None


async def test_a_sidecars_last_words_are_not_the_jobs():
    pod = with_a_sidecar(0, message="registered qna 8")
    pod["status"]["containerStatuses"][0]["state"] = {
        "terminated": {
            "exitCode": 0,
            "message": "proxy stopped",
            "finishedAt": "2026-11-01T11:00:00Z",
        }
    }
    assert (await jobs_of([a_job("Complete")], pod))["0a1b"].message == "registered qna 8"


async def test_a_job_that_is_being_deleted_or_is_not_ours_is_none():
    gone = a_job(deletionTimestamp="2026-11-01T11:00:00Z")
    other = a_job()
    del other["metadata"]["labels"][names.LABEL_RETRAIN]
    assert await jobs_of([gone, other]) == {}


def test_the_story_tells_of_it_and_how_to_ask(world: World):
    see(world)
    running = {"kind": names.KIND, "metadata": {"name": "qna"}, "spec": raw(world)}
    story = explain({**running, "status": world.status.to_dict()}, world.now)
    assert last(world).message in [each.what for each in story.awaited]
    see(world, **job(world))
    see(world, **job(world, RetrainOutcome.SUCCEEDED))
    story = explain({**running, "status": world.status.to_dict()}, world.now)
    assert (
        f"modelrelease.dev/retrain=rev1/after-{last(world).request}"
        in story.next_actions[-1].command
    )
    assert [each.until for each in story.awaited if "next retraining" in each.what] == [
        last(world).next_allowed
    ]


def raw(world: World) -> dict[str, Any]:
    return world.spec.model_dump(mode="json", by_alias=True, exclude_none=True, exclude_unset=True)


def test_a_moment_has_one_request_and_another_moment_another(world: World):
    see(world)
    first = last(world).request
    again = a_serving_world().ask(retrain=RETRAIN)
    see(again)
    assert last(again).request == first
    again = a_serving_world().ask(retrain=RETRAIN)
    again.now = datetime(2027, 1, 1, tzinfo=UTC)
    see(again)
    assert last(again).request != first
