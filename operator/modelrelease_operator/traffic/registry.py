"""The traffic providers that there are. The first that takes a release deals out its requests."""

from itertools import chain

from modelrelease_operator.api.spec import ReleaseSpec
from modelrelease_operator.traffic.existing_route import EXISTING_ROUTES
from modelrelease_operator.traffic.gateway_api import GATEWAY_API
from modelrelease_operator.traffic.provider import ObjectKey, Split, TrafficProvider
from modelrelease_operator.traffic.replicas import REPLICAS

PROVIDERS: tuple[TrafficProvider, ...] = (EXISTING_ROUTES, GATEWAY_API, REPLICAS)


def provider_of(spec: ReleaseSpec) -> TrafficProvider:
    """Return who deals out a release's requests."""
    for provider in PROVIDERS:
        if provider.takes(spec.canary):
            return provider
    msg = "no provider deals out this release's requests"
    raise AssertionError(msg)


def made_by_others(spec: ReleaseSpec, release: str) -> tuple[ObjectKey, ...]:
    """Return what other providers made for a release, if it was theirs before."""
    own = provider_of(spec)
    others = [provider for provider in PROVIDERS if provider is not own]
    return tuple(chain.from_iterable(other.made(release) for other in others))


def split_of(spec: ReleaseSpec, weight: int) -> Split:
    """Return the pods for a weight, in percent, of a release."""
    return provider_of(spec).split(weight=weight, replicas=spec.serving.replicas)
