"""What the operator costs a real API server: `benchmarks.operator` once more, with real
controllers.

    python -m benchmarks.fakenodes [--cluster NAME] [--controller-qps N] [-o json]

The cluster is of `python -m cluster`; its nodes for this are none: kwok answers for them, and their
pods are ready at once. kwok is compiled for this command and removed with it. The operator runs as
a process of this machine, with the account, the rights and the settings that the chart gives it,
and the chart's own waits meanwhile. Its requests are those that the API server counted. A limit
that is missed ends the program with 1.
"""

import argparse
import asyncio
import base64
import json
import os
import re
import ssl
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import aiohttp

from benchmarks.operator import Figure, Process, report
from cluster import Cluster, cluster_for, toolchain
from examples import fixtures
from testbed.operating import model
from testbed.releases import OPERATOR_SPACE

KWOK, KWOK_VERSION = "sigs.k8s.io/kwok", "0.8.0"
STAGES = ("node/fast", "node/heartbeat-with-lease", "pod/fast")
"""kwok's own: nodes and pods are ready at once, and pods are gone at once."""
POD_NETWORK = "198.18.0.1/16"
"""Addresses of pods that nobody has: of the range for benchmarks (RFC 2544)."""
NODES = 4
MARK = "kwok.x-k8s.io/node"
ACCOUNT = "modelrelease"
OPERATOR = f"deployment/{ACCOUNT}-operator"
FLOW = "modelrelease-benchmark"
DISPATCHED = re.compile(
    rf'^apiserver_flowcontrol_dispatched_requests_total\{{flow_schema="{FLOW}".*\}} (\S+)$',
    re.MULTILINE,
)
SETTLE_SECONDS = 45
"""Until what waits looks as seldom as it will."""
WATCH_SECONDS = 60
IDLE_SECONDS = 180
AT_THE_SAME_TIME = 20

CONTROLLER_QPS = 100
"""Requests a second of each of Kubernetes' controllers, as its own scale tests have them. At their
default of 20 they need a minute to make the pods of two hundred Deployments, whatever the operator
does."""

Object = dict[str, Any]


@dataclass
class Server:
    """The API server, asked as its administrator."""

    url: str
    session: aiohttp.ClientSession

    async def make(self, path: str, objects: Iterable[Object]) -> None:
        """Create objects, some at the same time;
        raise ClientResponseError for the first that is refused.
        """
        free = asyncio.Semaphore(AT_THE_SAME_TIME)

        async def create(body: Object) -> None:
            async with free, self.session.post(f"{self.url}{path}", json=body) as response:
                response.raise_for_status()

        await asyncio.gather(*(create(body) for body in objects))

    async def items(self, path: str) -> list[Object]:
        """Return the objects of a list."""
        async with self.session.get(f"{self.url}{path}") as response:
            response.raise_for_status()
            items: list[Object] = (await response.json())["items"]
            return items

    async def shown(self, path: str, column: str, value: object) -> int:
        """Return how many rows of a table have a value in a column.

        A table, because hundreds of whole objects twice a second would cost more than what is
        measured.
        """
        headers = {"Accept": "application/json;as=Table;g=meta.k8s.io;v=v1"}
        where = f"{self.url}{path}?includeObject=None&resourceVersion=0"
        async with self.session.get(where, headers=headers) as answer:
            answer.raise_for_status()
            table = await answer.json()
        names = [definition["name"] for definition in table["columnDefinitions"]]
        at = names.index(column)
        return sum(row["cells"][at] == value for row in table["rows"])

    async def requests(self) -> float:
        """Return how many requests of the operator it has let in since it runs,
        watches included.
        """
        async with self.session.get(f"{self.url}/metrics") as response:
            return sum(map(float, DISPATCHED.findall(await response.text())))


