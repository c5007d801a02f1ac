"""How clients' requests reach a release: by the Gateway API, where the release says so."""

from typing import Annotated

from pydantic import Field, StringConstraints

from modelrelease_operator.api.model import Model

DNS_LABEL = r"[a-z0-9]([-a-z0-9]*[a-z0-9])?"
DNS_NAME = rf"{DNS_LABEL}(\.{DNS_LABEL})*"

Name = Annotated[str, StringConstraints(pattern=rf"^{DNS_NAME}$", max_length=253)]
Namespace = Annotated[str, StringConstraints(pattern=rf"^{DNS_LABEL}$", max_length=63)]
Hostname = Annotated[str, StringConstraints(pattern=rf"^(\*\.)?{DNS_NAME}$", max_length=253)]
PathPrefix = Annotated[str, StringConstraints(pattern=r"^/[A-Za-z0-9/_.~-]*$", max_length=256)]


class ParentRef(Model):
    """A Gateway, or one listener of it, that the route is attached to."""

    name: Name
    namespace: Namespace | None = None
    """None: the release's own."""
    section_name: Name | None = None
    """The listener's name; None: every listener that lets the route in."""
    port: int | None = Field(default=None, ge=1, le=65535)


class GatewayAPI(Model):
    """An HTTPRoute of the release's own, whose weights follow the release."""

    parent_refs: tuple[ParentRef, ...] = Field(min_length=1, max_length=16)
    hostnames: tuple[Hostname, ...] = Field(default=(), max_length=16)
    """Empty: every host name that the listener takes."""
    path: PathPrefix = "/"
    """Requests whose path begins like this."""


class Routing(Model):
    """Who deals out the requests. Nothing set: the numbers of pods behind one Service."""

    gateway_api: GatewayAPI | None = Field(default=None, alias="gatewayAPI")
