"""What is observed at one moment: the cluster, the metrics, and what persons ask for."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from modelrelease_contract.drift import DriftVerdict, FeatureDrift
from modelrelease_operator.api.prometheus import Source
from modelrelease_operator.api.retrain import RetrainOutcome
from modelrelease_operator.api.status import Reason, Target
from modelrelease_operator.core.query_results import QueryResults


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    """One revision's Deployment as it is on the cluster."""

    revision: str
    wanted: int
    """Replicas that the Deployment asks for."""
    ready: int
    """Pods of the present template that are ready."""
    pods: int
    """Pods that exist and are not terminating."""
    ready_names: frozenset[str] = frozenset()
    """Names of the ready pods."""
    current: bool = True
    """Whether the Deployment's controller has seen its newest spec."""
    refused: str | None = None
    """The sentence of a container that can never start: its artifact is wrong."""
    problem: str | None = None
    """The sentence of a container that does not start for now."""
    live: Mapping[str, Any] | None = field(default=None, repr=False, compare=False)
    """The Deployment as it was read: no decision is made from it,
    the next one is rendered beside it.
    """
    blocked: str | None = None
    """What the cluster lacks to start its pods: room, a quota, volumes, an image.
    No version's fault.
    """
    crashes: Mapping[str, int] = field(default_factory=dict)
    """By pod: how many of its containers' runs have ended abnormally."""
    crash: str | None = None
    """The sentence of the newest of them."""
    track: str | None = None
    """What its own Deployment is labelled as: stable, canary, previous;
    None where nothing says it.
    """
    runs: Target | None = None
    """The revision as its own Deployment tells it:
    read only while status does not know who serves.
    """


@dataclass(frozen=True, slots=True, kw_only=True)
class Counter:
    """One series of the predictor's counters, or of the prober's, at the newest scrape."""

    revision: str
    pod: str
    code: str | None = None
    """HTTP status code, for a series of answered requests; what came of it, for one of probes."""
    bound: str | None = None
    """Upper bound `le`, for a series of a histogram: in seconds, or in tokens."""
    metric: str = ""
    """What that histogram measures, where it is not the time to answer."""
    reason: str | None = None
    """Why the answers ended that it counts, for a series of finished answers."""
    bin: str | None = None
    """Bin of the baseline, for a series of predictions."""
    layout: str | None = None
    """Where the bins begin and end: says it once for each pod and counts nothing."""
    probe: bool = False
    """Counted by the prober: no user sent these."""
    source: str = ""
    """Tells the target that was scraped (job, instance, replica) from others of the same pod."""
    at: float | None = None
    """Unix time of the sample; None where the source tells none."""
    started: float | None = None
    """Unix time at which the process that counts began, if told."""
    lasting: bool = False
    """Counted by a process that outlives releases, a gateway's: what it shows first is older."""
    value: float


@dataclass(frozen=True, slots=True, kw_only=True)
class PairCounter:
    """One counter of pairs, of one process of stable's pods, at the newest scrape."""

    process: str
    result: str
    """One of `modelrelease_contract.shadow.SHADOW_RESULTS`, or one of a newer predictor."""
    value: int


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricsUnavailable:
    """The metrics could not be read, and why."""

    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class NotDue:
    """It was not time to look: what is known stays, and the next look keeps its time."""


