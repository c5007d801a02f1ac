"""Why a release is where it is: told from the live object or from a file, without a guess."""

import asyncio
import io
import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml
from aiohttp import web

from modelrelease_operator.api.status import GateInterval, GateStatus, Phase, Verdict
from modelrelease_operator.cli import main
from modelrelease_operator.cli.evidence import intervals
from modelrelease_operator.cli.why import _as_text
from modelrelease_operator.core.explain import Explanation, explain
from modelrelease_operator.core.observed import Commands
from modelrelease_operator.errors import Invalid
from testbed.builders import a_target
from testbed.servers import serving
from testbed.world import Behaviour, World, a_serving_world, a_world, a_world_in


def the_object(world: World, **changes: Any) -> dict[str, Any]:
    """Build what the API server would give."""
    spec = world.spec.model_dump(mode="json", by_alias=True, exclude_none=True, exclude_unset=True)
    meta = {"name": "qna", "namespace": "ml", "generation": 1}
    return {
        "kind": "ModelRelease",
        "metadata": meta,
        "spec": spec,
        "status": world.status.to_dict(),
    } | changes


def story(world: World, *, later: float = 0, **changes: Any) -> Explanation:
    return explain(the_object(world, **changes), world.now + timedelta(seconds=later))


def awaited(told: Explanation) -> list[str]:
    return [it.what for it in told.awaited]


def commands(told: Explanation) -> list[str]:
    return [way.command for way in told.next_actions]


def a_gate(**changes: Any) -> GateStatus:
    return GateStatus(name="errors", verdict=Verdict.INSUFFICIENT, message="", **changes)


def a_stuck_world() -> World:
    """Build a world whose canary is neither proven bad nor good enough when its time is over."""
    world = a_serving_world(rps=40.0)
    world.behaviours |= {"rev1": Behaviour(error_rate=0.01), "rev2": Behaviour(error_rate=0.014)}
    world.ask(canary={"weight": 50, "progressDeadline": "3m"})
    return world.release(a_target("2")).run(until=Phase.PAUSED)


def test_a_starting_canary_waits_for_its_pods_until_the_start_deadline():
    told = story(a_world_in(Phase.STARTING))
    (wait,) = told.awaited
    assert wait.what == "the canary's pods are ready, or it is rolled back"
    assert told.status.canary is not None
    assert wait.until == told.status.canary.since + timedelta(seconds=60)


def test_a_canary_with_clients_waits_for_a_look_its_bake_its_gates_and_a_verdict():
    world = a_world_in(Phase.PROGRESSING, rps=20.0).steps(1)
    told = story(world)
    assert awaited(told) == [
        "the next look",
        "the step has baked",
        "gates that do not pass yet: errors, latency",
        "a verdict, or the release is inconclusive",
    ]
    left = timedelta(minutes=30) - timedelta(seconds=world.canary.judged_seconds)
    assert world.canary.clock_at
    assert told.awaited[-1].until == world.canary.clock_at + left, "only time that counts is gone"
    assert commands(told) == [
        "kubectl -n ml annotate modelrelease qna modelrelease.dev/promote=rev2 --overwrite",
        "kubectl -n ml annotate modelrelease qna modelrelease.dev/abort=rev2 --overwrite",
    ]


def test_a_bake_that_is_over_is_awaited_no_more():
    told = story(a_world_in(Phase.PROGRESSING, rps=20.0).steps(3), later=60)
    assert "the step has baked" not in awaited(told)


def test_a_pause_by_a_person_says_how_to_lift_it():
    told = story(a_world_in(Phase.PAUSED))
    assert awaited(told)[0] == "a person: see how to go on"
    assert commands(told)[0].endswith(
        """patch modelrelease qna --type=merge -p '{"spec":{"paused":false}}'"""
    )


def test_an_inconclusive_canary_can_be_approved_promoted_by_hand_or_aborted():
    told = story(a_stuck_world())
    approve, by_hand, abort = commands(told)
    assert "modelrelease.dev/approve=rev2" in approve
    assert "modelrelease.dev/promote=rev2" in by_hand
    assert "modelrelease.dev/abort=rev2" in abort
    assert "a verdict, or the release is inconclusive" not in awaited(told)


def test_a_canary_that_is_taken_back_needs_nobody():
    told = story(a_world_in(Phase.ROLLING_BACK))
    assert awaited(told) == ["no client is sent to the canary any more; then its pods go"]
    assert commands(told) == []


def test_a_rejected_version_can_be_tried_again():
    told = story(a_world_in(Phase.ROLLING_BACK).run())
    assert awaited(told) == ["another version than 2, or a retry"]
    assert "modelrelease.dev/retry=rev2 " in commands(told)[0]


