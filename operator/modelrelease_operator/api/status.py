"""The status of a ModelRelease: what people read, and what the next pass must remember.

Written by the operator alone, whole, from one builder. Evidence and the raw counters that it was
made from are written together, so a restart neither loses nor doubles a count.
"""

import base64
import json
import zlib
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from functools import cached_property
from typing import Annotated, Any, Self

from pydantic import (
    Field,
    SerializationInfo,
    SerializerFunctionWrapHandler,
    ValidationError,
    model_serializer,
    model_validator,
)

from modelrelease_operator.api.drift import DriftStatus
from modelrelease_operator.api.model import Model
from modelrelease_operator.api.nesting import check_depth
from modelrelease_operator.api.pods import has_null
from modelrelease_operator.api.prometheus import Source
from modelrelease_operator.api.registry import Registered
from modelrelease_operator.api.retrain import RetrainStatus
from modelrelease_operator.api.routing import ExistingRoute
from modelrelease_operator.errors import Invalid

HISTORY_LIMIT = 10
REJECTIONS_LIMIT = 10
MOST_COPIES = 1000
"""Copies of a test: each takes memory, and none is planned beyond one for each step and some
hours.
"""
LONGEST_SECONDS = datetime.max.replace(tzinfo=UTC).timestamp()
"""Between any two times that are dates."""
Seconds = Annotated[float, Field(ge=-LONGEST_SECONDS, le=LONGEST_SECONDS)]
FourCounts = Annotated[list[int], Field(min_length=4, max_length=4)]
MOST_LEVELS = 100
"""Of a status: a spec's, and where it keeps parts of one."""


class Phase(StrEnum):
    """Where a release stands."""

    PENDING = "Pending"
    """The first version is not serving yet."""
    STABLE = "Stable"
    """One revision serves, nothing is going on."""
    STARTING = "Starting"
    """The canary starts in the dark: no client reaches it."""
    SHADOWING = "Shadowing"
    """The canary answers copies of requests in the dark, and both arms' answers are compared."""
    PROGRESSING = "Progressing"
    """The canary has its share of the traffic and is judged."""
    PAUSED = "Paused"
    """As Progressing, but it waits for a person."""
    PROMOTING = "Promoting"
    """The canary is brought to full strength, then becomes stable."""
    ROLLING_BACK = "RollingBack"
    """Traffic has gone back to stable; the canary is being removed."""


class Verdict(StrEnum):
    """What a gate says."""

    PASS = "Pass"  # noqa: S105 - a verdict, no secret
    FAIL = "Fail"
    INSUFFICIENT = "Insufficient"
    UNAVAILABLE = "Unavailable"


