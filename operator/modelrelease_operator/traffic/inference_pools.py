"""InferencePools of others behind a rule: one label of each selector is the release's.

A pool names the endpoint picker that chooses one of its pods for each request, and a picker serves
one pool. Both are their owner's. So that the arms can be told apart, each pool must select one
revision: the release keeps `modelrelease.dev/revision` in its selector, as it keeps the weights of
the route, and nothing else of it. Which pods a pool selects beside that is its owner's to say, but
for one thing: only this release's.
https://gateway-api-inference-extension.sigs.k8s.io/api-types/inferencepool/
"""

from collections.abc import Mapping
from typing import Any

from modelrelease_operator.api import names
from modelrelease_operator.api.routing import ExistingRoute, InferencePools
from modelrelease_operator.traffic.provider import Edit, Object, ObjectKey

INFERENCE_POOL = "InferencePool"
GROUP = "inference.networking.k8s.io"
LABELS = "/spec/selector/matchLabels"
REVISION_PATH = f"{LABELS}/{names.LABEL_REVISION.replace('/', '~1')}"


def is_pool(backend: Object) -> bool:
    """Return whether a backend is an InferencePool."""
    return backend.get("kind") == INFERENCE_POOL and backend.get("group") == GROUP


def keys_of(pools: InferencePools | None) -> tuple[ObjectKey, ...]:
    """Return the objects that a release names."""
    if pools is None:
        return ()
    return (INFERENCE_POOL, pools.stable), (INFERENCE_POOL, pools.canary)


def selector_of(pool: Object) -> Mapping[str, str]:
    """Return the labels that a pool selects pods by."""
    labels: Mapping[str, str] = (pool["spec"].get("selector") or {}).get("matchLabels") or {}
    return labels


def kept_on(pool: Object, release: str, pools: InferencePools, arms: tuple[str, str]) -> list[Edit]:
    """Return what keeps a pool on its arm's revision; nothing where it is, or is not to be."""
    selector = selector_of(pool)
    wanted = dict(zip((pools.stable, pools.canary), arms, strict=True))[pool["metadata"]["name"]]
    if not _selects_only(selector, release) or selector.get(names.LABEL_REVISION) == wanted:
        return []
    return [*_tests(pool, release), {"op": "add", "path": REVISION_PATH, "value": wanted}]


def let_go(pool: Object, release: str) -> list[Edit]:
    """Return what takes the revision out of a pool that the release has left: it would select
    nobody once that revision is gone.
    """
    selector = selector_of(pool)
    if not _selects_only(selector, release) or names.LABEL_REVISION not in selector:
        return []
    return [*_tests(pool, release), {"op": "remove", "path": REVISION_PATH}]


def trouble_of(
    namespace: str, release: str, settings: ExistingRoute, objects: Mapping[ObjectKey, Object]
) -> str | None:
    """Say why the pools that a release names are no arms of it, and what to do, or return None."""
    for kind, name in keys_of(settings.pools):
        pool = objects.get((kind, name))
        where = f"{kind} {namespace}/{name}"
        if pool is None:
            return (
                f"{where}, which spec.canary.routing.gatewayAPI.existingRoute.pools names, does "
                "not exist"
            )
        if not _selects_only(selector_of(pool), release):
            return (
                f"{where} may select pods of others. Write into its spec.selector.matchLabels: "
                f"{names.LABEL_RELEASE}: {release}; the release adds {names.LABEL_REVISION}"
            )
    return None


def _selects_only(selector: Mapping[str, str], release: str) -> bool:
    return selector.get(names.LABEL_RELEASE) == release


def _tests(pool: Object, release: str) -> list[dict[str, Any]]:
    path = f"{LABELS}/{names.LABEL_RELEASE.replace('/', '~1')}"
    return [
        {"op": "test", "path": "/metadata/uid", "value": pool["metadata"]["uid"]},
        {"op": "test", "path": path, "value": release},
    ]
