"""Probes answer for silent users, never against users who speak,
and always say that it was probes.
"""

import json
from typing import Any

import pytest

from modelrelease_contract import metrics as words
from modelrelease_operator.api.spec import ReleaseSpec
from modelrelease_operator.api.status import (
    CanaryStatus,
    Phase,
    Reason,
    StableStatus,
    Status,
    Verdict,
)
from modelrelease_operator.cli.why import _as_text
from modelrelease_operator.core.analysis.judge import Judgement, judge
from modelrelease_operator.core.explain import explain
from modelrelease_operator.core.observed import Counter, MetricsUnavailable
from modelrelease_operator.errors import Invalid
from testbed.builders import START, a_spec, a_target, seconds
from testbed.world import Behaviour, World, a_serving_world, a_world_in

PROBED: dict[str, Any] = {"interval": "5s", "probe": {"rate": 100}}
ERRORS = [{"name": "errors", "errorRate": {}}]


def a_silent_world(**analysis: Any) -> World:
    """Build a world in which version 2 is released and no user calls."""
    world = a_serving_world(analysis={**PROBED, **analysis}, rps=0.0)
    return world.release(a_target("2"))


def test_without_users_a_version_is_promoted_on_probes_and_every_message_says_so():
    world = a_silent_world().run(until=Phase.PROMOTING)
    assert world.canary.probed_steps == (1, 2)
    assert (
        "probes decided and not users, who sent the canary 0 of the 100 requests"
        in world.status.message
    )

    world.run()
    assert world.stable.version == "2"
    assert "probes and not users proved steps 1, 2 of 2" in world.status.history[0].message
    told = [notice for decision in world.trail for notice in decision.notices]
    assert any(it.reason is Reason.PROMOTED and "probes and not users" in it.message for it in told)
    entered = [it.message for it in told if it.reason is Reason.STEP_STARTED]
    assert "probes" not in entered[0]
    assert "probes decided and not users" in entered[1]


def test_without_users_and_without_probes_nothing_is_promoted():
    world = a_silent_world(probe=None).run(until=Phase.PAUSED)
    assert world.status.message.startswith("no verdict within 30m")
    assert not any(decision.desired.probing for decision in world.trail)


def test_without_users_a_version_that_fails_is_rolled_back_by_probes():
    world = a_silent_world()
    world.behaviours["rev2"] = Behaviour(probe_error_rate=0.06)
    world.run()
    assert world.stable.version == "1"
    assert world.status.rejected
    assert world.status.rejected.reason is Reason.REGRESSION
    assert "probes, stable 0.0 % of" in world.status.rejected.message


def test_without_users_a_slow_version_is_rolled_back_by_probes():
    world = a_silent_world()
    world.behaviours["rev2"] = Behaviour(latency=0.5)
    world.run()
    assert world.status.rejected
    assert "takes over" in world.status.rejected.message
    assert "probes" in world.status.rejected.message


def test_users_who_are_content_do_not_save_a_version_that_fails_its_probes():
    world = a_serving_world(analysis=PROBED).release(a_target("2"))
    world.behaviours["rev2"] = Behaviour(probe_error_rate=0.2)
    world.run()
    assert world.status.rejected
    assert "probes" in world.status.rejected.message


def test_with_users_in_plenty_they_decide_and_no_step_is_called_probed():
    world = a_serving_world(analysis=PROBED).release(a_target("2")).run(until=Phase.PROMOTING)
    assert world.canary.probed_steps == ()
    assert "probes" not in world.status.message


def test_probes_that_are_refused_are_evidence_for_nothing_and_are_told():
    world = a_silent_world()
    world.behaviours["rev2"] = Behaviour(probes_refused=True)
    world.run(until=Phase.PAUSED)
    twin = next(gate for gate in world.status.gates if gate.name == "probe/errors")
    assert (twin.verdict, twin.canary_total) == (Verdict.INSUFFICIENT, 0)
    assert "were refused with 4xx" in twin.message


@pytest.mark.parametrize("phase", Phase)
def test_a_prober_runs_while_the_canary_is_judged_and_never_else(phase: Phase):
    world = a_world_in(phase, analysis=PROBED)
    judged = phase in (Phase.PROGRESSING, Phase.PAUSED)
    assert (world.decide().desired.probing is not None) is judged


