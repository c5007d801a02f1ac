"""The spec of a ModelRelease, mirroring `crds/modelreleases.yaml`; a test keeps the two alike.

The API server checks first, with the schema and its CEL rules. These models check again because
manifests also reach us through the command line, and because code wants types.
"""

from collections.abc import Mapping
from datetime import timedelta
from enum import StrEnum
from functools import cache, cached_property
from itertools import pairwise
from typing import Annotated, Any, Self, get_args

from pydantic import (
    Field,
    StringConstraints,
    ValidationError,
    field_validator,
    model_validator,
)
from typing_extensions import override

from modelrelease_contract import schemes
from modelrelease_operator.api.autoscaling import Autoscaling
from modelrelease_operator.api.disruption import DisruptionBudget
from modelrelease_operator.api.drift import Drift
from modelrelease_operator.api.durations import (
    Duration,
    DurationText,
    PositiveDuration,
    format_duration,
)
from modelrelease_operator.api.gate_settings import GateSettings
from modelrelease_operator.api.model import Model
from modelrelease_operator.api.nesting import check_depth
from modelrelease_operator.api.pods import Env, ObjectName, PodFields, PodTemplate, Resources
from modelrelease_operator.api.probe import Probe
from modelrelease_operator.api.prometheus import Prometheus, SecretKey, SecretName, Source
from modelrelease_operator.api.queries import CountQuery, ThresholdGate
from modelrelease_operator.api.retrain import Retrain
from modelrelease_operator.api.routing import CountingGateway, Routing
from modelrelease_operator.api.serving_runtime import Runtime
from modelrelease_operator.api.shadow import Shadow
from modelrelease_operator.api.strictness import STRICT
from modelrelease_operator.errors import Invalid

VERSION_PATTERN = r"^[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?$"
"""A version is a label of pods."""

IMAGE_PATH = r"^[A-Za-z0-9_][-A-Za-z0-9_.]*(/[A-Za-z0-9_][-A-Za-z0-9_.]*)*$"
"""A folder inside of an image: no part of it leads out."""


class StoreSecret(Model):
    """A Secret in the release's namespace with the key `token`,
    or with `username` and `password`.
    """

    name: SecretName


class ClaimedVolume(Model):
    """A PersistentVolumeClaim in the release's namespace, as pods name one."""

    claim_name: ObjectName


class ArtifactVolume(Model):
    """Where pods keep the artifacts that they fetched, for their next start."""

    persistent_volume_claim: ClaimedVolume


class SigningKey(Model):
    """Where the public key is that an artifact must be signed with, in the release's namespace."""

    config_map_key_ref: SecretKey | None = None
    secret_key_ref: SecretKey | None = None

    @model_validator(mode="after")
    def _is_in_one_place(self) -> Self:
        if (self.config_map_key_ref is None) == (self.secret_key_ref is None):
            msg = "set either configMapKeyRef or secretKeyRef of signature.key"
            raise ValueError(msg)
        return self

    def to_ref(self) -> dict[str, dict[str, str]]:
        """Return the one reference that there is, as a variable of a container has it."""
        return self.model_dump(mode="json", by_alias=True, exclude_none=True)


class ModelSignature(Model):
    """How the artifact must be signed."""

    key: SigningKey


class ImageVolume(Model):
    """That the node mounts the model, which is an image, instead of a pod fetching it."""

    path: Annotated[str, StringConstraints(pattern=IMAGE_PATH, max_length=255)] | None = None
    """The folder of the image that holds the model; None: its top."""


