"""The whole loop under faults, by seed: what must hold holds in each, and what is broken is found.

docs/explanation/simulation.md says what misbehaves and what must hold.
"""

import gc
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest

from modelrelease_operator.api.status import Status, Verdict
from modelrelease_operator.core.analysis import judge
from modelrelease_operator.core.desired import Desired, DesiredWorkload
from modelrelease_operator.core.measurement import intervals
from modelrelease_operator.core.measurement.intervals import Counted
from modelrelease_operator.core.release import (
    commands,
    desired_state,
    promoting,
    shadowing,
    stable,
)
from modelrelease_operator.core.scope import Scope
from modelrelease_operator.errors import Unavailable
from modelrelease_operator.runtime import ownership
from modelrelease_operator.runtime.kube import Kube, Object
from modelrelease_operator.runtime.reconcile import Reconciler
from modelrelease_operator.traffic import gateway_api
from testbed.simulation.audit import used
from testbed.simulation.cluster import Cluster
from testbed.simulation.machines import Sample
from testbed.simulation.runner import outcome_of
from testbed.simulation.scrapes import Look

SEEDS, ITEMS = 5000, 20
"""What two cores run in two minutes also where others want them, dealt out to pytest's workers."""
MOST_SEEDS = 500
"""Within which a planted bug is found."""


@pytest.fixture(autouse=True, scope="module")
def _few_cycles() -> Iterator[None]:
    """Look for cycles at the end: a seed is taken apart by itself, and what else is there stays."""
    gc.disable()
    yield
    gc.enable()
    gc.collect()


@pytest.mark.parametrize("item", range(ITEMS))
def test_what_must_hold_holds_whatever_goes_wrong(item: int):
    failed = [each for each in map(outcome_of, range(item, SEEDS, ITEMS)) if not each.held]
    assert not failed, "\n".join(each.words for each in failed)


def test_a_status_says_after_it_was_stored_what_it_said_before(monkeypatch: pytest.MonkeyPatch):
    """So a pass may go on from what it wrote without reading it."""
    real, decided = Reconciler._write, []

    async def write(self: Reconciler, release: Object, before: Status, after: Status) -> None:
        decided.append(after)
        await real(self, release, before, after)

    monkeypatch.setattr(Reconciler, "_write", write)
    assert all(outcome_of(seed).held for seed in range(20))
    stored = [json.loads(json.dumps(status.to_dict())) for status in decided]
    assert len(stored) > 200
    assert [Status.parse(each) for each in stored] == decided


def test_nobody_changes_what_the_api_server_holds(monkeypatch: pytest.MonkeyPatch):
    """So whoever asks may be given the very object."""
    real, stored = Cluster._store, []

    def store(self: Cluster, *args: Any) -> Object:
        kept = real(self, *args)
        stored.append((kept, json.dumps(kept)))
        return kept

    monkeypatch.setattr(Cluster, "_store", store)
    assert all(outcome_of(seed).held for seed in range(20))
    assert len(stored) > 200
    assert [json.dumps(kept) for kept, _ in stored] == [text for _, text in stored]


def test_a_look_of_which_nothing_new_was_counted_is_not_taken_for_counted():
    """It shows a sample once more that was counted before, and one that will be counted later."""
    samples = [Sample(at=at, started=1.0, total=10, bad=0, slow=0) for at in (2.0, 3.0, 4.0)]
    first = Look(at=5.0, samples={"a": ("rev1", samples[0]), "b": ("rev1", samples[1])})
    later = Look(at=6.0, samples={"a": ("rev1", samples[0]), "b": ("rev1", samples[2])})
    assert used([first, later], {2.0, 3.0}, {}) == [first]
    assert used([later], {2.0, 3.0}, {"a": samples[0]}) == []
    assert used([first, later], {2.0, 4.0}, {}) == [first, later]


def test_a_seed_is_the_same_in_another_process():
    """Also where sets are in another order: strings have another hash there."""
    told = [events_unnamed(told_in_another_process(seed=0, hash_seed=each)) for each in "12"]
    assert told[0] == told[1]
    assert "the operator starts" in told[0][1]


