"""What a person should hear about a plan before it is shipped: each warning says what to change."""

import math
from collections.abc import Iterator

from modelrelease_operator.api.durations import format_duration
from modelrelease_operator.api.pods import requests_cpu
from modelrelease_operator.api.prometheus import Source
from modelrelease_operator.api.spec import OnInsufficientEvidence, ReleaseSpec
from modelrelease_operator.core.analysis.gates.registry import kind_of
from modelrelease_operator.core.sticky import clients_words
from modelrelease_operator.core.whatif.end import End
from modelrelease_operator.core.whatif.planning import Conditions, Journey, Limiter, Plan
from modelrelease_operator.traffic.registry import provider_of, split_of

AT_DEADLINE = {
    OnInsufficientEvidence.PAUSE: "pause as inconclusive",
    OnInsufficientEvidence.PROMOTE: "be promoted without a verdict",
    OnInsufficientEvidence.ROLL_BACK: "be rolled back without a verdict",
}
"""What a release does that has no verdict when its time is over."""
NOTABLE = 2.0
"""The regression that every release should catch."""


def warnings_of(spec: ReleaseSpec, conditions: Conditions, plan: Plan) -> tuple[str, ...]:
    """Return a sentence for everything that is likely to disappoint."""
    return (
        *_about_settings(spec, plan),
        *about_source(spec),
        *about_pulls(spec),
        *about_autoscaling(spec),
        *_about_probes(spec, conditions),
        *_about_weights(spec),
        *_about_cohort(spec),
        *_about_clients(spec),
        *_about_time(spec, conditions, plan),
        *_about_regressions(spec, conditions, plan),
    )


def about_trust(spec: ReleaseSpec) -> Iterator[str]:
    """Say whom a release trusts without saying so."""
    uri, sha256 = spec.model.uri, spec.model.sha256
    is_tag = uri.startswith("oci") and "@sha256:" not in uri
    if is_tag and spec.model.pinned and not spec.model.image_volume:
        yield (
            f"spec.model.uri is {uri}, a tag, and with version and sha256 nobody resolves it: pods "
            "that start after it was moved refuse what they find; name the digest instead "
            "(repository@sha256:...), or leave one of the two out"
        )
    if uri.startswith("oci+http://") and "@sha256:" not in uri and not sha256:
        yield (
            "spec.model.uri is a tag, by oci+http://, and spec.model.sha256 is not set: whoever "
            "can change the first answer chooses the model, and a joblib pickle runs code; name "
            "the digest (repository@sha256:...), or use oci://"
        )
    if uri.startswith("http://") and not sha256:
        yield (
            "spec.model.uri is http:// and spec.model.sha256 is not set: whoever can change the "
            "first answer chooses the model, and a joblib pickle runs code; set sha256, or use "
            "https://"
        )


def about_pulls(spec: ReleaseSpec) -> Iterator[str]:
    """Say with what nodes prove themselves where they pull the model."""
    model, serving = spec.model, spec.serving
    is_proven = serving.image_pull_secrets or serving.service_account_name
    if model.image_volume and model.credentials_secret_ref and not is_proven:
        yield (
            "spec.model.credentialsSecretRef is what the operator shows the registry, and nodes, "
            "which pull the image of spec.model.imageVolume, are not given it: set "
            "spec.serving.imagePullSecrets, unless nodes or the namespace's account have a login"
        )


def about_autoscaling(spec: ReleaseSpec) -> Iterator[str]:
    """Say what an autoscaler compares load with, where a release does not say it."""
    serving = spec.serving
    if serving.autoscaling and not requests_cpu(serving.resources, serving.pod_template):
        yield (
            "spec.serving.autoscaling compares the CPU that is used with what is requested, and "
            "the release requests none: set spec.serving.resources.requests.cpu, unless a "
            "LimitRange of the namespace does"
        )


def about_source(spec: ReleaseSpec) -> Iterator[str]:
    """Say what needs a Prometheus that the release does not name."""
    analysis = spec.analysis
    if analysis.source is Source.PROMETHEUS and analysis.prometheus is None:
        yield (
            "spec.analysis.source is Prometheus, and the release names none: metrics are "
            "Unavailable, and nothing moves, unless the operator has one (chart value "
            "prometheus.url); set spec.analysis.prometheus.url, or leave source out"
        )
    names = ", ".join(gate.name for gate in analysis.gates if kind_of(gate).own_queries)
    if names and analysis.source is Source.PODS:
        yield (
            f"gates {names} have queries of their own, which only Prometheus answers, and "
            "spec.analysis.source is Pods: they are Unavailable, and nothing moves; set source "
            "Prometheus, or take them out"
        )
    needs = [f"gates {names} have queries of their own"] if names else []
    if analysis.counted_by:
        needs += [f"spec.analysis.countedBy {analysis.counted_by} is asked by queries"]
    if needs and analysis.source is None and analysis.prometheus is None:
        yield (
            f"{' and '.join(needs)}, which only Prometheus answers, and the release names none: "
            "they are Unavailable, and nothing moves, where the operator has none either (chart "
            "value prometheus.url)"
        )


