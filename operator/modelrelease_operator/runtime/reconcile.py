"""One pass over one release: observe, decide, render, apply, report."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

from modelrelease_operator.api import names
from modelrelease_operator.api.pod_policy import Allowed
from modelrelease_operator.api.spec import ReleaseSpec
from modelrelease_operator.api.status import Phase, Reason, Status
from modelrelease_operator.core.desired import Decision, Desired, Notice
from modelrelease_operator.core.drift.retraining import refused
from modelrelease_operator.core.measurement.queries import QueryScope
from modelrelease_operator.core.observed import MetricsUnavailable, NotDue, Observed, Problem
from modelrelease_operator.core.release.conditions import with_stall, with_trouble
from modelrelease_operator.core.release.decide import decide
from modelrelease_operator.core.scope import judged_pair
from modelrelease_operator.errors import Conflict, Gone, Invalid, ReleaseError, Unavailable
from modelrelease_operator.manifests import Owner, render, retrain_job
from modelrelease_operator.runtime.cache import Cached
from modelrelease_operator.runtime.drift_watch import DriftSubscription, DriftWatch
from modelrelease_operator.runtime.followed_spec import FollowedSpec, as_followed, followed_spec
from modelrelease_operator.runtime.kube import Kube, Object
from modelrelease_operator.runtime.measure import (
    Measured,
    measure,
    measure_pairs,
    not_answered,
    revisions_of,
)
from modelrelease_operator.runtime.memory import Memory, Trouble
from modelrelease_operator.runtime.metric_sources.registry import MetricSources
from modelrelease_operator.runtime.metric_sources.source import MetricSource
from modelrelease_operator.runtime.namespaced_name import NamespacedName
from modelrelease_operator.runtime.notify import Notifier
from modelrelease_operator.runtime.observe import commands_of, read_jobs, read_route, read_workloads
from modelrelease_operator.runtime.outcomes import OutcomeRecorder
from modelrelease_operator.runtime.ownership import (
    apply_ours,
    delete_ours,
    is_owned,
    owner_of,
    read_ours,
)
from modelrelease_operator.runtime.registry_watch import RegistryWatch
from modelrelease_operator.runtime.resolution import Resolution, resolution_of
from modelrelease_operator.runtime.telemetry import Reporter
from modelrelease_operator.settings import Settings
from modelrelease_operator.traffic.provider import ObjectKey
from modelrelease_operator.traffic.registry import made_by_others, provider_of
from modelrelease_operator.traffic.replicas import SERVICE

TRY_AGAIN = timedelta(seconds=15)
"""After trouble that may pass by itself."""


EARLY = timedelta(seconds=0.5)
"""A look may come so much before its time."""
NOT_MEASURED = MetricsUnavailable(message="not measured yet")


def _utc_now() -> datetime:
    return datetime.now(UTC)


@dataclass(slots=True)
class LazySource:
    """A release's source of metrics, read when it is asked for: it may cost Secrets."""

    open: Callable[[], Awaitable[MetricSource]]
    _source: MetricSource | None = None

    async def get(self) -> MetricSource:
        """Return it, opened at the first use."""
        if self._source is None:
            self._source = await self.open()
        return self._source


@dataclass(slots=True)
class Done:
    """What became of a decision."""

    decision: Decision
    wrote: bool = False
    begun: bool = True
    """False: what would have begun was refused, and nothing of it was made."""
    refused: list[ReleaseError] = field(default_factory=list)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ground:
    """What a pass stands on: whose objects, what is asked for, and what is there."""

    owner: Owner
    spec: ReleaseSpec
    observed: Observed
    uids: dict[str, str]
    """By name: uids of the Deployments and Jobs, for whoever deletes them."""


def _is_workload(obj: Object) -> bool:
    """Return whether an object runs pods, and does not lead clients to them."""
    return str(obj["kind"]) == "Deployment"


def goes_back(desired: Desired, observed: Observed) -> bool:
    """Return whether clients are taken away from a revision: the Service moves first then."""
    return observed.routed is not None and desired.routed < observed.routed


