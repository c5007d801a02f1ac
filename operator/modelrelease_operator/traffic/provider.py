"""What a traffic provider is: what deals a release's requests out to its revisions."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from modelrelease_operator.api.spec import Canary

Object = Mapping[str, Any]
"""A Kubernetes object as it is read."""
ObjectKey = tuple[str, str]
"""Kind and name of an object in the release's namespace."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Split:
    """How many pods each revision has, and what share of the requests that gives the canary."""

    stable: int
    canary: int
    weight: float
    """The canary's share, in percent."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """Who shall answer clients."""

    release: str
    revisions: frozenset[str]
    """Revisions that clients reach: one, or both arms while a canary is judged."""
    weight: int
    """Percent of the requests that the canary was asked to have."""
    port: int | str
    """Of the pods: a number, or a name where the revisions' numbers differ."""


class TrafficProvider(Protocol):
    """Deals a release's requests out to its revisions."""

    def takes(self, canary: Canary) -> bool:
        """Return whether a release that is written like this is this provider's."""

    def split(self, *, weight: int, replicas: int) -> Split:
        """Return the pods for a weight (1 to 99 percent) beside `replicas` pods of stable."""

    def note(self, *, weight: int, replicas: int) -> str | None:
        """Say why the share is not the one asked for, or None where it is."""

    def objects(self, route: Route) -> list[dict[str, Any]]:
        """Return the routing objects, with their names and without owners or labels."""

    def sources(self, release: str) -> tuple[ObjectKey, ...]:
        """Return the objects that say what is in effect."""

    def in_effect(
        self, objects: Mapping[ObjectKey, Object], revisions: Iterable[str]
    ) -> frozenset[str] | None:
        """Return which revisions clients reach now, of those that exist; None while nothing routes yet."""
