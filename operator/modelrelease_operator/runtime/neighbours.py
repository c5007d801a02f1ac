"""Objects of other owners that stand beside a release's: its own must not work against them.

No watch tells of them, because watches follow the label that only a release's own objects carry. So
a namespace's are listed, and believed for a minute. Until they were listed once, nothing is known
of them, and nothing is made or removed that could meet them.
"""

import logging
import time
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from modelrelease_operator.api import names
from modelrelease_operator.core.observed import Autoscalers, OtherAutoscaler, Workload
from modelrelease_operator.errors import Gone, ReleaseError, Unavailable
from modelrelease_operator.manifests import Owner
from modelrelease_operator.manifests.autoscaler import HPA
from modelrelease_operator.manifests.disruption import PDB
from modelrelease_operator.runtime.kube import Kube, Object, Objects
from modelrelease_operator.runtime.observe import inactive
from modelrelease_operator.runtime.ownership import is_ours

log = logging.getLogger("modelrelease.operator")

BELIEVED_SECONDS = 60.0
TRY_AGAIN_SECONDS = 15.0
"""After a list that failed: an operator that may not list does not try it in each pass."""
READ_OF_METADATA = ("name", "namespace", "labels", "ownerReferences")
READ_OF_SPEC = ("scaleTargetRef", "selector")


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What aims at a release's pods or selects them."""

    budgets: frozenset[str] | None
    """Revisions whose pods a PodDisruptionBudget of others selects; None: not known."""
    autoscalers: Autoscalers
    unseen: Mapping[str, ReleaseError]
    """By kind: why others' objects of it could not be listed."""


@dataclass(slots=True)
class Listing:
    """What a list gave last."""

    until: float = float("-inf")
    """When to list again."""
    objects: Objects | None = None
    """None: it was never listed."""
    problem: ReleaseError | None = None
    """Why it could not be listed the last time."""


@dataclass(slots=True)
class Neighbours:
    """What others have in the namespaces of releases."""

    believed_seconds: float = BELIEVED_SECONDS
    _listed: dict[tuple[str, str], Listing] = field(default_factory=dict)
    """By kind and namespace."""

    async def around(
        self, kube: Kube, owner: Owner, workloads: Mapping[str, Workload], *, budgets: bool
    ) -> Surroundings:
        """Return what is beside a release; others' budgets only where it wants its own."""
        unseen: dict[str, ReleaseError] = {}
        selecting: frozenset[str] | None = frozenset()
        others: tuple[OtherAutoscaler, ...] | None = None
        if budgets:
            try:
                selecting = await self.budgets(kube, owner, workloads)
            except ReleaseError as problem:
                selecting, unseen[PDB] = None, problem
        try:
            others = await self.autoscalers(kube, owner, workloads)
        except ReleaseError as problem:
            unseen[HPA] = problem
        autoscalers = await _with_own(kube, owner, others)
        return Surroundings(budgets=selecting, autoscalers=autoscalers, unseen=unseen)

    async def budgets(
        self, kube: Kube, owner: Owner, workloads: Mapping[str, Workload]
    ) -> frozenset[str]:
        """Return the revisions whose pods a PodDisruptionBudget of others selects.

        Raises why they could not be listed, where they never were.
        """
        others = await self._of_others(kube, PDB, owner)
        selectors = [budget["spec"].get("selector") for budget in others]
        return frozenset(
            revision
            for revision, workload in workloads.items()
            if workload.live and _is_selected(_pod_labels(workload.live), selectors)
        )

    async def autoscalers(
        self, kube: Kube, owner: Owner, revisions: Collection[str]
    ) -> tuple[OtherAutoscaler, ...]:
        """Return others' autoscalers that aim at pods of the release, sorted by name.

        Raises why they could not be listed, where they never were.
        """
        aims = {(names.GROUP, names.KIND, owner.name)}
        aims |= {("apps", "Deployment", names.workload_name(owner.name, it)) for it in revisions}
        others = [
            _autoscaler_of(other)
            for other in await self._of_others(kube, HPA, owner)
            if _aim_of(other) in aims
        ]
        return tuple(sorted(others, key=lambda other: other.name))

    async def _of_others(self, kube: Kube, kind: str, owner: Owner) -> Objects:
        """Return a namespace's objects of a kind that are not the release's own."""
        return [
            obj for obj in await self._all(kube, kind, owner.namespace) if not is_ours(obj, owner)
        ]

    async def _all(self, kube: Kube, kind: str, namespace: str) -> Objects:
        listing = self._listed.setdefault((kind, namespace), Listing())
        if time.monotonic() >= listing.until:
            await self._list(kube, kind, namespace, listing)
        if listing.objects is not None:
            return listing.objects
        raise listing.problem or Unavailable(f"{kind} list in {namespace}: not listed yet")

    async def _list(self, kube: Kube, kind: str, namespace: str, listing: Listing) -> None:
        """List anew. What was seen before is taken to be as it was where that fails."""
        believed = self.believed_seconds
        try:
            listing.objects = [_slim(obj) for obj in await kube.list(kind, namespace, {})]
        except Gone:
            listing.objects = []  # Nobody has any of a kind that the cluster does not serve.
        except ReleaseError as problem:
            log.warning("others' objects cannot be listed: %s", problem)
            listing.problem, believed = problem, min(believed, TRY_AGAIN_SECONDS)
        listing.until = time.monotonic() + believed


