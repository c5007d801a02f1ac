"""Releases beside a Prometheus that scrapes seldom, each pod at its own moment, perhaps with a
second server.

Whoever releases here sees only what the servers show. What the pods counted is known to the test.
"""

import json
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import timedelta
from random import Random
from typing import Any

import pytest

from modelrelease_operator.api.status import Phase, Reason, Status, Verdict
from modelrelease_operator.core.observed import Counter, MetricsUnavailable
from modelrelease_operator.core.statistics.eprocess import WITH_SUMS
from modelrelease_operator.core.whatif.fleet import Scrapes
from modelrelease_operator.core.whatif.simulation import Scenario, _World
from testbed.builders import a_spec, a_target
from testbed.world import Behaviour, Pod
from tests.support.scraping import ScrapedWorld

STEPS = [{"weight": 25, "bake": "10s"}, {"weight": 50, "bake": "10s"}]
ERRORS: dict[str, Any] = {"name": "errors", "errorRate": {}}
LATENCY: dict[str, Any] = {"name": "latency", "latency": {}}
INTERVALS = (15.0, 30.0, 60.0, 120.0)


def a_scraped(
    *,
    replicas: int = 3,
    gates: Any = (ERRORS,),
    kind: type[ScrapedWorld] = ScrapedWorld,
    **told: Any,
) -> ScrapedWorld:
    """Build a world in which version 1 serves and is scraped, and version 2 is wanted."""
    spec = a_spec(
        canary={"steps": STEPS, "progressDeadline": "2h"},
        analysis={"gates": list(gates)},
        serving={"replicas": replicas},
    )
    world = kind(spec=spec, target=a_target("1"), **told)
    assert isinstance(world.run(), ScrapedWorld)
    world.behaviours["rev1"] = Behaviour(error_rate=world.base)
    world.behaviours.setdefault("rev2", Behaviour(error_rate=world.base))
    world.settle().release(a_target("2"))
    return world


def ended(world: ScrapedWorld, *, within: timedelta = timedelta(hours=2)) -> Phase:
    """Step until the release ends; return how."""
    begun = world.now
    while world.now - begun < within:
        world.step()
        if world.status.phase in (Phase.PROMOTING, Phase.ROLLING_BACK):
            return world.status.phase
    return world.status.phase


def totals(world: ScrapedWorld) -> tuple[int, int]:
    """Return the requests of canary and stable that were counted in this release."""
    canary, _, stable, _ = world.status.evidence.release.get("errors", (0, 0, 0, 0))
    return canary, stable


def shown_requests(world: ScrapedWorld) -> int:
    """Return the last values of all request counters together."""
    return sum(
        value for series, value in world.status.evidence.counters.items() if "|code=" in series
    )


