"""How soon a Gateway does what it says: weights that it has taken, and pods that are ready.

    python -m benchmarks.gateways [--gateway NAME] [--rounds N] [-o json]

Two Services with a pod each stand behind one route, without any operator; each pod answers its own
name. All requests are moved from the one to the other, again and again: how long does the Gateway
take to say so, and how long after that does the old one still answer? The same where they are moved
right back. Then the pod that is to have them is started anew each time. Either its Service has all
weight before, and it counts how long after it is ready requests still fail; or it has it five
seconds later, as the operator does it.

The cluster is a native one, whose Services the host reaches.
"""

import argparse
import json
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from functools import cached_property
from http.client import HTTPConnection, HTTPException
from statistics import median
from threading import Event, Thread
from typing import Any, Final

from kubernetes.client import ApiClient, AppsV1Api, CustomObjectsApi
from kubernetes.config import new_client_from_config

from benchmarks.rollouts.api import Api
from cluster import Cluster, cluster_for
from cluster.gateways import GATEWAYS, TRAEFIK, Gateway, gateway_of
from cluster.progress import say
from examples import fixtures
from examples.waiting import wait_until
from modelrelease_operator.traffic.gateway_api import GATEWAY_API, not_taken

SPACE: Final = "bench-gateways"
HOST: Final = f"front.{SPACE}"
ARMS: Final = ("one", "two")
CALLERS: Final = 2
PAUSE_SECONDS: Final = 0.01
"""Between two requests of a caller."""
LOOK_SECONDS: Final = 0.02
QUIET_SECONDS: Final = 4.0
"""How long after a change is listened: twice what Traefik takes up no second change for."""
START_SECONDS: Final = 60
BEFORE: Final = 0.0
WAITS: Final = (BEFORE, GATEWAY_API.endpoints_delay.total_seconds())
"""From a pod that is ready to its weight: it was there before, and as the operator waits."""
SERVER: Final = """
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

class Name(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1

    def do_GET(self):
        self.send_response(200)
        self.send_header("content-length", str(len(sys.argv[1])))
        self.end_headers()
        self.wfile.write(sys.argv[1].encode())

    def log_message(self, *_):
        pass

ThreadingHTTPServer(("", 8080), Name).serve_forever()
"""