def told_in_another_process(*, seed: int, hash_seed: str) -> str:
    command = [sys.executable, "-m", "benchmarks.faults", "--story", str(seed)]
    environment = {**os.environ, "PYTHONHASHSEED": hash_seed, "PYTHONPATH": ":".join(sys.path)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    return done.stdout


def events_unnamed(story: str) -> list[str]:
    """Leave out what is drawn anew each time: the name of an Event."""
    return [line.partition(" Event ")[0] for line in story.splitlines()]


Plant = Callable[[pytest.MonkeyPatch], None]


def a_lost_write(patch: pytest.MonkeyPatch) -> None:
    """A write that got no answer is taken for done."""
    real = Kube.apply

    async def apply(self: Kube, obj: Object, *, dry_run: bool = False) -> Object:
        try:
            return await real(self, obj, dry_run=dry_run)
        except Unavailable:
            unknown = {"uid": "not told", "resourceVersion": "0"}
            return {**obj, "metadata": {**unknown, **obj["metadata"]}}

    patch.setattr(Kube, "apply", apply)


def a_promotion_on_missing_data(patch: pytest.MonkeyPatch) -> None:
    """A look without an answer passes."""
    real = judge._held

    def held(*args: Any) -> judge.Judgement:
        found = real(*args)
        return replace(found, verdict=Verdict.PASS, sighted=True)

    patch.setattr(judge, "_held", held)


def a_weight_that_rises_after_a_failure(patch: pytest.MonkeyPatch) -> None:
    """What was rejected is tried again at the next pass."""

    def forgotten(scope: Scope, target: Any) -> Scope:
        return scope.but(status=scope.status.without_rejection(target.revision))

    patch.setattr(stable, "with_retry", forgotten)


def a_foreign_service_is_taken_over(patch: pytest.MonkeyPatch) -> None:
    """Whatever has the name is the release's."""
    patch.setattr(ownership, "is_ours", lambda obj, owner: True)


def a_dropped_interval(patch: pytest.MonkeyPatch) -> None:
    """Counters go on, and what they grew by in an interval that closes is told nobody."""
    real = intervals.count

    def count(*args: Any) -> Counted:
        counted = real(*args)
        return counted.but(increments={}, closed={}) if counted.closed else counted

    patch.setattr(judge, "count", count)


def a_stale_approval(patch: pytest.MonkeyPatch) -> None:
    """An approval counts although nobody had asked."""
    patch.setattr(commands, "_trouble_with_approval", lambda *args: None)


def a_share_beyond_the_step(patch: pytest.MonkeyPatch) -> None:
    """A route gives the canary twice what its step says."""
    real = gateway_api.weight_of
    patch.setattr(gateway_api, "weight_of", lambda route: min(100, 2 * real(route)))


def a_write_without_a_lease(patch: pytest.MonkeyPatch) -> None:
    """Nobody asks before a write whether another may act by now."""
    patch.setattr(Kube, "_seconds_to_write", lambda self, what: 15.0)


def users_in_the_shadow(patch: pytest.MonkeyPatch) -> None:
    """A canary that is compared first has its share of the users meanwhile."""
    real = desired_state.side_by_side

    def side_by_side(scope: Scope, *, canary_replicas: int, opened: bool) -> Desired:
        return real(scope, canary_replicas=canary_replicas, opened=not opened)

    patch.setattr(shadowing, "side_by_side", side_by_side)


def too_few_pods_of_stable(patch: pytest.MonkeyPatch) -> None:
    """Stable gives a pod away for each that its canary has."""
    real = desired_state.growing

    def growing(scope: Scope) -> Desired:
        desired = real(scope)
        stable, *others = desired.running
        fewer = DesiredWorkload(
            target=stable.target, replicas=max(1, stable.replicas - 1), track=stable.track
        )
        return desired.but(running=(fewer, *others))

    patch.setattr(promoting, "growing", growing)


PLANTED: dict[str, Plant] = {
    "clients reach stable": a_lost_write,
    "only what passed is promoted": a_promotion_on_missing_data,
    "no weight rises after a failure": a_weight_that_rises_after_a_failure,
    "nothing foreign is written": a_foreign_service_is_taken_over,
    "what is counted was answered": a_dropped_interval,
    "an approval answers a question": a_stale_approval,
    "nothing is written after the Lease": a_write_without_a_lease,
    "no share beyond its step": a_share_beyond_the_step,
    "a shadow has no users": users_in_the_shadow,
    "stable has the pods that are asked for": too_few_pods_of_stable,
}
"""By the invariant that finds it."""


@pytest.mark.parametrize("invariant", PLANTED)
def test_a_planted_bug_is_found(invariant: str, monkeypatch: pytest.MonkeyPatch):
    PLANTED[invariant](monkeypatch)
    outcomes = map(outcome_of, range(MOST_SEEDS))
    broken = (each.violation.invariant for each in outcomes if each.violation)
    assert invariant in broken, f"{MOST_SEEDS} seeds do not show that {invariant} is broken"