class Reason(StrEnum):
    """Why something happened: reasons of conditions, of Events and of rejections."""

    RECONCILED = "Reconciled"
    STARTING = "Starting"
    CANARY_STARTED = "CanaryStarted"
    SHADOW_STARTED = "ShadowStarted"
    SHADOW_PASSED = "ShadowPassed"
    STEP_STARTED = "StepStarted"
    SHARE_MISMATCH = "ShareMismatch"
    HOLDING = "Holding"
    PROMOTING = "Promoting"
    PROMOTED = "Promoted"
    REGRESSION = "Regression"
    CANARY_NOT_READY = "CanaryNotReady"
    ARTIFACT_REFUSED = "ArtifactRefused"
    ABORTED = "Aborted"
    SUPERSEDED = "Superseded"
    SPEC_REVERTED = "SpecReverted"
    ROLLED_BACK = "RolledBack"
    REJECTED = "Rejected"
    INCONCLUSIVE = "Inconclusive"
    WAITING_FOR_APPROVAL = "WaitingForApproval"
    CANARY_UNSEEN = "CanaryUnseen"
    CANARY_SEEN = "CanarySeen"
    WAITING_FOR_CLUSTER = "WaitingForCluster"
    REOPENED = "Reopened"
    PROMOTED_BY_HAND = "PromotedByHand"
    COMMAND_TAKEN = "CommandTaken"
    COMMAND_IGNORED = "CommandIgnored"
    NOBODY_AWAITED = "NobodyAwaited"
    SUSPENDED = "Suspended"
    METRICS_UNAVAILABLE = "MetricsUnavailable"
    MODEL_UNAVAILABLE = "ModelUnavailable"
    MODEL_INVALID = "ModelInvalid"
    SPEC_INVALID = "SpecInvalid"
    FIRST_VERSION_SERVES = "FirstVersionServes"
    STATUS_LOST = "StatusLost"
    STABLE_NOT_READY = "StableNotReady"
    APPLY_REFUSED = "ApplyRefused"
    ROUTE_NOT_TAKEN = "RouteNotTaken"
    AUTOSCALED = "Autoscaled"
    AUTOSCALED_BY_OTHER = "AutoscaledByOther"
    AUTOSCALER_INACTIVE = "AutoscalerInactive"
    AUTOSCALER_CONFLICT = "AutoscalerConflict"
    AUTOSCALER_GONE = "AutoscalerGone"
    ROUTE_CONFLICT = "RouteConflict"
    ROUTE_INCOMPLETE = "RouteIncomplete"
    ROUTE_UNSUPPORTED = "RouteUnsupported"
    ROUTE_CONTESTED = "RouteContested"
    FAILING = "Failing"
    DRIFTED = "Drifted"
    DRIFT_ENDED = "DriftEnded"
    NOT_DRIFTED = "NotDrifted"
    INSUFFICIENT_DATA = "InsufficientData"
    NO_BASELINE = "NoBaseline"
    RESOLVED = "Resolved"
    ALIAS_MISSING = "AliasMissing"
    REGISTRY_UNAVAILABLE = "RegistryUnavailable"
    OUTCOME_RECORDED = "OutcomeRecorded"
    OUTCOME_NOT_RECORDED = "OutcomeNotRecorded"
    RETRAIN_REQUESTED = "RetrainRequested"
    RETRAIN_SUCCEEDED = "RetrainSucceeded"
    RETRAIN_FAILED = "RetrainFailed"
    RETRAIN_CANCELLED = "RetrainCancelled"


class Verifier(Model):
    """What checks the signature of the artifact in each pod of a revision."""

    image: str
    """The default image of the time: never one that a release chose."""
    keys: str = ""
    """Public keys, PEM, one of which the operator wants; empty: what the release wants is all."""


