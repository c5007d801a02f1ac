"""The benchmark of whole releases: what it counts, how it reads its rivals, what it installs."""

import json
from types import SimpleNamespace
from typing import Any, cast

import pytest

from benchmarks.rollouts import ends, objects
from benchmarks.rollouts.contenders import CONTENDERS, Contender
from benchmarks.rollouts.courses import Watch, course_of
from benchmarks.rollouts.figures import (
    FAILING,
    HEALTHY,
    PROMOTED,
    ROLLED_BACK,
    UNDECIDED,
    Course,
    Sample,
    Share,
    Streak,
    answered,
    bad_answers,
    failures,
    last_answer_of,
    total,
)
from benchmarks.rollouts.models import FAULTY, GOOD
from benchmarks.rollouts.ours import PAIRS, SHARES
from benchmarks.rollouts.report import Report, as_json, as_markdown, from_json
from cluster.gateways import TRAEFIK

ARTIFACT = objects.Artifact(version="2", uri="http://store.space/qna/2", sha256="0" * 64)


def a_course(**changes: Any) -> Course:
    fields: dict[str, Any] = {
        "contender": "ours-replicas",
        "kind": HEALTHY,
        "end": PROMOTED,
        "seconds": 61.0,
        "requests": 6100,
        "pods_started": 5,
        "cpu_seconds": 0.61,
        "watched_seconds": 61.0,
    }
    return Course(**(fields | changes))


def a_watch(samples: list[Sample], started: set[str] | None = None) -> Watch:
    """Return what was seen of a contender of which nothing but the name is needed."""
    contender = cast(Contender, SimpleNamespace(name="flagger"))
    return Watch(contender=contender, before=set(), samples=samples, started=started or set())


def seen(*samples: dict[tuple[str, str], int]) -> list[Sample]:
    return [Sample(at=float(at), counts=counts) for at, counts in enumerate(samples)]


# -- what clients saw --------------------------------------------------------------------------


def test_a_failure_is_anything_but_200_of_anybody_but_the_faulty_version():
    before = {("1", "200"): 10, ("none", "TimeoutError: "): 1}
    after = {
        ("1", "200"): 20,
        ("1", "503"): 2,
        ("3", "500"): 7,
        ("none", "TimeoutError: "): 4,
    }
    lost = {"version 1: 503": 2, "version none: TimeoutError: ": 3}
    assert failures(before, after, except_by="3") == lost
    assert failures(before, after) == {**lost, "version 3: 500": 7}


def test_bad_answers_are_those_of_the_faulty_version_that_are_new():
    before, after = {("3", "500"): 2}, {("3", "500"): 9, ("3", "200"): 50, ("1", "500"): 1}
    assert bad_answers(before, after, version="3") == 7
    assert (total(after), total(after, version="3")) == (60, 59)


def test_a_request_that_nobody_answered_has_no_share():
    assert answered({("1", "200"): 4, ("2", "500"): 1, ("none", "reset"): 7}) == 5


def test_a_version_has_left_at_the_last_look_that_saw_it_answer():
    samples = seen(
        {("1", "200"): 5},
        {("1", "200"): 9, ("2", "200"): 1},
        {("1", "200"): 11, ("2", "200"): 8},
        {("1", "200"): 11, ("2", "200"): 20},
    )
    assert last_answer_of(samples, lambda version: version == "1") == 2.0
    assert last_answer_of(samples, lambda version: version == "3") is None


@pytest.mark.parametrize(
    ("outcome", "new", "left_at"), [(PROMOTED, "3", 1.0), (ROLLED_BACK, "3", 2.0)]
)
def test_after_a_promotion_the_old_version_leaves_and_after_a_rollback_the_new_one(
    outcome: str, new: str, left_at: float
):
    samples = seen(
        {("2", "200"): 5},
        {("2", "200"): 9, ("3", "200"): 1},
        {("2", "200"): 9, ("3", "200"): 4, ("3", "500"): 1, ("none", "reset"): 1},
    )
    watch = a_watch(samples, started={"a", "b"})
    course = course_of(watch, FAILING, outcome, new=new, cpu=1.5, took=3.0)
    assert (course.seconds, course.requests, course.pods_started) == (left_at, 10, 2)
    assert (course.bad_answers, course.failed) == (1, {"version none: reset": 1})
    assert course.millicores == 500


def test_a_release_that_is_not_decided_has_no_time():
    watch = a_watch(seen({}, {("1", "200"): 1}))
    assert course_of(watch, HEALTHY, UNDECIDED, new="2", cpu=None, took=9.0).seconds is None