@dataclass(kw_only=True)
class Running(Process):
    """The operator, the server that it talks to, and a namespace for its releases."""

    server: Server
    space: str

    async def make(self, number: int, *, nodes: str = "fake") -> None:
        """Create so many releases in one moment, for nodes of a kind."""
        objects = [_release(f"qna-{index}", self.space, nodes) for index in range(number)]
        await self.server.make(self._releases, objects)

    async def until(self, phase: str, number: int, *, within: float) -> float:
        """Wait until so many releases are in a phase; return how long it took, in seconds."""
        began = time.monotonic()
        async with asyncio.timeout(within):
            while await self._in(phase) < number:  # noqa: ASYNC110 - a predicate over many programs
                await asyncio.sleep(0.5)
        return time.monotonic() - began

    async def watched(self, seconds: float) -> tuple[float, float]:
        """Return the requests and the processor time of a second, over some time."""
        requests, cpu, began = await self.server.requests(), self.cpu(), time.monotonic()
        await asyncio.sleep(seconds)
        took = time.monotonic() - began
        return (await self.server.requests() - requests) / took, (self.cpu() - cpu) / took

    async def lag(self) -> float:
        """Return the seconds since the last of the pods became ready."""
        pods = await self.server.items(f"/api/v1/namespaces/{self.space}/pods")
        return time.time() - max(map(_ready_since, pods))

    async def _in(self, phase: str) -> int:
        return await self.server.shown(self._releases, "Phase", phase)

    @property
    def _releases(self) -> str:
        return f"/apis/modelrelease.dev/v1alpha1/namespaces/{self.space}/modelreleases"


def _release(name: str, space: str, nodes: str) -> Object:
    placement = {
        "nodeSelector": {"type": nodes},
        "tolerations": [{"key": MARK, "operator": "Exists"}],
    }
    return {
        "apiVersion": "modelrelease.dev/v1alpha1",
        "kind": "ModelRelease",
        "metadata": {"name": name, "namespace": space},
        "spec": {
            # Pinned, so that nobody has to have it.
            "model": {**model("1"), "uri": "http://models.example/qna/1"},
            "serving": {"replicas": 1, **placement},
        },
    }


def _ready_since(pod: Object) -> float:
    (since,) = (
        condition["lastTransitionTime"]
        for condition in pod["status"]["conditions"]
        if condition["type"] == "Ready"
    )
    return datetime.fromisoformat(since).timestamp()


@dataclass
class Bench:
    """A cluster that is made ready for measuring."""

    cluster: Cluster
    server: Server
    folder: Path

    @asynccontextmanager
    async def operator(self, space: str) -> AsyncIterator[Running]:
        """Run an operator of its own for a scenario, and remove all of it afterwards."""
        fixtures.apply(self.cluster, fixtures.namespace(space))
        before = await self.server.requests()
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "modelrelease_operator", "run", env=self.environment()
        )
        try:
            async with asyncio.timeout(60):
                # kopf and our own caches: a watch for each kind, and the Lease.
                while await self.server.requests() - before < 15:  # noqa: ASYNC110 - of another program
                    await asyncio.sleep(0.5)
            await asyncio.sleep(5)
            yield Running(pid=process.pid, server=self.server, space=space)
        finally:
            process.terminate()
            await process.wait()
            self.cluster.kubectl("delete", "namespace", space, "--wait", "--timeout=600s")

    def environment(self) -> dict[str, str]:
        """Return what the chart sets, with another way to the API server and to Prometheus."""
        deployment = json.loads(
            self.cluster.kubectl("get", OPERATOR, "-n", OPERATOR_SPACE, "-o", "json")
        )
        (container,) = deployment["spec"]["template"]["spec"]["containers"]
        charts = {
            variable["name"]: variable["value"]
            for variable in container["env"]
            if "value" in variable
        }
        service_address = (
            "get",
            "service",
            "prometheus",
            "-n",
            "monitoring",
            "-o",
            "jsonpath={.spec.clusterIP}",
        )
        return {
            **os.environ,
            **charts,
            "KUBECONFIG": str(self._kubeconfig()),
            "MODELRELEASE_PROMETHEUS_URL": f"http://{self.cluster.kubectl(*service_address)}:9090",
            "MODELRELEASE_LIVENESS_PORT": "18080",
            "MODELRELEASE_METRICS_PORT": "19090",
            "MODELRELEASE_LOG_LEVEL": "ERROR",
        }

    def _kubeconfig(self) -> Path:
        """Write a kubeconfig with the operator's own account."""
        administrator = _config(self.cluster)
        token = self.cluster.kubectl(
            "create", "token", ACCOUNT, "-n", OPERATOR_SPACE, "--duration=3h"
        ).strip()
        user = {"name": ACCOUNT, "user": {"token": token}}
        context = {"cluster": administrator["clusters"][0]["name"], "user": ACCOUNT}
        path = self.folder / "operator.kubeconfig"
        path.touch(mode=0o600)
        contexts = [{"name": ACCOUNT, "context": context}]
        path.write_text(
            json.dumps(
                {**administrator, "users": [user], "contexts": contexts, "current-context": ACCOUNT}
            )
        )
        return path