def begins(obj: Object, before: Status, observed: Observed) -> bool:
    """Return whether an object is the first of a revision that nobody has observed yet."""
    revision = obj["metadata"]["labels"].get(names.LABEL_REVISION)
    known = {
        target.revision for target in (before.stable, before.canary, before.previous) if target
    }
    return (
        obj["kind"] == "Deployment"
        and revision is not None
        and revision not in known | set(observed.workloads)
    )


def gist(status: Status) -> tuple[object, ...]:
    """Return what of a status says that something has moved: not the clocks that it keeps."""
    canary = status.canary
    return (status.phase, status.weight, status.message, canary and (canary.revision, canary.step))


def is_due(status: Status, spec: ReleaseSpec, now: datetime) -> bool:
    """Return whether it is time to look, whoever woke this pass; a clock set back delays none."""
    canary = status.canary
    if canary is None or canary.next_look is None:
        return True
    if canary.step_since is None and status.phase is not Phase.SHADOWING:
        return True
    left = canary.next_look - now
    return status.phase is Phase.PROMOTING or left <= EARLY or left > 2 * spec.analysis.period


def goes_back_unmeasured(decision: Decision) -> bool:
    """Return whether a decision takes the canary back for a reason that needs no measurement."""
    reasons = {notice.reason for notice in decision.notices}
    unmeasured = reasons & {Reason.INCONCLUSIVE, Reason.REGRESSION, Reason.METRICS_UNAVAILABLE}
    return decision.status.phase is Phase.ROLLING_BACK and not unmeasured


def news(before: Status, reason: Reason, message: str) -> tuple[Notice, ...]:
    """Return an Event about trouble, unless status says the same already."""
    known = any(
        condition.reason == reason and condition.message == message
        for condition in before.conditions
    )
    return () if known else (Notice(reason=reason, message=message, warning=True),)


