"""What is concluded about one release: its spec, what the operator says, and what it needs."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from modelrelease_operator.api import names
from modelrelease_operator.api.prometheus import Source
from modelrelease_operator.api.routing import GatewayAPI
from modelrelease_operator.api.spec import ReleaseSpec
from modelrelease_operator.api.status import Reason, Status, Verdict
from modelrelease_operator.core.checkup.finding import Finding, Object, Subject, Unseen
from modelrelease_operator.core.explain import explain
from modelrelease_operator.core.observed import OtherAutoscaler
from modelrelease_operator.core.release.autoscaling import by_another
from modelrelease_operator.core.whatif.warnings import about_autoscaling as remarks_on_autoscaling
from modelrelease_operator.core.whatif.warnings import about_pulls, about_source, about_trust
from modelrelease_operator.errors import Invalid
from modelrelease_operator.policy import ANYTHING

METRICS: Final = "metrics"
ROUTES: Final = "httproutes"
POOLS: Final = "inferencepools"


def spec_of(release: Object) -> ReleaseSpec | None:
    """Return a release's spec as the operator reads it, or None where it is invalid."""
    try:
        return ReleaseSpec.parse(release.get("spec") or {})
    except Invalid:
        return None


def status_of(release: Object) -> Status | None:
    """Return a release's status, or None where no operator wrote it."""
    try:
        return Status.parse(release.get("status"))
    except Invalid:
        return None


def about_spec(subject: Subject, release: Object) -> Iterator[Finding]:
    """Say whether the spec is valid, and what is remarkable in it."""
    try:
        spec = ReleaseSpec.parse(release.get("spec") or {})
    except Invalid as problem:
        yield subject.wrong("spec", str(problem), "mend it: nothing moves until then")
        return
    if refusal := ANYTHING.refusal(spec):
        yield subject.wrong("spec", refusal, "mend it: nothing moves until then")
    abouts = (about_trust, about_pulls, remarks_on_autoscaling, about_source)
    remarks = [remark for about in abouts for remark in about(spec)]
    for remark in remarks:
        yield subject.warning("spec", remark)
    if not (refusal or remarks):
        yield subject.ok("spec", "it is valid")


def about_operators_word(subject: Subject, release: Object, now: datetime) -> Iterator[Finding]:
    """Say what the operator says of the release, or that it says nothing."""
    check = "operator's word"
    try:
        explanation = explain({**release, "kind": names.KIND}, now)
    except Invalid as problem:
        yield subject.wrong(check, str(problem))
        return
    why = f"modelrelease why {explanation.name} -n {explanation.namespace}"
    status = explanation.status
    stalled = status.condition("Stalled")
    if stalled and stalled.status == "True":
        # A version that was taken back is what releases are for, and no fault of what is checked.
        found = subject.warning if stalled.reason == Reason.REJECTED else subject.wrong
        yield found(check, f"{stalled.reason}: {stalled.message}", why)
        return
    for warning in explanation.warnings:
        yield subject.warning(check, warning, why)
    if not explanation.warnings:
        yield subject.ok(
            check, f"{status.phase}: {status.message}" if status.message else status.phase
        )


def about_pods_own_pages(subject: Subject, status: Status) -> Finding:
    """Say whether the operator reads the pods: from here nobody can, and its status may tell."""
    samples = status.samples
    if samples is None or samples.source is not Source.PODS:
        return subject.unseen(
            METRICS,
            "the operator reads the pods' own pages, which cannot be reached from here, and it "
            "has not judged any by its status",
        )
    return told_by_status(subject, status, "the operator reads the pods' own pages")


def told_by_status(subject: Subject, status: Status, lead: str) -> Finding:
    """Say what the operator's newest look had, where nobody else can be asked."""
    samples = status.samples
    if status.canary and status.verdict is Verdict.UNAVAILABLE:
        says = f"{lead}; its newest look could not: {status.message}"
        return subject.wrong(METRICS, says, "mend what it says; until then the canary waits")
    if samples is None:
        return subject.unseen(METRICS, f"{lead}; its status has no look at metrics")
    seen = f"{samples.canary_pods} pods of the canary and {samples.stable_pods} of stable"
    says = f"{lead}; by its status the newest look had samples of {seen}"
    if samples.newest:
        says = f"{says}, the newest of {samples.newest:%Y-%m-%d %H:%M:%S} UTC"
    if samples.left_out:
        left_out = ", ".join(samples.left_out)
        return subject.warning(METRICS, f"{says}, and none of {left_out}")
    return subject.ok(METRICS, says) if status.canary else subject.unseen(METRICS, says)


