"""The traffic providers that there are. The first that takes a release deals out its requests."""

from modelrelease_operator.api.spec import ReleaseSpec
from modelrelease_operator.traffic.provider import Split, TrafficProvider
from modelrelease_operator.traffic.replicas import REPLICAS

PROVIDERS: tuple[TrafficProvider, ...] = (REPLICAS,)


def provider_of(spec: ReleaseSpec) -> TrafficProvider:
    """Return who deals out a release's requests."""
    return next(provider for provider in PROVIDERS if provider.takes(spec.canary))


def split_of(spec: ReleaseSpec, weight: int) -> Split:
    """Return the pods for a weight, in percent, of a release."""
    return provider_of(spec).split(weight=weight, replicas=spec.serving.replicas)