@dataclass(frozen=True, slots=True, kw_only=True)
class Reconciler:
    """What every pass over every release needs."""

    kube: Kube
    settings: Settings
    clock: Callable[[], datetime] = _utc_now
    drift: DriftWatch = field(default_factory=DriftWatch)
    sources: MetricSources = field(default_factory=MetricSources)
    registry: RegistryWatch = field(default_factory=RegistryWatch)
    outcomes: OutcomeRecorder = field(default_factory=OutcomeRecorder)
    _memories: dict[NamespacedName, Memory] = field(default_factory=dict)

    async def reconcile(self, namespace: str, name: str, reporter: Reporter) -> timedelta | None:
        """Bring the world one step closer to what is asked for; return when to look again.

        None means: when something changes. Raises Gone when the release was deleted.
        """
        release = await self.kube.get(names.KIND, namespace, name)
        if "deletionTimestamp" in release["metadata"]:
            msg = f"{names.KIND} {namespace}/{name} is being deleted; its objects go with it"
            raise Gone(msg)
        memory = self._memory_of(release)
        before, now = memory.status_of(release), self.clock()
        following = followed_spec(release, before, memory.last_good)
        if following.spec is None:
            await self._refuse(
                release, before, Reason.SPEC_INVALID, following.problem, now, reporter
            )
            return None
        spec = following.spec
        resolution = await self._resolve(release, following, spec, before)
        status = before.but(resolved=resolution.resolved)
        source = LazySource(
            lambda: self.sources.source_of(self.kube, namespace, spec.analysis, self.settings)
        )
        try:
            owner = owner_of(release)
            ground = await self._observe(release, owner, spec, status, resolution)
            observed = ground.observed
            decision = await self._decided(spec, status, observed, owner, source, now)
            absent = await self._none_is_foreign(ground, before, decision)
        except Invalid as problem:
            await self._refuse(release, before, Reason.APPLY_REFUSED, problem, now, reporter)
            return 4 * TRY_AGAIN
        done = await self._make(ground, before, decision, absent, now)
        decision = self._shown(done, before, following, ground, memory, now)
        await self._remember(release, before, decision, reporter)
        self._follow(spec, (namespace, name), decision.status, await source.get())
        self.outcomes.record((namespace, name), decision.status.outcomes)
        moved = done.wrote or gist(decision.status) != gist(before)
        requeue = self._next_look(decision, resolution.problem or resolution.delayed)
        return memory.patience.stretched(spec, decision.status, requeue, moved=moved, now=now)

    async def _resolve(
        self, release: Object, following: FollowedSpec, spec: ReleaseSpec, before: Status
    ) -> Resolution:
        """Return what the followed spec means, as far as its meaning is followed."""
        meta, default_image = release["metadata"], self.settings.serving_image
        annotations = meta.get("annotations") or {}
        resolution = await resolution_of(
            spec,
            before,
            key=(meta["namespace"], meta["name"]),
            watch=self.registry,
            default_image=default_image,
            renewed_image=annotations.get(names.ANNOTATION_IMAGE),
            allowed=Allowed.parse(self.settings.pod_templates),
        )
        return as_followed(resolution, following, spec, before, default_image=default_image)

    def forget(self, namespace: str, name: str) -> None:
        """Forget what is remembered of a release that is gone."""
        key = (namespace, name)
        self._memories.pop(key, None)
        self.drift.forget(key)
        self.registry.forget(key)
        self.outcomes.forget(key)
        if isinstance(self.kube, Cached):
            self.kube.forget(key)

    def reporter_for(self, key: NamespacedName, notifier: Notifier | None = None) -> Reporter:
        """Return what tells the world about a release."""
        return Reporter(self.kube, *key, notifier)

    def next_drift_look(self, key: NamespacedName) -> timedelta | None:
        """Return how long until a release's bins are to be looked at, None where they are not."""
        return self.drift.wait(key)

    async def look_at_drift(self, key: NamespacedName) -> bool:
        """Look at a release's bins; return whether `reconcile` has something to write."""
        return await self.drift.look(key)

    def is_failing(self, key: NamespacedName) -> bool:
        """Return whether something of a release fails again and again, although its passes end."""
        memory = self._memories.get(key)
        return memory is not None and memory.troubles.shown is not None

    async def show_trouble(
        self, namespace: str, name: str, trouble: Trouble, reporter: Reporter
    ) -> None:
        """Show that passes fail, which no pass can: in status, if that can be written."""
        release = await self.kube.get(names.KIND, namespace, name)
        notice = Notice(reason=Reason.FAILING, message=trouble.message, warning=True)
        try:
            before = Status.parse(release.get("status"))
        except Invalid:
            # What cannot be read is not overwritten: the Event and the metrics say it.
            await reporter.notice(release, notice)
            return
        status = with_trouble(
            before, trouble.message, release["metadata"]["generation"], self.clock()
        )
        await reporter.notice(release, notice)
        await self._write(release, before, status)
        reporter.show(status)

    def _memory_of(self, release: Object) -> Memory:
        """Return what is remembered of this release, and not of a namesake that was deleted."""
        meta = release["metadata"]
        key = (meta["namespace"], meta["name"])
        memory = self._memories.get(key)
        if memory is None or memory.uid != meta["uid"]:
            if memory is not None:
                self.forget(*key)
            memory = self._memories[key] = Memory(uid=meta["uid"])
        return memory

    async def _observe(
        self,
        release: Object,
        owner: Owner,
        spec: ReleaseSpec,
        status: Status,
        resolution: Resolution,
    ) -> Ground:
        """Return what Kubernetes shows, and the uids by which what is not wanted may be deleted."""
        key = (owner.namespace, owner.name)
        provider = provider_of(spec)
        owned = await read_workloads(self.kube, owner, lost=status.stable is None)
        settings = spec.retrain or status.retrain
        jobs, uids = await read_jobs(self.kube, owner) if settings else ({}, {})
        effect = await read_route(self.kube, owner, provider, owned.workloads)
        observed = Observed(
            generation=release["metadata"]["generation"],
            target=resolution.target,
            problem=resolution.problem,
            following=resolution.following,
            workloads=owned.workloads,
            routed=effect.revisions,
            routed_weight=effect.weight,
            route_problem=effect.problem,
            route_refused=effect.refused,
            metrics=NOT_MEASURED,
            commands=commands_of(release),
            drift=self.drift.windows(key),
            jobs=jobs,
            recorded=self.outcomes.recorded(key),
            probers=owned.probers,
        )
        return Ground(owner=owner, spec=spec, observed=observed, uids={**owned.uids, **uids})

    async def _decided(
        self,
        spec: ReleaseSpec,
        status: Status,
        observed: Observed,
        owner: Owner,
        source: LazySource,
        now: datetime,
    ) -> Decision:
        """Decide. What persons and safety ask for is decided without a look at Prometheus."""
        if status.phase is Phase.SHADOWING and status.canary and status.stable:
            return await self._decided_by_pairs(spec, status, observed, owner, source, now)
        pair = judged_pair(status)
        if pair is None:
            return decide(spec=spec, status=status, observed=replace(observed, metrics=()), now=now)
        first = decide(spec=spec, status=status, observed=observed, now=now)
        if goes_back_unmeasured(first):
            return first
        if not is_due(status, spec, now):
            return decide(
                spec=spec, status=status, observed=replace(observed, metrics=NotDue()), now=now
            )
        query_scope = QueryScope(
            namespace=owner.namespace, release=owner.name, canary=pair[0], stable=pair[1],
            interval=spec.analysis.period,
        )  # fmt: skip
        canary = observed.workloads.get(pair[0].revision)
        pods = canary.ready_names if canary else ()
        limit = 2 * self.settings.prometheus_timeout_seconds
        try:
            async with asyncio.timeout(limit):
                measured = await measure(await source.get(), spec, query_scope, pods=pods)
        except TimeoutError:
            late = MetricsUnavailable(
                message=f"Prometheus has not answered everything within {limit:g} s"
            )
            measured = Measured(metrics=late, answers=not_answered(spec, late))
        observed = replace(
            observed, metrics=measured.metrics, answers=measured.answers, hint=measured.hint
        )
        return decide(spec=spec, status=status, observed=observed, now=now)

    async def _decided_by_pairs(
        self, spec: ReleaseSpec, status: Status, observed: Observed, owner: Owner,
        source: LazySource, now: datetime,
    ) -> Decision:  # fmt: skip
        """Decide by what was compared in the shadow, where that is to be looked at."""
        observed = replace(observed, metrics=())
        first = decide(spec=spec, status=status, observed=observed, now=now)
        stays = first.status.phase is Phase.SHADOWING
        if not stays or not is_due(status, spec, now):
            return first
        limit = 2 * self.settings.prometheus_timeout_seconds
        try:
            async with asyncio.timeout(limit):
                pairs = await measure_pairs(
                    await source.get(), (owner.namespace, owner.name), status
                )
        except TimeoutError:
            pairs = MetricsUnavailable(message=f"Prometheus has not answered within {limit:g} s")
        return decide(spec=spec, status=status, observed=replace(observed, pairs=pairs), now=now)

    def _follow(
        self, spec: ReleaseSpec, key: NamespacedName, status: Status, source: MetricSource
    ) -> None:
        """Have the bins of what serves now looked at until the next pass."""
        targets = [target for target in (status.stable, status.canary) if target]
        arms = revisions_of(*key, *(targets if status.stable else ()))
        followed = DriftSubscription(
            drift=spec.drift, source=source, arms=arms, status=status.drift
        )
        self.drift.subscribe(key, followed)

    async def _none_is_foreign(
        self, ground: Ground, before: Status, decision: Decision
    ) -> frozenset[ObjectKey]:
        """Raise Invalid before a release begins that needs the name of another's Service or route.

        Return those that nobody has.
        """
        if before.stable or decision.status.stable or not decision.desired.routed:
            return frozenset()
        owner = ground.owner
        needed = {(SERVICE, name) for name in names.service_names(owner.name)}
        needed |= set(provider_of(ground.spec).sources(owner.name))
        absent = [key for key in needed if await read_ours(self.kube, owner, *key) is None]
        return frozenset(absent)

    async def _make(
        self,
        ground: Ground,
        before: Status,
        decision: Decision,
        absent: frozenset[ObjectKey],
        now: datetime,
    ) -> Done:
        """Make the world as decided, each object on its own: what one is refused stops no other."""
        owner, observed = ground.owner, ground.observed
        done = Done(decision=decision)
        live = {
            revision: workload.live
            for revision, workload in observed.workloads.items()
            if workload.live
        }
        canary = ground.spec.canary
        objects = render(owner, decision.desired, live, provider_of(ground.spec), canary)
        back = goes_back(decision.desired, observed)
        if back:
            objects.sort(key=_is_workload)
        for obj in objects:
            routes = not _is_workload(obj)
            if routes and done.refused and not back and decision.desired.routed != observed.routed:
                continue  # The way forward waits for its pods.
            unused = (obj["kind"], obj["metadata"]["name"]) in absent
            await self._try(apply_ours(self.kube, owner, obj, absent=unused), done)
            if done.refused and begins(obj, before, observed):
                done.begun = False
                return done
        await self._clear(ground, decision, done)
        await self._retrain(owner, done, now)
        return done

    async def _try(self, write: Awaitable[bool], done: Done) -> None:
        try:
            done.wrote |= await write
        except Gone as problem:
            # The namespace, say, is on its way out. Only the release's own absence ends its task.
            done.refused.append(Unavailable(str(problem)))
        except ReleaseError as problem:
            done.refused.append(problem)

    async def _clear(self, ground: Ground, decision: Decision, done: Done) -> None:
        """Remove what is wanted no more: revisions, probers, Jobs of earlier retrainings."""
        owner, observed, uids = ground.owner, ground.observed, ground.uids
        kept = {
            running.target.revision for running in decision.desired.running
        } | decision.desired.retained
        gone = {
            names.workload_name(owner.name, revision) for revision in set(observed.workloads) - kept
        }
        probing = decision.desired.probing
        wanted = {names.prober_name(owner.name, probing.canary.revision)} if probing else set()
        for name in (gone | (observed.probers - wanted)) & set(uids):
            await self._try(delete_ours(self.kube, owner, "Deployment", name, uids[name]), done)
        await self._clear_routes(ground, decision, done)
        last = decision.status.retrain.request if decision.status.retrain else None
        for request, job in observed.jobs.items():
            if last and request != last and job.outcome:
                await self._try(
                    delete_ours(self.kube, owner, "Job", job.name, uids[job.name]), done
                )

    async def _clear_routes(self, ground: Ground, decision: Decision, done: Done) -> None:
        """Remove what another traffic provider made, once its successor was seen to lead."""
        owner, observed = ground.owner, ground.observed
        if done.refused or observed.routed != decision.desired.routed:
            return
        for kind, name in made_by_others(ground.spec, owner.name):
            try:
                left = await self.kube.known(kind, owner.namespace, name)
            except Unavailable:
                continue  # A later pass sees it. Most releases never had one.
            if left and is_owned(left, owner):
                await self._try(
                    delete_ours(self.kube, owner, kind, name, left["metadata"]["uid"]), done
                )

    async def _retrain(self, owner: Owner, done: Done, now: datetime) -> None:
        """Make the Job of a retraining. One that is refused failed, and stops nothing else."""
        retraining = done.decision.desired.retraining
        if retraining is None:
            return
        try:
            Allowed.parse(self.settings.pod_templates).check_retrain(retraining.settings)
            done.wrote |= await apply_ours(self.kube, owner, retrain_job(owner, retraining))
        except Invalid as problem:
            done.decision = refused(done.decision, retraining, str(problem), now)
        except ReleaseError as problem:
            done.refused.append(problem)

    def _shown(
        self,
        done: Done,
        before: Status,
        following: FollowedSpec,
        ground: Ground,
        memory: Memory,
        now: datetime,
    ) -> Decision:
        """Return the decision with refusals in its conditions, and an Event where that is news."""
        observed = ground.observed
        decision = done.decision
        if not done.begun:
            # Nothing was made, so nothing began: what is decided here is decided again.
            kept = before.but(resolved=decision.status.resolved)
            decision = Decision(desired=decision.desired, status=kept, requeue=TRY_AGAIN)
        status, notices = decision.status, decision.notices
        if following.problem is None:
            memory.last_good = following.raw
        invalid = [problem for problem in done.refused if isinstance(problem, Invalid)]
        others = [problem for problem in done.refused if not isinstance(problem, Invalid)]
        requeue = decision.requeue
        if following.problem is not None:
            status = with_stall(
                status, Reason.SPEC_INVALID, str(following.problem), observed.generation, now
            )
            notices += news(before, Reason.SPEC_INVALID, str(following.problem))
        elif invalid:
            sentence = "; ".join(dict.fromkeys(map(str, invalid)))
            status = with_stall(status, Reason.APPLY_REFUSED, sentence, observed.generation, now)
            notices += news(before, Reason.APPLY_REFUSED, sentence)
        elif observed.route_problem and memory.is_long_refused(observed.route_refused, now):
            sentence = observed.route_problem
            status = with_stall(status, Reason.ROUTE_NOT_TAKEN, sentence, observed.generation, now)
            notices += news(before, Reason.ROUTE_NOT_TAKEN, sentence)
        trouble = memory.troubles.note(others[0] if others else None)
        if trouble and not invalid and following.problem is None:
            status = with_trouble(status, trouble.message, observed.generation, now)
            notices += news(before, Reason.FAILING, trouble.message)
        if done.refused:
            requeue = min(requeue or TRY_AGAIN, TRY_AGAIN)
        status = status.but(
            replicas=sum(workload.pods for workload in observed.workloads.values()),
            selector=f"{names.LABEL_RELEASE}={ground.owner.name}",
        )
        return replace(decision, status=status, notices=notices, requeue=requeue)

    async def _remember(
        self, release: Object, before: Status, decision: Decision, reporter: Reporter
    ) -> None:
        """Write status and tell what was decided: also where status cannot be written."""
        try:
            await self._write(release, before, decision.status)
        except Conflict:
            raise  # It is not this release that was decided about.
        except (Unavailable, Invalid):
            self._memory_of(release).unwritten = (release.get("status"), decision.status)
            await reporter.tell(release, before, decision)
            raise
        self._memory_of(release).unwritten = None
        await reporter.tell(release, before, decision)
        reporter.remembered()

    async def _refuse(
        self, release: Object, before: Status, reason: Reason, problem: Invalid | None,
        now: datetime,
        reporter: Reporter,
    ) -> None:  # fmt: skip
        """Show why a spec cannot be followed. What serves goes on serving."""
        sentence = str(problem)
        status = with_stall(before, reason, sentence, release["metadata"]["generation"], now)
        decision = Decision(
            desired=Desired(), status=status, notices=news(before, reason, sentence)
        )
        await self._remember(release, before, decision, reporter)

    async def _write(self, release: Object, before: Status, after: Status) -> None:
        meta = release["metadata"]
        if after == before and release.get("status") and self._memory_of(release).unwritten is None:
            return
        try:
            await self.kube.apply_status(release, after.to_dict())
        except Conflict:
            if isinstance(self.kube, Cached):
                await self.kube.read_again(meta["namespace"], meta["name"])
            raise

    def _next_look(self, decision: Decision, trouble: Problem | None) -> timedelta | None:
        """Return the decision's own time, or an earlier one when something is to be tried again."""
        waits = [decision.requeue] if decision.requeue is not None else []
        if trouble:
            patient = timedelta(seconds=self.settings.resync_seconds)
            waits.append(
                TRY_AGAIN
                if trouble.reason is Reason.MODEL_UNAVAILABLE
                else min(patient, 4 * TRY_AGAIN)
            )
        return min(waits) if waits else None
