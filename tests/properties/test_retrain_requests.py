"""Whatever happens, wherever the operator dies:
one Job at most, one for each request, and a cool-down.
"""

from dataclasses import dataclass, field
from datetime import datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from modelrelease_operator.api.drift import DriftStatus
from modelrelease_operator.api.durations import parse_duration
from modelrelease_operator.api.retrain import RetrainCause, RetrainOutcome
from modelrelease_operator.api.spec import ReleaseSpec
from modelrelease_operator.api.status import CanaryStatus, Phase, StableStatus, Status
from modelrelease_operator.core.drift.retraining import update_retraining
from modelrelease_operator.core.observed import Commands, Observed, ObservedJob
from modelrelease_operator.core.scope import Scope
from testbed.builders import START, a_spec, a_target
from tests.support.examples import examples

EVENTS = (
    "pass", "dies before acting", "dies after acting", "an hour", "a day", "drift", "no drift",
    "pause",
    "resume", "canary", "promoted", "rolled back", "job succeeds", "job fails", "job is deleted",
    "asked",
)  # fmt: skip
COOLDOWN = parse_duration("24h")


@dataclass
class Cluster:
    """What outlives the operator: the stored status, the Jobs, and what people do."""

    spec: ReleaseSpec = field(default_factory=lambda: a_spec(retrain={"image": "train:1"}))
    status: Status = field(default_factory=Status)
    now: datetime = START
    jobs: dict[str, ObservedJob] = field(default_factory=dict)
    made: list[tuple[str, datetime, RetrainCause | str]] = field(default_factory=list)
    version: int = 1
    asks: int = 0

    def __post_init__(self) -> None:
        stable = StableStatus(**a_target("1").parts(), since=START)
        self.status = Status(phase=Phase.STABLE, stable=stable)

    @property
    def running(self) -> list[ObservedJob]:
        return [job for job in self.jobs.values() if job.outcome is None]

    def happen(self, event: str) -> None:
        match event:
            case "pass":
                self._pass(remembers=True)
            case "dies after acting":
                self._pass(remembers=False)
            case "an hour" | "a day":
                self.now += timedelta(hours=1 if event == "an hour" else 24)
            case "drift" | "no drift":
                self._drift(event == "drift")
            case "pause" | "resume":
                self.spec = a_spec(retrain={"image": "train:1"}, paused=event == "pause")
            case "canary":
                canary = CanaryStatus(**a_target(str(self.version + 1)).parts(), since=self.now)
                self._change(phase=Phase.PROGRESSING, canary=canary)
            case "promoted" if self.status.canary:
                self.version += 1
                stable = StableStatus(**a_target(str(self.version)).parts(), since=self.now)
                self._change(phase=Phase.STABLE, canary=None, stable=stable, drift=None)
            case "rolled back":
                self._change(phase=Phase.STABLE, canary=None)
            case "asked":
                self.asks += 1
            case _:
                self._happen_to_the_job(event)

    def _happen_to_the_job(self, event: str) -> None:
        match event:
            case "job succeeds" | "job fails":
                outcome = (
                    RetrainOutcome.SUCCEEDED if event == "job succeeds" else RetrainOutcome.FAILED
                )
                self.jobs = {
                    request: ObservedJob(name=job.name, outcome=job.outcome or outcome)
                    for request, job in self.jobs.items()
                }
            case "job is deleted":
                # One that was never seen can be made anew: nobody can know that it was there.
                known = (
                    self.status.retrain.request
                    if self.status.retrain and self.status.retrain.job
                    else None
                )
                self.jobs.pop(known or "", None)
            case _:
                pass

    def _pass(self, *, remembers: bool) -> None:
        commands = Commands(retrain=f"{self.version}/{self.asks}" if self.asks else None)
        observed = Observed(generation=1, jobs=dict(self.jobs), commands=commands)
        scope = Scope(spec=self.spec, status=self.status, observed=observed, now=self.now)
        heeded = update_retraining(scope)
        if heeded.retraining:
            request = heeded.retraining.request
            assert self.status.retrain == request, "acted on what is not written yet"
            assert not self.spec.paused
            assert self.status.canary is None
            if request.request not in self.jobs:
                self.made.append((request.request, request.since, request.cause))
                self.jobs[request.request] = ObservedJob(name=f"qna-retrain-{request.request}")
        if remembers:
            self.status = Status.parse(heeded.scope.status.to_dict())

    def _drift(self, drifted: bool) -> None:
        revision = self.status.stable.revision if self.status.stable else ""
        found = DriftStatus(revision=revision, drifted=drifted, windows="DD" if drifted else "SS")
        self._change(drift=found)

    def _change(self, **parts: object) -> None:
        self.status = self.status.model_copy(update=parts)


@examples(400)
@given(st.lists(st.sampled_from(EVENTS), max_size=60))
def test_there_is_one_job_at_most_one_for_each_request_and_a_cool_down(events: list[str]):
    cluster = Cluster()
    for event in events:
        cluster.happen(event)
        assert len(cluster.running) <= 1
    requests = [request for request, *_ in cluster.made]
    assert len(set(requests)) == len(requests), "one request made two Jobs"
    times = [since for _, since, cause in cluster.made]
    for (_, since, cause), before in zip(cluster.made[1:], times, strict=False):
        assert cause is RetrainCause.ASKED or since - before >= COOLDOWN


@examples(200)
@given(st.lists(st.sampled_from(("dies before acting", "dies after acting", "pass")), max_size=12))
def test_drift_makes_a_job_however_often_the_operator_dies_once_it_lives_long_enough(
    events: list[str],
):
    cluster = Cluster()
    cluster.happen("drift")
    for event in [*events, "pass", "pass", "pass"]:
        cluster.happen(event)
    assert len(cluster.made) == 1
    assert cluster.status.retrain
    assert cluster.status.retrain.job == cluster.running[0].name
