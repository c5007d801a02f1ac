"""One pass over one release: observe, decide, render, apply, report."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

from modelrelease_operator.api import names
from modelrelease_operator.api.pod_policy import Allowed
from modelrelease_operator.api.routing import ExistingRoute
from modelrelease_operator.api.spec import Canary, ReleaseSpec
from modelrelease_operator.api.status import Phase, Reason, Status
from modelrelease_operator.core.analysis.judge import newest_counted
from modelrelease_operator.core.desired import Decision, Desired, Notice
from modelrelease_operator.core.drift.retraining import refused
from modelrelease_operator.core.measurement.queries import QueryScope
from modelrelease_operator.core.memo import Memo
from modelrelease_operator.core.observed import (
    MetricsUnavailable,
    NotDue,
    Observed,
    Problem,
    Workload,
)
from modelrelease_operator.core.release.autoscaling import LOOK_AGAIN
from modelrelease_operator.core.release.conditions import (
    is_known_refusal,
    with_protection,
    with_refused_autoscaler,
    with_stall,
    with_trouble,
)
from modelrelease_operator.core.release.decide import decide
from modelrelease_operator.core.scope import judged_pair
from modelrelease_operator.errors import Conflict, Gone, Invalid, ReleaseError, Unavailable
from modelrelease_operator.manifests import Owner, render, retrain_job, route_for
from modelrelease_operator.manifests.autoscaler import HPA
from modelrelease_operator.manifests.disruption import PDB
from modelrelease_operator.policy import Policy
from modelrelease_operator.runtime.borrowed import Edits, edit_borrowed, last_writer
from modelrelease_operator.runtime.cache import Cached
from modelrelease_operator.runtime.drift_watch import DriftSubscription, DriftWatch
from modelrelease_operator.runtime.followed_spec import FollowedSpec, as_followed, followed_spec
from modelrelease_operator.runtime.gateway_features import GatewayFeatures
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
from modelrelease_operator.runtime.metrics import LATENESS
from modelrelease_operator.runtime.namespaced_name import NamespacedName
from modelrelease_operator.runtime.neighbours import Neighbours
from modelrelease_operator.runtime.notify import Notifier
from modelrelease_operator.runtime.observe import (
    Owned,
    commands_of,
    leads_elsewhere,
    read_jobs,
    read_route,
    read_workloads,
    trouble_of_prober,
)
from modelrelease_operator.runtime.outcomes import OutcomeRecorder
from modelrelease_operator.runtime.ownership import (
    apply_ours,
    delete_ours,
    is_ours,
    owner_of,
    read_ours,
)
from modelrelease_operator.runtime.pod_reader import Reading, read_by_pod
from modelrelease_operator.runtime.registry_watch import RegistryWatch
from modelrelease_operator.runtime.resolution import Resolution, resolution_of
from modelrelease_operator.runtime.resolve import resolved_by_pod, unread_target
from modelrelease_operator.runtime.telemetry import Reporter
from modelrelease_operator.settings import Settings
from modelrelease_operator.traffic.claims import Conflict as RoutingConflict
from modelrelease_operator.traffic.cohort import with_weights_alone
from modelrelease_operator.traffic.existing_route import (
    contested,
    existing_route_of,
    still_leads,
    weights_given_back,
)
from modelrelease_operator.traffic.gateway_api import HTTP_ROUTE
from modelrelease_operator.traffic.inference_pools import keys_of, let_go
from modelrelease_operator.traffic.leaving import LEAVING
from modelrelease_operator.traffic.provider import Edit, Effect, ObjectKey, TrafficProvider
from modelrelease_operator.traffic.registry import made_by_others, provider_of
from modelrelease_operator.traffic.replicas import REPLICAS, SERVICE
from modelrelease_operator.traffic.unrouted import UNROUTED

TRY_AGAIN = timedelta(seconds=15)
"""After trouble that may pass by itself."""


RENDERED_KEPT = 2048
"""Deployments of some 20 kB and lists of them: of the releases that move, of several thousand."""
WORKLOADS_KEPT = 1024
"""Each with its objects, which are there anyway for as long as they are what they were."""
EARLY = timedelta(seconds=0.5)
"""A look may come so much before its time."""
Stall = tuple[Reason, str]
"""Why nothing moves until a person mends something, and the sentence about it."""
ONE_ARM = MetricsUnavailable(
    message="a gateway counts (spec.analysis.countedBy), and both versions by one Service since "
    "the promotion"
)


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
    held_back: bool = False
    """Whether a revision that is wanted no more may not be removed yet."""
    refused: list[ReleaseError] = field(default_factory=list)
    unprotected: list[ReleaseError] = field(default_factory=list)
    """Why a budget for drains could not be made, which stops nothing."""
    unscaled: list[Invalid] = field(default_factory=list)
    """Why the release's own autoscaler was refused."""
    route: ExistingRoute | None = None
    """The route of others that has the release's weights now."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ground:
    """What a pass stands on: whose objects, what is asked for, and what is there."""

    owner: Owner
    spec: ReleaseSpec
    observed: Observed
    uids: dict[str, str]
    """By name: uids of the Deployments and Jobs, for whoever deletes them."""
    provider: TrafficProvider
    """Who deals out the requests now."""
    canary: Canary
    """What the release says of its canary, without what its Gateways cannot do."""
    owed: str | None = None
    """Why clients may still come by a route of others that the release has left."""
    unseen: Mapping[str, ReleaseError]
    """By kind: why it is not known what others have of it beside the release."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Routing:
    """How requests are dealt out now, which may be less than the spec asks for."""

    provider: TrafficProvider
    canary: Canary
    effect: Effect
    owed: str | None