class Recipe(Model):
    """What makes pods what they are, kept so that a revision can be repaired after the spec moved
    on.

    A null of a pod template takes a field away, and the API server loses nulls: parts that hold one
    are stored as text besides, in `exact`. An older operator reads the rest as it always did.
    """

    image: str
    resources: dict[str, Any] = Field(default_factory=dict)
    env: tuple[dict[str, Any], ...] = ()
    pod_template: dict[str, Any] = Field(default_factory=dict)
    pod: dict[str, Any] = Field(default_factory=dict)
    """Fields of a pod that need no template, as in the spec."""
    runtime: dict[str, Any] = Field(default_factory=dict)
    """The model server that the image is, as in the spec; empty: our predictor."""
    fetch_image: str | None = None
    """What fetches the artifact, where the image cannot: the default image of the time. No part of
    the identity, so another default starts no canary."""
    keeps: str | None = Field(default=None, exclude_if=lambda kept: kept is None)
    """Digest of the artifact that the release's cache keeps whatever else it removes: that of the
    version which served when this one was begun. No part of the identity."""
    verifier: Verifier | None = None
    """Where a signature is wanted. No part of the identity either: other keys of the operator's are
    for what is released from then on."""

    @property
    def identity(self) -> dict[str, Any]:
        """What tells recipes apart. Never changed for a recipe that an older operator can have
        made.
        """
        parts = {
            "image": self.image,
            "resources": self.resources,
            "env": list(self.env),
            "pod_template": self.pod_template,
        }
        added = {"pod": self.pod, "runtime": self.runtime}
        return parts | {name: part for name, part in added.items() if part}

    @model_validator(mode="before")
    @classmethod
    def _read_exactly(cls, raw: Any) -> Any:
        exact = raw.get("exact") if isinstance(raw, dict) else None
        parts = json.loads(exact) if isinstance(exact, str) else None
        return {**raw, **parts} if isinstance(parts, dict) else raw

    @model_serializer(mode="wrap")
    def _write_exactly(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        written: dict[str, Any] = write(self)
        for name in ("pod", "runtime", "fetchImage", "verifier"):
            if not written.get(name):
                written.pop(name, None)
        if self._exact is not None:
            written["exact"] = self._exact
        return written

    @cached_property
    def _exact(self) -> str | None:
        """What holds a null, as text; None where nothing does. A recipe is written at each pass."""
        parts = {"resources": self.resources, "env": self.env, "podTemplate": self.pod_template}
        if not has_null(parts):
            return None
        return json.dumps(parts, sort_keys=True, separators=(",", ":"))


class Target(Model):
    """One immutable revision of a model."""

    revision: str
    version: str
    uri: str
    sha256: str
    recipe: Recipe
    registered: Registered | None = None
    """The version of a registered model that this is; None where the release names no registry."""

    def parts(self) -> dict[str, Any]:
        """Return the revision's fields, without what a subclass adds."""
        return {name: getattr(self, name) for name in Target.model_fields}

    @property
    def target(self) -> "Target":
        """The revision alone."""
        return self._part(Target)


class Resolved(Model):
    """What the model source of the spec was found to mean, looked up once."""

    uri: str
    pinned_version: str | None = None
    pinned_sha256: str | None = None
    version: str
    sha256: str
    location: str | None = None
    """Where the pods find it; None where that is `uri` itself."""
    registered: Registered | None = None
    image: str | None = None
    """The image of the pods that the spec last meant."""
    named_image: str | None = None
    """The image that a spec of the release named last. It is meant no more once no spec names it,
    while one that was the default stays what is meant.
    """
    mounted: bool = Field(default=False, exclude_if=lambda is_mounted: not is_mounted)
    """Whether it was looked up to be mounted by nodes, which takes an image, and its digest."""


class Streak(Model):
    """Looks in a row on one side of a threshold: above 0 within it, below 0 beyond it."""

    looks: int = 0
    at: datetime | None = None
    """When the newest of them was counted:
    looks that come closer together than the interval are one.
    """


class ShareCounts(Model):
    """The memory of the check of the canary's share of the requests, [canary, stable] each."""

    weight: int = 0
    """What a gateway deals out to the canary, in percent."""
    tries: int = 0
    """How often counting began anew: with each step, and once the share was proven wrong."""
    counts: tuple[int, int] = (0, 0)
    """Requests since then."""
    first: tuple[int, int] = (0, 0)
    """Those of the first interval of them."""
    newest: tuple[int, int] = (0, 0)
    """Those of the last one."""
    spoiled: bool = True
    """Whether the weight was not in effect at some look of the open interval."""
    mismatch: tuple[int, int] | None = None
    """The requests that proved the share wrong, until it is proven right again."""

    def next_try(self) -> Self:
        """Count anew."""
        nothing = (0, 0)
        return self.but(counts=nothing, first=nothing, newest=nothing, mismatch=None)


PACKED = "packed"
PLAIN_BYTES = 4096
"""Evidence that is smaller is written as it is, for people to read."""
LARGEST_EVIDENCE = 64 * 1024 * 1024


class Evidence(Model):
    """The memory of the tests: raw counters, counts since the canary began,
    logarithms of evidence.
    """

    counters: dict[str, int] = Field(default_factory=dict)
    """Last raw value of each series; those of pods that are long gone are dropped
    (core/measurement/retention.py).
    """
    absent: dict[str, datetime] = Field(default_factory=dict)
    """By process that the newest look did not show: since when."""
    forgotten: list[str] = Field(default_factory=list)
    """Marks of processes whose counters were dropped:
    they are not counted from 0 if they come back.
    """
    started: bool = False
    """Whether counting has begun at this step: what the first looks show is only recorded."""
    scraped: dict[str, float] = Field(default_factory=dict)
    """By process: when its newest sample that was counted was taken, in unix seconds."""
    born: dict[str, float] = Field(default_factory=dict)
    """By process: when it began, in unix seconds.
    Another time is another process of the same pod.
    """
    counts_from: float | None = None
    """The newest sample when counting began at this step: a process that is older is not new."""
    horizon: float | None = None
    """The newest sample of any process when the open interval began, in unix seconds."""
    pending: dict[str, dict[str, int]] = Field(default_factory=dict)
    """By revision and kind of series: what was counted since the open interval began."""
    uneven: bool = False
    """Whether one arm had no ready pod in the open interval: it compares nothing."""
    opened: dict[str, datetime] = Field(default_factory=dict)
    """By gate with counters of its own: when its open interval began."""
    recut: list[str] = Field(default_factory=list)
    """Gates whose bounds were fixed in the open interval, which they therefore leave out."""
    scrape_seconds: Seconds | None = None
    """Time between two samples of one process, as measured."""
    resets: list[int] = Field(default_factory=list)
    """[canary, stable]: processes that began anew;
    what they counted since their last sample is lost.
    """
    release: dict[str, FourCounts] = Field(default_factory=dict)
    """By stream: [canary total, canary bad, stable total, stable bad] since the canary began."""
    step: dict[str, FourCounts] = Field(default_factory=dict)
    """The same since the current weight was seen in effect."""
    processes: dict[str, list[float | None]] = Field(default_factory=dict)
    """By test: logarithm of the evidence for each design."""
    bounds: dict[str, list[str]] = Field(default_factory=dict)
    """By gate: histogram bounds (`le`, seconds) that latency is counted at,
    fixed at the first look.
    """
    begun: list[str] = Field(default_factory=list)
    """Gates with counters of their own whose start was recorded at this step."""
    streaks: dict[str, Streak] = Field(default_factory=dict)
    """By gate with a threshold: its looks in a row at this step."""
    planned: int = Field(default=0, ge=0, le=MOST_COPIES)
    """Copies that each test for a regression may start; fixed at the first look, 0 before."""
    copies: int = 0
    """Copies that have started."""
    copy_since: datetime | None = None
    """When the newest copy started; None until a look of the present step."""
    share: ShareCounts | None = None
    """Which share of the requests the canary has had; None where nobody deals them out one by
    one.
    """

    @model_serializer(mode="wrap")
    def _small(
        self, written: SerializerFunctionWrapHandler, info: SerializationInfo
    ) -> dict[str, Any]:
        """Write much as one compressed text:
        each key of each pod would be stored twice, once as managed.
        """
        whole: dict[str, Any] = written(self)
        if info.mode != "json":
            return whole
        text = json.dumps(whole, separators=(",", ":")).encode()
        return (
            whole
            if len(text) <= PLAIN_BYTES
            else {PACKED: base64.b64encode(zlib.compress(text)).decode()}
        )

    @model_validator(mode="before")
    @classmethod
    def _whole(cls, raw: Any) -> Any:
        """Read what was written as one text, and what was not."""
        if not isinstance(raw, dict) or PACKED not in raw:
            return raw
        try:
            packed = base64.b64decode(raw[PACKED], validate=True)
            return json.loads(zlib.decompressobj().decompress(packed, LARGEST_EVIDENCE))
        except (zlib.error, TypeError, RecursionError) as problem:
            msg = f"it is not what an operator packed ({problem})"
            raise ValueError(msg) from problem

    def read_anew(self) -> Self:
        """Forget the times of samples, which are of another source: counting begins anew, with no
        interval between two sources. What was counted stays, and the values that are subtracted.
        """
        return self.but(
            started=False, scraped={}, scrape_seconds=None, horizon=None, counts_from=None
        )

    def next_step(self) -> Self:
        """Forget what belongs to one weight: its counts, its evidence for promotion, the counters'
        start.

        A regression may need this weight to show, so one more copy of each test starts with it.
        """
        kept = {
            key: value for key, value in self.processes.items() if not key.startswith("promote/")
        }
        copies = min(self.copies + 1, self.planned)
        update = {
            "started": False,
            "step": {},
            "processes": kept,
            "copies": copies,
            "copy_since": None,
        }
        # The open interval straddles two weights: its counts stay in the totals and compare
        # nothing.
        closed: dict[str, Any] = {
            "horizon": None,
            "counts_from": None,
            "pending": {},
            "uneven": False,
            "opened": {},
            "recut": [],
            "share": self.share and self.share.next_try().but(spoiled=True),
        }
        return self.but(**update, **closed, begun=[], streaks={})


class Samples(Model):
    """Of whom the newest look had samples, from where, and when they were taken."""

    source: Source | None = None
    """None: of an operator that knew only Prometheus."""
    oldest: datetime | None = None
    """Of the pods that are judged, the one that was scraped longest ago;
    None where that is not told.
    """
    newest: datetime | None = None
    scrape_seconds: Seconds | None = None
    """Time between two samples of one pod, as measured."""
    canary_pods: int = 0
    stable_pods: int = 0
    """How many pods are judged."""
    left_out: tuple[str, ...] = ()
    """Ready pods that are not shown, or of which nothing new is; the first few."""
    resets: tuple[int, int] = (0, 0)
    """[canary, stable]: processes that began anew;
    what they answered since their last sample is lost.
    """


class Crashes(Model):
    """Containers of both arms that ended abnormally, and the time in which they could have."""

    seen: dict[str, int] = Field(default_factory=dict)
    """By pod: how many of its containers' ends were counted already."""
    begun: bool = False
    """Whether stable's pods were looked at: what they did before is no part of the release."""
    canary: int = 0
    newly: int = 0
    """Of the canary's: those since it was promoted, where it was."""
    stable: int = 0
    canary_seconds: Seconds = 0.0
    """Time of ready pods, summed over them."""
    stable_seconds: Seconds = 0.0
    processes: list[float | None] = Field(default_factory=list)
    """Logarithm of the evidence that the canary's end more often, for each design."""
    quiet_seconds: Seconds = 0.0
    """Time since the last end of a container of the canary, with all of its pods ready."""
    words: str | None = None
    """What the last one died of."""


class ShadowStatus(Model):
    """What a comparison in the shadow has counted."""

    since: datetime
    seconds: Seconds = 0.0
    """Time in which pairs could come: what canary.shadow.deadline is held against."""
    pairs: int = 0
    """Requests that both arms answered, or failed to."""
    counts: dict[str, int] = Field(default_factory=dict)
    """By result (`modelrelease_contract.shadow`)."""
    processes: dict[str, list[int]] = Field(default_factory=dict)
    """By process of stable's pods: the newest values of its counters, in the results' order."""
    begun: bool = False
    """Whether counting has begun: what the first look shows is only recorded."""
    left: bool = False
    """Whether the release has gone on from here for good, and not only because stable was down."""
    rollback_log: float = 0.0
    """Logarithm of the evidence that the canary is worse: a part of the release's."""
    passed: bool = False
    message: str = ""


class ShareStatus(Model):
    """The canary's share of the requests beside its weight, as the last looks counted it."""

    weight: int
    """What the gateway deals out to it, in percent."""
    percent: float
    """What it answered of both arms' requests."""
    requests: int
    """Both arms'."""
    mismatch: bool
    """Whether that is proven to be another share: then nothing goes on."""
    message: str


class CanaryStatus(Target):
    """The revision under test."""

    step: int = Field(default=0, ge=0)
    steps: int = Field(default=1, ge=1)
    requested_weight: int = 0
    effective_weight: float | None = None
    """Percent of the requests of this step that the canary answered, counted."""
    since: datetime
    """When the canary was created."""
    asked_since: datetime | None = None
    """When the current weight, or full strength, was asked for."""
    step_since: datetime | None = None
    """When the current weight was seen in effect."""
    next_look: datetime | None = None
    clock_at: datetime | None = None
    """When the last pass counted time: what lies between two passes counts up to a limit
    (core/release/elapsed.py).
    """
    starting_seconds: Seconds = 0.0
    """Time that its pods have taken to start, without what is the cluster's fault."""
    dark_seconds: Seconds | None = None
    """Time for which all of its pods have been ready without clients; None while they are not."""
    waiting_seconds: Seconds = 0.0
    """Time since the weight was asked for in which it was not seen in effect."""
    step_seconds: Seconds = 0.0
    """Time that the present weight has been in effect."""
    judged_seconds: Seconds = 0.0
    """Time in which a verdict was possible: what progressDeadline is held against."""
    unjudged_seconds: Seconds = 0.0
    """The same since the last look that could be used; added when the next one can."""
    blind_since: datetime | None = None
    """Since when no look could be used."""
    blind_seconds: Seconds = 0.0
    """Time in which none could: what analysis.maxBlind is held against."""
    unseen: bool = False
    """Whether it left the Service because it cannot be seen."""
    visible_seconds: Seconds = 0.0
    """Time in which it could be seen again, while it is out of the Service."""
    returned: tuple[datetime, ...] = ()
    """When it came back into the Service, lately:
    the more often, the longer it has to be seen first.
    """
    unready_since: datetime | None = None
    """Since when not all of its pods have been ready, while it has traffic."""
    unready_seconds: Seconds = 0.0
    """Time in which pods that had been ready were not, by its own fault; forgotten after a while in
    which all were.
    """
    growing_seconds: Seconds = 0.0
    """Time since another of the pods that are asked for got ready, while no ready one was lost."""
    full_pods: int = 0
    """The pods that were ready together, of those that are asked for now."""
    ready_seconds: Seconds = 0.0
    """Time since the last moment when they were not."""
    alone: bool = False
    """Whether it answers alone, at full strength, because no pod of stable does."""
    blocked: str | None = None
    """What the cluster lacks to start its pods."""
    question: Reason | None = None
    """What a person is asked now."""
    asked_at: datetime | None = None
    """When the person was asked."""
    approved: bool = False
    """Whether a person let the present step pass."""
    approved_anyway: bool = False
    """Whether that was said to hold although the canary cannot be seen, or is not fit."""
    by_hand: str | None = None
    """Who promotes it without a verdict, if somebody does."""
    inconclusive: bool = False
    unproven: str | None = None
    """Why it is promoted although no gate proved it, if it is."""
    probed_steps: tuple[int, ...] = ()
    """Steps, from 1, that were passed on probes because users were too few."""
    note: str | None = None
    """Why the effective weight cannot be the requested one."""
    shadow: ShadowStatus | None = None
    """How it compares in the shadow, where the release asks for that."""
    share: ShareStatus | None = None
    """Whether it has the requests that its weight says, where a gateway deals them out."""


class GateInterval(Model):
    """What both arms' counts since the canary began leave possible, at every look at once."""

    lower: float
    upper: float
    """Of the canary's share of bad requests less stable's, in percentage points, on average."""
    ratio_lower: float = 0.0
    ratio_upper: float | None = None
    """Of the canary's share over stable's; None where it has no upper end."""
    confidence: float
    """Percent."""


class GateStatus(Model):
    """What one gate found at the last look."""

    name: str
    verdict: Verdict
    dry_run: bool = False
    """Only shown: it decides nothing."""
    canary_total: int = 0
    canary_bad: int = 0
    canary_percent: float | None = None
    stable_total: int = 0
    stable_bad: int = 0
    stable_percent: float | None = None
    value: float | None = None
    """What the query of a threshold gave."""
    bound: str | None = None
    """What the canary is held to, in words."""
    evidence_for_rollback: float = 0.0
    """0 to 1: how much of the evidence needed to roll back is there."""
    evidence_for_promotion: float = 0.0
    """0 to 1: how much of the evidence needed for the next step is there."""
    interval: GateInterval | None = None
    """None where nothing is compared with stable, or nothing is excluded yet, or it is withheld."""
    interval_withheld: str | None = None
    """Why there is none although there could be."""
    message: str


ReasonOrNewer = Annotated[Reason | str, Field(union_mode="left_to_right")]
"""A reason, or one that only a newer operator knows: it must not stop an older one."""


class Rejected(Model):
    """A revision that was rolled back; not tried again until a person asks."""

    revision: str
    version: str
    reason: ReasonOrNewer
    message: str
    at: datetime


class CommandSeen(Model):
    """The last command of its kind that was given by annotation, and what became of it."""

    command: str
    value: str
    stands: bool = True
    """Whether the annotation is still there: it counts once."""
    taken: bool = False
    message: str = ""
    at: datetime
    """When the operator saw it."""
    by: str | None = None
    """The field manager that wrote it, such as kubectl-annotate."""
    given: datetime | None = None
    """When it was written, by the API server's clock."""
    about: str | None = None
    """The canary's revision that it was seen beside; None where there was none."""
    earlier: tuple[str, ...] = ()
    """Approvals that were seen beside that canary before: none of them counts again."""


class Previous(Target):
    """The stable revision before the last promotion, kept warm for a while."""

    until: datetime
    left_seconds: Seconds | None = None
    """How long it is still kept, counted; None where an older operator kept only `until`."""
    clock_at: datetime | None = None
    proven: bool = True
    """Whether the Service may move back to it in one pass.
    False for a version that was taken back.
    """
    shadow: ShadowStatus | None = None
    """How the version after it did beside it in the shadow: a part of that one's evidence,
    should the two be compared again.
    """

    @property
    def left(self) -> timedelta:
        """How long it is still kept."""
        return timedelta(seconds=self.left_seconds or 0.0)


class HistoryEntry(Model):
    """One thing that was decided."""

    revision: str
    version: str
    outcome: ReasonOrNewer
    message: str
    at: datetime


class RegistryFate(StrEnum):
    """What became of a version of a registered model."""

    PROMOTED = "Promoted"
    ROLLED_BACK = "RolledBack"


class RegistryOutcome(Model):
    """Something that the registry is still to be told of a version."""

    registered: Registered
    fate: RegistryFate
    reason: ReasonOrNewer
    message: str
    at: datetime
    moves_champion: bool = False
    champion_before: str | None = None
    """The version that served before: `champion` is moved from there, and from nowhere else."""

    @property
    def key(self) -> str:
        """What tells this outcome from every other of its release."""
        return f"{self.registered} {self.fate} {self.at.isoformat()}"


class Condition(Model):
    """A condition as the Kubernetes API conventions and kstatus read it."""

    type: str
    status: str
    reason: str
    message: str
    observed_generation: int
    last_transition_time: datetime


class StableStatus(Target):
    """The revision that serves."""

    since: datetime


def is_unseen(raw: dict[str, Any] | None) -> bool:
    """Return whether a stored status is nobody's: absent, or only what the schema fills in."""
    return not raw or (raw.get("observedGeneration") or 0) < 0


class Status(Model):
    """All that is known of a release."""

    uid: str | None = None
    """The object that this is about: a namesake's status says nothing of it."""
    observed_generation: int = 0
    replicas: int | None = None
    """Pods of every revision: what an autoscaler counts."""
    selector: str | None = None
    """Finds them, as text: an autoscaler asks for their load by it."""
    phase: Phase = Phase.PENDING
    message: str = ""
    verdict: Verdict | None = None
    weight: int = 0
    """Requested weight, percent; 0 when there is no canary."""
    resolved: Resolved | None = None
    stable: StableStatus | None = None
    canary: CanaryStatus | None = None
    previous: Previous | None = None
    rejected: Rejected | None = None
    """Why what the spec asks for is not tried again."""
    rejections: tuple[Rejected, ...] = ()
    """The last revisions that were rejected, the newest first."""
    crashes: Crashes = Crashes()
    commands: tuple[CommandSeen, ...] | None = None
    """The last command of each kind; None where no operator has looked at commands yet."""
    judged_by: dict[str, Any] | None = None
    """The parts of the last good spec that judge, kept while there is something to judge."""
    gates: tuple[GateStatus, ...] = ()
    samples: Samples | None = None
    """What the newest look at a canary saw."""
    evidence: Evidence = Evidence()
    drift: DriftStatus | None = None
    retrain: RetrainStatus | None = None
    route: ExistingRoute | None = None
    """The route of others whose weights are the release's, until they are given back."""
    outcomes: tuple[RegistryOutcome, ...] = ()
    """What the registry has not been told yet."""
    history: tuple[HistoryEntry, ...] = ()
    conditions: tuple[Condition, ...] = ()

    @classmethod
    def parse(cls, raw: dict[str, Any] | None) -> Self:
        """Read a stored status; an absent one is that of a new release.

        A server-side apply that empties a mapping leaves null behind, which means absent here.
        Raises Invalid when somebody else wrote what no operator would.
        """
        check_depth(raw, "status", MOST_LEVELS)
        try:
            return cls.model_validate(_without_nulls(raw or {}))
        except ValidationError as problem:
            first = problem.errors(include_url=False)[0]
            where = ".".join(("status", *(str(part) for part in first["loc"])))
            msg = (
                f"{where} cannot be read ({first['msg']}): what a newer version wrote is for that "
                "one to read; where somebody else did, remove the status to start over"
            )
            raise Invalid(msg) from problem

    def to_dict(self) -> dict[str, Any]:
        """Return the status as the API server stores it."""
        return self.model_dump(mode="json", by_alias=True, exclude_none=True)

    def rejection_of(self, revision: str) -> Rejected | None:
        """Return why a revision was rejected, if it was."""
        known = (self.rejected, *self.rejections) if self.rejected else self.rejections
        return next((rejection for rejection in known if rejection.revision == revision), None)

    def condition(self, kind: str) -> Condition | None:
        """Return the condition of a type, or None where there is none."""
        return next((each for each in self.conditions if each.type == kind), None)

    def with_rejection(self, rejected: Rejected) -> Self:
        """Remember a rejection, dropping the oldest beyond the limit."""
        others = [
            rejection for rejection in self.rejections if rejection.revision != rejected.revision
        ]
        kept = (rejected, *others)[:REJECTIONS_LIMIT]
        return self.but(rejected=rejected, rejections=kept)

    def without_rejection(self, revision: str) -> Self:
        """Forget a rejection."""
        kept = tuple(rejection for rejection in self.rejections if rejection.revision != revision)
        return self.but(rejected=None, rejections=kept)

    def with_history(self, entry: HistoryEntry) -> Self:
        """Add what was decided, dropping the oldest beyond the limit."""
        return self.but(history=(entry, *self.history)[:HISTORY_LIMIT])


def _without_nulls(value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    return {
        key: _without_nulls(item) if isinstance(item, dict) else item
        for key, item in value.items()
        if item is not None
    }
