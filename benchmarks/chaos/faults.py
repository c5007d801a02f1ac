"""What is broken, and how the releases must end that it meets."""

import random
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from benchmarks.chaos import canaries
from benchmarks.chaos.figures import Row, row_of
from benchmarks.chaos.killed import killed_again_and_again
from benchmarks.chaos.second_node import SecondNode
from benchmarks.chaos.stage import PAIR, Stage, in_the_middle
from benchmarks.cluster import STORE_SPACE
from cluster.gateways import TRAEFIK
from examples import fixtures
from examples.waiting import wait_until

TIMES: Final = 3
"""How often a program of the control plane is ended during one release."""
BETWEEN_SECONDS: Final = 4.0
STORE_AWAY_SECONDS: Final = 40.0
PRESSURE_SPACE: Final = "chaos-pressure"
PRESSURE_SECONDS: Final = 60.0
SPINNERS: Final = 6

Object = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One way to break something."""

    name: str
    does: str
    """In words for the table."""
    run: Callable[[Stage, "Fault"], Row]
    must: Mapping[str, int] = field(default_factory=lambda: PAIR)
    """How many releases must end how."""
    loses: str = ""
    """Whose requests fail by what the fault is; empty: none may fail."""
    alone: bool = True
    """Whether it breaks what others share."""
    gateway: bool = False
    """Whether it needs the Gateway."""


def _middle(
    strike: Callable[[Stage], None], *, by_gateway: bool = False
) -> Callable[[Stage, Fault], Row]:
    """Return how to strike in the middle of two releases."""

    def run(stage: Stage, fault: Fault) -> Row:
        struck = in_the_middle(stage, fault.name, lambda: strike(stage), by_gateway=by_gateway)
        return row_of(
            fault.name, fault.does, struck.endings,
            must=fault.must, beside=struck.beside, loses=fault.loses,
        )  # fmt: skip

    return run


def _again(*programs: str) -> Callable[[Stage], None]:
    """Return how to end programs of the node some times, each time after they came back."""

    def strike(stage: Stage) -> None:
        for number in range(TIMES):
            for program in programs:
                stage.node.end(program)
            stage.node.await_api()
            if number < TIMES - 1:
                time.sleep(BETWEEN_SECONDS)

    return strike


def _prometheus(stage: Stage) -> None:
    """End Prometheus with all that it remembers."""
    where = ("-n", "monitoring")
    stage.cluster.kubectl(
        "delete", "pod", *where, "-l", "app=prometheus", "--grace-period=0", "--force"
    )
    stage.cluster.kubectl("rollout", "status", "deployment/prometheus", *where, "--timeout=120s")


def _gateway(stage: Stage) -> None:
    """End the proxy's process; the kubelet starts it again."""
    where = ("-n", TRAEFIK.namespace)
    uid = stage.cluster.kubectl(
        "get", "pod", *where, "-l", f"app={TRAEFIK.name}", "-o", "jsonpath={.items[0].metadata.uid}"
    )
    stage.node.end_below(f"pod{uid}", TRAEFIK.proxy)
    wait_until(
        f"{TRAEFIK.name} to answer again",
        lambda: stage.cluster.kubectl(
            "get", "deployment", TRAEFIK.name, *where, "-o", "jsonpath={.status.readyReplicas}"
        ),
        lambda ready: ready == "1",
        within=120,
    )


def _pressure(stage: Stage) -> None:
    """Have pods without an end take what they can get of the node's processors."""
    container = {
        "name": "spin",
        "image": fixtures.SERVING_IMAGE,
        "command": ["python", "-c", "while True: pass"],
        "resources": {"requests": {"cpu": "100m", "memory": "16Mi"}},
        "readinessProbe": None,
    }
    spinning = fixtures.deployment("spin", PRESSURE_SPACE, fixtures.pod(container, 8080, "/", []))
    spinning["spec"]["replicas"] = SPINNERS
    fixtures.apply(stage.cluster, fixtures.namespace(PRESSURE_SPACE), spinning)
    try:
        time.sleep(PRESSURE_SECONDS)
    finally:
        stage.cluster.kubectl("delete", "namespace", PRESSURE_SPACE, "--wait=false")


def _store_away(stage: Stage, fault: Fault) -> Row:
    """Take the store away before both versions are applied, and give it back later."""
    where = ("-n", STORE_SPACE, f"deployment/{fixtures.STORE}")

    def away() -> None:
        stage.cluster.kubectl("scale", *where, "--replicas=0")
        stage.cluster.kubectl(
            "wait", "--for=delete", "pod", "-n", STORE_SPACE, "-l", f"app={fixtures.STORE}",
            "--timeout=60s",
        )  # fmt: skip

    def back() -> None:
        time.sleep(STORE_AWAY_SECONDS)
        stage.cluster.kubectl("scale", *where, "--replicas=1")

    struck = in_the_middle(stage, fault.name, back, before=away)
    return row_of(
        fault.name, fault.does, struck.endings,
        must=fault.must, beside=struck.beside, loses=fault.loses,
    )  # fmt: skip


def _node_leaves(stage: Stage, fault: Fault) -> Row:
    """Strike a node that was there before the releases began: half of all pods are there."""
    second = SecondNode(cluster=stage.cluster, node=stage.node)
    stage.leave()
    try:
        second.come()
        return _middle(lambda _: second.go())(stage, fault)
    finally:
        second.go()
        second.forget()
        stage.leave()


def _killed(stage: Stage, fault: Fault) -> Row:
    return killed_again_and_again(stage, fault.name, fault.does, random.Random(20261130))


def _canary(kind: canaries.Kind) -> Fault:
    """Return the fault of a bad canary, which has nothing to do with others."""
    return Fault(
        name=kind.name, does=kind.does, must={kind.must: 1}, loses=kind.loses, alone=False,
        run=lambda stage, fault: canaries.run(stage, kind, fault.must),
    )  # fmt: skip


FAULTS: Final[tuple[Fault, ...]] = (
    Fault(
        name="api-server", run=_middle(_again("kube-apiserver")),
        does=f"the API server's process is ended {TIMES} times",
    ),
    Fault(name="etcd", run=_middle(_again("etcd")), does=f"etcd's process is ended {TIMES} times"),
    Fault(
        name="kubelet", run=_middle(_again("kubelet")),
        does=f"the kubelet's process is ended {TIMES} times",
    ),
    Fault(
        name="prometheus", run=_middle(_prometheus),
        does="Prometheus is ended, and comes back without what it knew",
    ),
    Fault(
        name="gateway", run=_middle(_gateway, by_gateway=True), gateway=True,
        does="the gateway's process is ended; every request comes by it",
        loses="the gateway",
    ),
    Fault(
        name="store-away", run=_store_away,
        does="the artifact store is away when both versions are applied, and comes back "
        f"{STORE_AWAY_SECONDS:.0f} s later",
    ),
    Fault(
        name="cpu-pressure", run=_middle(_pressure), loses="the full node",
        does=f"{SPINNERS} endless loops ask for the node's processors for "
        f"{PRESSURE_SECONDS:.0f} s",
    ),
    Fault(
        name="node-leaves", run=_node_leaves, loses="the pods of that node",
        does="a second node with half of all pods is gone at once, and does not come back",
    ),
    *(_canary(kind) for kind in canaries.KINDS),
    Fault(
        name="operator-killed", run=_killed, must={},
        does="the operator's process is ended 50 times, each time after another one acts",
    ),
)  # fmt: skip
