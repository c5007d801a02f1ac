"""One release of one contender, watched from outside: its clients, its pods, its controller."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Final

from benchmarks.rollouts.api import UnansweredError
from benchmarks.rollouts.contenders import Contender
from benchmarks.rollouts.figures import (
    FAILING,
    PROMOTED,
    UNDECIDED,
    Course,
    Sample,
    bad_answers,
    failures,
    last_answer_of,
    total,
)
from cluster.progress import say

LOOK_SECONDS: Final = 1.0
QUIET_SECONDS: Final = 15.0
"""So long after the end clients are watched on: what leaves may still answer, or be missed."""


@dataclass(kw_only=True)
class Watch:
    """What was seen of one release so far."""

    contender: Contender
    before: set[str]
    """Pods that were there already."""
    began: float = field(default_factory=time.monotonic)
    samples: list[Sample] = field(default_factory=list)
    started: set[str] = field(default_factory=set)

    @property
    def seconds(self) -> float:
        """How long it is watched."""
        return time.monotonic() - self.began

    def look(self) -> None:
        """Look once at clients and pods; a look that is not answered is left out."""
        api, space = self.contender.api, self.contender.space
        try:
            counts, pods = api.counts(space), api.pods(space)
        except UnansweredError as error:
            say(f"{self.contender.name}: a look was not answered: {error}")
            return
        self.samples.append(Sample(at=self.seconds, counts=counts))
        self.started |= pods - self.before

    def until(self, is_over: Callable[[], bool], within: float) -> bool:
        """Look each second until something is so; return whether it came about."""
        end = time.monotonic() + within
        while not is_over():
            if time.monotonic() > end:
                return False
            self.look()
            time.sleep(LOOK_SECONDS)
        return True

    def outcome(self, version: str) -> str:
        """Return how the release of a version ended; without an answer it has not, yet."""
        try:
            return self.contender.outcome(version)
        except UnansweredError as error:
            say(f"{self.contender.name}: its object was not shown: {error}")
            return UNDECIDED

    def cpu(self) -> float | None:
        """Return the processor time that the controller has used."""
        controller = self.contender.controller
        api = self.contender.api
        return api.cpu_seconds(controller.space, controller.label, controller.port)


def run_course(contender: Contender, kind: str, *, old: str, new: str, within: float) -> Course:
    """Release a version over another one, and return what became of it."""
    gateway = contender.gateway.namespace
    watch = Watch(contender=contender, before=contender.api.pods(contender.space))
    watch.look()
    cpu_before, probes_before = watch.cpu(), contender.api.probes_failed(gateway)
    watch.began = time.monotonic()
    contender.release(new)
    say(f"{contender.name}: version {new} ({kind}) is applied over {old}")
    watch.until(lambda: watch.outcome(new) != UNDECIDED, within)
    outcome = watch.outcome(new)
    took, cpu_after = watch.seconds, watch.cpu()
    say(f"{contender.name}: {outcome} after {took:.0f} s")
    quiet = time.monotonic() + QUIET_SECONDS
    watch.until(lambda: time.monotonic() > quiet, QUIET_SECONDS + 1)
    used = None if cpu_before is None or cpu_after is None else cpu_after - cpu_before
    course = course_of(watch, kind, outcome, new=new, cpu=used, took=took)
    probes = contender.api.probes_failed(gateway) - probes_before
    return replace(course, gateway_probes_failed=probes if contender.by_gateway else None)


def course_of(
    watch: Watch, kind: str, outcome: str, *, new: str, cpu: float | None, took: float
) -> Course:
    """Sum up what was seen. The version that leaves is the old one, or a faulty new one."""
    before, after = watch.samples[0].counts, watch.samples[-1].counts
    is_kept, is_faulty = outcome == PROMOTED, kind == FAILING

    def is_leaving(version: str) -> bool:
        return version != "none" and (version == new) != is_kept

    return Course(
        contender=watch.contender.name,
        kind=kind,
        end=outcome,
        seconds=None if outcome == UNDECIDED else last_answer_of(watch.samples, is_leaving),
        requests=total(after) - total(before),
        failed=failures(before, after, except_by=new if is_faulty else None),
        bad_answers=bad_answers(before, after, version=new) if is_faulty else 0,
        pods_started=len(watch.started),
        cpu_seconds=cpu,
        watched_seconds=took,
    )