def _is_workload(obj: Object) -> bool:
    """Return whether an object runs pods, and does not lead clients to them."""
    return str(obj["kind"]) == "Deployment"


def _is_observed(obj: Object, observed: Observed) -> bool:
    """Return whether the revision that an object is for was seen to run."""
    return obj["metadata"]["labels"][names.LABEL_REVISION] in observed.workloads


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


def _protected(
    done: Done, status: Status, before: Status, ground: Ground, now: datetime
) -> tuple[Status, tuple[Notice, ...]]:
    """Return the status with what became of the budgets, and an Event where one is refused anew."""
    problem = "; ".join(map(str, done.unprotected))
    refused = any(isinstance(each, Invalid) for each in done.unprotected)
    generation = ground.observed.generation
    status = with_protection(status, problem, generation, now, refused=refused)
    if not refused or is_known_refusal(before, problem, ground.owner.name):
        return status, ()
    return status, (Notice(reason=Reason.APPLY_REFUSED, message=problem, warning=True),)


def _stall(
    following: FollowedSpec, invalid: Sequence[Invalid], of_route: Stall | None
) -> Stall | None:
    """Return what a person must mend first."""
    if following.problem is not None:
        return Reason.SPEC_INVALID, str(following.problem)
    if invalid:
        return Reason.APPLY_REFUSED, "; ".join(dict.fromkeys(map(str, invalid)))
    return of_route


