"""What two thousand releases cost the operator, and how soon it acts among them.

    python -m benchmarks.scale [--cluster NAME] [--releases N] [--judged N] [--into FILE] [-o json]

Without a cluster the operator runs against the tests' API server, which counts requests, checks
nothing and starts pods at once: the figures are the operator's alone, and ten minutes are enough.
With one, `python -m cluster`'s API server, etcd and controllers are real, and kwok answers for the
nodes. In both Prometheus is this program: it knows the pods, and counts for each what a pod of the
predictor with steady users would have, as scraped every 15 s. The operator's own metrics are
scraped as often. A limit that is missed ends the program with 1.
"""

import argparse
import asyncio
import json
import math
import os
import re
import socket
import statistics
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import aiohttp
from aiohttp import web

from benchmarks import fakenodes
from benchmarks.doc_markers import put
from benchmarks.fakenodes import Bench, Server
from benchmarks.operator import Figure, Process, report, table_of
from examples import fixtures
from modelrelease_contract import metrics as words
from modelrelease_operator.api import names
from testbed.api_server import ApiServer
from testbed.operating import model
from testbed.servers import serving

SPACES = 20
"""Namespaces that the releases are spread over."""
RELEASES, JUDGED, AT_ONCE, CHANGED = 2_000, 200, 200, 100
SCRAPE_SECONDS = 15.0
REQUESTS_PER_SECOND = 10.0
"""Of each pod's users."""
BUCKETS = [*(0.001 * 1.19**power for power in range(52)), math.inf]
"""Upper ends of as many buckets as the predictor's histogram has."""
FEATURES, BINS = 4, 12
LATENESS = re.compile(
    r'^modelrelease_look_lateness_seconds_bucket\{le="(.+)"\} (\S+)$', re.MULTILINE
)
RELEASE_PATH = "/apis/modelrelease.dev/v1alpha1/modelreleases"
NAMED = re.compile(r'(namespace|release|revision)=~?"([^"]*)"')

MARKS = {False: "scale", True: "scale on a cluster"}
"""Between which lines of a document the table lies, and that of a real API server."""

Object = dict[str, Any]


@dataclass
class Mirror:
    """What watches tell this program: where each release is, and which pods there are."""

    server: Server
    phases: dict[str, tuple[str, bool]] = field(default_factory=dict)
    """By release: its phase, and whether its canary's weight is in effect."""
    begun: dict[tuple[str, str], float] = field(default_factory=dict)
    """By release and version: when its Deployment was seen first."""
    pods: dict[tuple[str, str, str], dict[str, str]] = field(default_factory=dict)
    """By namespace, release and revision: its pods, with their versions."""
    _tasks: list[asyncio.Task[None]] = field(default_factory=list)

    def start(self) -> None:
        """Begin to watch."""
        watched: list[tuple[str, Callable[[str, Object], None]]] = [
            (RELEASE_PATH, self._release),
            ("/apis/apps/v1/deployments", self._deployment),
            ("/api/v1/pods", self._pod),
        ]
        self._tasks = [asyncio.create_task(self._follow(*each)) for each in watched]

    async def stop(self) -> None:
        """End the watches."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def count(self, phase: str) -> int:
        """Return how many releases are in a phase, with their canary's weight in effect."""
        stable = phase == "Stable"
        return sum(now == phase and (stable or met) for now, met in self.phases.values())

    async def until(self, is_reached: Callable[[], bool], *, within: float) -> float:
        """Wait for something; return how long it took, in seconds."""
        began = time.monotonic()
        async with asyncio.timeout(within):
            while not is_reached():  # noqa: ASYNC110 - a predicate over many programs
                await asyncio.sleep(0.05)
        return time.monotonic() - began

    async def _follow(self, path: str, take: Callable[[str, Object], None]) -> None:
        where = f"{self.server.url}{path}"
        selector = "" if path == RELEASE_PATH else f"labelSelector={names.LABEL_RELEASE}&"
        limit = aiohttp.ClientTimeout(total=None)
        while True:
            async with self.server.session.get(f"{where}?{selector}") as answer:
                listed = await answer.json()
            for item in listed["items"]:
                take("ADDED", item)
            version = listed["metadata"]["resourceVersion"]
            url = f"{where}?{selector}watch=true&allowWatchBookmarks=true&resourceVersion={version}"
            async with self.server.session.get(url, timeout=limit, read_bufsize=2**22) as answer:
                async for line in answer.content:
                    event = json.loads(line)
                    if event["type"] == "ERROR":
                        break
                    if event["type"] != "BOOKMARK":
                        take(event["type"], event["object"])

    def _release(self, _: str, release: Object) -> None:
        status = release.get("status", {})
        met = "stepSince" in status.get("canary", {})
        self.phases[release["metadata"]["name"]] = (status.get("phase", ""), met)

    def _deployment(self, _: str, deployment: Object) -> None:
        labels = deployment["metadata"]["labels"]
        key = (labels[names.LABEL_RELEASE], labels.get(names.LABEL_VERSION, ""))
        self.begun.setdefault(key, time.monotonic())

    def _pod(self, change: str, pod: Object) -> None:
        meta = pod["metadata"]
        labels = meta["labels"]
        key = (meta["namespace"], labels[names.LABEL_RELEASE], labels.get(names.LABEL_REVISION, ""))
        there = self.pods.setdefault(key, {})
        if change == "DELETED":
            there.pop(meta["name"], None)
        else:
            there[meta["name"]] = labels.get(names.LABEL_VERSION, "1")