def _config(cluster: Cluster) -> Object:
    config: Object = json.loads(
        cluster.kubectl("config", "view", "--raw", "--flatten", "-o", "json")
    )
    return config


@asynccontextmanager
async def _server(cluster: Cluster, folder: Path) -> AsyncIterator[Server]:
    """Open a connection with the certificate of the administrator."""
    administrator = _config(cluster)
    endpoint, user = administrator["clusters"][0]["cluster"], administrator["users"][0]["user"]
    proof = folder / "admin.pem"
    proof.touch(mode=0o600)
    parts = (user["client-certificate-data"], user["client-key-data"])
    proof.write_bytes(b"\n".join(map(base64.b64decode, parts)))
    trust = ssl.create_default_context(
        cadata=base64.b64decode(endpoint["certificate-authority-data"]).decode()
    )
    trust.load_cert_chain(proof)
    connector = aiohttp.TCPConnector(ssl=trust)
    async with aiohttp.ClientSession(connector=connector) as session:
        yield Server(endpoint["server"], session)


@contextmanager
def _counted_apart(cluster: Cluster) -> Iterator[None]:
    """Have the API server count the operator's requests under a name of their own."""
    everything = {"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"], "namespaces": ["*"]}
    account = {"name": ACCOUNT, "namespace": OPERATOR_SPACE}
    rule = {
        "subjects": [{"kind": "ServiceAccount", "serviceAccount": account}],
        "resourceRules": [{**everything, "clusterScope": True}],
        "nonResourceRules": [{"verbs": ["*"], "nonResourceURLs": ["*"]}],
    }
    schema = {
        "apiVersion": "flowcontrol.apiserver.k8s.io/v1",
        "kind": "FlowSchema",
        "metadata": {"name": FLOW},
        "spec": {
            # Of the level that all accounts have, and just before their schema.
            "priorityLevelConfiguration": {"name": "workload-low"},
            "matchingPrecedence": 8900,
            "rules": [rule],
        },
    }
    fixtures.apply(cluster, schema)
    try:
        yield
    finally:
        cluster.kubectl("delete", "flowschema", FLOW, "--ignore-not-found")


@contextmanager
def _charts_operator_waits(cluster: Cluster) -> Iterator[None]:
    """Stop the operator that the chart installed, and start it again afterwards."""
    cluster.kubectl("scale", OPERATOR, "-n", OPERATOR_SPACE, "--replicas=0")
    label = "app.kubernetes.io/name=modelrelease-operator"
    wait_for_end = (
        "wait",
        "pods",
        "-n",
        OPERATOR_SPACE,
        "-l",
        label,
        "--for=delete",
        "--timeout=120s",
    )
    cluster.kubectl(*wait_for_end)
    try:
        yield
    finally:
        cluster.kubectl("scale", OPERATOR, "-n", OPERATOR_SPACE, "--replicas=1")
        cluster.kubectl("rollout", "status", OPERATOR, "-n", OPERATOR_SPACE, "--timeout=180s")


