"""A cohort: clients who meet the canary whatever its weight, as matches of a rule of their own.

Each way to find a client is a match of its own, so that any one of them suffices. Within one match
a Gateway would ask for all, and would take the first of two of one header and forget the other:
https://gateway-api.sigs.k8s.io/reference/spec/#httproutematch.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from modelrelease_operator.api.routing import Cohort, CookieMatch, HeaderMatchType
from modelrelease_operator.api.spec import Canary

QUERY_PARAM_MATCHING = "HTTPRouteQueryParamMatching"
"""What an implementation calls it among its features. Headers are known to all of them."""


def cohort_of(canary: Canary) -> Cohort | None:
    """Return the cohort that a release names."""
    settings = canary.routing.gateway_api
    return settings.cohort if settings else None


def with_weights_alone(canary: Canary) -> Canary:
    """Return the same without its cohort and without sessions: for Gateways that cannot tell the
    one apart, or keep the others.
    """
    settings = canary.routing.gateway_api
    if settings is None:
        return canary
    plain = settings.but(cohort=None, session_persistence=None)
    return canary.but(routing=canary.routing.but(gateway_api=plain))


def features_for(cohort: Cohort) -> Mapping[str, str]:
    """Return what an implementation must support that not every one does, with what needs it."""
    return {QUERY_PARAM_MATCHING: "cohort.queryParams"} if cohort.query_params else {}


def matches_of(cohort: Cohort, path: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the matches that find the cohort among the requests of a path."""
    return [{"path": dict(path), **way} for way in _ways(cohort)]


def caveat_of(cohort: Cohort) -> str:
    """Say what the comparison is worth beside a cohort."""
    named = {
        "headers": cohort.headers,
        "cookies": cohort.cookies,
        "queryParams": cohort.query_params,
    }
    by = " or ".join(name for name, matches in named.items() if matches)
    return (
        f"the cohort (by {by}) meets the canary whatever the weight, so the canary's requests are "
        "no random sample: a difference may be one of the clients and not of the versions"
    )


def _ways(cohort: Cohort) -> Iterator[dict[str, Any]]:
    for header in cohort.headers:
        yield {"headers": [_header(header.name, header.value, header.type)]}
    for cookie in cohort.cookies:
        pattern = _pattern(cookie)
        yield {"headers": [_header("Cookie", pattern, HeaderMatchType.REGULAR_EXPRESSION)]}
    for param in cohort.query_params:
        asked = {"type": "Exact", "name": param.name, "value": param.value}
        yield {"queryParams": [asked]}


def _header(name: str, value: str, kind: HeaderMatchType) -> dict[str, str]:
    return {"type": kind.value, "name": name, "value": value}


def _pattern(cookie: CookieMatch) -> str:
    """Return what finds a cookie among others: for those who compare all of the header (Envoy) and
    for those who look for a part of it (Traefik).
    """
    pair = f"{re.escape(cookie.name)}={re.escape(cookie.value)}"
    return rf"^(.*;\s*)?{pair}(\s*;.*)?$"
