"""How clients' requests reach a release: by the Gateway API, where the release says so."""

from enum import StrEnum
from typing import Annotated, Self

from pydantic import Field, StringConstraints, model_validator

from modelrelease_operator.api.model import Model

DNS_LABEL = r"[a-z0-9]([-a-z0-9]*[a-z0-9])?"
DNS_NAME = rf"{DNS_LABEL}(\.{DNS_LABEL})*"

Name = Annotated[str, StringConstraints(pattern=rf"^{DNS_NAME}$", max_length=253)]
Namespace = Annotated[str, StringConstraints(pattern=rf"^{DNS_LABEL}$", max_length=63)]
Hostname = Annotated[str, StringConstraints(pattern=rf"^(\*\.)?{DNS_NAME}$", max_length=253)]
PathPrefix = Annotated[str, StringConstraints(pattern=r"^/[A-Za-z0-9/_.~-]*$", max_length=256)]


HeaderName = Annotated[
    str, StringConstraints(pattern=r"^[A-Za-z0-9!#$%&'*+.^_`|~-]+$", max_length=256)
]
CookieName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_.-]+$", max_length=256)]
CookieValue = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_.~%+/=:-]+$", max_length=256)]


class ParentRef(Model):
    """A Gateway, or one listener of it, that the route is attached to."""

    name: Name
    namespace: Namespace | None = None
    """None: the release's own."""
    section_name: Name | None = None
    """The listener's name; None: every listener that lets the route in."""
    port: int | None = Field(default=None, ge=1, le=65535)


class InferencePools(Model):
    """Two of somebody's InferencePools, in the release's namespace: each is kept on an arm."""

    stable: Name
    canary: Name

    @model_validator(mode="after")
    def _are_two(self) -> Self:
        if self.stable == self.canary:
            msg = f"pools.stable and pools.canary must differ, got {self.stable!r} twice"
            raise ValueError(msg)
        return self


class ExistingRoute(Model):
    """A rule of somebody's HTTPRoute, in the release's namespace: two of its weights are ours."""

    name: Name
    rule: Name | None = None
    """The rule's name; None: the only rule that leads to both arms."""
    pools: InferencePools | None = None
    """What the rule leads to; None: the release's Services."""


class HeaderMatchType(StrEnum):
    """How a header's value is compared."""

    EXACT = "Exact"
    REGULAR_EXPRESSION = "RegularExpression"


class HeaderMatch(Model):
    """Requests with a header."""

    name: HeaderName
    value: str = Field(min_length=1, max_length=1024)
    type: HeaderMatchType = HeaderMatchType.EXACT


class CookieMatch(Model):
    """Requests with a cookie."""

    name: CookieName
    value: CookieValue


class QueryParamMatch(Model):
    """Requests with a query parameter."""

    name: HeaderName
    value: str = Field(min_length=1, max_length=1024)


class Cohort(Model):
    """Clients who meet the canary whatever its weight: those whom any of these finds."""

    headers: tuple[HeaderMatch, ...] = Field(default=(), min_length=1, max_length=8)
    cookies: tuple[CookieMatch, ...] = Field(default=(), min_length=1, max_length=8)
    query_params: tuple[QueryParamMatch, ...] = Field(default=(), min_length=1, max_length=8)

    @model_validator(mode="after")
    def _is_somebody(self) -> Self:
        if not (self.headers or self.cookies or self.query_params):
            msg = "a cohort needs headers, cookies or queryParams"
            raise ValueError(msg)
        return self


SessionName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_.-]+$", max_length=128)]


class SessionPersistence(Model):
    """A client keeps to the version that it met first, by a cookie of the Gateway's."""

    cookie_name: SessionName | None = None
    """None: the Gateway's own choice."""


class GatewayAPI(Model):
    """An HTTPRoute whose weights follow the release: one of its own, or one that others write."""

    parent_refs: tuple[ParentRef, ...] = Field(default=(), min_length=1, max_length=16)
    hostnames: tuple[Hostname, ...] = Field(default=(), max_length=16)
    """Empty: every host name that the listener takes."""
    path: PathPrefix = "/"
    """Requests whose path begins like this."""
    existing_route: ExistingRoute | None = None
    cohort: Cohort | None = None
    session_persistence: SessionPersistence | None = None

    @model_validator(mode="after")
    def _one_route(self) -> Self:
        if bool(self.parent_refs) == bool(self.existing_route):
            msg = "set either parentRefs or existingRoute"
            raise ValueError(msg)
        of_route = self.hostnames or self.cohort or self.session_persistence or self.path != "/"
        if self.existing_route and of_route:
            msg = (
                "hostnames, path, cohort and sessionPersistence belong to the existingRoute "
                "itself: take them out"
            )
            raise ValueError(msg)
        return self


class CountingGateway(StrEnum):
    """A gateway whose counters tell the arms apart (`traffic.gateway_counters`)."""

    TRAEFIK = "Traefik"
    ISTIO = "Istio"
    CONTOUR = "Contour"
    LINKERD = "Linkerd"


class Routing(Model):
    """Who deals out the requests. Nothing set: the numbers of pods behind one Service."""

    gateway_api: GatewayAPI | None = Field(default=None, alias="gatewayAPI")