def test_an_outage_of_prometheus_holds_a_release_that_is_probed_too():
    world = a_silent_world().run(until=Phase.PROGRESSING).steps(3)
    world.prometheus_up = False
    world.steps(30)
    assert (world.status.phase, world.status.verdict) == (Phase.PROGRESSING, Verdict.UNAVAILABLE)
    assert [gate.name for gate in world.status.gates] == [
        "errors", "probe/errors", "latency", "probe/latency",
    ]  # fmt: skip


class Looks:
    """Looks with counts of users and of probes, remembering through JSON as the operator does."""

    def __init__(self, **analysis: Any) -> None:
        self.spec: ReleaseSpec = a_spec(analysis={"gates": ERRORS, **PROBED, **analysis})
        self.status = Status(
            stable=StableStatus(**a_target("1").parts(), since=START),
            canary=CanaryStatus(**a_target("2").parts(), since=START, step_since=START),
        )
        self.counts: dict[tuple[str, bool, str], int] = {}
        self.now = START

    def look(self, **grown: tuple[int, int]) -> Judgement:
        """Look after so many (all, bad) of `users1`, `users2`,
        `probes1` and `probes2` came by version.
        """
        for name in ("users1", "users2", "probes1", "probes2"):
            total, bad = grown.get(name, (0, 0))
            probe = name.startswith("probes")
            codes = (words.PROBE_SAME, words.PROBE_ERROR) if probe else ("200", "500")
            for code, count in zip(codes, (total - bad, bad), strict=True):
                key = (f"rev{name[-1]}", probe, code)
                self.counts[key] = self.counts.get(key, 0) + count
        metrics = tuple(
            Counter(
                revision=rev, pod="prober" if probe else rev, code=code, probe=probe, value=value
            )
            for (rev, probe, code), value in self.counts.items()
        )
        self.now += seconds(5)
        found = judge(
            spec=self.spec, status=self.status, metrics=metrics, next_weight=100, now=self.now,
            pods={"rev1": {"rev1"}, "rev2": {"rev2"}},
        )  # fmt: skip
        status = self.status.model_copy(update={"evidence": found.evidence, "gates": found.gates})
        self.status = Status.parse(json.loads(json.dumps(status.to_dict())))
        return found


ENOUGH = {"probes1": (5_000, 0), "probes2": (5_000, 0)}


def judged(*looks: dict[str, tuple[int, int]], **analysis: Any) -> Judgement:
    looking = Looks(**analysis)
    looking.look()
    for grown in looks:
        found = looking.look(**grown)
    return found


def test_probes_answer_for_users_who_are_fewer_than_the_least_number():
    found = judged({**ENOUGH, "users1": (400, 0), "users2": (99, 0)})
    assert found.verdict is Verdict.PASS
    assert [gate.verdict for gate in found.gates] == [Verdict.INSUFFICIENT, Verdict.PASS]
    assert found.by_probes
    assert "users, who sent the canary 99 of the 100 requests needed" in found.by_probes


@pytest.mark.parametrize(
    "users",
    [
        pytest.param(
            {"users1": (400, 0), "users2": (100, 0)}, id="as soon as there are enough of them"
        ),
        pytest.param({"users1": (4_000, 4), "users2": (1_000, 4)}, id="who leave it open"),
        pytest.param({"users1": (900, 0), "users2": (40, 2)}, id="who are few and meet errors"),
    ],
)
def test_probes_do_not_answer_for_users(users: dict[str, tuple[int, int]]):
    # Twice: a regression is confirmed against what stable does next.
    found = judged(
        {**ENOUGH, **users}, {"probes1": (10, 0), "probes2": (10, 0), "users1": (900, 0)}
    )
    assert found.verdict is Verdict.INSUFFICIENT
    assert found.by_probes is None


def test_probes_do_not_move_a_release_whose_stable_breaks_the_limit_for_users():
    gates = [{"name": "errors", "errorRate": {"maxPercent": 1}}]
    found = judged({**ENOUGH, "users1": (5_000, 2_500), "users2": (5, 2)}, gates=gates)
    assert found.verdict is Verdict.INSUFFICIENT


