"""Which model server a release's image is: one that is known by name, or one's own in words."""

import json
from enum import StrEnum
from typing import Annotated, Any, Self

from pydantic import Field, StringConstraints, model_validator

from modelrelease_contract.shadow import COLUMNS, ROW, RequestForm
from modelrelease_operator.api.model import Model

METRIC_PATTERN = r"^[a-zA-Z_:][a-zA-Z0-9_:]*$"
LABEL_PATTERN = r"^[a-zA-Z_][a-zA-Z0-9_]*$"
PATH_PATTERN = r"^/[^\s?#]*$"
PROFILE_PATTERN = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"

MetricName = Annotated[str, StringConstraints(pattern=METRIC_PATTERN, max_length=200)]
LabelName = Annotated[str, StringConstraints(pattern=LABEL_PATTERN, max_length=200)]
HttpPath = Annotated[str, StringConstraints(pattern=PATH_PATTERN, max_length=1024)]
Port = Annotated[int, Field(ge=1, le=65535)]
Words = Annotated[tuple[Annotated[str, StringConstraints(max_length=4096)], ...],
    Field(max_length=100)]  # fmt: skip
Where = Annotated[
    dict[str, Annotated[str, StringConstraints(max_length=253)]], Field(max_length=10)
]
"""By label: what its value must be; `*` stands for anything, `|` separates several, and `!` before
them means none of them."""


class Unit(StrEnum):
    """In which a server measures durations."""

    SECONDS = "s"
    MILLISECONDS = "ms"
    MICROSECONDS = "us"


PER_SECOND = {Unit.SECONDS: 1, Unit.MILLISECONDS: 1000, Unit.MICROSECONDS: 1_000_000}


class RequestsMetric(Model):
    """A counter of answered requests: by a label with the outcome, or all of one outcome."""

    name: MetricName
    code: Annotated[str, StringConstraints(pattern=r"^[1-5][0-9][0-9]$")] | None = None
    code_label: LabelName | None = None
    codes: Annotated[dict[str, Annotated[str, StringConstraints(pattern=r"^[1-5][0-9][0-9]$")]],
        Field(max_length=50)] = Field(default_factory=dict)  # fmt: skip
    """The status code that each of the label's values means. A value that is left out is the
    code itself, or 500 where any is named."""
    where: Where = Field(default_factory=dict)

    @model_validator(mode="after")
    def _tells_the_outcome_once(self) -> Self:
        if (self.code is None) == (self.code_label is None):
            msg = f"{self.name} must have exactly one of code and codeLabel"
            raise ValueError(msg)
        return self


class DurationMetric(Model):
    """A histogram of the time to answer."""

    name: MetricName
    """Without the `_bucket` that its series end in."""
    unit: Unit | None = None
    """None: seconds."""
    where: Where = Field(default_factory=dict)


class TokensMetric(Model):
    """A histogram of the tokens of an answer."""

    name: MetricName
    """Without the `_bucket` that its series end in."""
    where: Where = Field(default_factory=dict)


class FinishReasonsMetric(Model):
    """A counter of answers by the reason for which they ended."""

    name: MetricName
    label: LabelName
    """Its label with the reason."""
    where: Where = Field(default_factory=dict)


class RuntimeMetrics(Model):
    """Where a server shows what it counts, and under which names."""

    path: HttpPath | None = None
    port: Port | None = None
    requests: Annotated[tuple[RequestsMetric, ...], Field(max_length=20)] | None = None
    duration: DurationMetric | None = None
    time_to_first_token: DurationMetric | None = None
    time_per_output_token: DurationMetric | None = None
    """One observation an answer: those of single tokens of one answer are slow together."""
    answer_tokens: TokensMetric | None = None
    finish_reasons: FinishReasonsMetric | None = None


class RuntimeDrain(Model):
    """How a server leaves without cutting a request."""

    grace_seconds: Annotated[int, Field(ge=1, le=3600)] | None = None
    """From the signal to the kill."""
    pre_stop_seconds: Annotated[int, Field(ge=0, le=3600)] | None = None
    """That the kubelet waits before the signal, for servers that close their port at once."""
    pre_stop_command: Words | None = None
    """That it runs instead."""

    @model_validator(mode="after")
    def _leaves_by_one_way(self) -> Self:
        if self.pre_stop_seconds and self.pre_stop_command:
            msg = "set either preStopSeconds or preStopCommand, not both"
            raise ValueError(msg)
        return self


class ExampleRequests(Model):
    """How the artifact's example rows are asked of a server, for a comparison in the shadow."""

    path: HttpPath | None = None
    body: Annotated[str, StringConstraints(max_length=10_000)] | None = None
    """JSON in which `$(ROW)`, `$(COLUMNS)` and `$(COUNT)` stand for a row."""
    answer: Annotated[
        tuple[Annotated[str, StringConstraints(min_length=1, max_length=253)], ...],
        Field(max_length=20),
    ] = ()  # fmt: skip
    """Members of the answer that are compared; none: all of it."""

    @model_validator(mode="after")
    def _asks_a_row_in_json(self) -> Self:
        if self.body is None:
            return self
        if ROW not in self.body and COLUMNS not in self.body:
            msg = f"body must have {ROW} or {COLUMNS} where the example row goes"
            raise ValueError(msg)
        try:
            json.loads(RequestForm(path="/", body=self.body).body_for({"feature": 1.0}))
        except ValueError as problem:
            msg = f"body must be JSON once the example row is in it: {problem}"
            raise ValueError(msg) from problem
        return self


class Runtime(Model):
    """A model server: a profile, and what is otherwise; without a profile all of it."""

    profile: Annotated[str, StringConstraints(pattern=PROFILE_PATTERN, max_length=63)] | None = None
    command: Words | None = None
    args: Words | None = None
    port: Port | None = None
    """Predictions and probes, over HTTP."""
    readiness_path: HttpPath | None = None
    """Answers 200 to 399 once the model is loaded."""
    liveness_path: HttpPath | None = None
    startup_seconds: Annotated[int, Field(ge=1, le=86_400)] | None = None
    """Within which it must be ready for the first time."""
    fetch: bool | None = None
    """Whether the artifact is fetched into `model_directory` before the server starts."""
    model_directory: HttpPath | None = None
    metrics: RuntimeMetrics = RuntimeMetrics()
    drain: RuntimeDrain = RuntimeDrain()
    example_requests: ExampleRequests = ExampleRequests()

    def to_dict(self) -> dict[str, Any]:
        """Return what was given, as it was given."""
        return self.model_dump(mode="json", by_alias=True, exclude_unset=True)

    def over(self, profile: "Runtime") -> "Runtime":
        """Return a profile with what is given here instead; of metrics, drain and
        example_requests field by field.
        """
        given = self.model_dump(exclude_unset=True)
        known = profile.model_dump(exclude_unset=True)
        for part in ("metrics", "drain", "example_requests"):
            if part in given:
                given[part] = {**known.get(part, {}), **given[part]}
        return Runtime.model_validate({**known, **given})