class ModelSource(Model):
    """Where the model artifact is."""

    uri: Annotated[str, StringConstraints(max_length=2048)]
    version: Annotated[str, StringConstraints(pattern=VERSION_PATTERN, max_length=63)] | None = None
    sha256: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")] | None = None
    credentials_secret_ref: StoreSecret | None = None
    """What an http(s) store or an OCI registry is shown, by the operator and by the pods that
    fetch the artifact.
    """
    cache: ArtifactVolume | None = None
    """A volume that keeps artifacts by digest: a pod starts again while the store is away."""
    signature: ModelSignature | None = None
    """Checked in each pod before the server starts, where given."""
    image_volume: ImageVolume | None = None
    """Has the kubelet pull and mount the artifact, by the digest that it was resolved to."""

    @property
    def pinned(self) -> bool:
        """Return whether a person said which version and digest it is:
        then nothing is looked up.
        """
        return bool(self.sha256 and self.version)

    @field_validator("uri")
    @classmethod
    def _known_scheme(cls, uri: str) -> str:
        if not schemes.matches(uri):
            forms = schemes.uri_forms()
            msg = f"must be {forms}, with no space, ? or #, and no user name, got {uri!r}"
            raise ValueError(msg)
        return uri

    @model_validator(mode="after")
    def _mounts_what_nodes_can_pull(self) -> Self:
        if self.image_volume is None:
            return self
        scheme = schemes.scheme_of(self.uri)
        if scheme is None or scheme.fetched_by != schemes.OCI:
            msg = (
                "imageVolume needs a uri of a registry, such as oci://registry/repository:tag: "
                f"nodes mount images alone, got {self.uri!r}"
            )
            raise ValueError(msg)
        if self.cache:
            msg = "set either imageVolume or cache, not both: a node keeps the images it mounted"
            raise ValueError(msg)
        return self


MOST_REPLICAS = 1000


class Serving(PodFields):
    """How the model is served."""

    image: Annotated[str, StringConstraints(min_length=1)] | None = None
    replicas: int = Field(default=3, ge=1, le=MOST_REPLICAS)
    resources: Resources = Resources()
    env: Env = ()
    pod_template: PodTemplate = Field(default_factory=dict)
    disruption_budget: DisruptionBudget = DisruptionBudget()
    runtime: Runtime | None = None
    """The model server that the image is; None: our predictor."""
    autoscaling: Autoscaling | None = None

    @property
    def bounded_replicas(self) -> int:
        """The replicas as an autoscaler leaves them, which keeps to its bounds whatever the load.

        Only for what is not on a cluster: there it writes them into the spec.
        """
        if self.autoscaling is None:
            return self.replicas
        least, most = self.autoscaling.min_replicas, self.autoscaling.max_replicas
        return min(max(self.replicas, least), most)


ALL = 100
"""The weight of a canary that gets every request at once."""


class Step(Model):
    """A weight, and the time that it lasts at least."""

    weight: int = Field(ge=1, le=ALL)
    bake: DurationText = Duration("60s")


class Approval(StrEnum):
    """Who lets a canary that passed its gates become stable."""

    AUTOMATIC = "Automatic"
    MANUAL = "Manual"


DEFAULT_STEPS = (Step(weight=5), Step(weight=10), Step(weight=25), Step(weight=50))


class Canary(Model):
    """How a new version is tried."""

    weight: int | None = Field(default=None, ge=1, le=ALL)
    steps: tuple[Step, ...] = Field(default=(), min_length=1, max_length=20)
    start_deadline: PositiveDuration = Duration("10m")
    progress_deadline: PositiveDuration = Duration("6h")
    keep_previous: DurationText = Duration("5m")
    approval: Approval = Approval.AUTOMATIC
    routing: Routing = Routing()
    shadow: Shadow | None = None
    share_check: bool = True
    """Whether a share of the requests that is not the gateway's weight holds the release."""

    @model_validator(mode="after")
    def _one_plan_that_goes_up(self) -> Self:
        if self.weight is not None and self.steps:
            msg = "set either weight or steps, not both"
            raise ValueError(msg)
        baked = sum((step.bake.span for step in self.plan[:-1]), timedelta(0))
        if baked > self.progress_deadline.span:
            msg = (
                f"the steps before the last bake for {format_duration(baked)} together, which does "
                f"not fit into progressDeadline {self.progress_deadline}: raise it, or bake less"
            )
            raise ValueError(msg)
        weights = [step.weight for step in self.steps]
        if any(later <= earlier for earlier, later in pairwise(weights)):
            msg = f"steps must go up, got weights {weights}"
            raise ValueError(msg)
        if ALL in weights[1:]:
            msg = (
                f"a step of weight {ALL} must be the only one, got weights {weights}: leave it "
                "out, promotion follows the last step"
            )
            raise ValueError(msg)
        return self

    @property
    def switches(self) -> bool:
        """Whether every request moves to the canary at once: nobody meets it before."""
        return self.plan[0].weight == ALL

    @cached_property
    def plan(self) -> tuple[Step, ...]:
        """The steps that are taken: those given, the one weight, or the default."""
        if self.weight is not None:
            return (Step(weight=self.weight),)
        return self.steps or DEFAULT_STEPS

    @cached_property
    def weights(self) -> tuple[int, ...]:
        """The weight of each step."""
        return tuple(step.weight for step in self.plan)


