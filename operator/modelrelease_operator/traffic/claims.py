"""Which release has which requests of a Gateway, where two ask for the same.

The same are those of one listener, one host name and one path. A longer path and a more precise
host name win by the Gateway API's own rules, so they are no conflict:
https://gateway-api.sigs.k8s.io/reference/spec/#httproutespec. Of two that ask for the same, the
older release has them, as of two routes the older one has.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from pydantic import ValidationError
from typing_extensions import override

from modelrelease_operator.api.names import KIND
from modelrelease_operator.api.routing import GatewayAPI

Key = tuple[str, str]
"""Namespace and name of a release."""
Requests = tuple[str, str, str]
"""Gateway, host name (empty: all) and path."""
ANY = ""


class Claim(NamedTuple):
    """Requests that a release asks for, at one listener or at all of a Gateway's."""

    requests: Requests
    section: str | None
    port: int | None

    def meets(self, other: "Claim") -> bool:
        """Return whether one listener may have to choose between the two."""
        return (
            self.requests == other.requests
            and _may_be_same(self.section, other.section)
            and _may_be_same(self.port, other.port)
        )

    @override
    def __str__(self) -> str:
        """Return the requests as a person would name them."""
        gateway, host, path = self.requests
        named = f"host {host}" if host else "every host"
        return f"Gateway {gateway}, {named}, path {path}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Claimant:
    """A release with what it asks of Gateways."""

    namespace: str
    name: str
    created: str
    """As Kubernetes writes a time: the earlier one sorts first."""
    claims: tuple[Claim, ...]

    @property
    def key(self) -> Key:
        """Its namespace and name."""
        return self.namespace, self.name


@dataclass(frozen=True, slots=True, kw_only=True)
class Conflict:
    """Another release has what this one asks for."""

    loser: Key
    winner: Key
    claim: Claim

    @override
    def __str__(self) -> str:
        """Name both, what both ask for, and what to do."""
        loser, winner = ("/".join(key) for key in (self.loser, self.winner))
        return (
            f"{KIND} {loser} is not routed: {KIND} {winner}, which is older, has the same requests "
            f"({self.claim}); give one of the two another host name or path in "
            "spec.canary.routing.gatewayAPI"
        )


def claimant_of(release: Mapping[str, Any]) -> Claimant | None:
    """Return what a release asks of Gateways, None where it asks for nothing of its own.

    Raises ValueError where its routing cannot be read.
    """
    meta, raw = release["metadata"], _gateway_api(release)
    if not raw or "existingRoute" in raw or "deletionTimestamp" in meta:
        return None
    try:
        settings = GatewayAPI.model_validate(raw)
    except ValidationError as problem:
        msg = f"{KIND} {meta['namespace']}/{meta['name']}: its routing cannot be read"
        raise ValueError(msg) from problem
    return Claimant(
        namespace=meta["namespace"],
        name=meta["name"],
        created=meta.get("creationTimestamp") or "",
        claims=tuple(_claims(settings, meta["namespace"])),
    )


def named_by(release: Mapping[str, Any]) -> frozenset[str]:
    """Return the names of what others own and a release names: its route, and pools behind it."""
    existing = _within(_gateway_api(release), "existingRoute")
    pools = _within(existing, "pools")
    names = (existing.get("name"), pools.get("stable"), pools.get("canary"))
    return frozenset(name for name in names if name and isinstance(name, str))


def _gateway_api(release: Mapping[str, Any]) -> Mapping[str, Any]:
    return _within(release, "spec", "canary", "routing", "gatewayAPI")


def _within(document: Any, *keys: str) -> Mapping[str, Any]:
    """Return a mapping in a document that no schema may have checked; an empty one for any other.

    Whose fault that is is told by the release's own pass; here all releases are read.
    """
    for key in keys:
        document = document.get(key) if isinstance(document, Mapping) else None
    return document if isinstance(document, Mapping) else {}


def conflicts(claimants: Iterable[Claimant]) -> dict[Key, Conflict]:
    """Return by release why it is not routed; who is not routed keeps nobody else from it."""
    holders: dict[Requests, list[tuple[Claim, Key]]] = defaultdict(list)
    lost: dict[Key, Conflict] = {}
    for claimant in sorted(claimants, key=lambda each: (each.created, each.key)):
        if conflict := _conflict(claimant, holders):
            lost[claimant.key] = conflict
            continue
        for claim in claimant.claims:
            holders[claim.requests].append((claim, claimant.key))
    return lost


def _conflict(
    claimant: Claimant, holders: Mapping[Requests, list[tuple[Claim, Key]]]
) -> Conflict | None:
    for claim in claimant.claims:
        for held, winner in holders.get(claim.requests, ()):
            if claim.meets(held):
                return Conflict(loser=claimant.key, winner=winner, claim=claim)
    return None


def _claims(settings: GatewayAPI, namespace: str) -> Iterator[Claim]:
    path = settings.path.rstrip("/") or "/"
    for parent in settings.parent_refs:
        gateway = f"{parent.namespace or namespace}/{parent.name}"
        for host in settings.hostnames or (ANY,):
            yield Claim((gateway, host, path), parent.section_name, parent.port)


def _may_be_same(one: str | int | None, other: str | int | None) -> bool:
    return one is None or other is None or one == other
