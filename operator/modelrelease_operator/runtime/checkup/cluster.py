"""Reading what the checks of the cluster itself need."""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime

from modelrelease_operator.api import names
from modelrelease_operator.core.checkup.cluster import (
    LeaseSeen,
    about_deployments,
    about_kind,
    about_lease,
    about_own_rights,
    about_policy,
    about_rights,
    about_schema,
    about_version,
    is_fresh,
)
from modelrelease_operator.core.checkup.finding import Finding, Object, Result, Unseen
from modelrelease_operator.runtime.checkup.reading import seen
from modelrelease_operator.runtime.kube import Kube
from modelrelease_operator.runtime.lease import RENEW_SECONDS
from modelrelease_operator.runtime.shard import shards_of

AGAIN_SECONDS = 2 * RENEW_SECONDS
"""Until a Lease that may be old is read again: an operator that acts has renewed it by then."""
OPERATORS = f"app.kubernetes.io/name={names.FIELD_MANAGER}"
VERBS = ("get", "list", "patch")


async def check_api_server(kube: Kube) -> Finding:
    """Say whether the API server answers; where it does not, nothing else can be looked at."""
    version = await seen(kube.document("/version", "the API server's version"))
    return about_version(version or {})


async def check_cluster(kube: Kube, namespace: str | None, lease_namespace: str) -> list[Finding]:
    """Check our kind, the operator and the person's rights (namespace None: in all of them)."""
    kind, schema, leases, deployments, policies, bindings = await asyncio.gather(
        seen(served(kube, names.API_VERSION)),
        seen(
            kube.document(f"/openapi/v3/apis/{names.API_VERSION}", f"schema of {names.API_VERSION}")
        ),
        _leases(kube, lease_namespace),
        seen(_listed(kube, "Deployment")),
        seen(_listed(kube, "ValidatingAdmissionPolicy")),
        seen(_listed(kube, "ValidatingAdmissionPolicyBinding")),
    )
    rights = await _rights(kube, namespace)
    found = about_kind(kind)
    where = f"namespace {namespace}" if namespace else "all namespaces"
    return [
        found,
        *(about_schema(schema) if found.result is Result.OK else ()),
        *map(about_lease, leases),
        *(finding for lease in leases for finding in about_own_rights(lease)),
        *about_deployments(deployments),
        about_policy(policies, bindings),
        *about_rights(rights, where),
    ]


async def served(kube: Kube, group_version: str) -> Object:
    """Return what the API server serves in a version of a group; raises Gone for nothing."""
    return await kube.document(f"/apis/{group_version}", f"API {group_version}")


async def _listed(kube: Kube, kind: str) -> Sequence[Object]:
    return (await kube.list_all(kind, None, OPERATORS))[0]


async def _leases(kube: Kube, namespace: str) -> list[LeaseSeen]:
    """Read the operator's Lease, or that of each where shards hold it together."""
    common = await _lease(kube, namespace, names.FIELD_MANAGER)
    shards = shards_of(common.holder)
    own = await asyncio.gather(*(_lease(kube, namespace, each.lease_name) for each in shards))
    return own or [common]


async def _lease(kube: Kube, namespace: str, name: str) -> LeaseSeen:
    """Read a Lease, and once more where this machine's clock calls it old."""
    first = await seen(kube.get("Lease", namespace, name))
    now = datetime.now(UTC)
    again: Object | Unseen | None = None
    if isinstance(first, dict) and not is_fresh(first, now):
        await asyncio.sleep(AGAIN_SECONDS)
        again = await seen(kube.get("Lease", namespace, name))
    return LeaseSeen(namespace=namespace, first=first, again=again, now=now, name=name)


async def _rights(kube: Kube, namespace: str | None) -> dict[str, bool | Unseen]:
    answers = await asyncio.gather(
        *(seen(kube.may(verb, names.PLURAL, namespace)) for verb in VERBS)
    )
    unknown = Unseen(why="the API server does not review one's own rights")
    return {
        verb: unknown if answer is None else answer
        for verb, answer in zip(VERBS, answers, strict=True)
    }
