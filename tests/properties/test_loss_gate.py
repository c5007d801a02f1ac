"""The loss gate beside a gateway and servers that are scraped at moments of their own.

Requests end at the server a second before they end at the gateway. Servers fail by themselves,
alone and in outages, restart and lose what they counted, and so does the gateway.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import timedelta
from itertools import chain, product
from random import Random
from typing import Any

import pytest

from modelrelease_operator.api.spec import ReleaseSpec
from modelrelease_operator.api.status import CanaryStatus, StableStatus, Status, Verdict
from modelrelease_operator.core.analysis.judge import Judgement, judge
from modelrelease_operator.core.observed import Counter
from modelrelease_operator.core.query_results import CounterSample
from modelrelease_operator.core.statistics.random_variates import binomial, poisson
from testbed.builders import START, a_spec, a_target

PODS = {"rev2": ("canary-a",), "rev1": ("stable-a", "stable-b", "stable-c")}
LOOK = 10
IN_HAND = 1
"""Seconds between a request's end at the server and at the gateway."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """A world: rates are shares of the requests, times are seconds."""

    server_scrapes: int = 15
    gateway_scrapes: int = 15
    delay: int = 60
    rps: float = 100.0
    weight: float = 0.2
    lost_by_canary: float = 0.0
    lost_by_stable: float = 0.0
    fails: float = 0.01
    outages: float = 0.0
    """Share of both arms' requests that fail for ten seconds in each minute."""
    restarts: int = 0
    """After which a pod of either arm begins anew, again and again."""
    gateway_restarts: int = 0
    past_gateway: float = 0.0
    """Requests a second that come to stable by another way."""


@dataclass(slots=True)
class Counts:
    """What one process has counted, and shown."""

    phase: int
    total: int = 0
    bad: int = 0
    born: int = 0
    shown: list[tuple[int, int, int, int]] = field(default_factory=list)
    """Time, total, bad and start of each scrape."""

    def scrape(self, now: int, every: int) -> None:
        if now % every == self.phase:
            self.shown.append((now, self.total, self.bad, self.born))

    def restart(self, now: int) -> None:
        self.total, self.bad, self.born = 0, 0, now

    def at(self, moment: int) -> tuple[int, int, int, int] | None:
        return next((each for each in reversed(self.shown) if each[0] <= moment), None)


class World:
    """Gateway, servers and a Prometheus, second by second."""

    def __init__(self, setting: Setting, random: Random) -> None:
        self.setting, self.random, self.now = setting, random, 0
        every = setting.server_scrapes
        self.servers = {
            (revision, pod): Counts(random.randrange(every))
            for revision, pods in PODS.items()
            for pod in pods
        }
        phase = random.randrange(setting.gateway_scrapes)
        self.gateway = {revision: Counts(phase) for revision in PODS}
        self._in_hand: list[tuple[str, int, int]] = []

    def run(self, seconds: int) -> None:
        for _ in range(seconds):
            self.now += 1
            self._count()
            for server in self.servers.values():
                server.scrape(self.now, self.setting.server_scrapes)
            for gateway in self.gateway.values():
                gateway.scrape(self.now, self.setting.gateway_scrapes)

    def _count(self) -> None:
        setting = self.setting
        for revision, total, bad in self._in_hand:
            self.gateway[revision].total += total
            self.gateway[revision].bad += bad
        self._in_hand = []
        self._restart()
        out = setting.outages and self.now % 60 < 10
        for (revision, pod), server in self.servers.items():
            canary = revision == "rev2"
            weight = setting.weight if canary else (1 - setting.weight) / 3
            sent = poisson(self.random, setting.rps * weight)
            lost = binomial(
                self.random, sent, setting.lost_by_canary if canary else setting.lost_by_stable
            )
            fails = setting.outages if out else setting.fails
            failed = binomial(self.random, sent - lost, fails)
            self._in_hand.append((revision, sent, lost + failed))
            server.total += sent - lost
            server.bad += failed
            if pod == "stable-a" and setting.past_gateway:
                server.total += poisson(self.random, setting.past_gateway)

    def _restart(self) -> None:
        every, of_gateway = self.setting.restarts, self.setting.gateway_restarts
        for place, server in enumerate(self.servers.values()):
            if every and (self.now + 17 * place) % every == 0:
                server.restart(self.now)
        if of_gateway and self.now % of_gateway == 0:
            for gateway in self.gateway.values():
                gateway.restart(self.now)

    def counters(self) -> tuple[Counter, ...]:
        return tuple(chain.from_iterable(self._of_server(*each) for each in self.servers.items()))

    def _of_server(self, name: tuple[str, str], server: Counts) -> Iterator[Counter]:
        shown = server.at(self.now)
        if shown is None:
            return
        at, total, bad, born = shown
        for code, value in (("200", total - bad), ("500", bad)):
            yield Counter(
                revision=name[0], pod=name[1], code=code, value=value,
                at=float(at), started=float(born),
            )  # fmt: skip

    def answer(self) -> tuple[CounterSample, ...]:
        """Return what the gate's query gives, in which servers' pods are told from their past."""
        earlier = self.now - self.setting.delay
        samples = []
        for (revision, pod), server in self.servers.items():
            if shown := server.at(self.now):
                samples.append(a_sample(revision, pod, shown[2], bad=True, by_server=True))
            if shown := server.at(earlier):
                samples.append(a_sample(revision, f"{pod}/earlier", shown[1], by_server=True))
        for revision, gateway in self.gateway.items():
            if shown := gateway.at(earlier):
                samples.append(a_sample(revision, "gateway-a", shown[1]))
                samples.append(a_sample(revision, "gateway-a", shown[2], bad=True))
        return tuple(samples)