@pytest.mark.parametrize(
    ("canary", "is_right"), [(1000, True), (1090, True), (1100, False), (900, False)]
)
def test_a_share_is_right_within_three_standard_errors(canary: int, is_right: bool):
    share = Share(weight=5, requests=20_000, canary=canary)
    assert share.as_expected is is_right, share.standard_errors


# -- how each says that it is over -------------------------------------------------------------


def a_release(version: str, **status: Any) -> dict[str, Any]:
    stable = {"phase": "Stable", "observedGeneration": 4, "stable": {"version": version}}
    return {"metadata": {"generation": 4}, "status": {**stable, **status}}


def test_ours_is_over_when_it_is_stable_with_the_version_or_with_its_rejection():
    assert ends.of_ours(a_release("2"), "2") == PROMOTED
    assert ends.of_ours(a_release("1", rejected={"version": "2"}), "2") == ROLLED_BACK
    assert ends.of_ours(a_release("1", rejected={"version": "9"}), "2") == UNDECIDED
    assert ends.of_ours(a_release("2", phase="Promoting"), "2") == UNDECIDED
    assert ends.of_ours(a_release("2", observedGeneration=3), "2") == UNDECIDED
    assert ends.of_ours({"metadata": {"generation": 1}}, "2") == UNDECIDED


def a_rollout(**status: Any) -> dict[str, Any]:
    healthy = {"observedGeneration": "4", "phase": "Healthy", "currentPodHash": "a"}
    return {"metadata": {"generation": 4}, "status": {**healthy, "stableRS": "a", **status}}


def test_a_rollout_is_over_when_its_newest_pods_are_its_stable_ones_or_it_is_aborted():
    assert ends.of_rollout(a_rollout()) == PROMOTED
    aborted = a_rollout(abort=True, phase="Degraded", currentPodHash="b")
    assert ends.of_rollout(aborted) == ROLLED_BACK
    assert ends.of_rollout(a_rollout(currentPodHash="b", phase="Paused")) == UNDECIDED
    assert ends.of_rollout(a_rollout(observedGeneration="3")) == UNDECIDED
    assert ends.of_rollout({"metadata": {"generation": 1}}) == UNDECIDED


def test_a_canary_of_flagger_is_over_only_once_it_took_up_the_new_version():
    of_the_last = {"status": {"phase": "Succeeded", "lastAppliedSpec": "old"}}
    assert ends.of_canary(of_the_last, "old") == UNDECIDED
    over = {"status": {"phase": "Succeeded", "lastAppliedSpec": "new"}}
    assert ends.of_canary(over, "old") == PROMOTED
    failed = {"status": {"phase": "Failed", "lastAppliedSpec": "new"}}
    assert ends.of_canary(failed, "old") == ROLLED_BACK
    going_on = {"status": {"phase": "Progressing", "lastAppliedSpec": "new"}}
    assert ends.of_canary(going_on, "old") == UNDECIDED


# -- the same terms for all --------------------------------------------------------------------


def test_every_contender_has_the_same_pods_and_the_same_weights():
    rollout = objects.rollout("space", ARTIFACT)["spec"]
    deployment = objects.plain_deployment("space", ARTIFACT)["spec"]
    canary = objects.canary("space", TRAEFIK)["spec"]
    ours = objects.model_release("space", ARTIFACT)["spec"]
    assert rollout["template"] == deployment["template"]
    assert rollout["replicas"] == deployment["replicas"] == ours["serving"]["replicas"]
    weights = [step["setWeight"] for step in rollout["strategy"]["canary"]["steps"][::2]]
    assert weights == canary["analysis"]["stepWeights"]
    assert weights == [step["weight"] for step in ours["canary"]["steps"]]
    pauses = {step["pause"]["duration"] for step in rollout["strategy"]["canary"]["steps"][1::2]}
    assert pauses == {canary["analysis"]["interval"]}
    assert pauses == {step["bake"] for step in ours["canary"]["steps"]}


def test_the_pods_of_the_rivals_are_not_taken_for_those_of_a_release():
    template = objects.pod_template(ARTIFACT)
    assert template["metadata"]["labels"] == {"app": "qna"}
    assert template["metadata"]["annotations"]["prometheus.io/scrape"] == "true"
    environment = {each["name"]: each["value"] for each in template["spec"]["containers"][0]["env"]}
    assert environment["MODEL_VERSION"] == "2"