class Line(Model):
    """A line `canary = ratio x stable + points`, points in percentage points."""

    ratio: float = Field(ge=1, le=1000)
    points: float = Field(ge=0, le=100)


class ShareGate(GateSettings):
    """A share of bad requests, compared with stable's or held against a limit.

    `tolerated` is what is never rolled back, `margin` is what is never promoted; between the two
    lies the room in which neither is proven.
    """

    compare_with_stable: bool = True
    tolerated: Line = Line(ratio=1.1, points=0.05)
    margin: Line = Line(ratio=1.25, points=0.25)
    max_percent: float | None = Field(default=None, gt=0, lt=100)

    @model_validator(mode="after")
    def _bounds_something(self) -> Self:
        if not self.compare_with_stable and self.max_percent is None:
            msg = f"{self.kind} bounds nothing: set maxPercent, or leave compareWithStable on"
            raise ValueError(msg)
        if self.margin.ratio < self.tolerated.ratio or self.margin.points < self.tolerated.points:
            msg = (
                "margin must not be stricter than tolerated: nothing would lie between rollback "
                "and promotion"
            )
            raise ValueError(msg)
        return self


class ErrorRateGate(ShareGate):
    """The share of prediction requests answered with 5xx."""

    kind = "errorRate"
    by_probes = True


class CountsGate(ShareGate):
    """A share that a person's own counters give:
    two queries that return raw counters, asked for each arm.
    """

    kind = "counts"
    bad: CountQuery
    total: CountQuery
    paired: bool = False
    """Whether one event counts in both arms, such as a verdict on two answers to one prompt."""


LONGEST_DELAY = timedelta(minutes=10)


def _at_most(longest: timedelta, text: Duration) -> Duration:
    """Return a duration; raises ValueError for a longer one."""
    if text.span > longest:
        msg = f"must be at most {format_duration(longest)}, got {text!r}"
        raise ValueError(msg)
    return text


class LossGate(ShareGate):
    """The share of requests that the gateway has answered itself, with 5xx, in an arm's place."""

    kind = "loss"
    gateway: CountingGateway | None = None
    """None: whichever has taken the route."""
    delay: PositiveDuration = Duration("60s")
    """How much older than the servers' counters the gateway's are read: at least the time between
    two scrapes of a server, so that no failure is in the gateway's count and not in theirs.
    """

    @field_validator("delay")
    @classmethod
    def _ten_minutes_at_most(cls, text: Duration) -> Duration:
        return _at_most(LONGEST_DELAY, text)


class Slowdown(Model):
    """By how much the canary may be slower:
    both the ratio and the milliseconds must be exceeded.
    """

    ratio: float = Field(default=1.2, ge=1, le=1000)
    milliseconds: float = Field(default=5, ge=0, le=3_600_000)