class TestCounts:
    @pytest.mark.parametrize("seed", range(12))
    def test_never_exceed_what_predictors_counted(self, seed: int) -> None:
        """With servers that restart or are away, pods that restart or are not shown,
        and missed scrapes.
        """
        random = Random(seed)
        world = a_scraped(
            seed=seed, scrape=random.choice((5.0, 20.0, 60.0, 120.0)), servers=random.choice((1,
            2)),
            missed=random.choice((0.0, 0.2, 0.5)), jitter=random.choice((0.0, 3.0)), base=0.3,
            replicas=random.choice((1, 3)),
        )  # fmt: skip
        world.ask(canary={"steps": [{"weight": 50, "bake": "2h"}], "progressDeadline": "3h"})
        served = dict(world.served)
        for _ in range(60):
            world.step()
            happened = random.random()
            if happened < 0.1:
                world.restart_containers(random.choice(list(world.pods)))
            elif happened < 0.15:
                world.lose_pods(random.choice(list(world.pods)))
            elif happened < 0.25:
                random.choice(world.prometheus).shown.clear()
            elif happened < 0.3:
                world.prometheus_up = not world.prometheus_up
            elif happened < 0.35:
                names = [pod.name for pods in world.pods.values() for pod in pods]
                world.unscraped = set() if world.unscraped else {random.choice(names)}
            canary, stable = totals(world)
            assert canary <= world.served.get("rev2", 0)
            assert stable <= world.served["rev1"] - served["rev1"]

    @pytest.mark.parametrize("seed", range(12))
    def test_never_exceed_what_simulated_pods_counted(self, seed: int) -> None:
        """The world of `simulate` has fewer faults than the one above, and a thousand pods."""
        random = Random(seed)
        scrapes = Scrapes(
            interval=random.choice((5.0, 15.0, 60.0, 120.0)), servers=random.choice((1, 2)),
            jitter=random.choice((0.0, 5.0)), missed=random.choice((0.0, 0.2)),
        )  # fmt: skip
        scenario = Scenario(
            rps=random.choice((5.0, 50.0, 200.0)), stable_errors=0.05, canary_errors=0.05,
            bounds=(0.1, 1.0),
            scrapes=scrapes, pods_restart=random.choice((math.inf, 90.0, 400.0)),
            servers_restart=random.choice((math.inf, 200.0)),
        )  # fmt: skip
        spec = a_spec(
            canary={"steps": [{"weight": 25, "bake": "1m"}, {"weight": 50, "bake": "10m"}]},
            analysis={"gates": [ERRORS]}, serving={"replicas": random.choice((1, 3, 10))},
        )  # fmt: skip
        world = _World(spec=spec, scenario=scenario, random=random)
        drawn = {name: arm.requests for name, arm in world.arms.items()}
        for _ in range(100):
            decision = world.step()
            canary, _, stable, _ = decision.status.evidence.release.get("errors", (0, 0, 0, 0))
            assert canary <= world.arms["canary"].requests - drawn["canary"]
            assert stable <= world.arms["stable"].requests - drawn["stable"]
            world.let_pass(decision.requeue or spec.analysis.period)

    @pytest.mark.parametrize("servers", [1, 2])
    def test_lose_nothing_that_was_shown_while_the_weight_stays(self, servers: int) -> None:
        world = a_scraped(scrape=20.0, servers=servers)
        world.ask(canary={"steps": [{"weight": 50, "bake": "2h"}], "progressDeadline": "3h"})
        while not world.status.evidence.started:
            world.step()
        at_first = shown_requests(world)
        assert totals(world) == (0, 0)
        for _ in range(40):
            world.step()
        assert sum(totals(world)) == shown_requests(world) - at_first > 0

    def test_lose_of_a_restart_only_what_came_after_the_last_sample(self) -> None:
        world = a_scraped(scrape=20.0)
        world.ask(canary={"steps": [{"weight": 50, "bake": "2h"}], "progressDeadline": "3h"})
        while not world.status.evidence.started:
            world.step()
        served = world.served["rev2"]
        for turn in range(30):
            if turn == 10:
                world.restart_containers("rev2")
            world.step()
        lost = world.served["rev2"] - served - totals(world)[0]
        # Half of 100 a second, before the restart and since the last sample: 20 s of each at most.
        assert 0 <= lost <= 2 * 20 * 50 * 1.3
        assert world.status.evidence.resets[0] == 3


class TestACanaryThatFailsAll:
    @pytest.mark.parametrize("servers", [1, 2])
    @pytest.mark.parametrize("replicas", [1, 3])
    @pytest.mark.parametrize("scrape", INTERVALS)
    def test_is_rolled_back_within_three_scrapes_and_half_a_minute_of_its_first_user(
        self, scrape: float, replicas: int, servers: int
    ) -> None:
        world = a_scraped(
            replicas=replicas, scrape=scrape, servers=servers, seed=int(scrape) + replicas
        )
        world.behaviours["rev2"] = Behaviour(error_rate=1.0)
        while not world.served.get("rev2"):
            world.step()
        first_user = world.now
        assert ended(world) is Phase.ROLLING_BACK
        assert (world.now - first_user).total_seconds() <= 3 * scrape + 30


@pytest.mark.parametrize("scrape", INTERVALS)
def test_a_healthy_canary_is_promoted(scrape: float) -> None:
    assert ended(a_scraped(scrape=scrape, gates=(ERRORS, LATENCY))) is Phase.PROMOTING


@pytest.mark.parametrize("servers", [1, 2])
@pytest.mark.parametrize("scrape", [15.0, 60.0])
@pytest.mark.parametrize("seed", range(3))
def test_outages_that_both_arms_share_blame_nobody(seed: int, scrape: float, servers: int) -> None:
    random = Random(f"{seed}/{scrape}/{servers}")
    begins = random.uniform(0, 200)
    outage = [(begins, begins + 180, 0.2)]
    # It begins as a ramp: twentyfold within a minute.
    ramp = [
        (begins - 60 + part, begins - 50 + part, 0.001 * 20 ** (part / 60))
        for part in range(0, 60, 10)
    ]
    world = a_scraped(seed=seed, scrape=scrape, servers=servers, outages=(*ramp, *outage))
    assert ended(world, within=timedelta(minutes=15)) is not Phase.ROLLING_BACK
    assert Reason.ROLLED_BACK not in world.reasons


class TestHundredsOfPods:
    def test_one_that_is_not_shown_is_named_and_holds_nothing_up(self) -> None:
        world = a_scraped(replicas=100, scrape=15.0, rps=400.0)
        world.unscraped.add(world.pods["rev1"][7].name)
        for server in world.prometheus:
            server.shown.pop(world.pods["rev1"][7].name, None)
        assert ended(world, within=timedelta(minutes=20)) is Phase.PROMOTING
        assert any(
            decision.status.samples
            and decision.status.samples.left_out == (world.pods["rev1"][7].name,)
            for decision in world.trail
        )

    def test_one_that_is_new_holds_nothing_up(self) -> None:
        world = a_scraped(replicas=100, scrape=15.0, rps=400.0)
        while not world.status.evidence.started:
            world.step()
        world.pods["rev1"][3] = world._new_pod("rev1")  # as if its node had died
        assert ended(world, within=timedelta(minutes=20)) is Phase.PROMOTING