@dataclass(frozen=True, slots=True, kw_only=True)
class GatewayNeeds:
    """What was read of what a release routes by."""

    namespace: str
    routes: Object | Unseen | None
    """What the API server serves of the Gateway API."""
    pools: Object | Unseen | None
    """What it serves of the Inference Extension."""
    gateways: Mapping[str, Object | Unseen | None]
    """By `namespace/name`: those that the release names."""
    route: Object | Unseen | None
    """Somebody's route, where the release names one."""
    missing: str | None
    """What a Gateway's class says that it does not do, as a sentence."""


def about_routing(subject: Subject, settings: GatewayAPI, seen: GatewayNeeds) -> Iterator[Finding]:
    """Say whether the kinds and objects that a release routes by are there."""
    yield _about_kind(
        subject, ROUTES, seen.routes, "install the Gateway API: its standard channel has HTTPRoute"
    )
    existing = settings.existing_route
    if existing and existing.pools:
        yield _about_kind(subject, POOLS, seen.pools, "install the Gateway API Inference Extension")
    if existing:
        yield _about_object(subject, f"HTTPRoute {seen.namespace}/{existing.name}", seen.route)
    for place, gateway in seen.gateways.items():
        yield _about_object(subject, f"Gateway {place}", gateway)
    if seen.missing:
        yield subject.wrong("gateway", seen.missing)


def _about_kind(
    subject: Subject, plural: str, served: Object | Unseen | None, remedy: str
) -> Finding:
    if isinstance(served, Unseen):
        return subject.unseen("gateway", served.why)
    if plural not in [each.get("name") for each in (served or {}).get("resources", ())]:
        return subject.wrong(
            "gateway", f"the release routes by {plural}, which the cluster does not serve", remedy
        )
    return subject.ok("gateway", f"the cluster serves {plural}")


def _about_object(subject: Subject, words: str, seen: Object | Unseen | None) -> Finding:
    if isinstance(seen, Unseen):
        return subject.unseen("gateway", seen.why)
    if seen is None:
        return subject.wrong(
            "gateway", f"{words} does not exist", "make it, or name another in spec.canary.routing"
        )
    for condition in (seen.get("status") or {}).get("conditions") or ():
        if condition.get("type") in ("Accepted", "Programmed") and condition["status"] == "False":
            message = f"{condition['type']} is False ({condition.get('message')})"
            return subject.wrong("gateway", f"{words}: {message}")
    return subject.ok("gateway", f"{words} is there")


def about_autoscaling(
    subject: Subject,
    name: str,
    spec: ReleaseSpec,
    others: Sequence[OtherAutoscaler] | Unseen,
    resource_metrics: Object | Unseen | None,
) -> Iterator[Finding]:
    """Say who sets the number of pods, and whether the load that it looks at can be had."""
    check, settings = "autoscaling", spec.serving.autoscaling
    if isinstance(others, Unseen):
        yield subject.unseen(check, others.why)
    elif others:
        status, _, message = by_another(name, others, asked_for=settings is not None)
        found = subject.ok if status == "True" else subject.wrong
        yield found(check, message)
    elif settings is None:
        yield subject.ok(check, "no HorizontalPodAutoscaler aims at it, and it asks for none")
    if settings is not None:
        yield _about_metrics_api(subject, resource_metrics)


def _about_metrics_api(subject: Subject, served: Object | Unseen | None) -> Finding:
    """Say whether the CPU that an autoscaler looks at can be had."""
    check = "autoscaling"
    if isinstance(served, Unseen) and served.refused:
        return subject.unseen(check, served.why)
    if isinstance(served, Unseen):
        return subject.wrong(
            check,
            f"the metrics API does not answer: {served.why}",
            "kubectl describe apiservice v1beta1.metrics.k8s.io",
        )
    if served is None:
        return subject.wrong(
            check,
            "spec.serving.autoscaling looks at CPU by the metrics API (v1beta1.metrics.k8s.io), "
            "which the cluster does not have",
            "install metrics-server, or take spec.serving.autoscaling out",
        )
    return subject.ok(check, "the metrics API is served")


def none_there(where: str) -> Finding:
    """Say that there is no release to look at."""
    return Subject("releases").ok("releases", f"there is no {names.KIND} in {where}")
