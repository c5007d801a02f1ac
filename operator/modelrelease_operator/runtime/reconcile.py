"""One pass over one release: observe, decide, render, apply, report."""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from modelrelease_operator.api import names
from modelrelease_operator.api.spec import ReleaseSpec
from modelrelease_operator.api.status import Reason, Status
from modelrelease_operator.core.answers import Answers
from modelrelease_operator.core.conditions import with_stall
from modelrelease_operator.core.decide import decide
from modelrelease_operator.core.queries import Place
from modelrelease_operator.core.retrain import refused
from modelrelease_operator.core.state import Decision, Metrics, Problem, Seen
from modelrelease_operator.core.worlds import judged_pair
from modelrelease_operator.errors import Gone, Invalid, Unavailable
from modelrelease_operator.manifests import Owner, render, retrain_job
from modelrelease_operator.runtime.credentials import read_credentials
from modelrelease_operator.runtime.drift_watch import DriftWatch, Followed
from modelrelease_operator.runtime.kube import Kube, Object
from modelrelease_operator.runtime.meaning import Meaning, meaning_of
from modelrelease_operator.runtime.measure import measure
from modelrelease_operator.runtime.observe import commands_of, read_jobs, read_route, read_workloads
from modelrelease_operator.runtime.outcomes import OutcomeRecorder
from modelrelease_operator.runtime.prometheus import MetricSource
from modelrelease_operator.runtime.registry_watch import RegistryWatch
from modelrelease_operator.runtime.sources import Sources
from modelrelease_operator.runtime.telemetry import Reporter
from modelrelease_operator.settings import Settings

TRY_AGAIN = timedelta(seconds=15)
"""After trouble that may pass by itself."""