Object = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """One request: when it was sent, and who answered; a number is an error of the Gateway's."""

    sent: float
    by: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Moved:
    """One change of the weights."""

    soon: bool
    """Right after they were moved the other way."""
    taken: float
    """Seconds until the route's status said that the Gateway has taken it."""
    followed: float
    """Seconds from then to the last request that the old one answered; 0: none."""
    requests: int
    failed: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Met:
    """A new pod that has all requests, counted from when it is ready."""

    wait: float
    requests: int
    failed: int
    last: float
    """Seconds from its readiness to the last request that failed; 0: none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """What was measured of a Gateway."""

    gateway: str
    moved: list[Moved]
    met: list[Met]


@dataclass(kw_only=True)
class Callers:
    """Clients that ask until they are stopped, each over a connection that it keeps."""

    address: str
    answers: list[Answer] = field(default_factory=list)
    _stop: Event = field(default_factory=Event)

    @contextmanager
    def calling(self) -> Iterator[None]:
        """Ask meanwhile."""
        threads = [Thread(target=self._call, daemon=True) for _ in range(CALLERS)]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            self._stop.set()
            for thread in threads:
                thread.join()

    def _call(self) -> None:
        connection = HTTPConnection(self.address, 80, timeout=5)
        while not self._stop.wait(PAUSE_SECONDS):
            sent = time.monotonic()
            try:
                connection.request("GET", "/", headers={"Host": HOST})
                answer = connection.getresponse()
                body = answer.read().decode()
                by = body if answer.status == 200 else str(answer.status)
            except (OSError, HTTPException) as error:
                connection.close()
                by = type(error).__name__
            self.answers.append(Answer(sent=sent, by=by))

    def since(self, moment: float) -> list[Answer]:
        """Return the answers to what was sent after a moment."""
        return [answer for answer in list(self.answers) if answer.sent > moment]


@dataclass(kw_only=True)
class Stand:
    """The two Services, the route before them, and what changes both."""

    cluster: Cluster
    gateway: Gateway
    callers: Callers

    @cached_property
    def _client(self) -> ApiClient:
        client: ApiClient = new_client_from_config(str(self.cluster.kubeconfig))  # type: ignore[no-untyped-call]
        return client

    @cached_property
    def _api(self) -> Api:
        return Api(kubeconfig=self.cluster.kubeconfig)

    def route(self) -> Object:
        """Return the route as the API server has it."""
        return self._api.custom("gateway.networking.k8s.io/v1", "httproutes", SPACE, "front")

    def weigh(self, arm: str) -> None:
        """Give one of the two all requests."""
        CustomObjectsApi(self._client).patch_namespaced_custom_object(
            "gateway.networking.k8s.io", "v1", SPACE, "httproutes", "front",
            {"spec": {"rules": rules(arm)}},
        )  # fmt: skip

    def await_taken(self) -> None:
        """Wait until the Gateway says that it has taken the route, as the operator reads it."""
        _await("the Gateway to take the route", lambda: not_taken(self.route()) is None)

    def scale(self, arm: str, replicas: int) -> None:
        """Have so many pods of one of the two, and wait until they are there or gone."""
        apps = AppsV1Api(self._client)
        apps.patch_namespaced_deployment_scale(arm, SPACE, {"spec": {"replicas": replicas}})
        path = f"/api/v1/namespaces/{SPACE}/pods?labelSelector=app%3D{arm}"

        def is_so() -> bool:
            pods = self._api.object(path)["items"]
            return len(pods) == replicas and all(map(_is_ready, pods))

        _await(f"{replicas} pods of {arm}", is_so)


def rules(arm: str) -> list[Object]:
    """Return a route's only rule, with all requests to one of the two."""
    backends = [{"name": each, "port": 80, "weight": 100 if each == arm else 0} for each in ARMS]
    return [{"backendRefs": backends}]


def objects(gateway: Gateway) -> list[Object]:
    """Return everything that stands in the namespace."""
    spec = {"parentRefs": [gateway.parent], "hostnames": [HOST], "rules": rules(ARMS[0])}
    route = {
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": "HTTPRoute",
        "metadata": {"name": "front", "namespace": SPACE},
        "spec": spec,
    }
    return [*(each for arm in ARMS for each in _arm(arm)), route]


def _arm(name: str) -> list[Object]:
    command = ["python", "-c", SERVER, name]
    container = {"name": name, "image": fixtures.OPERATOR_IMAGE, "command": command}
    template = fixtures.pod(container, 8080, "/", [])
    return [fixtures.deployment(name, SPACE, template), fixtures.service(name, SPACE, 8080)]


def _is_ready(pod: Object) -> bool:
    conditions = pod["status"].get("conditions", [])
    return any(each["type"] == "Ready" and each["status"] == "True" for each in conditions)


def _await(what: str, is_so: Callable[[], bool]) -> None:
    wait_until(what, is_so, lambda so: so, within=START_SECONDS, every=LOOK_SECONDS)


def moved(stand: Stand, arm: str, old: str, *, soon: bool) -> Moved:
    """Move all requests, and listen for a while after the Gateway has taken that."""
    if soon:
        stand.weigh(old)
        stand.await_taken()
    began = time.monotonic()
    stand.weigh(arm)
    stand.await_taken()
    taken = time.monotonic()
    time.sleep(QUIET_SECONDS)
    answers = stand.callers.since(began)
    late = [answer.sent - taken for answer in answers if answer.by == old and answer.sent > taken]
    return Moved(
        soon=soon,
        taken=taken - began,
        followed=max(late, default=0.0),
        requests=len(answers),
        failed=sum(answer.by not in ARMS for answer in answers),
    )