@asynccontextmanager
async def _fake_nodes(cluster: Cluster, kwok: Path) -> AsyncIterator[None]:
    """Make nodes, and run the program that answers for them, from its folder."""
    names = [f"fake-{number}" for number in range(NODES)]
    arguments = (
        f"--kubeconfig={cluster.kubeconfig}",
        "--manage-all-nodes=false",
        f"--manage-nodes-with-annotation-selector={MARK}=fake",
        # Without leases the node controller would soon call their pods unready.
        "--node-lease-duration-seconds=40",
        f"--cidr={POD_NETWORK}",
        *(f"--config={stage}" for stage in _stages(kwok)),
    )
    log = (kwok / "kwok.log").open("w")
    process = await asyncio.create_subprocess_exec(
        kwok / "kwok", *arguments, stdout=log, stderr=log
    )
    try:
        fixtures.apply(cluster, *map(_node, names))
        ready = [f"node/{name}" for name in names]
        cluster.kubectl("wait", *ready, "--for=condition=Ready", "--timeout=60s")
        yield
    finally:
        cluster.kubectl("delete", "node", *names, "--ignore-not-found")
        process.terminate()
        await process.wait()
        log.close()


def _stages(kwok: Path) -> list[Path]:
    """Return the files that say how nodes and pods live, from the sources of the program."""
    sources = kwok / "go/mod" / f"{KWOK}@v{KWOK_VERSION}" / "kustomize/stage"
    files: list[Path] = []
    for stage in STAGES:
        files += sorted((sources / stage).glob("*-*.yaml"))
    return [file for file in files if "kind: Stage" in file.read_text()]


def _node(name: str) -> Object:
    meta = {"name": name, "annotations": {MARK: "fake"}, "labels": {"type": "fake"}}
    taints = [{"key": MARK, "value": "fake", "effect": "NoSchedule"}]
    return {"apiVersion": "v1", "kind": "Node", "metadata": meta, "spec": {"taints": taints}}


async def releases_that_never_start(bench: Bench, number: int = 60) -> list[Figure]:
    """Measure releases whose pods no node takes."""
    async with bench.operator("fakenodes-never") as operator:
        await operator.make(number, nodes="nowhere")
        await operator.until("Pending", number, within=120)
        await asyncio.sleep(SETTLE_SECONDS)
        requests, cpu = await operator.watched(WATCH_SECONDS)
    subject = f"{number} releases that can never start"
    return [Figure(subject, requests, 2, "requests/s"), Figure(subject, cpu, 0.05, "cores")]


async def releases_at_once(bench: Bench, number: int = 200) -> list[Figure]:
    """Measure releases that begin in one moment, and the same when they are idle."""
    async with bench.operator("fakenodes-many") as operator:
        before, requests = operator.cpu(), await operator.server.requests()
        began = time.monotonic()
        await operator.make(number)
        await operator.until("Stable", number, within=300)
        took, lag = time.monotonic() - began, await operator.lag()
        spent, request_count = operator.cpu() - before, await operator.server.requests() - requests
        await asyncio.sleep(5)
        idle_requests, idle = await operator.watched(IDLE_SECONDS)
    subject, quiet = f"{number} releases begun at once", f"{number} idle releases"
    return [
        Figure(f"{subject}, until all are stable", took, 30, "s"),
        Figure(f"{subject}, from the last ready pod on", lag, 5, "s"),
        Figure(subject, spent, 4, "CPU s"),
        Figure(subject, request_count / number, 20, "requests each"),
        Figure(quiet, idle, 0.01, "cores"),
        Figure(quiet, idle_requests, 1, "requests/s"),
    ]


async def foreign_objects(bench: Bench, number: int = 3000) -> list[Figure]:
    """Measure what other people's objects cost."""
    space = "fakenodes-foreign"
    async with bench.operator(space) as operator:
        await operator.make(1)
        await operator.until("Stable", 1, within=60)
        before, cpu = operator.memory(), operator.cpu()
        names = [f"foreign-{index}" for index in range(number)]
        deployments = [_foreign_deployment(name, space) for name in names]
        await operator.server.make(f"/apis/apps/v1/namespaces/{space}/deployments", deployments)
        services = [_foreign_service(name, space) for name in names]
        await operator.server.make(f"/api/v1/namespaces/{space}/services", services)
        await asyncio.sleep(10)
        grown, spent = operator.memory() - before, operator.cpu() - cpu
    subject = f"{number} foreign Deployments and Services"
    return [Figure(subject, grown, 10, "MB"), Figure(subject, spent, 0.5, "CPU s")]