async def _with_own(
    kube: Kube, owner: Owner, others: tuple[OtherAutoscaler, ...] | None
) -> Autoscalers:
    """Return the autoscalers that aim at a release, with its own."""
    try:
        own = await kube.known(HPA, owner.namespace, owner.name)
    except ReleaseError:
        return Autoscalers(own_name=owner.name, own_exists=None, others=others)
    exists = own is not None and is_ours(own, owner)
    return Autoscalers(
        own_name=owner.name,
        own_exists=exists,
        own_problem=inactive(own) if own and exists else None,
        others=others,
    )


def _slim(obj: Object) -> Object:
    """Return what is read of another owner's object: a cluster may have thousands."""
    meta, spec = obj["metadata"], obj.get("spec", {})
    return {
        "metadata": {key: meta[key] for key in READ_OF_METADATA if key in meta},
        "spec": {key: spec[key] for key in READ_OF_SPEC if key in spec},
    }


def _aim_of(autoscaler: Object) -> tuple[str, str, str]:
    """Return group, kind and name of what an autoscaler scales."""
    ref = autoscaler["spec"]["scaleTargetRef"]
    return str(ref.get("apiVersion", "")).split("/")[0], ref["kind"], ref["name"]


def _autoscaler_of(obj: Object) -> OtherAutoscaler:
    _, kind, name = _aim_of(obj)
    owners = obj["metadata"].get("ownerReferences") or ()
    makers = [f"{owner['kind']} {owner['name']}" for owner in owners if owner.get("controller")]
    return OtherAutoscaler(
        name=obj["metadata"]["name"],
        target=f"{kind} {name}",
        aims_at_release=kind == names.KIND,
        maker=makers[0] if makers else None,
    )


def _is_selected(labels: Mapping[str, str], selectors: Iterable[Object | None]) -> bool:
    return any(selects(selector, labels) for selector in selectors)


def selects(selector: Object | None, labels: Mapping[str, str]) -> bool:
    """Return whether a label selector takes an object: an empty one takes all, none takes none."""
    if selector is None:
        return False
    named = (selector.get("matchLabels") or {}).items()
    if any(labels.get(key) != value for key, value in named):
        return False
    return all(_holds(rule, labels) for rule in selector.get("matchExpressions") or ())


def _holds(rule: Object, labels: Mapping[str, str]) -> bool:
    key, values = rule["key"], rule.get("values") or ()
    match rule["operator"]:
        case "In":
            return labels.get(key) in values
        case "NotIn":
            return labels.get(key) not in values
        case "Exists":
            return key in labels
        case _:
            return key not in labels


def _pod_labels(deployment: Mapping[str, Any]) -> dict[str, str]:
    labels: dict[str, str] = deployment["spec"]["template"]["metadata"].get("labels") or {}
    return labels
