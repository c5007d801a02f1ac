"""Releases in random worlds with random faults:
what must hold at every pass, and how it must end.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from hypothesis import event, given
from hypothesis import strategies as st

from modelrelease_operator.api.status import Phase, Reason, Status, Verdict
from modelrelease_operator.traffic.replicas import split
from testbed.builders import a_target
from testbed.world import Behaviour, World, a_serving_world
from tests.support.examples import examples

HEALTHY = st.sampled_from([Behaviour(), Behaviour(latency=0.009)])
SICK = st.sampled_from(
    [Behaviour(error_rate=0.2), Behaviour(latency=0.5), Behaviour(error_rate=0.9)]
)
WEIGHTS = st.lists(st.integers(1, 60), min_size=1, max_size=4, unique=True).map(sorted)


@dataclass
class Fault:
    """Something that goes wrong from one pass on, for some passes."""

    name: str
    begins: int
    lasts: int


FAULTS = ("prometheus is away", "the operator dies", "a pod is not scraped", "processes restart",
          "pods are lost", "somebody pauses", "somebody opens the router",
          "somebody deletes the router",
          "nobody calls")  # fmt: skip
fault = st.builds(
    Fault, name=st.sampled_from(FAULTS), begins=st.integers(0, 40), lasts=st.integers(1, 8)
)


@st.composite
def worlds(draw: st.DrawFn, behaviour: st.SearchStrategy[Behaviour]) -> World:
    plan = [{"weight": weight, "bake": f"{draw(st.integers(0, 20))}s"} for weight in draw(WEIGHTS)]
    world = a_serving_world(
        canary={"steps": plan, "startDeadline": "2h", "progressDeadline": "99d",
                "keepPrevious": draw(st.sampled_from(["0s", "20s"]))},
        serving={"replicas": draw(st.integers(1, 5))},
        seed=draw(st.integers(0, 9)),
        start_seconds=draw(st.sampled_from([0.0, 2.0, 15.0])),
        rps=draw(st.sampled_from([500.0, 3_000.0])),
    )  # fmt: skip
    world.behaviours["rev2"] = draw(behaviour)
    return world.release(a_target("2"))


class Watch:
    """Passes over a world while faults come and go,
    and holds every pass against what must be true.
    """

    def __init__(self, world: World, faults: list[Fault]) -> None:
        self.world, self.faults, self.passes = world, faults, 0
        self.rps = world.rps
        self.served_at_rejection: dict[str, int] = {}
        self.opened: frozenset[str] = frozenset()
        """What clients last reached: a router that is deleted and made again opens nothing new."""

    def until(self, done: Callable[[World], bool], *, passes: int = 3_000) -> World:
        for _ in range(passes):
            self.opened = self.world.routed or self.opened
            self._let_things_go_wrong()
            opened_before = self.world.routed or self.opened
            ready_before = {name: self.world.ready(name) for name in self.world.pods}
            decision = self.world.step()
            self._check(opened_before, ready_before)
            self.passes += 1
            calm = self.passes > max((it.begins + it.lasts for it in self.faults), default=0)
            if calm and done(self.world) and decision.requeue is None:
                return self.world
        raise AssertionError(f"no end after {passes} passes: {self.world.status.message}")

    def _let_things_go_wrong(self) -> None:
        world, now = self.world, self.passes
        active = {it.name for it in self.faults if it.begins <= now < it.begins + it.lasts}
        begins = {it.name for it in self.faults if it.begins == now}
        world.prometheus_up = "prometheus is away" not in active
        world.dies_before_status = "the operator dies" in active
        world.rps = 0.0 if "nobody calls" in active else self.rps
        pods = sorted(pod.name for each in world.pods.values() for pod in each)
        world.unscraped = set(pods[:1]) if "a pod is not scraped" in active else set()
        if world.spec.paused != ("somebody pauses" in active):
            world.ask(paused="somebody pauses" in active)
        for name in list(world.pods):
            if "processes restart" in begins:
                world.restart_containers(name)
        canary = world.status.canary
        serves_alone = canary and world.routed == frozenset({canary.revision})
        if (
            canary
            and canary.revision in world.pods
            and "pods are lost" in begins
            and not serves_alone
        ):
            world.lose_pods(canary.revision)
        if "somebody opens the router" in begins and world.status.phase is Phase.STABLE:
            world.selector = {"modelrelease.dev/release": "qna"}
        if "somebody deletes the router" in begins:
            world.selector = None

    def _check(self, opened_before: frozenset[str], ready_before: dict[str, int]) -> None:
        world, status = self.world, self.world.status
        applied = world.trail[-1]
        assert status.stable is not None
        routed = applied.desired.routed
        for revision in routed - opened_before - {status.stable.revision}:
            assert ready_before.get(revision), f"{revision} got clients before it had a ready pod"
        assert routed <= {it.target.revision for it in applied.desired.running}
        if Reason.PROMOTED in (notice.reason for notice in applied.notices):
            assert all(ready_before[revision] == world.spec.serving.replicas for revision in routed)
        assert len(routed) in (1, 2)
        assert len(applied.desired.running) <= 2, "never more than two revisions"
        replicas = world.spec.serving.replicas
        assert len(world.pods[status.stable.revision]) == replicas, "stable keeps every pod"
        assert world.unanswered == 0
        if status.canary and status.phase in (Phase.PROGRESSING, Phase.PAUSED):
            asked = split(weight=status.weight, replicas=replicas).canary
            assert status.weight == status.canary.requested_weight
            assert len(world.pods[status.canary.revision]) == asked or world.dies_before_status
        if not status.canary:
            assert status.weight == 0
        self._check_that_a_failure_is_final()

    def _check_that_a_failure_is_final(self) -> None:
        rejected, served = self.world.status.rejected, self.world.served
        if rejected is None:
            self.served_at_rejection.clear()
            return
        before = self.served_at_rejection.setdefault(
            rejected.revision, served.get(rejected.revision, 0)
        )
        assert served.get(rejected.revision, 0) == before, "a rejected revision got clients again"


def story(world: World, faults: list[Fault]) -> str:
    names = sorted({it.name for it in faults})
    event(f"{len(names)} kinds of faults")
    return ", ".join(names) or f"nothing, at {world.rps} requests a second"


def serves(version: str) -> Callable[[World], bool]:
    return lambda world: world.stable.version == version and world.status.phase is Phase.STABLE


@examples(120)
@given(world=worlds(HEALTHY), faults=st.lists(fault, max_size=6))
def test_a_healthy_canary_is_promoted_whatever_goes_wrong_around_it(
    world: World, faults: list[Fault]
):
    end = Watch(world, faults).until(serves("2"))
    assert Reason.REGRESSION not in end.reasons, story(world, faults)
    assert end.status.rejected is None
    assert end.reasons.count(Reason.PROMOTED) == 1
    assert set(end.pods) == {"rev2"}


@examples(120)
@given(world=worlds(SICK), faults=st.lists(fault, max_size=6))
def test_a_sick_canary_is_rejected_whatever_goes_wrong_around_it(world: World, faults: list[Fault]):
    before = world.stable
    end = Watch(world, faults).until(lambda world: world.status.rejected is not None)
    assert end.stable == before, story(world, faults)
    assert end.status.rejected is not None
    assert end.status.rejected.reason is Reason.REGRESSION
    assert Reason.PROMOTED not in end.reasons
    assert set(end.pods) == {"rev1"}
    assert end.routed == frozenset({"rev1"})


class Wiped(Watch):
    """Passes between which somebody wipes the status."""

    def __init__(self, world: World, faults: list[Fault], wipes: set[int]) -> None:
        super().__init__(world, [it for it in faults if it.name != "the operator dies"])
        self.wipes = wipes

    def _let_things_go_wrong(self) -> None:
        super()._let_things_go_wrong()
        if self.passes in self.wipes:
            self.world.status = Status()


@examples(60)
@given(
    world=worlds(SICK),
    faults=st.lists(fault, max_size=3),
    wipes=st.sets(st.integers(1, 60), max_size=5),
)
def test_a_sick_canary_never_gets_everybody_however_often_status_is_wiped(
    world: World, faults: list[Fault], wipes: set[int]
):
    end = Wiped(world, faults, wipes).until(lambda world: world.status.rejected is not None)
    assert (end.stable.version, end.routed) == ("1", frozenset({"rev1"})), story(world, faults)
    assert Reason.PROMOTED not in end.reasons
    assert end.reasons.count(Reason.FIRST_VERSION_SERVES) == 1


@examples(80)
@given(
    world=worlds(HEALTHY),
    faults=st.lists(fault, max_size=3),
    changes=st.lists(
        st.tuples(st.integers(1, 25), st.sampled_from("1234")), min_size=1, max_size=5
    ),
)
def test_whatever_the_spec_says_in_the_meantime_its_last_word_serves_in_the_end(
    world: World, faults: list[Fault], changes: list[tuple[int, str]]
):
    watch = Watch(world, faults)
    for passes, version in changes:
        world.release(a_target(version))
        for _ in range(passes):
            watch._let_things_go_wrong()
            opened, ready = (
                world.routed or frozenset(),
                {name: world.ready(name) for name in world.pods},
            )
            world.step()
            watch._check(opened, ready)
            watch.passes += 1
    end = watch.until(serves(changes[-1][1]))
    assert end.status.rejected is None
    assert set(end.pods) == {f"rev{changes[-1][1]}"}


@examples(40)
@given(
    rates=st.tuples(st.sampled_from([0.0, 0.01, 0.1]), st.sampled_from([0.0, 0.005, 0.02, 0.5])),
    weights=WEIGHTS,
    seed=st.integers(0, 99),
    passes=st.integers(5, 60),
)
def test_evidence_is_the_same_whether_or_not_prometheus_was_away_between_two_looks(
    rates: tuple[float, float], weights: list[int], seed: int, passes: int
):
    """Counts that come late are still counted, and counted once."""

    def counted(away: bool) -> Any:
        plan = {
            "steps": [{"weight": weight, "bake": "9h"} for weight in weights],
            "progressDeadline": "99d",
        }
        world = a_serving_world(canary=plan, seed=seed, rps=200.0)
        world.behaviours = {
            "rev1": Behaviour(error_rate=rates[0]),
            "rev2": Behaviour(error_rate=rates[0]),
        }
        world.release(a_target("2")).run(until=Phase.PROGRESSING).steps(3)
        world.behaviours["rev1"] = world.behaviours["rev2"] = Behaviour(error_rate=rates[1])
        world.prometheus_up = not away
        world.steps(passes)
        world.prometheus_up = True
        world.steps(1)
        return world

    here, gone = counted(away=False), counted(away=True)
    if Verdict.FAIL in (here.status.verdict, gone.status.verdict):
        event("failed")
        return
    assert here.status.evidence.step == gone.status.evidence.step
    assert here.status.evidence.counters == gone.status.evidence.counters