def _utc_now() -> datetime:
    return datetime.now(UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class Reconciler:
    """What every pass over every release needs."""

    kube: Kube
    settings: Settings
    clock: Callable[[], datetime] = _utc_now
    drift: DriftWatch = field(default_factory=DriftWatch)
    sources: Sources = field(default_factory=Sources)
    registry: RegistryWatch = field(default_factory=RegistryWatch)
    outcomes: OutcomeRecorder = field(default_factory=OutcomeRecorder)

    async def pass_over(self, namespace: str, name: str, reporter: Reporter) -> timedelta | None:
        """Bring the world one step closer to what is asked for; return when to look again.

        None means: when something changes. Raises Gone when the release was deleted.
        """
        release = await self.kube.get(names.KIND, namespace, name)
        if "deletionTimestamp" in release["metadata"]:
            msg = f"{names.KIND} {namespace}/{name} is being deleted; its objects go with it"
            raise Gone(msg)
        before, now = Status.parse(release.get("status")), self.clock()
        try:
            spec = ReleaseSpec.parse(release["spec"])
        except Invalid as problem:
            await self._refuse(release, before, Reason.SPEC_INVALID, problem, now)
            return None
        meaning = await meaning_of(
            spec,
            before,
            key=(namespace, name),
            watch=self.registry,
            default_image=self.settings.serving_image,
        )
        status = before.model_copy(update={"resolved": meaning.resolved})
        try:
            source = await self._source(namespace, spec)
            seen = await self._observe(release, spec, status, meaning, source)
        except Invalid as problem:
            await self._refuse(release, before, Reason.APPLY_REFUSED, problem, now)
            return 4 * TRY_AGAIN
        decision = decide(spec=spec, status=status, seen=seen, now=now)
        decision = await self._apply(release, decision, seen, now)
        await self._write(release, before, decision.status)
        await reporter.tell(release, before, decision)
        self._follow(spec, (namespace, name), decision.status, source)
        self.outcomes.record((namespace, name), decision.status.outcomes)
        return self._next_look(decision, meaning.problem or meaning.delayed)

    def forget(self, namespace: str, name: str) -> None:
        """Forget what is remembered of a release that is gone."""
        self.drift.forget((namespace, name))
        self.registry.forget((namespace, name))
        self.outcomes.forget((namespace, name))

    async def _observe(
        self,
        release: Object,
        spec: ReleaseSpec,
        status: Status,
        meaning: Meaning,
        source: MetricSource,
    ) -> Seen:
        meta = release["metadata"]
        namespace, name = meta["namespace"], meta["name"]
        workloads, probers = await read_workloads(self.kube, namespace, name)
        metrics: Metrics = ()
        answers: Answers = {}
        if pair := judged_pair(status):
            place = Place(
                namespace=namespace, release=name, canary=pair[0], stable=pair[1],
                interval=spec.analysis.period,
            )  # fmt: skip
            metrics, answers = await measure(source, spec, place)
        return Seen(
            generation=meta["generation"],
            target=meaning.target,
            problem=meaning.problem,
            following=meaning.following,
            workloads=workloads,
            routed=await read_route(self.kube, release, workloads),
            metrics=metrics,
            answers=answers,
            commands=commands_of(release),
            drift=self.drift.windows((namespace, name)),
            jobs=await read_jobs(self.kube, namespace, name) if spec.retrain or status.retrain else {},
            recorded=self.outcomes.recorded((namespace, name)),
            probers=probers,
        )

    async def _source(self, namespace: str, spec: ReleaseSpec) -> MetricSource:
        """Return a release's Prometheus. One whose credentials cannot be had is one that does not answer."""
        asked, own = spec.analysis.prometheus, self.settings
        url = asked.url if asked else own.prometheus_url
        try:
            credentials = await read_credentials(
                self.kube, namespace, asked, allowed=own.prometheus_allow_secret_refs
            )
        except Unavailable as problem:
            return MetricSource(url, timeout_seconds=own.prometheus_timeout_seconds, trouble=str(problem))
        return self.sources.get(url, credentials, timeout_seconds=own.prometheus_timeout_seconds)

    def _follow(self, spec: ReleaseSpec, key: tuple[str, str], status: Status, source: MetricSource) -> None:
        """Have the bins of what serves now looked at until the next pass."""
        arms = [target.revision for target in (status.stable, status.canary) if target]
        revisions = arms if status.stable else []
        followed = Followed(asked=spec.drift, source=source, revisions=revisions, status=status.drift)
        self.drift.follow(key, followed)

    async def _apply(self, release: Object, decision: Decision, seen: Seen, now: datetime) -> Decision:
        """Make the world as decided. What the API server refuses for good is shown, not tried for ever."""
        meta = release["metadata"]
        owner = Owner(namespace=meta["namespace"], name=meta["name"], uid=meta["uid"])
        kept = {running.target.revision for running in decision.desired.running}
        try:
            for obj in render(owner, decision.desired):
                await self.kube.apply(obj)
        except Gone as problem:
            # The namespace, say, is on its way out. Only the release's own absence ends its task.
            raise Unavailable(str(problem)) from problem
        except Invalid as problem:
            status = with_stall(decision.status, Reason.APPLY_REFUSED, str(problem), seen.generation, now)
            return Decision(desired=decision.desired, status=status, requeue=TRY_AGAIN)
        for revision in set(seen.workloads) - kept - decision.desired.spared:
            await self.kube.delete("Deployment", owner.namespace, names.workload_name(owner.name, revision))
        await self._clear_probers(owner, decision, seen)
        await self._clear_jobs(owner, decision, seen)
        return await self._retrain(owner, decision, now)

    async def _clear_probers(self, owner: Owner, decision: Decision, seen: Seen) -> None:
        """Remove probers of canaries that are judged no more."""
        probing = decision.desired.probing
        wanted = {names.prober_name(owner.name, probing.canary.revision)} if probing else set()
        for name in seen.probers - wanted:
            await self.kube.delete("Deployment", owner.namespace, name)

    async def _clear_jobs(self, owner: Owner, decision: Decision, seen: Seen) -> None:
        """Remove the Jobs of retrainings before the last one."""
        last = decision.status.retrain.request if decision.status.retrain else None
        for request, job in seen.jobs.items():
            if last and request != last and job.outcome:
                await self.kube.delete("Job", owner.namespace, job.name)

    async def _retrain(self, owner: Owner, decision: Decision, now: datetime) -> Decision:
        """Make the Job of a retraining. One that the API server refuses failed, and stops nothing else."""
        retraining = decision.desired.retraining
        if retraining is None:
            return decision
        try:
            await self.kube.apply(retrain_job(owner, retraining))
        except Invalid as problem:
            return refused(decision, retraining, str(problem), now)
        return decision

    async def _refuse(
        self, release: Object, before: Status, reason: Reason, problem: Invalid, now: datetime
    ) -> None:
        """Show why a spec cannot be followed. What serves goes on serving."""
        generation = release["metadata"]["generation"]
        status = with_stall(before, reason, str(problem), generation, now)
        await self._write(release, before, status)

    async def _write(self, release: Object, before: Status, after: Status) -> None:
        meta = release["metadata"]
        if after != before or not release.get("status"):
            await self.kube.apply_status(meta["namespace"], meta["name"], after.to_dict())

    def _next_look(self, decision: Decision, trouble: Problem | None) -> timedelta | None:
        """Return the decision's own time, or an earlier one when something is to be tried again."""
        waits = [decision.requeue] if decision.requeue is not None else []
        if trouble:
            patient = timedelta(seconds=self.settings.resync_seconds)
            waits.append(
                TRY_AGAIN if trouble.reason is Reason.MODEL_UNAVAILABLE else min(patient, 4 * TRY_AGAIN)
            )
        return min(waits) if waits else None