class LatencyMetric(StrEnum):
    """What servers of language models time beside the whole answer."""

    TIME_TO_FIRST_TOKEN = "timeToFirstToken"  # noqa: S105 - no password
    TIME_PER_OUTPUT_TOKEN = "timePerOutputToken"  # noqa: S105 - no password


WARM_UP = Duration("15s")
CACHE_WARM_UP = Duration("2m")
"""Of the time to the first token: a new pod has seen no prompt, so its prefix cache is empty."""


class LatencyGate(GateSettings):
    """The share of prediction requests slower than stable's own quantiles, or than a limit."""

    kind = "latency"
    by_probes = True
    metric: LatencyMetric | None = None
    """None: the time to answer."""
    compare_with_stable: bool = True
    tolerated: Slowdown = Slowdown()
    max_seconds: float | None = Field(default=None, gt=0)
    max_percent: float = Field(default=1.0, gt=0, lt=100)
    warm_up: DurationText | None = None
    """Time at each weight before latency counts:
    pods that just started are slower than they will be. None: `warms_for`.
    """

    @property
    @override
    def asks(self) -> str:
        return self.metric or self.kind

    @property
    def warms_for(self) -> timedelta:
        """The time at each weight before latency counts."""
        cached = self.metric is LatencyMetric.TIME_TO_FIRST_TOKEN
        return (self.warm_up or (CACHE_WARM_UP if cached else WARM_UP)).span

    @model_validator(mode="after")
    def _bounds_something(self) -> Self:
        if not self.compare_with_stable and self.max_seconds is None:
            msg = "latency bounds nothing: set maxSeconds, or leave compareWithStable on"
            raise ValueError(msg)
        return self


class PredictionsGate(GateSettings):
    """The share of predictions in each bin,
    which the canary may have more or less of than stable.
    """

    kind = "predictions"
    tolerated: Line = Line(ratio=1.25, points=5)
    margin: Line = Line(ratio=1.5, points=10)

    @model_validator(mode="after")
    def _leaves_room(self) -> Self:
        if self.margin.ratio < self.tolerated.ratio or self.margin.points < self.tolerated.points:
            msg = "predictions.margin must not be stricter than predictions.tolerated"
            raise ValueError(msg)
        return self


class FinishReasonsGate(ShareGate):
    """The share of answers that ended for one of these reasons, as the server counts them."""

    kind = "finishReasons"
    bad: Annotated[
        tuple[Annotated[str, StringConstraints(min_length=1, max_length=63)], ...],
        Field(min_length=1, max_length=20),
    ]  # fmt: skip


class Lengthening(Model):
    """By how much the canary's answers may be longer or shorter than stable's:
    both the ratio and the tokens must be exceeded.
    """

    ratio: float = Field(default=1.25, ge=1, le=1000)
    tokens: float = Field(default=5, ge=0, le=1_000_000)


class AnswerTokensGate(GateSettings):
    """The share of answers longer, and of those shorter, than stable's own quantiles."""

    kind = "answerTokens"
    tolerated: Lengthening = Lengthening()


class Gate(Model):
    """One question asked of the evidence, of the kind whose field is set."""

    name: Annotated[str, StringConstraints(pattern=r"^[a-z0-9]([-a-z0-9]{0,40}[a-z0-9])?$")]
    error_rate: ErrorRateGate | None = None
    latency: LatencyGate | None = None
    predictions: PredictionsGate | None = None
    counts: CountsGate | None = None
    loss: LossGate | None = None
    finish_reasons: FinishReasonsGate | None = None
    answer_tokens: AnswerTokensGate | None = None
    threshold: ThresholdGate | None = None
    dry_run: bool = False

    @model_validator(mode="after")
    def _asks_one_thing(self) -> Self:
        if len(self._given) != 1:
            kinds = ", ".join(settings.kind for settings in self.kinds().values())
            msg = f"gate {self.name!r} must have exactly one of {kinds}"
            raise ValueError(msg)
        return self

    @classmethod
    @cache
    def kinds(cls) -> Mapping[str, type[GateSettings]]:
        """Return the settings of every kind that there is, by the field that has them."""
        kinds: dict[str, type[GateSettings]] = {}
        for name, field in cls.model_fields.items():
            for option in get_args(field.annotation):
                if isinstance(option, type) and issubclass(option, GateSettings):
                    kinds[name] = option
        return kinds

    @property
    def _given(self) -> tuple[GateSettings, ...]:
        return tuple(value for name in self.kinds() if (value := getattr(self, name)) is not None)

    @cached_property
    def settings(self) -> GateSettings:
        """What it asks."""
        for name in self.kinds():
            settings: GateSettings | None = getattr(self, name)
            if settings is not None:
                return settings
        msg = f"gate {self.name!r} asks nothing"
        raise ValueError(msg)

    @cached_property
    def _hash(self) -> int:
        return hash((self.name, self.dry_run, self.settings))

    @override
    def __hash__(self) -> int:
        """Return the hash of what it asks: kept, because its tests are looked up at every look."""
        return self._hash


