"""Weights from replica counts while clients may still come by a route that the release has left.

That route leads to the arms' Services until its Gateways have taken that it leads to stable alone.
So both go on leading to whoever shall have clients, as they do behind a Gateway.
"""

from modelrelease_operator.traffic.replicas import Replicas


class Leaving(Replicas):
    """A release whose pods make its weights, and whose Services a left route still leads to."""

    leads_to_arms = True


LEAVING = Leaving()
