"""Which releases have which requests of a Gateway, and which name a route of others: kept in step
with what the watch tells of releases.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from modelrelease_operator.api.spec import ReleaseSpec
from modelrelease_operator.errors import Invalid
from modelrelease_operator.runtime.namespaced_name import NamespacedName
from modelrelease_operator.traffic.claims import (
    Claimant,
    Conflict,
    claimant_of,
    conflicts,
    named_by,
)


@dataclass(slots=True)
class RoutingConflicts:
    """The claims of all releases that are watched, and which of them lose."""

    wake: Callable[[NamespacedName], None]
    """Called with a release that lost its requests, or has them from now on."""
    complete: bool = False
    """Whether every release was listed once: before that, nobody knows who is older."""
    _claimants: dict[NamespacedName, Claimant] = field(default_factory=dict)
    _lost: dict[NamespacedName, Conflict] = field(default_factory=dict)
    _named: dict[NamespacedName, frozenset[str]] = field(default_factory=dict)
    """By release: the names of the route and the pools of others that it names."""

    def of(self, key: NamespacedName) -> Conflict | None:
        """Return why a release is not routed, or None where nobody is in its way."""
        return self._lost.get(key)

    def naming(self, other: NamespacedName) -> set[NamespacedName]:
        """Return the releases that name a route or a pool of others."""
        namespace, name = other
        return {key for key, named in self._named.items() if key[0] == namespace and name in named}

    def known(self) -> set[NamespacedName]:
        """Return the releases that claim or name something."""
        return {*self._claimants, *self._named}

    def take(self, release: dict[str, Any]) -> None:
        """Take in what a release asks for now; a spec that is not followed changes nothing."""
        meta = release["metadata"]
        key = (meta["namespace"], meta["name"])
        named = named_by(release)
        try:
            claimant = claimant_of(release)
        except ValueError:
            return  # The release goes on by its last good spec, and so does its claim.
        if (claimant, named) == (self._claimants.get(key), self._named.get(key, frozenset())):
            return
        if self._knows(key) and not _is_followed(release):
            return  # As above: what is right of a refused spec takes nobody's requests.
        before = self._claimants.get(key)
        self._forget(key)
        if named:
            self._named[key] = named
        if claimant:
            self._claimants[key] = claimant
        if claimant != before:
            self._settle()

    def _forget(self, key: NamespacedName) -> None:
        self._named.pop(key, None)
        self._claimants.pop(key, None)

    def _knows(self, key: NamespacedName) -> bool:
        """Return whether it is known what a release asked for before, be it nothing.

        It is not of those that are listed first: their refused specs are all there is to go by.
        """
        return self.complete or key in self._claimants or key in self._named

    def drop(self, key: NamespacedName) -> None:
        """Forget a release that is gone."""
        self._named.pop(key, None)
        if self._claimants.pop(key, None):
            self._settle()

    def listed(self) -> None:
        """Begin to tell: every release was taken in."""
        if not self.complete:
            self.complete = True
            self._settle()

    def _settle(self) -> None:
        """Find anew who loses, and wake those for whom that is news."""
        if not self.complete:
            return
        before, self._lost = self._lost, conflicts(self._claimants.values())
        for key in before.keys() | self._lost.keys():
            if before.get(key) != self._lost.get(key):
                self.wake(key)


def _is_followed(release: dict[str, Any]) -> bool:
    """Return whether a release goes by its present spec. One that is being deleted does: it asks
    for nothing any more.
    """
    if "deletionTimestamp" in release["metadata"]:
        return True
    try:
        ReleaseSpec.parse(release.get("spec") or {})
    except Invalid:
        return False
    return True