def _foreign_deployment(name: str, space: str) -> Object:
    deployment = fixtures.deployment(
        name, space, {"containers": [{"name": "any", "image": "any:1"}]}
    )
    deployment["spec"]["replicas"] = 0
    deployment["metadata"]["annotations"] = {"note": "y" * 2000}
    return deployment


def _foreign_service(name: str, space: str) -> Object:
    service = fixtures.service(name, space, 80)
    # Without addresses, of which a cluster has fewer.
    service["spec"]["clusterIP"] = "None"
    return service


@asynccontextmanager
async def made_ready(cluster: Cluster, kwok: Path, folder: Path) -> AsyncIterator[Bench]:
    """Make a cluster ready for measuring; `kwok` is a folder with that program, `folder` ours."""
    async with _server(cluster, folder) as server:
        with _counted_apart(cluster), _charts_operator_waits(cluster):
            async with _fake_nodes(cluster, kwok):
                yield Bench(cluster, server, folder)


@asynccontextmanager
async def bench_of(
    name: str, kwok: Path | None, *, controller_qps: int | None = CONTROLLER_QPS
) -> AsyncIterator[Bench]:
    """Make a cluster of ours, with the operator, ready for measuring.

    kwok is compiled into the folder `kwok` and kept there; without one, it goes with the bench.
    """
    cluster = cluster_with_operator(name, controller_qps=controller_qps)
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        program = kwok or folder
        toolchain.go_install(f"{KWOK}/cmd/kwok", KWOK_VERSION, program)
        async with made_ready(cluster, program, folder) as bench:
            yield bench


async def measured(name: str, kwok: Path | None, *, controller_qps: int | None) -> list[Figure]:
    """Measure everything, one after the other."""
    async with bench_of(name, kwok, controller_qps=controller_qps) as bench:
        return [
            *await releases_that_never_start(bench),
            *await releases_at_once(bench),
            *await foreign_objects(bench),
        ]


def cluster_with_operator(name: str, *, controller_qps: int | None = CONTROLLER_QPS) -> Cluster:
    """Start a cluster of ours with the chart installed, unless it is there."""
    cluster = cluster_for(name)
    cluster.up(controller_qps=controller_qps)
    cluster.require_ours()
    cluster.install_operator()
    return cluster


def main() -> int:
    """Print the figures; return 1 when a limit is missed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.fakenodes", description=__doc__)
    parser.add_argument(
        "--cluster", default="bench", metavar="NAME", help="a cluster of ours (default: bench)"
    )
    parser.add_argument(
        "--kwok",
        type=Path,
        metavar="DIR",
        help="compile kwok there and keep it (default: it is removed again)",
    )
    parser.add_argument(
        "--controller-qps",
        type=int,
        metavar="N",
        default=CONTROLLER_QPS,
        help="how often a second each of Kubernetes' controllers may ask; 0 for their own default, "
        "20 "
        "(default: %(default)s)",
    )
    parser.add_argument("-o", "--output", choices=["table", "json"], default="table")
    options = parser.parse_args()
    qps = options.controller_qps or None
    figures = asyncio.run(measured(options.cluster, options.kwok, controller_qps=qps))
    load = ", ".join(f"{average:.1f}" for average in os.getloadavg())
    rate = f"controllers at {options.controller_qps or 'their default of 20'} requests/s"
    machine = f"{os.cpu_count()} cores, load averages of {load}"
    print(f"kwok {KWOK_VERSION}, {rate}, {machine}\n", file=sys.stderr)
    return report(figures, options.output)


if __name__ == "__main__":
    sys.exit(main())