DEFAULT_GATES = (
    Gate(name="errors", error_rate=ErrorRateGate()),
    Gate(name="latency", latency=LatencyGate()),
)


class OnInsufficientEvidence(StrEnum):
    """What ends a release that has no verdict at its deadline."""

    PAUSE = "Pause"
    PROMOTE = "Promote"
    ROLL_BACK = "RollBack"


LONGEST_BLIND = timedelta(days=1)


class Analysis(Model):
    """How evidence is gathered and judged."""

    interval: PositiveDuration = Duration("10s")
    max_blind: PositiveDuration = Duration("5m")
    """Time without a usable look after which the canary leaves the Service until it can be seen
    again.
    """
    source: Source | None = None
    """None: Prometheus where one is named, here or to the operator; else the pods."""
    prometheus: Prometheus | None = None
    counted_by: Annotated[str, StringConstraints(min_length=1, max_length=63)] | None = None
    """The gateway that counts requests where the servers do not (`traffic.gateway_counters`); None:
    the servers.
    """
    false_rollback_probability: float = Field(default=0.01, gt=0, lt=0.5)
    false_promotion_probability: float = Field(default=0.05, gt=0, lt=0.5)
    min_requests: int = Field(default=100, ge=1, le=10**9)
    dispersion: float = Field(default=1, ge=1, le=1000)
    on_insufficient_evidence: OnInsufficientEvidence = OnInsufficientEvidence.PAUSE
    probe: Probe | None = None
    gates: tuple[Gate, ...] = Field(default=DEFAULT_GATES, min_length=1, max_length=10)

    @field_validator("max_blind")
    @classmethod
    def _a_day_at_most(cls, text: Duration) -> Duration:
        return _at_most(LONGEST_BLIND, text)

    @model_validator(mode="after")
    def _names_differ(self) -> Self:
        names = [gate.name for gate in self.gates]
        if len(set(names)) != len(names):
            msg = f"gate names must differ, got {names}"
            raise ValueError(msg)
        if all(gate.dry_run for gate in self.gates):
            msg = "at least one gate must decide: not every gate can be a dryRun"
            raise ValueError(msg)
        if self.probe and not any(gate.settings.by_probes for gate in self.gates):
            msg = "probe answers gates with errorRate or latency, and there is none"
            raise ValueError(msg)
        return self

    @model_validator(mode="after")
    def _asks_its_source_what_it_can(self) -> Self:
        if self.source is not Source.PODS:
            return self
        if self.prometheus:
            msg = "source Pods asks no Prometheus: set source Prometheus, or take prometheus out"
            raise ValueError(msg)
        if any(gate.counts or gate.threshold for gate in self.gates):
            msg = (
                "source Pods has no query language: gates with counts or threshold need source "
                "Prometheus"
            )
            raise ValueError(msg)
        return self

    @property
    def period(self) -> timedelta:
        """The time between two looks."""
        return self.interval.span