def met(stand: Stand, arm: str, wait: float) -> Met:
    """Start a pod, move all requests to it before or so long after it is ready, and listen."""
    stand.scale(arm, 0)
    if wait == BEFORE:
        stand.weigh(arm)
    time.sleep(QUIET_SECONDS)
    stand.scale(arm, 1)
    ready = time.monotonic()
    if wait != BEFORE:
        time.sleep(wait)
        stand.weigh(arm)
    stand.await_taken()
    time.sleep(QUIET_SECONDS)
    answers = stand.callers.since(ready)
    failed = [answer.sent - ready for answer in answers if answer.by not in ARMS]
    return Met(wait=wait, requests=len(answers), failed=len(failed), last=max(failed, default=0.0))


def measure(cluster: Cluster, gateway: Gateway, rounds: int) -> Figures:
    """Measure all of it on a cluster that is up."""
    fixtures.apply(cluster, fixtures.namespace(SPACE), *objects(gateway))
    where = ("get", "service", gateway.name, "-n", gateway.namespace)
    callers = Callers(address=cluster.kubectl(*where, "-o", "jsonpath={.spec.clusterIP}"))
    stand = Stand(cluster=cluster, gateway=gateway, callers=callers)
    for arm in ARMS:
        stand.scale(arm, 1)
    with callers.calling():
        _await("a first answer", lambda: any(each.by in ARMS for each in callers.answers[-10:]))
        figures = Figures(gateway=gateway.version, moved=[], met=[])
        for number in range(2 * rounds):
            new = ARMS[min(number + 1, rounds) % 2]
            old = next(arm for arm in ARMS if arm != new)
            figures.moved.append(moved(stand, new, old, soon=number >= rounds))
            say(f"weights, {number + 1} of {2 * rounds}: {figures.moved[-1]}")
        for wait in WAITS:
            for number in range(rounds):
                stand.weigh(ARMS[0])
                stand.await_taken()
                figures.met.append(met(stand, ARMS[1], wait))
                say(f"pods, {number + 1} of {rounds}: {figures.met[-1]}")
    cluster.kubectl("delete", "namespace", SPACE, "--wait=false")
    return figures


def as_markdown(figures: Figures) -> str:
    """Return a table, one line for each kind of change."""
    rows = []
    for soon in (False, True):
        changes = [each for each in figures.moved if each.soon is soon]
        kind = "weights moved right back" if soon else "weights moved"
        rows.append(
            f"| {kind} | {_seconds([each.taken for each in changes])} | "
            f"{_seconds([each.followed for each in changes])} | "
            f"{sum(each.requests for each in changes):,} | "
            f"{sum(each.failed for each in changes):,} |"
        )
    for wait in WAITS:
        these = [each for each in figures.met if each.wait == wait]
        kind = (
            f"a pod ready for {wait:g} s is given all weight"
            if wait
            else "a pod gets ready under it"
        )
        rows.append(
            f"| {kind} | - | {_seconds([each.last for each in these])} | "
            f"{sum(each.requests for each in these):,} | {sum(each.failed for each in these):,} |"
        )
    head = [
        f"| {figures.gateway}, {len(figures.moved) // 2} times each "
        "| until it says so: median, longest | wrong until then: median, longest "
        "| requests | failed |",
        "|---|---|---|---|---|",
    ]
    return "\n".join([*head, *rows])


def _seconds(values: Sequence[float]) -> str:
    return f"{median(values):.2f} s, {max(values):.2f} s" if values else "-"


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print; 1 when a pod that was waited for failed its first requests."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.gateways",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    option = parser.add_argument
    option(
        "--gateway", choices=GATEWAYS, default=TRAEFIK.name,
        help="Gateway API implementation (default: %(default)s)",
    )  # fmt: skip
    option("--rounds", type=int, default=10, help="of each kind (default: %(default)s)")
    option("--cluster", default="gateways", help="name of the cluster (default: %(default)s)")
    option("-o", "--output", choices=["table", "json"], default="table")
    options = parser.parse_args(arguments)
    cluster = cluster_for(options.cluster)
    cluster.up()
    cluster.require_ours()
    cluster.build_images("operator")
    cluster.install_gateway(options.gateway)
    figures = measure(cluster, gateway_of(options.gateway), options.rounds)
    print(json.dumps(asdict(figures)) if options.output == "json" else as_markdown(figures))
    return 1 if any(each.failed for each in figures.met if each.wait) else 0


if __name__ == "__main__":
    sys.exit(main())
