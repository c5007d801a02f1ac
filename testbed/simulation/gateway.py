"""Whoever deals out requests by the release's HTTPRoute: late, at times not at all, and what people
do to the route.
"""

from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import Any

from modelrelease_operator.traffic.gateway_api import HTTP_ROUTE
from testbed.simulation.cluster import Cluster, Key, Object
from testbed.simulation.story import Tell
from testbed.simulation.virtual_time import Timeline

CONTROLLER = "a gateway"
PERSON = "a person"
PARENT: Object = {"name": "gateway"}
ROUTING: dict[str, Any] = {"gatewayAPI": {"parentRefs": [PARENT]}}
"""What a release says of it."""
SLOWEST = 8.0
"""Seconds that it takes to take up a route."""


@dataclass
class Gateway:
    """One Gateway with its controller."""

    cluster: Cluster
    timeline: Timeline
    random: Random
    tell: Tell
    route: str
    """Name of the release's route."""
    deal: Callable[[], None] = lambda: None
    """Called when other weights are in effect."""
    taken: Object | None = None
    """What of the route is in effect."""

    def __post_init__(self) -> None:
        self.refuses_until = self.timeline.now + self.random.choice((0.0, 0.0, 0.0, 40.0, 90.0))
        self.cluster.hears.append(self._heard)

    def plan(self, seconds: float) -> None:
        """Draw from when on the cluster serves routes, and what people do to the release's."""
        if self.random.random() < 0.7:
            self._serve()
        else:
            self.timeline.after(self.random.uniform(1.0, 60.0), self._serve)
        for _ in range(self.random.choice((0, 0, 1, 2))):
            act = self.random.choice((self._deletes, self._weighs))
            self.timeline.after(self.random.uniform(0.0, seconds), act)

    def shares(self) -> dict[str, float]:
        """Return which part of the requests each Service is sent."""
        rules = (self.taken or {}).get("rules") or [{}]
        weights = {each["name"]: each["weight"] for each in rules[-1].get("backendRefs") or ()}
        total = sum(weights.values())
        return {name: weight / total for name, weight in weights.items() if weight}

    def _serve(self) -> None:
        self.tell("the cluster serves {}s", HTTP_ROUTE)
        self.cluster.served = self.cluster.served | {HTTP_ROUTE}

    def _heard(self, key: Key, before: Object | None, after: Object | None, by: str) -> None:
        if key != (HTTP_ROUTE, self.route) or by == CONTROLLER:
            return
        if after is None:
            self.taken = None
            self.deal()
        elif before is None or before["spec"] != after["spec"]:
            self.timeline.after(self.random.choice((0.1, 1.0, SLOWEST)), self._take)

    def _take(self) -> None:
        """Take up the route as it is by now, and say so."""
        live = self.cluster.get(HTTP_ROUTE, self.route)
        if live is None:
            return
        refuses = self.timeline.now < self.refuses_until
        if refuses:
            self.timeline.after(self.refuses_until - self.timeline.now, self._take)
        else:
            self.taken = live["spec"]
        said = {"status": "False" if refuses else "True", "reason": "Seed"}
        said |= {"observedGeneration": live["metadata"]["generation"], "message": ""}
        conditions = [{"type": kind, **said} for kind in ("Accepted", "ResolvedRefs")]
        parent = {"parentRef": PARENT, "controllerName": CONTROLLER, "conditions": conditions}
        self.cluster.put(HTTP_ROUTE, self.route, CONTROLLER, status={"parents": [parent]})
        self.tell("the gateway {} {}", "refuses" if refuses else "takes", self.shares())
        self.deal()

    def _deletes(self) -> None:
        self.tell("a person deletes the route")
        self.cluster.drop(HTTP_ROUTE, self.route, PERSON)

    def _weighs(self) -> None:
        """Send everybody somewhere, by hand."""
        live = self.cluster.get(HTTP_ROUTE, self.route)
        if live is None:
            return
        self.tell("a person weighs the route")
        weights = self.random.choice(((0, 100), (50, 50), (100, 0)))
        *others, last = live["spec"]["rules"]
        backends = [
            {**backend, "weight": weight}
            for backend, weight in zip(last["backendRefs"], weights, strict=True)
        ]
        spec = {**live["spec"], "rules": [*others, {**last, "backendRefs": backends}]}
        self.cluster.put(HTTP_ROUTE, self.route, PERSON, spec=spec)
