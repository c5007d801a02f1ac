"""Reading what the checks of one release need."""

import asyncio
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

from modelrelease_operator.api import names
from modelrelease_operator.api.prometheus import Prometheus, Source
from modelrelease_operator.api.routing import GatewayAPI
from modelrelease_operator.api.spec import ReleaseSpec
from modelrelease_operator.api.status import Status, Target
from modelrelease_operator.core.checkup.finding import Finding, Object, Subject, Unseen
from modelrelease_operator.core.checkup.prometheus import about_scrapes
from modelrelease_operator.core.checkup.release import (
    METRICS,
    GatewayNeeds,
    about_autoscaling,
    about_operators_word,
    about_pods_own_pages,
    about_routing,
    about_spec,
    spec_of,
    status_of,
    told_by_status,
)
from modelrelease_operator.core.observed import MetricsUnavailable
from modelrelease_operator.runtime.checkup.cluster import served
from modelrelease_operator.runtime.checkup.prometheus import Server, scraped
from modelrelease_operator.runtime.checkup.reading import seen
from modelrelease_operator.runtime.credentials import Credentials
from modelrelease_operator.runtime.gateway_features import GatewayFeatures
from modelrelease_operator.runtime.kube import Kube
from modelrelease_operator.runtime.measure import revisions_of
from modelrelease_operator.runtime.neighbours import Neighbours
from modelrelease_operator.runtime.observe import workload_of
from modelrelease_operator.runtime.ownership import owner_of
from modelrelease_operator.runtime.web import Reach

FROM_HERE = (
    "forward its port (kubectl port-forward) and give --prometheus http://localhost:PORT, with "
    "--token-file where it wants a login"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Asking:
    """Who is asked about every release."""

    kube: Kube
    prometheus: str | None
    """The server that the person names, asked in place of a release's own."""
    credentials: Credentials
    """What that server is shown."""
    neighbours: Neighbours = field(default_factory=Neighbours)
    """Others' autoscalers, listed once for a namespace."""


async def check_release(asking: Asking, release: Object) -> list[Finding]:
    """Check one release as the API server gives it."""
    kube = asking.kube
    meta = release["metadata"]
    subject = Subject(f"{meta['namespace']}/{meta['name']}")
    found = [*about_spec(subject, release)]
    found += about_operators_word(subject, release, datetime.now(UTC))
    spec, status = spec_of(release), status_of(release)
    if spec is None or status is None:
        return found
    metrics, routing, autoscaling = await asyncio.gather(
        _metrics(asking, subject, release, spec, status),
        _routing(kube, subject, meta["namespace"], spec.canary.routing.gateway_api),
        _autoscaling(asking, subject, release, spec, status),
    )
    return [*found, *metrics, *routing, *autoscaling]


def _targets(status: Status) -> tuple[Target, ...]:
    """Return what runs, the canary before stable."""
    return tuple(arm.target for arm in (status.canary, status.stable) if arm)


async def _metrics(
    asking: Asking, subject: Subject, release: Object, spec: ReleaseSpec, status: Status
) -> list[Finding]:
    """Ask the release's Prometheus, or tell what the operator's status says of its source."""
    named = spec.analysis.prometheus
    url = asking.prometheus or (named.url if named else None)
    if spec.analysis.source is Source.PODS:
        return [about_pods_own_pages(subject, status)]
    if url is None:
        lead = "it names no Prometheus: the operator asks its own, or else the pods"
        return [told_by_status(subject, status, lead)]
    targets = _targets(status)
    if not targets:
        return [subject.unseen(METRICS, "nothing of it runs yet that Prometheus could show")]
    meta = release["metadata"]
    of = revisions_of(meta["namespace"], meta["name"], *targets)
    ready = await seen(_ready(asking.kube, meta["namespace"], meta["name"], of.metrics))
    pods = None if isinstance(ready, Unseen) else ready
    server = _server(url, named, asking)
    answer = await scraped(server, of, pods)
    if isinstance(answer, MetricsUnavailable):
        lead = f"from here: {answer.message}"
        return [subject.unseen(METRICS, lead, FROM_HERE), *_by_status(subject, status)]
    return [*about_scrapes(subject, spec, answer)]


def _server(url: str, named: Prometheus | None, asking: Asking) -> Server:
    """Return the server to ask. One that only a release names is asked as the operator asks it: at
    no address of this machine, and without a login.
    """
    by_person = asking.prometheus is not None
    login = asking.credentials if by_person else Credentials()
    shown = replace(
        login,
        tenant=login.tenant or (named.tenant if named else None),
        verify=by_person or not (named and named.insecure_skip_verify),
    )
    return Server(url=url, credentials=shown, reach=None if by_person else Reach())


def _by_status(subject: Subject, status: Status) -> list[Finding]:
    lead = "the operator asks Prometheus from inside the cluster"
    return [told_by_status(subject, status, lead)]


async def _ready(
    kube: Kube, namespace: str, release: str, revisions: Collection[str]
) -> Mapping[str, Collection[str]]:
    """Return the ready pods of each revision."""
    pods = await kube.list("Pod", namespace, {names.LABEL_RELEASE: release})
    by_revision: dict[str, list[Object]] = {revision: [] for revision in revisions}
    for pod in pods:
        meta = pod["metadata"]
        revision = (meta.get("labels") or {}).get(names.LABEL_REVISION)
        if revision in by_revision and "deletionTimestamp" not in meta:
            by_revision[revision].append(pod)
    return {
        revision: workload_of(revision, None, pods).ready_names
        for revision, pods in by_revision.items()
    }


async def _routing(
    kube: Kube, subject: Subject, namespace: str, settings: GatewayAPI | None
) -> list[Finding]:
    if settings is None:
        return []
    places = [(ref.namespace or namespace, ref.name) for ref in settings.parent_refs]
    existing = settings.existing_route
    routes, pools, *gateways = await asyncio.gather(
        seen(served(kube, "gateway.networking.k8s.io/v1")),
        seen(served(kube, "inference.networking.k8s.io/v1")),
        *(seen(kube.get("Gateway", *place)) for place in places),
    )
    route = await seen(kube.get("HTTPRoute", namespace, existing.name)) if existing else None
    needs = GatewayNeeds(
        namespace=namespace,
        routes=routes,
        pools=pools,
        gateways={"/".join(place): found for place, found in zip(places, gateways, strict=True)},
        route=route,
        missing=await GatewayFeatures().missing(kube, settings, namespace),
    )
    return [*about_routing(subject, settings, needs)]


async def _autoscaling(
    asking: Asking, subject: Subject, release: Object, spec: ReleaseSpec, status: Status
) -> list[Finding]:
    kube = asking.kube
    revisions = [target.revision for target in _targets(status)]
    others = await seen(asking.neighbours.autoscalers(kube, owner_of(release), revisions))
    wanted = spec.serving.autoscaling is not None
    metrics = await seen(served(kube, "metrics.k8s.io/v1beta1")) if wanted else None
    name = release["metadata"]["name"]
    return [*about_autoscaling(subject, name, spec, others or (), metrics)]
