"""One seed: a release from its beginning to its end, through what goes wrong by its number."""

import asyncio
import logging
import random as global_random
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from random import Random

from modelrelease_operator.errors import Gone, ReleaseError
from modelrelease_operator.runtime.memory import Troubles
from modelrelease_operator.runtime.reconcile import Reconciler
from modelrelease_operator.runtime.registry_watch import RegistryWatch
from modelrelease_operator.runtime.stores import Stores
from modelrelease_operator.runtime.telemetry import Reporter
from modelrelease_operator.runtime.workers import QUIET_SECONDS, Workers
from modelrelease_operator.settings import Settings
from testbed.simulation import ending
from testbed.simulation.audit import Audit
from testbed.simulation.autoscaler import Autoscaler
from testbed.simulation.client import Client, Died, Way
from testbed.simulation.cluster import SPACE, Cluster
from testbed.simulation.gateway import ROUTING, SLOWEST, Gateway
from testbed.simulation.leader import Leader, frozen_until
from testbed.simulation.machines import RELEASE, Behaviour, Machines
from testbed.simulation.people import BEHAVIOURS, People, drawn_settings
from testbed.simulation.scrapes import Scrapes
from testbed.simulation.shadow import OWN as SHADOW
from testbed.simulation.story import Story
from testbed.simulation.virtual_time import BEGINNING, Loop, Timeline, simulated_clocks
from testbed.simulation.weather import Weather

KEY = (SPACE, RELEASE)
SETTINGS = Settings()
STORES = Stores()
"""No release names one: its artifacts are on volumes."""
STORM = 150.0
"""Seconds in which things go wrong, from when a release begins."""
PATIENCE = 1800.0
"""Seconds until a release must have ended, once nothing goes wrong any more."""
MOST_TURNS = 600
NOTICED_AFTER = 0.05
"""Seconds from a change to its watch."""
CLOCK_JUMPS = (-3 * 86_400.0, -3600.0, -20.0, 20.0, 600.0, 86_400.0)
RESYNC = 600.0
WITH_AUTOSCALER = 0.2
"""Share of the seeds in which an autoscaler sets the number of pods."""
WITH_FREEZES = 0.15
"""Share of the seeds in which the process that acts is frozen at times."""
WITH_SHADOW = 0.15
"""Share of the seeds in which a canary is compared in the dark before its first user."""
WITH_GATEWAY = 0.25
"""Share of the seeds in which a Gateway deals out the requests."""
SCRAPES = {1.0: 30, 5.0: 35, 10.0: 15, 15.0: 12, 30.0: 5, 60.0: 3}
"""Seconds between two scrapes of a pod, with how often: the longer, the more passes to an end."""


class Process:
    """One process of the operator, from its start to its death."""

    def __init__(self, simulation: "Simulation") -> None:
        self.timeline, self.way = simulation.timeline, simulation.way
        self.client = Client(self.way, self._woken)
        self.reconciler = Reconciler(
            kube=self.client,
            settings=SETTINGS,
            clock=simulation.clock,
            sources=simulation.scrapes,  # type: ignore[arg-type]
            registry=RegistryWatch(stores=STORES),
        )
        self.workers = Workers(self.reconciler)
        self.troubles = Troubles(clock=lambda: self.timeline.now)
        self.reporter = Reporter(self.client, *KEY)
        self.due: float | None = self.timeline.now
        """When the next turn of the release's worker begins; None: when something is told."""
        self.quiet_until = self.timeline.now
        self.resync_at = self.timeline.now + RESYNC
        self.failed: Exception | None = None
        """What ended the last pass, if it did not end well."""

    def _woken(self, _: object) -> None:
        self.due = max(self.timeline.now, self.quiet_until)

    def is_due(self) -> bool:
        return (self.resync_at if self.due is None else self.due) <= self.timeline.now

    async def turn(self) -> None:
        """Make one pass, as the worker of the release does. No error ends it."""
        self.due, self.failed = None, None
        delay: float | None
        try:
            delay = await self.workers._reconcile(KEY, self.reporter)
            await self.workers._recovered(self.troubles, self.reporter)
        except Gone as problem:
            self.reporter.forget()
            self.reconciler.forget(*KEY)
            self.failed, delay = problem, None
        except Exception as problem:
            self.failed = problem
            delay = await self.workers._failed(KEY, problem, self.troubles, self.reporter)
        self.quiet_until = self.timeline.now + QUIET_SECONDS
        self.resync_at = self.timeline.now + RESYNC
        if delay is not None and self.due is None:
            self.due = self.timeline.now + delay
        if self.due is not None:
            self.due = max(self.due, self.quiet_until)