REQUESTS_OF_A_CLIENT = 10.0
"""Dispersion where clients keep to a version, and nobody has said how many requests each sends."""

JUDGING = {"canary", "analysis", "drift", "paused"}
SIZES = {"autoscaling", "disruption_budget"}
"""Of `serving`: what says how many pods there are, and how many may be missing."""


class ReleaseSpec(Model):
    """What a person asks for."""

    model: ModelSource
    serving: Serving = Serving()
    canary: Canary = Canary()
    analysis: Analysis = Analysis()
    drift: Drift = Drift()
    retrain: Retrain | None = None
    paused: bool = False

    @model_validator(mode="after")
    def _proves_itself_before_a_switch(self) -> Self:
        proof = self.canary.shadow or self.analysis.probe
        if self.canary.switches and not proof and self.canary.approval is not Approval.MANUAL:
            msg = (
                f"canary weight {ALL} gives the canary every request at once: set canary.shadow, "
                "analysis.probe or canary.approval Manual, by which it is tried before"
            )
            raise ValueError(msg)
        return self

    @model_validator(mode="after")
    def _loses_by_a_gateway(self) -> Self:
        losses = [gate.name for gate in self.analysis.gates if gate.loss]
        settings = self.canary.routing.gateway_api
        if losses and settings and settings.existing_route and settings.existing_route.pools:
            msg = (
                f"gate {losses[0]} with loss compares with what a gateway counts by Service, and "
                "existingRoute.pools leads to none: take the gate out"
            )
            raise ValueError(msg)
        if losses and settings is None:
            msg = (
                f"gate {losses[0]} with loss compares with what a gateway counts: set "
                "canary.routing.gatewayAPI, or take the gate out"
            )
            raise ValueError(msg)
        return self

    @classmethod
    def parse(cls, raw: dict[str, Any], *, strict: bool = False) -> Self:
        """Read a spec; raise Invalid with one sentence a problem, each naming its field.

        A field that is not known is one of a newer schema, whose defaults the API server fills in:
        it is ignored, and what an older schema let through is read, unless `strict`: a person's own
        words.
        """
        check_depth(raw, "spec")
        try:
            if strict:
                return cls.model_validate(raw, extra="forbid", context=STRICT)
            return cls.model_validate(raw)
        except ValidationError as problem:
            raise Invalid(_sentences(problem)) from problem

    @property
    def dispersion(self) -> float:
        """What evidence from users is divided by: the requests of one client fail together where
        a Gateway keeps it with one version.
        """
        settings, own = self.canary.routing.gateway_api, self.analysis.dispersion
        is_sticky = settings is not None and settings.session_persistence is not None
        return REQUESTS_OF_A_CLIENT if is_sticky and own == 1 else own

    @cached_property
    def judging(self) -> dict[str, Any]:
        """What a canary is judged by, as the API server stores it: worked out once for a spec."""
        parts = self.model_dump(
            mode="json", by_alias=True, exclude_none=True, exclude_unset=True, include=JUDGING
        )
        sizes = self.serving.model_dump(
            mode="json", by_alias=True, exclude_none=True, exclude_unset=True, include=SIZES
        )
        return {**parts, "serving": {**sizes, "replicas": self.serving.replicas}}


def problems_of(problem: ValidationError) -> list[tuple[tuple[str | int, ...], str]]:
    """Return each wrong field's path in the manifest, with a sentence that names it."""
    errors = problem.errors(include_url=False)
    paths = [error["loc"] for error in errors]
    found = []
    for error in errors:
        own = error["loc"]
        within = any(path[: len(own)] == own and path != own for path in paths)
        if error["type"] == "too_short" and within:
            # pydantic counts only the items that are right: the list is not too short.
            continue
        path = ("spec", *own)
        where = ".".join(map(str, path))
        found.append((path, f"{where}: {error['msg'].removeprefix('Value error, ')}"))
    return found


def _sentences(problem: ValidationError) -> str:
    return "; ".join(sentence for _, sentence in problems_of(problem))
