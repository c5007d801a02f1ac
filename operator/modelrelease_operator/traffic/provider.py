"""What a traffic provider is: what deals a release's requests out to its revisions."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, ClassVar, Protocol

from modelrelease_operator.api import names
from modelrelease_operator.api.spec import Canary
from modelrelease_operator.api.status import Reason

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
    stable: str | None = None
    """The revision that is stable."""
    beside: str | None = None
    """The revision that is compared with it."""
    arms: tuple[str, str] = (names.NO_REVISION, names.NO_REVISION)
    """The revisions behind what leads to stable, and behind what leads to the canary."""
    canary: Canary = field(default_factory=Canary)
    """What the release says of its canary, and so of its routing."""
    port: int | str
    """Of the pods: a number, or a name where the revisions' numbers differ."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """Whose requests are dealt out, and what the release says of that."""

    namespace: str
    release: str
    canary: Canary


Edit = Mapping[str, Any]
"""One operation of a JSON patch (RFC 6902)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Effect:
    """Who answers clients now, as far as the routing objects tell."""

    revisions: frozenset[str] | None = None
    """Revisions that clients reach, of those that exist; None while nothing routes yet."""
    weight: int | None = None
    """Percent of the requests that the canary has; None where the numbers of pods make it."""
    problem: str | None = None
    """Why what was asked for last is not in effect, where that is known."""
    refused: bool = False
    """Whether it never will be unless somebody mends something."""
    reason: Reason | None = None
    """What to call that where it is certain; None where a gateway may only be late."""
    sticky: str | None = None
    """What keeps a client with one version, where the routing objects tell that something does."""
    controllers: tuple[str, ...] = ()
    """`controllerName` of each gateway that has taken the routing objects."""


class TrafficProvider(Protocol):
    """Deals a release's requests out to its revisions."""

    leads_to_arms: ClassVar[bool]
    """Whether clients come by the arms' Services.

    While there is no canary, both lead to whoever shall have clients then: a gateway that is late
    with new weights finds pods behind the old ones.
    """

    endpoints_delay: ClassVar[timedelta]
    """How long it may take to learn of ready pods: so long a canary waits for its clients."""

    def takes(self, canary: Canary) -> bool:
        """Return whether a release that is written like this is this provider's."""

    def deals_by_request(self, canary: Canary) -> bool:
        """Return whether each request meets the canary with the probability that its weight says:
        then another share of them is a mismatch. False where connections are spread over pods,
        and where users are chosen or keep to a revision.
        """

    def split(self, *, weight: int, replicas: int) -> Split:
        """Return the pods for a weight (1 to 99 percent) beside `replicas` pods of stable."""

    def note(self, *, weight: int, replicas: int) -> str | None:
        """Say why the share is not the one asked for, or None where it is."""

    def caveat(self, canary: Canary) -> str | None:  # noqa: ARG002 - for who has one
        """Say why the canary's requests are no random sample; None where they are one."""
        return None

    def objects(self, route: Route) -> list[dict[str, Any]]:
        """Return the routing objects, with their names and without owners or labels."""

    def sources(self, release: str) -> tuple[ObjectKey, ...]:
        """Return the objects that say what is in effect."""

    def borrowed(self, canary: Canary) -> tuple[ObjectKey, ...]:  # noqa: ARG002 - for who borrows
        """Return the objects of others that are read, and of which `edits` alone is written."""
        return ()

    def edits(self, route: Route, live: Object) -> tuple[Edit, ...]:  # noqa: ARG002 - as above
        """Return what is to be changed in a borrowed object; nothing where it is as it should."""
        return ()

    def in_effect(
        self, objects: Mapping[ObjectKey, Object], revisions: Iterable[str], asked: Asked
    ) -> Effect:
        """Read from the sources and from what is borrowed who answers clients now, of the
        revisions that exist.
        """

    def made(self, release: str) -> tuple[ObjectKey, ...]:
        """Return the objects that no other provider makes: they go when another one takes over."""
