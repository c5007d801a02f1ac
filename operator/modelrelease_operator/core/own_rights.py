"""What the operator does without where its account may read nothing outside namespaces."""

from collections.abc import Container, Sequence
from dataclasses import dataclass
from typing import Final

from modelrelease_operator.api import names

GATEWAYS: Final = "gateway.networking.k8s.io"
EXTENSIONS: Final = "apiextensions.k8s.io"
CRDS: Final = "customresourcedefinitions"


@dataclass(frozen=True, slots=True)
class Right:
    """One thing that an account may do."""

    verb: str
    resource: str
    group: str = ""
    namespace: str | None = None
    """None: in the whole cluster."""
    name: str = ""
    """Of a single object; empty for all of them."""


def reading(resource: str, group: str = "", namespace: str | None = None) -> tuple[Right, Right]:
    """Return what it takes to follow all objects of a kind."""
    return (
        Right("list", resource, group, namespace),
        Right("watch", resource, group, namespace),
    )


SCANS: Final = (*reading(CRDS, EXTENSIONS), *reading("namespaces"))
"""What it takes to notice kinds and namespaces that come and go."""
_GATEWAYS: Final = (Right("get", "gateways", GATEWAYS), Right("get", "gatewayclasses", GATEWAYS))
_ROUTES: Final = (Right("get", CRDS, EXTENSIONS, name=f"httproutes.{GATEWAYS}"),)
OUTSIDE: Final = (*SCANS, *_GATEWAYS, *_ROUTES)
"""All that the operator would read outside namespaces."""

_WITHOUT: Final = (
    (
        SCANS,
        f"a watched namespace, or the kind {names.KIND}, that is deleted and made anew is noticed "
        "when the operator is started again",
    ),
    (
        _GATEWAYS,
        "what a Gateway cannot do of spec.canary.routing.gatewayAPI is told by the conditions of "
        "the route alone",
    ),
    (
        _ROUTES,
        "that this cluster's HTTPRoutes have no sessionPersistence is found when a route is "
        "written",
    ),
)


@dataclass(frozen=True, slots=True)
class OwnRights:
    """Where an operator works, and what it works without."""

    namespaces: tuple[str, ...]
    """Those that it looks after; none for all."""
    scans: bool
    """Whether kinds and namespaces are followed, or taken as they were at the start."""
    without: tuple[str, ...]
    """A sentence for each thing that it may not do."""


def wanted(namespaces: Sequence[str]) -> tuple[Right, ...]:
    """Return every right that there is a question about."""
    releases = [reading(names.PLURAL, names.GROUP, namespace) for namespace in namespaces]
    return (*OUTSIDE, *(right for pair in releases for right in pair))


def judged(namespaces: Sequence[str], held: Container[Right]) -> OwnRights:
    """Say where an operator with these rights works; `namespaces` are those it is to look after.

    One whose releases it may not read would end it at every start, and leave the others alone. With
    the right to follow namespaces it is waited for instead.
    """
    scans = all(right in held for right in SCANS)
    closed = () if scans else tuple(each for each in namespaces if not _open(each, held))
    without = [
        f"it may not {' and '.join(_words(lacking))}: {consequence}"
        for rights, consequence in _WITHOUT
        if (lacking := [right for right in rights if right not in held])
    ]
    without += [
        f"it may not list and watch {names.PLURAL} in namespace {each}: releases there are not "
        "looked after until it has a Role there and is started again"
        for each in closed
    ]
    kept = tuple(each for each in namespaces if each not in closed)
    return OwnRights(namespaces=kept, scans=scans, without=tuple(without))


def _open(namespace: str, held: Container[Right]) -> bool:
    return all(right in held for right in reading(names.PLURAL, names.GROUP, namespace))


def _words(rights: Sequence[Right]) -> list[str]:
    return [" ".join(filter(None, (each.verb, each.resource, each.name))) for each in rights]