def test_a_second_retry_of_the_same_revision_differs_from_the_first():
    world = a_world_in(Phase.ROLLING_BACK).run()
    world.commands = Commands(retry="rev2")
    world.run()
    assert "modelrelease.dev/retry=rev2/again" in commands(story(world))[0]


def test_the_old_version_stays_warm_until_a_time():
    world = a_serving_world().release(a_target("2")).run(until=Phase.PROMOTING)
    world.run(until=Phase.STABLE)
    (wait,) = story(world).awaited
    assert wait.what == "version 1 stays warm, to go back to at once"
    assert wait.until is not None


def test_the_first_version_and_a_promotion_wait_for_pods():
    assert awaited(story(a_world().steps(1))) == ["all pods of the first version are ready"]
    assert awaited(story(a_world_in(Phase.PROMOTING))) == [
        "the canary is at full strength, or it is rolled back"
    ]


def test_the_context_stands_in_the_commands():
    told = explain(the_object(a_stuck_world()), a_stuck_world().now, context="prod")
    assert all(command.startswith("kubectl --context prod -n ml ") for command in commands(told))


@pytest.mark.parametrize(
    ("changes", "later", "sentence"),
    [
        ({"status": {}}, 0, "the operator has not seen this release yet"),
        ({"status": {"observedGeneration": -1}}, 0, "the operator has not seen this release yet"),
        (
            {"metadata": {"name": "qna", "generation": 4}},
            0,
            "the spec is of generation 4, the operator has seen 1",
        ),
        ({}, 600, "the operator's next look is overdue"),
        (
            {"spec": {"model": {"uri": "models:/x"}}},
            0,
            "the spec is invalid, so what is under way goes on by the one before it: spec.model",
        ),
    ],
    ids=[
        "never seen",
        "only the schema spoke",
        "an older spec was seen",
        "the operator is away",
        "an invalid spec",
    ],
)
def test_what_makes_the_story_doubtful_is_said_first(
    changes: dict[str, Any], later: float, sentence: str
):
    told = story(a_world_in(Phase.PROGRESSING, rps=20.0).steps(2), later=later, **changes)
    assert told.warnings[0].startswith(sentence)


def test_an_invalid_spec_moves_nothing_where_nothing_is_under_way():
    told = story(a_serving_world(), spec={"model": {"uri": "models:/x"}})
    assert told.warnings[0].startswith("the spec is invalid, so nothing moves: spec.model.uri")


def test_a_healthy_story_has_no_warnings():
    assert story(a_serving_world()).warnings == ()


@pytest.mark.parametrize(
    ("release", "sentence"),
    [
        ({"kind": "Pod", "metadata": {"name": "x"}}, "this is Pod x, no ModelRelease"),
        ({"kind": "ModelRelease", "metadata": {}}, "this ModelRelease has no name"),
        (
            {"kind": "ModelRelease", "metadata": {"name": "q"}, "status": 7},
            "default/q: status must be a mapping",
        ),
        (
            {"kind": "ModelRelease", "metadata": {"name": "q"}, "status": {"phase": "?"}},
            "default/q: status.phase",
        ),
    ],
    ids=["another kind", "no name", "a number for a status", "an unknown phase"],
)
def test_an_object_that_tells_no_story_is_named(release: dict[str, Any], sentence: str):
    with pytest.raises(Invalid, match=sentence):
        explain(release, a_world().now)


def write(tmp_path: Path, content: Any) -> str:
    path = tmp_path / "status.json"
    path.write_text(json.dumps(content))
    return str(path)