def test_both_rivals_ask_for_the_same_share_of_good_answers_of_the_canarys_pods_alone():
    argo = objects.analysis_template("space")["spec"]["metrics"][0]
    flagger = objects.metric_template("space")["spec"]["query"]
    assert argo["successCondition"] == "result[0] >= 0.99"
    assert objects.canary("space", TRAEFIK)["spec"]["analysis"]["metrics"][0]["thresholdRange"] == {
        "max": 1
    }
    query = argo["provider"]["prometheus"]["query"]
    assert 'pod=~"qna-{{args.latest-hash}}-.*"' in query
    assert 'code!~"5.*"' in query
    assert query.count("[1m]") == flagger.count("[{{ interval }}]") == 2


def test_nothing_that_is_applied_would_be_refused_as_json():
    everything = [
        objects.front("space", TRAEFIK),
        objects.canary("space", TRAEFIK),
        objects.metric_template("space"),
        objects.analysis_template("space"),
        objects.rollout("space", ARTIFACT),
        objects.plain_deployment("space", ARTIFACT),
        objects.model_release("space", ARTIFACT, canary=objects.by_gateway("space", TRAEFIK)),
    ]
    assert json.loads(json.dumps(everything)) == everything


def test_there_are_versions_enough_for_every_weight_and_for_every_release_in_a_row():
    assert len(GOOD) > max(len(SHARES), PAIRS)
    assert len(FAULTY) >= PAIRS
    assert not set(GOOD) & set(FAULTY)


# -- the report --------------------------------------------------------------------------------


def a_report(**parts: Any) -> Report:
    fields: dict[str, Any] = {
        "about": {"machine": "2 cores"},
        "courses": [
            a_course(),
            a_course(
                contender="flagger",
                failed={"version 1: 503": 3, "version 1: 502": 1},
                gateway_probes_failed=3,
            ),
            a_course(kind=FAILING, end=ROLLED_BACK, seconds=40.0, bad_answers=12),
        ],
        "shares": [Share(weight=25, requests=20_000, canary=5_001)],
        "streaks": [
            Streak(provider="replicas", promotions=5, rollbacks=5, requests=50_000),
            Streak(
                provider="gateway",
                promotions=5,
                rollbacks=5,
                requests=50_100,
                gateway_probes_failed=2,
            ),
        ],
    }
    return Report(**(fields | parts))


def test_the_tables_have_a_column_for_each_contender_and_say_how_most_requests_failed():
    lines = as_markdown(a_report()).splitlines()
    assert "| | ours-replicas | flagger |" in lines
    assert "| failed requests | 0 | 4 (version 1: 503) |" in lines
    assert "| seconds from applied to 100 % | 61 | 61 |" in lines
    assert "| controller, CPU s | 0.61 | 0.61 |" in lines
    assert "| failed probes of the Gateway | - | 3 |" in lines
    assert "| gateway | 5 | 5 | 50,100 | 0 | 2 |" in lines
    assert "| bad answers to users | 12 |" in lines
    assert "| 25 % | 20,000 | 5,001 | 25.00 % | +0.02 |" in lines
    assert "Together 0 of 100,100 requests were lost." in lines


def test_columns_have_one_order_whoever_ended_first():
    names = [contender.name for contender in CONTENDERS]
    late_first = [a_course(contender=name) for name in reversed(names)]
    lines = as_markdown(Report(courses=late_first)).splitlines()
    assert f"| | {' | '.join(names)} |" in lines


def test_what_was_written_is_what_is_read():
    report = a_report(failures={"flagger": "no time"})
    again = from_json(json.loads(json.dumps(as_json(report))))
    assert as_markdown(again) == as_markdown(report)
    assert "- flagger: no time" in as_markdown(again)


def test_only_ours_and_what_could_not_be_measured_count_as_missed():
    assert a_report().missed == []
    lost = Streak(provider="gateway", promotions=5, rollbacks=5, requests=9, lost={"reset": 1})
    wrong = a_report(
        courses=[a_course(failed={"reset": 1}), a_course(contender="flagger", end=ROLLED_BACK)],
        shares=[Share(weight=50, requests=20_000, canary=11_000)],
        streaks=[lost],
        failures={"argo-rollouts": "no time"},
    )
    assert wrong.missed == [
        "ours-replicas, healthy",
        "share at 50 %",
        "streak, gateway",
        "argo-rollouts: not measured",
    ]