@dataclass
class Simulation:
    """Everything of one seed."""

    seed: int
    timeline: Timeline
    cluster: Cluster = field(default_factory=Cluster)
    process: Process | None = None
    skew: float = 0.0
    """Seconds by which the operator's clock is wrong."""
    deaths: int = 0
    turns: int = 0
    _until: float = float("inf")
    """When somebody wakes who is frozen."""
    _hear_at: float = BEGINNING
    _resynced: bool = False
    _last_good: float = BEGINNING
    """When the last pass began that ended well."""

    def __post_init__(self) -> None:
        random = self.random = Random(self.seed)
        self.story = Story(self.timeline)
        calm = BEGINNING + random.choice((0.0, STORM / 2, STORM))
        self.weather = Weather.of(Random(random.random()), BEGINNING, calm)
        self.settled = BEGINNING + STORM + 70.0
        (scrape,) = random.choices(tuple(SCRAPES), tuple(SCRAPES.values()))
        self.behaviours = self._drawn_behaviours()
        self._freezes = Random(f"leader {self.seed}")
        self._is_frozen_at_times = self._freezes.random() < WITH_FREEZES
        self.way = self._way()
        common = (self.timeline, self.weather)
        self.gateway = self._drawn_gateway()
        self.machines = Machines(
            self.cluster, *common, Random(random.random()), self.story.tell, self.behaviours,
            requests=random.choice((100.0, 400.0, 2000.0)), well_after=self.settled - 100.0,
            gateway=self.gateway,
        )  # fmt: skip
        self.scrapes = Scrapes(
            self.machines, *common, Random(random.random()), self.story.tell, scrape,
            reads_anew=random.random() < 0.2,
        )  # fmt: skip
        self.people = People(
            self.cluster, self.machines, self.timeline, Random(random.random()), self.story.tell,
            drawn_settings(random, scrape),
        )  # fmt: skip
        if self.gateway is not None:
            self.people.say_of_canary(routing=ROUTING)
        if Random(f"shadow {self.seed}").random() < WITH_SHADOW:
            self.people.say_of_canary(shadow=SHADOW)
        scales = Random(f"autoscaler {self.seed}")
        if scales.random() < WITH_AUTOSCALER:
            Autoscaler(self.people, scales).plan(STORM)
        self.audit = Audit(self.cluster, self.machines, self.people, self.scrapes, self.story.tell)
        self.audit.ready_pods_known = self._ready_pods_known
        self.audit.replicas_told = self._replicas_told
        self.cluster.hears.append(self._noticed)
        for at, words in self.weather.told():
            self.timeline.after(at - BEGINNING, partial(self.story.tell, words))

    def _way(self) -> Way:
        """Return the way of the processes that hold one Lease after the other."""
        way = Way(self.cluster, self.weather, self.timeline, self.story.tell)
        if self._is_frozen_at_times:
            way.leader = Leader(
                self.timeline, self._freezes, self.story.tell, until=self.settled - 100.0,
                meanwhile=self._meanwhile,
            )  # fmt: skip
        return way

    async def _meanwhile(self, wakes: float) -> None:
        """Let time pass while the process that acts is frozen: another acts once it may."""
        leader = self.way.leader
        assert leader is not None
        if leader.runs_out >= wakes:
            self.timeline.run_until(wakes)
            return
        self.timeline.run_until(leader.runs_out)
        self.story.tell("  the Lease is another's")
        await frozen_until(asyncio.create_task(self._acts_instead(wakes)))

    async def _acts_instead(self, wakes: float) -> None:
        """Have another process act, from now on for good, and alone until the frozen one wakes."""
        before, self._until = self._until, wakes
        self.process, self.way = None, self._way()
        while self.timeline.now < wakes and not self.audit.violations:
            if self.process is None:
                await self._begin_process()
            else:
                await self._go_on(self.process)
        self._until = before

    def take_apart(self) -> None:
        """Let go of everything: what a seed leaves behind is full of cycles, and whoever collects
        them would look at all of it.
        """
        if self.process is not None:
            vars(self.process).clear()
        for part in (self.machines, self.scrapes, self.people, self.audit, self.way, self.timeline):
            vars(part).clear()
        vars(self).clear()

    def _drawn_gateway(self) -> Gateway | None:
        """Draw whether a Gateway deals out the requests: from numbers of its own, so that the
        others' stories stay what they are.
        """
        random = Random(f"gateway {self.seed}")
        if random.random() >= WITH_GATEWAY:
            return None
        gateway = Gateway(self.cluster, self.timeline, random, self.story.tell, RELEASE)
        gateway.plan(STORM)
        return gateway

    def _drawn_behaviours(self) -> dict[str, Behaviour]:
        drawn = self.random.choice(BEHAVIOURS)
        return {"1": Behaviour(), "2": drawn, "3": Behaviour(start_seconds=4.0)}

    def clock(self) -> datetime:
        return datetime.fromtimestamp(self.timeline.now + self.skew, UTC)

    def _noticed(self, key: object, before: object, after: object, by: str) -> None:
        self._hear_at = min(self._hear_at, self.timeline.now + NOTICED_AFTER)

    async def run(self) -> None:
        """Live through it."""
        self._plan()
        while not self._over():
            if self.process is None:
                await self._begin_process()
                continue
            await self._go_on(self.process)
        if not self.audit.violations:
            await self._end()

    async def _end(self) -> None:
        """Hold the end against what must be."""
        process, audit = self.process, self.audit
        if ending.may_wait(self):
            return
        if process is None or process.due is not None:
            audit.fail("every release ends", f"not after {self.turns} passes")
            return
        writes = self.way.writes
        await self._turn(process)
        if self.way.writes != writes:
            audit.fail("an idle release costs no write", f"{self.way.writes - writes} writes")
        ending.look(self)

    def _plan(self) -> None:
        self.people.release("1")
        self.timeline.after(self.random.uniform(0.0, 20.0), lambda: self.people.release("2"))
        self.people.plan(BEGINNING, BEGINNING + STORM)
        if self.random.random() < 0.3:
            jump = self.random.choice(CLOCK_JUMPS)
            self.timeline.after(self.random.uniform(0.0, STORM), lambda: self._set_clock(jump))
        calm = self.settled - BEGINNING - 1.0
        self.timeline.after(calm, self.people.tidy_up)
        self.timeline.after(calm, lambda: self._set_clock(0.0))

    def _set_clock(self, skew: float) -> None:
        self.story.tell("the operator's clock is wrong by {:g} s", skew)
        self.skew = skew

    def _over(self) -> bool:
        if (
            self.audit.violations
            or self.timeline.now > self.settled + PATIENCE
            or self.turns > MOST_TURNS
        ):
            return True
        process = self.process
        if process is None or self.timeline.now < self.settled:
            return False
        if process.due is None and self._hear_at == float("inf"):
            if self._resynced:
                return True
            # What waits for a person is looked at once more, as it is every ten minutes.
            self._resynced, process.due = True, self.timeline.now
        return ending.may_wait(self)

    async def _begin_process(self) -> None:
        self.story.tell("the operator starts")
        process = Process(self)
        problem: BaseException | None = None
        try:
            await process.client.begin()
        except (ReleaseError, Died) as died:
            problem = died
        if self.process is not None:
            self.story.tell("the one that was frozen ends")
        elif problem is not None:
            self.story.tell("  and does not get far: {}", problem)
            self._die()
        else:
            self._hear_at, self.process = self.timeline.now, process

    def _die(self) -> None:
        self.deaths += 1
        self.process = None
        self.timeline.run_until(self.timeline.now + self.weather.random.choice((0.5, 5.0, 30.0)))

    async def _go_on(self, process: Process) -> None:
        """Let time pass until the process has something to do, and have it do that."""
        self.timeline.pass_until(partial(self._next, process))
        if self._over() or self.timeline.now >= self._until:
            return
        try:
            await self._hear(process)
            if process.is_due():
                self.turns += 1
                self.story.tell("pass {}", self.turns)
                await self._turn(process)
        except Died:
            if self.process is not process:
                self.story.tell("the one that was frozen ends")
                return
            self.story.tell("the operator dies")
            self._die()

    async def _turn(self, process: Process) -> None:
        began = self.timeline.now
        self.audit.begins_anew()
        await process.turn()
        period = max(5.0, self.scrapes.interval)
        spent = max(0.0, min(began - self._last_good, 2 * period + 30.0))
        limit = max(self.people.blind_seconds, 2.5 * self.scrapes.interval) + 2 * period + 30.0
        if self.gateway is not None:
            limit += SLOWEST + 60.0  # The gateway takes it late, and refuses at times.
        self.audit.passed(process.failed, spent, limit)
        if process.failed is None:
            self._last_good = max(began, self._last_good)
        self.people.answer_soon()
        leader = process.way.leader
        if leader is not None and leader.late:
            self.audit.fail("nothing is written after the Lease", f"{leader.late} writes")
        if leader is not None and leader.has_ended():
            raise Died

    def _ready_pods_known(self) -> dict[str, dict[str, str]]:
        """Return the labels of the ready pods by name, as far as the operator was told."""
        if self.process is None:
            return {}
        return {
            pod["metadata"]["name"]: pod["metadata"]["labels"]
            for pod in self.process.client.stores["Pod"].of_release(KEY)
            if pod["status"]["conditions"][0]["status"] == "True"
        }

    def _replicas_told(self) -> int | None:
        """Return how many pods the spec asks for, as far as the operator was told; None where that
        is no spec that can be followed.
        """
        release = self.process.client.told(KEY) if self.process else None
        if release is None or "weight" in release["spec"]["canary"]:
            return None
        replicas: int = release["spec"]["serving"]["replicas"]
        return replicas

    def _next(self, process: Process) -> float:
        """Return when there is something to do, as far as is known now."""
        due = process.due
        if due is None:
            before = self.timeline.now < self.settled < process.resync_at
            due = self.settled if before else process.resync_at
        return min(due, self._hear_at, self._until)

    async def _hear(self, process: Process) -> None:
        if self._hear_at > self.timeline.now:
            return
        self._hear_at = float("inf")
        await process.client.hear()
        if process.client.is_behind():
            self._hear_at = min(self._hear_at, self.timeline.now + 1.0)


_LOOPS: list[Loop] = []


def simulated(seed: int) -> Simulation:
    """Run a seed."""
    loop = _LOOPS[0] if _LOOPS else Loop()
    if not _LOOPS:
        _LOOPS.append(loop)
    loop.timeline = Timeline()
    global_random.seed(seed)
    simulation = Simulation(seed, loop.timeline)
    logging.disable(logging.CRITICAL)
    try:
        with simulated_clocks(loop):
            loop.run_until_complete(simulation.run())
    finally:
        logging.disable(logging.NOTSET)
    return simulation