def test_the_text_holds_evidence_of_both_arms_and_fits_a_terminal(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    assert main(["why", "-f", write(tmp_path, the_object(a_stuck_world()))]) == 0
    out = capsys.readouterr().out
    assert out.startswith("ModelRelease ml/qna: Paused\n")
    assert "canary bad" in out
    assert " of " in out
    assert "version 2 (rev2)" in out
    assert "no verdict within 3m" in out
    prose = [line for line in out.splitlines() if "kubectl" not in line]
    assert max(map(len, prose)) <= 80


def test_the_text_has_a_line_with_the_interval_of_each_gate_that_compares():
    told = story(a_stuck_world())
    errors = told.status.gates[0].interval
    assert errors
    text = " ".join(_as_text(told, a_world().now).split())
    assert f"errors: canary less stable, on average since the canary began: {errors.lower:+g}" in (
        text
    )
    assert "99 % confidence at every look" in text


def test_a_ratio_without_an_upper_end_is_told_as_one_and_an_unbounded_one_not_at_all():
    ends = {"lower": -0.2, "upper": 0.5, "confidence": 99.0}
    assert list(intervals([a_gate(interval=GateInterval(**ends, ratio_lower=1.25))])) == [
        "errors: canary less stable, on average since the canary began: -0.2 to +0.5 points; "
        "canary over stable: at least 1.25; 99 % confidence at every look"
    ]
    assert list(intervals([a_gate(interval=GateInterval(**ends))])) == [
        "errors: canary less stable, on average since the canary began: -0.2 to +0.5 points; "
        "99 % confidence at every look"
    ]


def test_an_interval_that_is_withheld_is_told_with_its_reason():
    withheld = a_gate(interval_withheld="its two ends cross")
    assert list(intervals([withheld])) == ["errors: no interval is shown: its two ends cross"]


def test_json_holds_the_same_for_machines(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert main(["why", "-f", write(tmp_path, the_object(a_stuck_world())), "-o", "json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["phase"] == "Paused"
    assert told["gates"][0]["canaryTotal"] > 0
    interval = told["gates"][0]["interval"]
    assert interval["lower"] < 0.4 < interval["upper"]
    assert interval["ratioLower"] < 1.4 < interval["ratioUpper"]
    assert interval["confidence"] == 99
    assert len(told["commands"]) == 3


def test_a_list_from_kubectl_is_told_one_by_one_or_by_name(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    one, other = the_object(a_serving_world()), the_object(a_serving_world())
    other["metadata"] = {"name": "ranker", "namespace": "prod"}
    path = write(tmp_path, {"kind": "List", "items": [one, {"kind": "Pod"}, other]})
    assert main(["why", "-f", path]) == 0
    out = capsys.readouterr().out
    assert "ModelRelease ml/qna: Stable" in out
    assert "ModelRelease prod/ranker: Stable" in out
    assert main(["why", "ranker", "-n", "prod", "-f", path, "-o", "json"]) == 0
    assert json.loads(capsys.readouterr().out)["name"] == "ranker"
    assert main(["why", "ranker", "-n", "ml", "-f", path]) == 2
    assert capsys.readouterr().err == f"no ModelRelease ranker was found in {path}\n"


def test_an_object_of_a_wrong_shape_is_named_and_is_no_stack_trace(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    path = write(tmp_path, {"kind": "ModelRelease", "metadata": ["qna"]})
    assert main(["why", "-f", path]) == 1
    assert "this ModelRelease has no name" in " ".join(capsys.readouterr().err.split())


def test_standard_input_is_read_for_a_dash(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setattr("sys.stdin", io.StringIO(json.dumps(the_object(a_serving_world()))))
    assert main(["why", "-f", "-"]) == 0
    assert "Stable" in capsys.readouterr().out


def test_neither_name_nor_file_is_wrong_usage(capsys: pytest.CaptureFixture[str]):
    assert main(["why"]) == 2
    assert "a NAME or -f FILE is needed" in capsys.readouterr().err


async def ask(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answer: web.Response, *arguments: str
) -> tuple[int, str]:
    """Ask an API server that gives one answer;
    return the exit code and the path it was asked for.
    """
    asked: list[str] = []

    async def handler(request: web.Request) -> web.Response:
        asked.append(request.path)
        return answer

    async with serving(handler) as address:
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "here",
            "clusters": [{"name": "c", "cluster": {"server": address}}],
            "users": [{"name": "u", "user": {}}],
            "contexts": [
                {"name": "here", "context": {"cluster": "c", "user": "u", "namespace": "ml"}},
                {"name": "there", "context": {"cluster": "c", "user": "u"}},
            ],
        }
        path = tmp_path / "kubeconfig"
        path.write_text(yaml.safe_dump(config))
        monkeypatch.setattr(
            "kubernetes.aio.config.kube_config.KUBE_CONFIG_DEFAULT_LOCATION", str(path)
        )
        code = await asyncio.to_thread(main, ["why", *arguments])
    return code, asked[0] if asked else ""


async def test_the_live_object_is_read_from_the_namespace_of_the_context(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    answer = web.json_response(the_object(a_serving_world()))
    code, path = await ask(tmp_path, monkeypatch, answer, "qna")
    assert (code, path) == (0, "/apis/modelrelease.dev/v1alpha1/namespaces/ml/modelreleases/qna")
    assert "ModelRelease ml/qna: Stable" in capsys.readouterr().out


async def test_a_context_and_a_namespace_may_be_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    answer = web.json_response(the_object(a_serving_world()))
    code, path = await ask(tmp_path, monkeypatch, answer, "qna", "--context", "there")
    assert (code, "/namespaces/default/" in path) == (0, True)


NOT_FOUND = {
    "kind": "Status",
    "message": 'modelreleases.modelrelease.dev "qna" not found',
    "code": 404,
}


@pytest.mark.parametrize(
    ("answer", "arguments", "sentence"),
    [
        (
            lambda: web.json_response(NOT_FOUND, status=404), [],
            (
                "ModelRelease ml/qna does not exist; `modelrelease status -A` lists those that do"
            ),
        ),
        (
            lambda: web.Response(text="404 page not found\n", status=404), [],
            "the cluster knows no ModelRelease",
        ),
        (lambda: web.json_response({"message": "no"}, status=403), [],
        "the API server answered 403"),
        (lambda: web.json_response({"message": "no"}, status=503), [],
        "the API server answered 503"),
        (web.Response, ["--context", "nowhere"], "the kubeconfig cannot be used"),
    ],
    ids=["no such release", "no such kind", "forbidden", "unwell", "no such context"],
)  # fmt: skip
async def test_what_cannot_be_read_is_named_with_what_to_do(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    answer: Any,
    arguments: list[str],
    sentence: str,
):
    code, _ = await ask(tmp_path, monkeypatch, answer(), "qna", *arguments)
    assert code == 1
    assert f"modelrelease why: {sentence}" in capsys.readouterr().err.replace(
        "ModelRelease ml/qna: the", "the"
    )


def test_it_says_of_whom_there_are_samples_and_how_old_they_are():
    world = a_world_in(Phase.PROGRESSING).steps(3)
    raw = the_object(world)
    raw["status"]["samples"] = {
        "oldest": (world.now - timedelta(seconds=48)).isoformat(), "newest": world.now.isoformat(),
        "scrapeSeconds": 60.0, "canaryPods": 1, "stablePods": 2, "leftOut": ["rev1-3"],
        "resets": [2, 0],
    }  # fmt: skip
    told = " ".join(_as_text(explain(raw, world.now), world.now).split())
    assert "seen: 1 pods of the canary, 2 of stable; the oldest sample is of 48s ago" in told
    assert "a pod is read every 60 s; not seen: rev1-3" in told
    assert "processes that began anew: 2 of the canary, 0 of stable" in told


def a_routed_world(share_ratio: float) -> World:
    canary = {
        "steps": [{"weight": 25, "bake": "1m"}],
        "routing": {"gatewayAPI": {"parentRefs": [{"name": "public"}]}},
    }
    world = a_serving_world(canary=canary, share_ratio=share_ratio).release(a_target("2"))
    world.run(until=Phase.PROGRESSING)
    while world.canary.share is None or world.canary.share.mismatch != (share_ratio != 1):
        world.step()
    return world


def test_the_canarys_share_of_the_requests_is_told_beside_its_weight():
    world = a_routed_world(1.0)
    assert "canary 2 answered 2" in _as_text(story(world), world.now)
    assert "at a weight of 25 %" in _as_text(story(world), world.now)


def test_a_share_that_is_another_one_is_awaited_to_be_right_again():
    told = story(a_routed_world(0.5))
    assert "the canary is seen to answer its 25 % of requests" in awaited(told)


def test_a_canary_in_the_dark_before_a_switch_is_told_as_one():
    world = a_serving_world(canary={"steps": [{"weight": 100}], "shadow": {}})
    world.release(a_target("2")).run(until=Phase.PROGRESSING)
    assert "is tried at full strength in the dark" in _as_text(story(world), world.now)
    assert "all of the canary's pods are ready, in the dark" in awaited(story(world))


@pytest.mark.parametrize(
    ("kind", "answer", "is_told"),
    [
        ("Autoscaled", "False", True),
        ("Autoscaled", "True", False),
        ("Autoscaled", "Unknown", False),
        ("Protected", "False", True),
    ],
)
def test_what_does_not_scale_or_protect_a_release_is_said_first(
    kind: str, answer: str, is_told: bool
):
    world = a_world_in(Phase.STABLE)
    obj = the_object(world)
    condition = {
        "type": kind,
        "status": answer,
        "reason": "AutoscalerInactive",
        "message": "it does not scale: no metrics",
        "lastTransitionTime": world.now.isoformat(),
        "observedGeneration": 1,
    }
    obj["status"]["conditions"].append(condition)
    told = explain(obj, world.now)
    expected = f"{kind} (AutoscalerInactive): it does not scale: no metrics"
    assert (expected in told.warnings) is is_told