def _about_settings(spec: ReleaseSpec, plan: Plan) -> Iterator[str]:
    if spec.paused:
        yield "spec.paused is true: nothing goes on until it is taken out"
    if plan.blind:
        yield (
            "no gate looks at errors: a canary that fails is not noticed; add a gate with errorRate"
        )


def _about_probes(spec: ReleaseSpec, conditions: Conditions) -> Iterator[str]:
    if probe := spec.analysis.probe:
        yield (
            f"probes add {probe.rate:g} requests a second to the {conditions.rps:g} of users, half "
            "to each revision at every weight. The times above are of users alone: a step in which "
            f"they send the canary fewer than {spec.analysis.min_requests} requests passes on "
            "probes, and `simulate` shows when. Probes know the example rows and no others"
        )


def _about_weights(spec: ReleaseSpec) -> Iterator[str]:
    """Group the steps that are rounded much: they often share one remedy."""
    if spec.canary.switches:
        return
    replicas = spec.serving.replicas
    asked_for = [(step.weight, split_of(spec, step.weight).weight) for step in spec.canary.plan]
    rounded = [
        (wanted, got)
        for wanted, got in asked_for
        if abs(got - wanted) >= min(5.0, max(1.0, wanted / 2))
    ]
    if not rounded:
        return
    what = ", ".join(f"{wanted} % becomes {got:.0f} %" for wanted, got in rounded)
    text = f"weights are shares of pods, and serving.replicas is {replicas}: {what}"
    small = [wanted for wanted, got in rounded if wanted < got]
    if small:
        text += f"; {math.ceil(100 / min(small)) - 1} replicas would allow {min(small)} %"
    if any(wanted > 50 for wanted, _ in rounded):
        text += "; stable keeps all its pods while a canary is tested, so 50 % is the most"
    if len({got for _, got in asked_for}) < len(asked_for):
        text += "; steps with the same pods are one step, the last of them"
    yield text


def _about_clients(spec: ReleaseSpec) -> Iterator[str]:
    if words := clients_words(spec):
        yield f"{words}. A weight that changes moves new clients only"


def _about_cohort(spec: ReleaseSpec) -> Iterator[str]:
    if caveat := provider_of(spec).caveat(spec.canary):
        yield f"{caveat}. Its requests come on top of the weights that are planned with here"


def _about_time(spec: ReleaseSpec, conditions: Conditions, plan: Plan) -> Iterator[str]:
    deadline = spec.canary.progress_deadline.span
    end = AT_DEADLINE[spec.analysis.on_insufficient_evidence]
    stuck = next((step.index for step in plan.steps if step.limiter is Limiter.NEVER), None)
    if stuck is not None:
        yield (
            f"step {stuck + 1} never passes at a stable error rate of "
            f"{100 * conditions.stable_errors:g} %, "
            "however good the canary: a limit (maxPercent) is too close to it, or below it"
        )
        return
    total = plan.steps[-1].so_far
    if total is None or total > deadline:
        needs = "has no end" if total is None else f"takes about {format_duration(total)}"
        yield (
            f"progressDeadline ({spec.canary.progress_deadline}) is too short for this traffic: a "
            f"healthy release {needs} and would {end}; raise it, widen the margins, or take "
            "fewer steps"
        )
    elif total > 0.6 * deadline:
        yield (
            f"a healthy release takes about {format_duration(total)} of the "
            f"{spec.canary.progress_deadline} that progressDeadline allows: an unlucky one would "
            f"{end}"
        )


def _about_regressions(spec: ReleaseSpec, conditions: Conditions, plan: Plan) -> Iterator[str]:
    if plan.blind:
        return
    journey = next(journey for journey in plan.journeys if journey.ratio == NOTABLE)
    rate = f"{100 * min(1.0, NOTABLE * conditions.stable_errors):.3g} %"
    if journey.end is End.PROMOTED and spec.canary.switches:
        yield (
            f"a version that fails twice as often ({rate}) is not taken back after the switch: "
            "beside the past only more than twice as often and a point more is suspicious; "
            "canary.shadow finds it before any user does"
        )
    elif journey.end is End.PROMOTED:
        yield (
            f"a canary that fails twice as often ({rate}) is promoted, not caught: a gate that "
            "shall find it needs smaller tolerated and margin points, and more requests"
        )
    elif journey.end is End.INCONCLUSIVE:
        yield (
            f"a canary that fails twice as often ({rate}) is not caught within progressDeadline: "
            f"it would {AT_DEADLINE[spec.analysis.on_insufficient_evidence]}, in step "
            f"{journey.step + 1} after {_requests(journey)} canary requests"
        )


def _requests(journey: Journey) -> str:
    return f"{round(journey.requests):,}"