def a_sample(
    revision: str, pod: str, value: int, *, bad: bool = False, by_server: bool = False
) -> CounterSample:
    return CounterSample(
        revision=revision, pod=pod, labels="", bad=bad, by_server=by_server, value=value
    )


def spec_of(setting: Setting, **loss: Any) -> ReleaseSpec:
    gate = {"name": "loss", "loss": {"delay": f"{setting.delay}s", "gateway": "Traefik", **loss}}
    routing = {"gatewayAPI": {"parentRefs": [{"name": "public"}]}}
    return a_spec(canary={"routing": routing, "weight": 20}, analysis={"gates": [gate]})


def looks(setting: Setting, seed: int, minutes: int) -> Iterator[Judgement]:
    """Look every ten seconds, at one weight, as a release does."""
    world, spec = World(setting, Random(seed)), spec_of(setting)
    world.run(600 + seed % 60)
    began = world.now
    canary = CanaryStatus(**a_target("2").parts(), since=START, step_since=START)
    stable = StableStatus(**a_target("1").parts(), since=START)
    status = Status(canary=canary.but(requested_weight=20), stable=stable)
    pods = {revision: set(names) for revision, names in PODS.items()}
    for _ in range(minutes * 60 // LOOK):
        now = START + timedelta(seconds=world.now - began)
        judgement = judge(
            spec=spec, status=status, metrics=world.counters(), answers={"loss": world.answer()},
            next_weight=50, now=now, pods=pods,
        )  # fmt: skip
        status = status.but(evidence=judgement.evidence, gates=judgement.gates)
        yield judgement
        world.run(LOOK)


def verdicts(setting: Setting, seed: int, minutes: int) -> list[Verdict]:
    return [judgement.verdict for judgement in looks(setting, seed, minutes)]


HEALTHY = {
    "calm": Setting(),
    "both lose alike": Setting(lost_by_canary=0.01, lost_by_stable=0.01),
    "both fail in outages": Setting(outages=0.5),
    "servers restart": Setting(restarts=130),
    "the gateway restarts": Setting(gateway_restarts=200, lost_by_canary=0.01, lost_by_stable=0.01),
    "stable has callers of its own": Setting(past_gateway=2.0),
}
APART = list(product((15, 30, 60), (15, 30, 60)))
RUNS = 6
"""Of each world with each pair of scrape intervals: 324."""


def test_a_healthy_canary_is_not_blamed_whatever_the_two_are_scraped_at():
    blamed = []
    for name, (servers, gateway), run in product(HEALTHY, APART, range(RUNS)):
        setting = replace(HEALTHY[name], server_scrapes=servers, gateway_scrapes=gateway)
        if Verdict.FAIL in verdicts(setting, 1000 * run + servers + 7 * gateway, 12):
            blamed.append((name, servers, gateway, run))
    assert len(blamed) <= 0.01 * len(HEALTHY) * len(APART) * RUNS, blamed


@pytest.mark.parametrize(("servers", "gateway"), APART)
def test_a_canary_that_loses_2_percent_is_found(servers: int, gateway: int):
    setting = Setting(lost_by_canary=0.02, server_scrapes=servers, gateway_scrapes=gateway)
    for seed in range(3):
        assert Verdict.FAIL in verdicts(setting, seed, 15), seed


def test_callers_past_the_gateway_keep_the_gate_from_telling_and_a_few_do_not():
    setting = Setting(past_gateway=80.0)
    *_, last = looks(setting, seed=5, minutes=10)
    assert last.verdict is Verdict.INSUFFICIENT
    assert "the servers of stable answer more than the gateway sends them" in last.message
    assert Verdict.PASS in verdicts(replace(setting, past_gateway=2.0), seed=5, minutes=10)