@dataclass
class Metrics:
    """Stands where Prometheus does: what it would have scraped of the pods of a query."""

    mirror: Mirror
    queries: Counter[str] = field(default_factory=Counter)
    releases: int = 0
    """Of how many releases counters were asked for, all queries together."""
    began: float = field(default_factory=time.time)

    async def answer(self, request: web.Request) -> web.Response:
        """Answer one query."""
        (query,) = parse_qs(await request.text())["query"]
        asked: dict[str, list[str]] = {}
        for label, pattern in NAMED.findall(query):
            asked.setdefault(label, pattern.split("|"))
        counters = words.PREDICTION_DURATION_SECONDS in query
        self.queries["counters" if counters else "bins"] += 1
        self.releases += len(asked["release"]) if counters else 0
        series = self._counters if counters else self._bins
        wanted = [frozenset(asked[label]) for label in ("namespace", "release", "revision")]
        rows = [
            row
            for key in self.mirror.pods
            if all(part in names for part, names in zip(key, wanted, strict=True))
            for row in series(key)
        ]
        answer = {"status": "success", "data": {"resultType": "vector", "result": rows}}
        return web.Response(text=json.dumps(answer), content_type="application/json")

    def _counters(self, of: tuple[str, str, str]) -> Iterator[Object]:
        for target, own, at in self._pods(of):
            count = round((at - self.began) * REQUESTS_PER_SECOND)
            name = {"__name__": words.PREDICTIONS_TOTAL}
            yield _row({**name, **own, **target, "code": "200"}, count - count // 1000)
            yield _row({**name, **own, **target, "code": "500"}, count // 1000)
            bucket = {"__name__": f"{words.PREDICTION_DURATION_SECONDS}_bucket"}
            for number, bound in enumerate(BUCKETS):
                share = min(1.0, number / 40)
                le = {"le": "+Inf" if math.isinf(bound) else f"{bound:.4g}"}
                yield _row({**bucket, **own, **target, **le}, round(count * share))
            yield _row({"modelrelease_kind": "sample_time", "release": of[1], **target}, at)
            yield _row({"__name__": "process_start_time_seconds", **target}, self.began)

    def _bins(self, of: tuple[str, str, str]) -> Iterator[Object]:
        arm = {"namespace": of[0], "release": of[1], "revision": of[2]}
        cells = [
            {"feature": f"feature-{feature}", "bin": str(number)}
            for feature in range(FEATURES)
            for number in range(BINS)
        ]
        for target, own, at in self._pods(of):
            count = round((at - self.began) * REQUESTS_PER_SECOND / BINS)
            for cell in cells:
                name = {"__name__": words.FEATURE_BIN_TOTAL}
                yield _row({**name, **own, **target, **cell}, count)
        for cell in cells:
            yield _row({"__name__": words.FEATURE_BASELINE_ROWS, **arm, **cell}, 1000)

    def _pods(self, of: tuple[str, str, str]) -> Iterator[tuple[Object, Object, float]]:
        """Yield the labels of each pod's target and of its series, and when it was scraped."""
        space, release, revision = of
        for pod, version in self.mirror.pods.get(of, {}).items():
            target = {"namespace": space, "pod": pod, "job": "pods", "instance": f"{pod}:8000"}
            own = {"release": release, "revision": revision, "model_version": version}
            phase = hash(pod) % 1000 / 1000 * SCRAPE_SECONDS
            at = (time.time() - phase) // SCRAPE_SECONDS * SCRAPE_SECONDS + phase
            yield target, own, at


def _row(labels: Object, value: float) -> Object:
    return {"metric": labels, "value": [time.time(), str(value)]}


@dataclass(kw_only=True)
class Site(Process):
    """The operator's process, the server that it talks to, and what is seen of both."""

    server: Server
    mirror: Mirror
    metrics: Metrics
    requests: Callable[[], Awaitable[float]]
    """How many requests the operator has made since it runs, the Lease's and watches too."""
    spaces: Sequence[str]
    placement: Object
    metrics_port: int

    async def apply(self, numbers: range, version: str, *, first: bool) -> None:
        """Have so many releases ask for a version."""
        free = asyncio.Semaphore(fakenodes.AT_THE_SAME_TIME)

        async def one(number: int) -> None:
            async with free:
                await self.ask(number, version, first=first)

        await asyncio.gather(*map(one, numbers))

    async def ask(self, number: int, version: str, *, first: bool) -> None:
        """Have one release ask for a version, as a person would."""
        space = self.spaces[number % len(self.spaces)]
        where = f"{self.server.url}/apis/modelrelease.dev/v1alpha1/namespaces/{space}/modelreleases"
        body = self._release(number, space, version)
        kind = {"Content-Type": "application/merge-patch+json"}
        name = body["metadata"]["name"]
        asked = (
            self.server.session.post(where, json=body)
            if first
            else self.server.session.patch(f"{where}/{name}", json=body, headers=kind)
        )
        async with asked as answer:
            answer.raise_for_status()

    def _release(self, number: int, space: str, version: str) -> Object:
        source = {**model(version), "uri": f"http://models.example/qna/{version}"}
        return {
            "apiVersion": "modelrelease.dev/v1alpha1",
            "kind": "ModelRelease",
            "metadata": {"name": f"qna-{number}", "namespace": space},
            "spec": {
                "model": source,
                "serving": {"replicas": 1, **self.placement},
                "canary": {"steps": [{"weight": 50, "bake": "9h"}], "progressDeadline": "9h"},
            },
        }

    async def lateness(self) -> dict[float, float]:
        """Return how many looks were at most so late, by seconds."""
        found = LATENESS.findall(await self.scrape())
        return {float(bound): float(count) for bound, count in found}

    async def scrape(self) -> str:
        """Return the operator's own metrics."""
        address = f"http://127.0.0.1:{self.metrics_port}/metrics"
        async with aiohttp.ClientSession() as session, session.get(address) as answer:
            return await answer.text()

    async def watched(self, seconds: float) -> "Spent":
        """Return what was spent in so many seconds, while its metrics are scraped."""
        before, began = await self._spent(), time.monotonic()
        while (left := seconds - (time.monotonic() - began)) > 0:
            await asyncio.sleep(min(left, SCRAPE_SECONDS))
            await self.scrape()
        return (await self._spent()).since(before, time.monotonic() - began)

    async def _spent(self) -> "Spent":
        return Spent(
            cpu=self.cpu(),
            requests=await self.requests(),
            queries=self.metrics.queries.total(),
            looks=self.metrics.releases,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Spent:
    """What the operator had spent at a moment, or spent in a time."""

    cpu: float
    """Seconds."""
    requests: float
    queries: float
    looks: float
    seconds: float = 0.0

    def since(self, before: "Spent", seconds: float) -> "Spent":
        """Return what was spent since an earlier moment."""
        return Spent(
            cpu=self.cpu - before.cpu,
            requests=self.requests - before.requests,
            queries=self.queries - before.queries,
            looks=self.looks - before.looks,
            seconds=seconds,
        )


def quantile(buckets: dict[float, float], share: float) -> float:
    """Return the end of the first bucket that holds a share of all that was counted."""
    total = max(buckets.values(), default=0.0)
    if not total:
        return math.nan
    return min(bound for bound, count in buckets.items() if count >= share * total)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sizes:
    """How many of everything, and for how long each is watched."""

    releases: int = RELEASES
    judged: int = JUDGED
    changed: int = CHANGED
    seconds: float = 120.0


async def measured(site: Site, sizes: Sizes) -> list[Figure]:
    """Measure everything, one after the other, with one operator."""
    alone = site.memory()
    figures: list[Figure] = []
    parts = (
        begun_at_once(site, min(AT_ONCE, sizes.releases)),
        idle(site, sizes, alone),
        judged(site, sizes),
    )
    for part in parts:
        found = await part
        print(table_of(found), file=sys.stderr, flush=True)
        figures += found
    return figures


async def begun_at_once(site: Site, number: int) -> list[Figure]:
    """Measure releases that begin in one moment."""
    cpu, requests, began = site.cpu(), await site.requests(), time.monotonic()
    await site.apply(range(number), "1", first=True)
    await site.mirror.until(lambda: site.mirror.count("Stable") >= number, within=300)
    took, spent = time.monotonic() - began, site.cpu() - cpu
    asked = await site.requests() - requests
    subject = f"{number} releases begun at once"
    return [
        Figure(f"{subject}, until all are stable", took, 15, "s"),
        Figure(subject, spent, 4, "CPU s"),
        Figure(subject, asked / number, 20, "requests each"),
    ]


async def idle(site: Site, sizes: Sizes, alone: float) -> list[Figure]:
    """Measure many releases of which nothing is asked."""
    number = sizes.releases
    await site.apply(range(min(AT_ONCE, number), number), "1", first=True)
    await site.mirror.until(lambda: site.mirror.count("Stable") >= number, within=600)
    await asyncio.sleep(30)
    spent = await site.watched(sizes.seconds)
    memory, subject = site.memory(), f"{number} idle releases"
    leases = 2 * spent.seconds / 3
    return [
        Figure(subject, spent.cpu / spent.seconds, 0.05, "cores"),
        Figure(subject, memory, 400, "MB"),
        Figure(f"{subject}, each", (memory - alone) / number * 1000, 150, "kB"),
        Figure(f"{subject}, beside the Lease", max(0.0, spent.requests - leases), 10, "requests"),
        Figure(f"{subject}, for drift", spent.queries / spent.seconds, 2, "queries/s"),
    ]


async def judged(site: Site, sizes: Sizes) -> list[Figure]:
    """Measure canaries that are being judged, and changes of others meanwhile."""
    number = sizes.judged
    await site.apply(range(number), "2", first=False)
    await site.mirror.until(lambda: site.mirror.count("Progressing") >= number, within=300)
    await asyncio.sleep(30)
    before = await site.lateness()
    spent = await site.watched(sizes.seconds)
    after = await site.lateness()
    late = {bound: count - before.get(bound, 0.0) for bound, count in after.items()}
    reacted = await changes(site, range(number, min(number + sizes.changed, sizes.releases)))
    subject = f"{number} releases in analysis of {sizes.releases}"
    looks = max(1.0, spent.looks)
    return [
        Figure(subject, spent.cpu / spent.seconds, 0.5, "cores"),
        Figure(f"{subject}, each look", spent.cpu / looks * 1000, 25, "CPU ms"),
        Figure(f"{subject}, lateness of looks, 99th percentile", quantile(late, 0.99), 2, "s"),
        Figure(f"{subject}, longest gap for each", spent.seconds * number / looks, 12, "s"),
        Figure(f"{subject}, all together", spent.queries / spent.seconds, 4, "queries/s"),
        Figure(f"{subject}, each look", spent.requests / looks, 1.2, "requests"),
        Figure(f"{subject}, memory", site.memory(), 500, "MB"),
        Figure("a change under this load, median", statistics.median(reacted), 1, "s"),
        Figure("a change under this load, 99th percentile", _p99(reacted), 3, "s"),
    ]


def _p99(seconds: Sequence[float]) -> float:
    return sorted(seconds)[min(len(seconds) - 1, math.ceil(len(seconds) * 0.99) - 1)]


async def changes(site: Site, numbers: range) -> list[float]:
    """Return how long it took from each change of a spec until its Deployment was seen."""
    took = []
    for number in numbers:
        changed = time.monotonic()
        await site.ask(number, "2", first=False)
        key = (f"qna-{number}", "2")
        await site.mirror.until(lambda key=key: key in site.mirror.begun, within=60)  # type: ignore[misc]
        took.append(site.mirror.begun[key] - changed)
        await asyncio.sleep(0.37)
    return took


@asynccontextmanager
async def fake_site() -> AsyncIterator[Site]:
    """Start the tests' API server, and an operator at it."""
    api = await ApiServer().start()
    async with AsyncExitStack() as stack:
        stack.push_async_callback(api.stop)
        session = await stack.enter_async_context(aiohttp.ClientSession())
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        server = Server(api.url, session)

        async def requests() -> float:
            others = ("POST modelreleases", "PATCH modelreleases")
            return float(api.requests.total() - sum(api.requests[each] for each in others))

        env = {"KUBECONFIG": str(api.kubeconfig(folder))}
        spaces = [f"team-{number}" for number in range(SPACES)]
        yield await stack.enter_async_context(
            _operating(server, env, requests=requests, spaces=spaces, placement={})
        )


@asynccontextmanager
async def cluster_site(bench: Bench) -> AsyncIterator[Site]:
    """Start an operator at a real API server, with namespaces of its own."""
    spaces = [f"scale-team-{number}" for number in range(SPACES)]
    fixtures.apply(bench.cluster, *map(fixtures.namespace, spaces))
    placement = {
        "nodeSelector": {"type": "fake"},
        "tolerations": [{"key": fakenodes.MARK, "operator": "Exists"}],
    }
    try:
        async with _operating(
            bench.server,
            bench.environment(),
            requests=bench.server.requests,
            spaces=spaces,
            placement=placement,
        ) as site:
            yield site
    finally:
        bench.cluster.kubectl("delete", "namespace", *spaces, "--wait=false")


@asynccontextmanager
async def _operating(
    server: Server,
    env: dict[str, str],
    *,
    requests: Callable[[], Awaitable[float]],
    spaces: Sequence[str],
    placement: Object,
) -> AsyncIterator[Site]:
    """Run the operator with a Prometheus that knows what the mirror shows."""
    mirror = Mirror(server)
    mirror.start()
    metrics = Metrics(mirror)
    async with serving(metrics.answer) as prometheus:
        health_port, metrics_port = _free_ports()
        settings = {
            "MODELRELEASE_PROMETHEUS_URL": prometheus,
            "MODELRELEASE_LIVENESS_PORT": str(health_port),
            "MODELRELEASE_METRICS_PORT": str(metrics_port),
            "MODELRELEASE_LOG_LEVEL": "ERROR",
        }
        program = (sys.executable, "-m", "modelrelease_operator", "run")
        process = await asyncio.create_subprocess_exec(
            *program, env={**os.environ, **env, **settings}
        )
        try:
            await asyncio.sleep(15)
            yield Site(
                pid=process.pid,
                server=server,
                mirror=mirror,
                metrics=metrics,
                requests=requests,
                spaces=spaces,
                placement=placement,
                metrics_port=metrics_port,
            )
        finally:
            with suppress(ProcessLookupError):
                process.terminate()
            await process.wait()
            await mirror.stop()


def _free_ports() -> list[int]:
    """Return two ports of this machine that nobody listens on."""
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(2)]
        for each in sockets:
            each.bind(("", 0))
        return [each.getsockname()[1] for each in sockets]


async def on_fake(sizes: Sizes) -> list[Figure]:
    """Measure at the tests' API server."""
    async with fake_site() as site:
        return await measured(site, sizes)


async def on_cluster(name: str, kwok: Path | None, sizes: Sizes) -> list[Figure]:
    """Measure at a real API server, whose nodes kwok pretends."""
    async with fakenodes.bench_of(name, kwok) as bench, cluster_site(bench) as site:
        return await measured(site, sizes)


def main() -> int:
    """Print the figures; return 1 when a limit is missed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scale", description=__doc__)
    parser.add_argument("--cluster", metavar="NAME", help="a cluster of ours")
    parser.add_argument("--kwok", type=Path, metavar="DIR", help="compile kwok there and keep it")
    parser.add_argument("--releases", type=int, default=RELEASES)
    parser.add_argument("--judged", type=int, default=JUDGED)
    parser.add_argument("--seconds", type=float, default=120.0, help="of each time of watching")
    parser.add_argument("--into", type=Path, metavar="FILE", help="write the table into a document")
    parser.add_argument("-o", "--output", choices=["table", "json"], default="table")
    options = parser.parse_args()
    sizes = Sizes(releases=options.releases, judged=options.judged, seconds=options.seconds)
    if options.cluster:
        figures = asyncio.run(on_cluster(options.cluster, options.kwok, sizes))
    else:
        figures = asyncio.run(on_fake(sizes))
    if options.into:
        where = "a real API server" if options.cluster else "the tests' API server"
        load = ", ".join(f"{average:.1f}" for average in os.getloadavg())
        said = f"At {where}, {os.cpu_count()} cores, load averages of {load} at the end:"
        put(options.into, f"{said}\n\n{table_of(figures)}", mark=MARKS[bool(options.cluster)])
    return report(figures, options.output)


if __name__ == "__main__":
    sys.exit(main())