@dataclass
class Respelled(ScrapedWorld):
    """A world whose version 2 has buckets of its own:
    `spell` gives their names, or None for no bucket.
    """

    spell: Callable[[str], str | None] = str

    def _page(self, pod: Pod) -> dict[tuple[str, str], int]:
        page = super()._page(pod)
        if not pod.name.startswith("rev2"):
            return page
        spelled = {
            (kind, self.spell(value) if kind == "le" else value): n
            for (kind, value), n in page.items()
        }
        return {(kind, value): n for (kind, value), n in spelled.items() if value is not None}


class TestBucketsThatDiffer:
    def test_are_the_same_where_they_are_only_spelled_otherwise(self) -> None:
        world = a_scraped(
            scrape=15.0, gates=(ERRORS, LATENCY), kind=Respelled,
            spell=lambda bound: {"1.0": "1", "0.1": "0.10", "0.05": "5e-2"}.get(bound, bound),
        )  # fmt: skip
        assert ended(world) is Phase.PROMOTING

    @pytest.mark.parametrize(
        ("latency", "end"), [(0.015, Phase.PROMOTING), (0.5, Phase.ROLLING_BACK)]
    )
    def test_are_compared_at_the_bounds_that_both_have(self, latency: float, end: Phase) -> None:
        world = a_scraped(
            scrape=15.0, gates=(ERRORS, LATENCY), kind=Respelled,
            spell=lambda bound: None if bound == "0.05" else bound,
        )  # fmt: skip
        world.behaviours["rev2"] = Behaviour(error_rate=world.base, latency=latency)
        assert ended(world) is end

    def test_say_why_they_cannot_be_compared_where_none_is_common(self) -> None:
        world = a_scraped(
            scrape=15.0, gates=(ERRORS, LATENCY), kind=Respelled,
            spell=lambda bound: bound if bound == "+Inf" else str(3 * float(bound) + 1),
        )  # fmt: skip
        assert ended(world, within=timedelta(minutes=5)) is Phase.PROGRESSING
        gate = next(gate for gate in world.status.gates if gate.name == "latency")
        assert gate.verdict is Verdict.UNAVAILABLE
        assert "the two versions' histograms have no bucket in common" in gate.message


@dataclass
class Timeless(ScrapedWorld):
    """A world whose Prometheus tells neither when it scraped nor when a process began."""

    def _metrics(self) -> tuple[Counter, ...] | MetricsUnavailable:
        told = super()._metrics()
        if isinstance(told, MetricsUnavailable):
            return told
        return tuple(replace(counter, at=None, started=None) for counter in told)


@pytest.mark.parametrize(("errors", "end"), [(0.001, Phase.PROMOTING), (0.5, Phase.ROLLING_BACK)])
def test_a_server_that_tells_no_times_is_believed_look_by_look(errors: float, end: Phase) -> None:
    world = a_scraped(scrape=5.0, kind=Timeless)
    world.behaviours["rev2"] = Behaviour(error_rate=errors)
    assert ended(world) is end


def as_before(status: Status) -> Status:
    """Return a status as an operator wrote it that knew of no samples and kept no sums."""
    stored = json.loads(json.dumps(status.to_dict()))
    evidence = stored["evidence"]
    for name in (
        "scraped", "born", "countsFrom", "horizon", "pending", "uneven", "opened", "recut",
        "scrapeSeconds",
        "resets",
    ):  # fmt: skip
        evidence.pop(name, None)
    stored.pop("samples", None)
    for key, state in evidence["processes"].items():
        if state[:1] == [WITH_SUMS]:
            evidence["processes"][key] = [*state[2:4], *state[6 + 6 * int(state[1]) :]]
    return Status.parse(stored)


@pytest.mark.parametrize(("errors", "end"), [(0.001, Phase.PROMOTING), (0.5, Phase.ROLLING_BACK)])
def test_a_release_that_an_older_operator_began_goes_on(errors: float, end: Phase) -> None:
    world = a_scraped(scrape=15.0, gates=(ERRORS, LATENCY))
    while not totals(world)[0]:
        world.step()
    counted = totals(world)
    world.status = as_before(world.status)
    assert world.status.evidence.started
    assert world.status.evidence.horizon is None
    world.behaviours["rev2"].error_rate = errors
    world.step()
    assert totals(world) >= counted
    assert ended(world) is end