def test_an_answer_other_than_recorded_is_as_bad_as_none():
    looking = Looks()
    looking.look()
    for times in range(1, 4):
        looking.counts["rev2", True, words.PROBE_DIFFERENT] = 200 * times
        found = looking.look(probes1=(1_000, 0), probes2=(800, 0))
    assert found.verdict is Verdict.FAIL
    assert found.message.startswith(
        "canary 2 fails 20.0 % of 3,000 probes, stable 0.0 % of 3,000 probes"
    )


def test_answers_without_a_record_count_as_answers():
    looking = Looks()
    looking.look()
    for revision in ("rev1", "rev2"):
        looking.counts[revision, True, words.PROBE_ANSWERED] = 5_000
    assert looking.look().verdict is Verdict.PASS


def test_probes_are_not_users_in_any_figure():
    found = judged(ENOUGH)
    errors, twin = found.gates
    assert (errors.canary_total, errors.stable_total) == (0, 0)
    assert (twin.canary_total, twin.stable_total) == (5_000, 5_000)
    assert found.effective_weight is None


def test_before_the_prober_runs_its_gate_says_where_to_look():
    found = judged({})
    assert found.gates[1].verdict is Verdict.INSUFFICIENT
    assert "modelrelease.dev/prober" in found.gates[1].message
    assert "of probes: no probe was counted" in found.message


def test_a_dry_run_is_probed_and_decides_nothing():
    gates = [
        {"name": "errors", "errorRate": {}},
        {"name": "tried", "errorRate": {"maxPercent": 1}, "dryRun": True},
    ]
    looks = [{"probes1": (1_000, 0), "probes2": (1_000, 0)}] * 5
    found = judged(*looks, gates=gates)
    assert [(gate.name, gate.dry_run) for gate in found.gates if gate.name.endswith("tried")] == [
        ("tried", True), ("probe/tried", True),
    ]  # fmt: skip
    assert found.verdict is Verdict.PASS


def test_own_gates_are_not_answered_by_probes():
    query = 'orders_total{revision="{{revision}}"}'
    gates = [*ERRORS, {"name": "orders", "counts": {"bad": query, "total": query}}]
    found = judged(ENOUGH, gates=gates)
    assert [gate.name for gate in found.gates] == ["errors", "probe/errors", "orders"]
    assert found.verdict is Verdict.UNAVAILABLE


def test_metrics_that_are_unavailable_leave_the_probes_figures_as_they_were():
    looking = Looks()
    looking.look()
    before = looking.look(**ENOUGH)
    found = judge(
        spec=looking.spec, status=looking.status, metrics=MetricsUnavailable(message="down"),
        next_weight=100,
        now=looking.now,
    )  # fmt: skip
    assert found.evidence == before.evidence
    assert [gate.canary_total for gate in found.gates] == [0, 5_000]


def test_probes_need_a_gate_that_they_can_answer():
    with pytest.raises(
        Invalid, match="probe answers gates with errorRate or latency, and there is none"
    ):
        a_spec(analysis={"probe": {}, "gates": [{"name": "x", "predictions": {}}]})


@pytest.mark.parametrize(
    "wrong", [{"rate": 0}, {"rate": 201}, {"timeout": "0s"}, {"pace": 1}], ids=str
)
def test_a_probe_that_cannot_be_sent_is_refused(wrong: dict[str, Any]):
    with pytest.raises(Invalid, match=r"spec\.analysis\.probe"):
        a_spec(analysis={"probe": wrong})


def test_the_story_names_the_steps_that_probes_proved_and_awaits_no_gate_that_they_answered():
    world = a_silent_world().run(until=Phase.PROGRESSING)
    while not world.canary.probed_steps:
        world.step()
    release = {
        "kind": "ModelRelease",
        "metadata": {"name": "qna", "namespace": "ml", "generation": 1},
        "spec": world.spec.model_dump(
            mode="json", by_alias=True, exclude_none=True, exclude_unset=True
        ),
        "status": world.status.to_dict(),
    }
    told = _as_text(explain(release, world.now), world.now)
    assert "probes and not users proved step 1 of 2" in told
    assert "probe/errors" in told
    assert "gates that do not pass yet" not in told