def _trouble_of_route(ground: Ground, memory: Memory, now: datetime) -> Stall | None:
    """Return what to tell a person of the route, and why; None while it may only be late."""
    observed = ground.observed
    late = memory.is_long_refused(observed.route_refused, now)
    problem, reason = observed.route_problem, observed.route_reason
    if problem and (reason or late):
        return reason or Reason.ROUTE_NOT_TAKEN, problem
    named = existing_route_of(ground.spec.canary)
    if named and memory.contest.lasts(now):
        sentence = contested(ground.owner.namespace, named, memory.contest.by)
        return Reason.ROUTE_CONTESTED, sentence
    return None


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
    neighbours: Neighbours = field(default_factory=Neighbours)
    features: GatewayFeatures = field(default_factory=GatewayFeatures)
    _memories: dict[NamespacedName, Memory] = field(default_factory=dict)
    _rendered: Memo[Any] = field(default_factory=lambda: Memo(RENDERED_KEPT))
    _workloads: Memo[Workload] = field(default_factory=lambda: Memo(WORKLOADS_KEPT))

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
        generation = release["metadata"].get("generation", 0)
        parse = partial(memory.spec_of, generation=generation)
        following = followed_spec(release, before, memory.last_good, parse)
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
        done = await self._make(ground, before, decision, absent, memory, now)
        decision = self._shown(done, before, following, ground, memory, now)
        await self._remember(release, before, decision, reporter)
        reporter.show_lines(spec, decision.status)
        self._follow(spec, (namespace, name), decision.status, await source.get())
        self.outcomes.record((namespace, name), decision.status.outcomes)
        moved = done.wrote or gist(decision.status) != gist(before)
        requeue = self._next_look(decision, resolution.problem or resolution.delayed)
        if requeue is None and decision.status.canary is None:
            self._let_go(owner, decision)
            memory.rest()
        return memory.patience.stretched(spec, decision.status, requeue, moved=moved, now=now)

    def _let_go(self, owner: Owner, decision: Decision) -> None:
        """Keep nothing of what was made for a release at rest: thousands of them are."""
        self._rendered.forget(owner)
        for running in decision.desired.running:
            self._forget_made(owner, running.target.revision)
        if isinstance(self.kube, Cached):
            self.kube.let_go((owner.namespace, owner.name))

    def _forget_made(self, owner: Owner, revision: str) -> None:
        self._rendered.forget((owner, revision))
        self._workloads.forget((owner.namespace, owner.name, revision))

    async def _resolve(
        self, release: Object, following: FollowedSpec, spec: ReleaseSpec, before: Status
    ) -> Resolution:
        """Return what the followed spec means, as far as its meaning is followed."""
        default_image = self.settings.serving_image
        resolution = await self._meaning(release, spec, before)
        if resolution.unread:
            resolution = await self._read_by_pod(release, spec, before, resolution)
        return as_followed(resolution, following, spec, before, default_image=default_image)

    @property
    def _policy(self) -> Policy:
        allowed = Allowed.parse(self.settings.pod_templates)
        return Policy(allowed=allowed, signing_keys=self.settings.signing_keys)

    async def _meaning(self, release: Object, spec: ReleaseSpec, before: Status) -> Resolution:
        """Return what a spec means, as far as the operator can find out by itself."""
        meta = release["metadata"]
        annotations = meta.get("annotations") or {}
        return await resolution_of(
            spec,
            before,
            key=(meta["namespace"], meta["name"]),
            watch=self.registry,
            default_image=self.settings.serving_image,
            renewed_image=annotations.get(names.ANNOTATION_IMAGE),
            policy=self._policy,
        )

    async def _read_by_pod(
        self, release: Object, spec: ReleaseSpec, before: Status, resolution: Resolution
    ) -> Resolution:
        """Return what a spec means once a pod of the release has read its artifact.

        That pod may have no more than a revision's own may have.
        """
        place = resolution.unread
        assert place is not None  # noqa: S101 - for the type checker: nobody calls it otherwise
        target = unread_target(spec, place, default_image=self.settings.serving_image)
        if refusal := self._policy.refusal(spec):
            return resolution.but_for(Problem(reason=Reason.SPEC_INVALID, message=refusal))
        memory = self._memory_of(release)
        last = memory.unread if memory.unread and memory.unread[0] == target.revision else None
        try:
            understood = partial(resolved_by_pod, spec.model, place)
            resolved = await read_by_pod(self.kube, owner_of(release), target, understood)
        except Reading as problem:
            # What was wrong the last time is told until it is known to be right.
            waits = Problem(reason=Reason.MODEL_UNAVAILABLE, message=str(problem))
            return resolution.but_for(last[1] if last else waits)
        except (Invalid, Unavailable) as problem:
            wrong = isinstance(problem, Invalid)
            reason = Reason.MODEL_INVALID if wrong else Reason.MODEL_UNAVAILABLE
            memory.unread = target.revision, Problem(reason=reason, message=str(problem))
            return resolution.but_for(memory.unread[1])
        return await self._meaning(release, spec, before.but(resolved=resolved))

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
        owned = await read_workloads(
            self.kube, owner, lost=status.stable is None, kept=self._workloads
        )
        settings = spec.retrain or status.retrain
        jobs, uids = await read_jobs(self.kube, owner) if settings else ({}, {})
        routing = await self._routing(owner, spec, owned, status.route)
        effect = routing.effect
        beside = await self.neighbours.around(
            self.kube, owner, owned.workloads, budgets=spec.serving.disruption_budget.enabled
        )
        observed = Observed(
            generation=release["metadata"]["generation"],
            target=resolution.target,
            problem=resolution.problem,
            following=resolution.following,
            workloads=owned.workloads,
            routed=effect.revisions,
            leads_elsewhere=status.stable is None and await leads_elsewhere(self.kube, owner),
            routed_weight=effect.weight,
            route_problem=effect.problem,
            route_refused=effect.refused,
            route_reason=effect.reason,
            route_controllers=effect.controllers,
            route_sticky=effect.sticky,
            metrics=NotDue(),
            commands=commands_of(release),
            drift=self.drift.windows(key),
            jobs=jobs,
            recorded=self.outcomes.recorded(key),
            probers=owned.probers,
            others_budgets=beside.budgets,
            autoscalers=beside.autoscalers,
        )
        return Ground(
            owner=owner,
            spec=spec,
            observed=observed,
            uids={**owned.uids, **uids},
            provider=routing.provider,
            canary=routing.canary,
            owed=routing.owed,
            unseen=beside.unseen,
        )

    async def _routing(
        self, owner: Owner, spec: ReleaseSpec, owned: Owned, left: ExistingRoute | None
    ) -> Routing:
        """Return who deals out the requests, and who has them; with what is refused of that."""
        provider, canary = provider_of(spec), spec.canary
        reason: Reason | None = None
        problem: str | None = None
        if conflict := await self._routing_conflict(spec, (owner.namespace, owner.name)):
            provider, reason, problem = UNROUTED, Reason.ROUTE_CONFLICT, str(conflict)
        elif problem := await self._unsupported(spec, owner.namespace):
            canary, reason = with_weights_alone(canary), Reason.ROUTE_UNSUPPORTED
        effect = await read_route(self.kube, owner, provider, canary, owned.workloads)
        if reason:
            effect = replace(effect, problem=problem, refused=True, reason=reason)
        owed = await self._owed(owner, spec, left)
        if owed:
            everybody = frozenset(owned.workloads)
            effect = replace(effect, revisions=everybody, problem=effect.problem or owed)
            provider = LEAVING if provider is REPLICAS else provider
        return Routing(provider=provider, canary=canary, effect=effect, owed=owed)

    async def _owed(
        self, owner: Owner, spec: ReleaseSpec, left: ExistingRoute | None
    ) -> str | None:
        """Return why clients may still come by a route of others that the release has left."""
        successor = existing_route_of(spec.canary)
        if left is None or left == successor:
            return None
        try:
            live = await self.kube.borrowed(HTTP_ROUTE, owner.namespace, left.name)
        except ReleaseError as problem:
            return str(problem)
        return still_leads(live, owner.name, left, successor) if live else None

    async def _unsupported(self, spec: ReleaseSpec, namespace: str) -> str | None:
        """Return what of the routing a Gateway cannot do."""
        settings = spec.canary.routing.gateway_api
        return await self.features.missing(self.kube, settings, namespace) if settings else None

    async def _routing_conflict(
        self, spec: ReleaseSpec, key: NamespacedName
    ) -> RoutingConflict | None:
        """Return why another release has the requests that this one asks for."""
        if spec.canary.routing.gateway_api is None:
            return None
        return await self.kube.routing_conflict(key)

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
        if goes_back_unmeasured(first) or not is_due(status, spec, now):
            return first
        query_scope = QueryScope(
            namespace=owner.namespace, release=owner.name, canary=pair[0], stable=pair[1],
            interval=spec.analysis.period, controllers=observed.route_controllers,
        )  # fmt: skip
        if spec.analysis.counted_by and status.canary is None:
            # A gateway's counters of an arm's Service are those of both versions by now.
            observed = replace(observed, metrics=ONE_ARM, answers=not_answered(spec, ONE_ARM))
            return decide(spec=spec, status=status, observed=observed, now=now)
        if status.canary and status.canary.next_look:
            LATENESS.observe(max(0.0, (now - status.canary.next_look).total_seconds()))
        pods = {name: workload.ready_names for name, workload in observed.workloads.items()}
        asked = await source.get()
        after = newest_counted(status, asked.source)
        limit = 2 * asked.seconds
        try:
            async with asyncio.timeout(limit):
                measured = await measure(asked, spec, query_scope, pods=pods, after=after)
        except TimeoutError:
            late = MetricsUnavailable(message=f"not all metrics were read within {limit:g} s")
            measured = Measured(metrics=late, answers=not_answered(spec, late))
        observed = replace(
            observed,
            metrics=measured.metrics,
            answers=measured.answers,
            hint=measured.hint,
            source=asked.source,
            reads_anew=asked.reads_anew,
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
        asked = await source.get()
        limit = 2 * asked.seconds
        try:
            async with asyncio.timeout(limit):
                pairs = await measure_pairs(asked, (owner.namespace, owner.name), status)
        except TimeoutError:
            pairs = MetricsUnavailable(message=f"the pairs were not read within {limit:g} s")
        observed = replace(observed, pairs=pairs)
        if not pairs and first.desired.comparing:
            observed = replace(observed, hint=await trouble_of_prober(self.kube, owner))
        return decide(spec=spec, status=status, observed=observed, now=now)

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
        begins_now = decision.desired.routed or decision.desired.running
        if before.stable or decision.status.stable or not begins_now:
            return frozenset()
        owner = ground.owner
        needed = {(SERVICE, name) for name in names.service_names(owner.name)}
        needed |= set(ground.provider.sources(owner.name))
        # Sorted here and below: two passes over the same things ask the same, in the same order.
        absent = [key for key in sorted(needed) if await read_ours(self.kube, owner, *key) is None]
        return frozenset(absent)

    async def _make(
        self,
        ground: Ground,
        before: Status,
        decision: Decision,
        absent: frozenset[ObjectKey],
        memory: Memory,
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
        rendered = render(
            owner, decision.desired, live, ground.provider, ground.canary, self._rendered
        )
        objects = [obj for obj in rendered if obj["kind"] not in (PDB, HPA)]
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
        forward = decision.desired.routed != observed.routed and not back
        if not (done.refused and forward):
            await self._weigh(ground, decision, memory, done, now)
        await self._give_back(ground, before, done)
        await self._clear(ground, decision, memory.stored, done)
        await self._protect(ground, [obj for obj in rendered if obj["kind"] == PDB], done)
        await self._autoscale(ground, [obj for obj in rendered if obj["kind"] == HPA], done)
        await self._retrain(owner, done, now)
        return done

    async def _weigh(
        self, ground: Ground, decision: Decision, memory: Memory, done: Done, now: datetime
    ) -> None:
        """Set the weights in a route that others write, once none that was left is owed any: status
        remembers one, so no second gets weights before the first has lost them.
        """
        owner, provider, canary = ground.owner, ground.provider, ground.spec.canary
        if ground.owed or not decision.desired.routed:
            return
        route = route_for(owner, decision.desired, canary)
        memory.contest.about(existing_route_of(canary))
        for key in provider.borrowed(canary):
            edits = partial(provider.edits, route)
            edited = await self._edited(owner, key, edits, done)
            if edited and key[0] == HTTP_ROUTE:
                memory.contest.set((key, route.revisions, route.weight), last_writer(edited), now)

    async def _edited(
        self, owner: Owner, key: ObjectKey, edits: Edits, done: Done
    ) -> Object | None:
        """Edit an object of others; what is refused is kept with what else was."""
        try:
            edited = await edit_borrowed(self.kube, owner.namespace, key, edits)
        except ReleaseError as problem:
            done.refused.append(problem)
            return None
        done.wrote |= edited is not None
        return edited

    async def _give_back(self, ground: Ground, before: Status, done: Done) -> None:
        """Lead a route of others that the release names no more to stable alone, and remember it
        until its Gateways have taken that.
        """
        owner, left = ground.owner, before.route
        successor = done.route = existing_route_of(ground.spec.canary)
        if left is None or left == successor:
            return

        def edits(live: Object) -> tuple[Edit, ...]:
            return weights_given_back(live, owner.name, left, successor)

        refused = len(done.refused)
        await self._edited(owner, (HTTP_ROUTE, left.name), edits, done)
        if ground.owed or len(done.refused) > refused:
            done.route = left
            return
        kept = keys_of(successor.pools) if successor else ()
        for key in keys_of(left.pools):
            if key not in kept:
                await self._edited(owner, key, partial(let_go, release=owner.name), done)

    async def _autoscale(self, ground: Ground, wanted: list[Object], done: Done) -> None:
        """Have the release's own autoscaler where one is wanted, and remove it where none is."""
        owner, unseen = ground.owner, ground.unseen.get(HPA)
        if unseen:
            # A second one beside another owner's scales nothing, so none is made in the dark.
            if ground.spec.serving.autoscaling and isinstance(unseen, Invalid):
                done.refused.append(unseen)
            return
        before = len(done.refused)
        for obj in wanted:
            await self._try(apply_ours(self.kube, owner, obj), done)
        done.unscaled += [each for each in done.refused[before:] if isinstance(each, Invalid)]
        if wanted:
            return
        try:
            left = await self.kube.known(HPA, owner.namespace, owner.name)
        except ReleaseError:
            return
        if left and is_ours(left, owner):
            meta = left["metadata"]
            await self._try(delete_ours(self.kube, owner, HPA, meta["name"], meta["uid"]), done)

    async def _protect(self, ground: Ground, budgets: list[Object], done: Done) -> None:
        """Have the budgets that are wanted and no others; one that is refused stops nothing."""
        owner, unseen = ground.owner, ground.unseen.get(PDB)
        if unseen:
            done.unprotected.append(unseen)
            return
        # Of a revision that is not observed yet nobody can tell who else selects its pods.
        budgets = [budget for budget in budgets if _is_observed(budget, ground.observed)]
        wanted = {budget["metadata"]["name"] for budget in budgets}
        for left in await self._budgets(owner):
            meta = left["metadata"]
            if meta["name"] not in wanted:
                unwanted = delete_ours(self.kube, owner, PDB, meta["name"], meta["uid"])
                await self._try(unwanted, done, stops=False)
        for budget in budgets:
            await self._try(apply_ours(self.kube, owner, budget), done, stops=False)

    async def _budgets(self, owner: Owner) -> list[Object]:
        """Return the release's own budgets, as far as they can be seen now."""
        labels = {names.LABEL_RELEASE: owner.name}
        try:
            there = await self.kube.list(PDB, owner.namespace, labels)
        except ReleaseError:
            return []
        return [budget for budget in there if is_ours(budget, owner)]

    async def _try(self, write: Awaitable[bool], done: Done, *, stops: bool = True) -> None:
        problems = done.refused if stops else done.unprotected
        try:
            done.wrote |= await write
        except Gone as problem:
            # The namespace, say, is on its way out. Only the release's own absence ends its task.
            problems.append(Unavailable(str(problem)))
        except ReleaseError as problem:
            problems.append(problem)

    async def _clear(
        self, ground: Ground, decision: Decision, stored: frozenset[str], done: Done
    ) -> None:
        """Remove what is wanted no more: revisions, probers, Jobs of earlier retrainings.

        No revision yet that a `stored` status names which could not be brought up to date, or that
        clients were seen to be led to, because what leads them elsewhere may have been refused.
        """
        owner, observed, uids = ground.owner, ground.observed, ground.uids
        kept = {
            running.target.revision for running in decision.desired.running
        } | decision.desired.retained
        unwanted, held = set(observed.workloads) - kept, stored
        if observed.routed is not None and observed.routed != decision.desired.routed:
            held |= observed.routed
        done.held_back = bool(unwanted & held)
        for revision in unwanted - held:
            self._forget_made(owner, revision)
        gone = {names.workload_name(owner.name, revision) for revision in unwanted - held}
        asking = (decision.desired.probing, decision.desired.comparing)
        wanted = {names.prober_name(owner.name, each.canary.revision) for each in asking if each}
        for name in sorted((gone | (observed.probers - wanted)) & set(uids)):
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
        observed = ground.observed
        if ground.provider is UNROUTED:
            # At once: the older release has these requests, whatever a gateway makes of two routes.
            await self._remove_routes(
                ground, provider_of(ground.spec).made(ground.owner.name), done
            )
        if done.refused or observed.routed != decision.desired.routed:
            return
        named = provider_of(ground.spec).borrowed(ground.spec.canary)
        made = made_by_others(ground.spec, ground.owner.name)
        await self._remove_routes(ground, [route for route in made if route not in named], done)

    async def _remove_routes(self, ground: Ground, routes: Iterable[ObjectKey], done: Done) -> None:
        owner = ground.owner
        for kind, name in routes:
            try:
                left = await self.kube.known(kind, owner.namespace, name)
            except Unavailable:
                continue  # A later pass sees it. Most releases never had one.
            if left and is_ours(left, owner):
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
        if stall := _stall(following, invalid, _trouble_of_route(ground, memory, now)):
            status = with_stall(status, *stall, observed.generation, now)
            notices += news(before, *stall)
        trouble = memory.troubles.note(others[0] if others else None)
        if trouble and not invalid and following.problem is None:
            status = with_trouble(status, trouble.message, observed.generation, now)
            notices += news(before, Reason.FAILING, trouble.message)
        if done.unscaled:
            problem = str(done.unscaled[0])
            status = with_refused_autoscaler(status, before, problem, observed.generation, now)
        status, of_drains = _protected(done, status, before, ground, now)
        notices += of_drains
        if done.refused or ground.owed or done.held_back:
            # Nothing wakes a release for the route that it has left, nor for what it removes later.
            requeue = min(requeue or TRY_AGAIN, TRY_AGAIN)
        aside = (*done.unprotected, *ground.unseen.values())
        if not all(isinstance(problem, Invalid) for problem in aside):
            requeue = min(requeue or LOOK_AGAIN, LOOK_AGAIN)
        status = status.but(
            replicas=sum(workload.pods for workload in observed.workloads.values()),
            selector=f"{names.LABEL_RELEASE}={ground.owner.name}",
            route=done.route if done.begun else before.route,
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
        sent = after.to_dict()
        try:
            written = await self.kube.apply_status(release, sent)
        except Conflict:
            if isinstance(self.kube, Cached):
                await self.kube.read_again(meta["namespace"], meta["name"])
            raise
        if (stored := written.get("status")) == sent:
            self._memory_of(release).read = stored, after

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