Metrics = tuple[Counter, ...] | MetricsUnavailable
PairCounters = tuple[PairCounter, ...] | MetricsUnavailable


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """Why the spec has no target now."""

    reason: Reason
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AliasStatus:
    """An alias of the registry that the spec follows."""

    alias: str
    version: str | None
    """The version of the registered model that it is taken to mean;
    None before it was ever resolved.
    """
    problem: Problem | None = None
    """Why the last look at it failed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Signature:
    """Who gave a command, as far as the API server knows."""

    by: str
    """The field manager."""
    at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Commands:
    """What a person asks by annotation: each names a revision or a version."""

    approve: str | None = None
    abort: str | None = None
    retry: str | None = None
    retrain: str | None = None
    promote: str | None = None
    signed: Mapping[str, Signature] = field(default_factory=dict)
    """By command: who gave it."""

    @staticmethod
    def names(command: str | None, target: Target) -> bool:
        """Return whether the command names this target's revision or version (a note may follow
        `/`).
        """
        return command is not None and command.split("/")[0] in (target.revision, target.version)


@dataclass(frozen=True, slots=True, kw_only=True)
class ObservedJob:
    """The Job of a retraining as it is on the cluster."""

    name: str
    outcome: RetrainOutcome | None = None
    """Succeeded or Failed; None while it runs."""
    message: str = ""
    """What its container said last, or else what the cluster says."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedOutcome:
    """What came of telling the registry an outcome, for good."""

    message: str
    done: bool = True
    """False: it could not be done as asked, and will not be tried again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """One closed window of one revision."""

    ended: datetime
    features: tuple[FeatureDrift, ...]
    """Every feature with a baseline, the worst first; empty where there is no baseline."""
    problem: str = ""
    """What of the window could not be read, in a sentence."""

    @property
    def verdict(self) -> DriftVerdict:
        """Drifted if any feature has, Insufficient if none could be judged."""
        verdicts = {feature.verdict for feature in self.features}
        for verdict in (DriftVerdict.DRIFTED, DriftVerdict.STABLE):
            if verdict in verdicts:
                return verdict
        return DriftVerdict.INSUFFICIENT

    @property
    def drifted(self) -> tuple[FeatureDrift, ...]:
        """The features that drifted, the worst first."""
        return tuple(
            feature for feature in self.features if feature.verdict is DriftVerdict.DRIFTED
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class OtherAutoscaler:
    """A HorizontalPodAutoscaler of another owner that aims at pods of the release."""

    name: str
    target: str
    """Kind and name of what it aims at."""
    aims_at_release: bool
    """False: at a revision's Deployment, whose replicas the release sets."""
    maker: str | None = None
    """Kind and name of what made it, such as a ScaledObject."""

    @property
    def words(self) -> str:
        """Name it, and what made it."""
        made = f" (of {self.maker})" if self.maker else ""
        return f"HorizontalPodAutoscaler {self.name}{made}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Autoscalers:
    """What aims at pods of the release."""

    own_name: str = ""
    own_exists: bool | None = False
    """None: whether there is one cannot be seen now."""
    own_problem: str | None = None
    """Why the release's own does not scale, in its own words."""
    others: tuple[OtherAutoscaler, ...] | None = ()
    """Sorted by name; None: they could not be listed yet."""

    @property
    def seen(self) -> bool:
        """Whether it is known who sets the number of pods."""
        return bool(self.others) or (self.others is not None and self.own_exists is not None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Observed:
    """Everything that is known of the world at one moment."""

    generation: int
    target: Target | None = None
    """What the spec means now, or None with a problem."""
    problem: Problem | None = None
    following: AliasStatus | None = None
    workloads: Mapping[str, Workload] = field(default_factory=dict)
    routed: frozenset[str] | None = None
    """Revisions that clients reach; None while nothing routes yet."""
    leads_elsewhere: bool = False
    """Whether the release's own Service leads to pods of others: it is handed over."""
    routed_weight: int | None = None
    """Percent of the requests that the canary has; None where the numbers of pods make it."""
    route_problem: str | None = None
    """Why what was asked of the route last is not in effect, where that is known."""
    route_refused: bool = False
    """Whether a person must mend that."""
    route_reason: Reason | None = None
    """What to call that where it is certain; None where a gateway may only be late."""
    route_controllers: tuple[str, ...] = ()
    """`controllerName` of each gateway that has taken the route."""
    route_sticky: str | None = None
    """What keeps a client with one version, where that is known."""
    metrics: Metrics | NotDue = ()
    pairs: PairCounters | NotDue = NotDue()
    """What was compared in the shadow, while that is going on."""
    answers: QueryResults = field(default_factory=dict)
    """What the gates' own queries gave."""
    source: Source | None = None
    """Who was asked for the metrics; None where nobody was."""
    reads_anew: bool = False
    """Whether the source reads the pods at every look, so that each look has new samples."""
    hint: str | None = None
    """Why the source does not show a ready pod of either arm, where that could be told."""
    commands: Commands = Commands()
    drift: Mapping[str, tuple[Window, ...]] = field(default_factory=dict)
    """By revision: the last closed windows of its bins, the newest last."""
    jobs: Mapping[str, ObservedJob] = field(default_factory=dict)
    """By request: the Jobs of retrainings."""
    recorded: Mapping[str, RecordedOutcome] | None = None
    """By key: outcomes that the registry was told since the last pass. None: it is told nothing."""
    autoscalers: Autoscalers = Autoscalers()
    others_budgets: frozenset[str] | None = frozenset()
    """Revisions whose pods a budget of others selects; None: they could not be listed yet."""
    """Names of PodDisruptionBudgets of other owners that select pods of the release."""
    probers: frozenset[str] = frozenset()
    """Names of the Deployments that probe."""

    def ready(self, revision: str, replicas: int) -> bool:
        """Return whether a revision has at least so many ready pods."""
        workload = self.workloads.get(revision)
        return workload is not None and workload.current and workload.ready >= replicas
