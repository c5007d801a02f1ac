"""The operator's passes against a fake API server: real client, real caches, real decisions."""

import asyncio
import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, ClassVar

from kubernetes.aio import client as kube_client
from kubernetes.aio import config as kube_config

from modelrelease_operator.api import names
from modelrelease_operator.api.prometheus import Source
from modelrelease_operator.core.observed import Counter, Metrics
from modelrelease_operator.runtime.cache import WATCHED, Cached
from modelrelease_operator.runtime.kube import Kube
from modelrelease_operator.runtime.metric_sources.source import Revisions
from modelrelease_operator.runtime.reconcile import Reconciler
from modelrelease_operator.runtime.telemetry import Reporter
from modelrelease_operator.settings import Settings
from testbed.api_server import BY_KIND, ApiServer, Object

PATIENCE_SECONDS = 30
"""For what takes milliseconds on a machine that is not busy."""
BOUNDS = ("0.01", "0.1", "1.0", "+Inf")
FAST: dict[str, Any] = {
    "serving": {"replicas": 2},
    "canary": {"steps": [{"weight": 50, "bake": "10m"}]},
    "drift": {"enabled": False},
}


def _labels(obj: Object) -> dict[str, str]:
    return obj["metadata"].get("labels") or {}


def model(version: str) -> Object:
    return {"uri": f"pvc://models/{version}", "version": version, "sha256": f"{int(version):064d}"}


class Clock:
    def __init__(self) -> None:
        self.now = datetime(2026, 11, 1, 12, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now


@dataclass
class Measured:
    """Stands where Prometheus does: every pod's counters grow by 500 a look,
    the canary's with errors.
    """

    source: ClassVar = Source.PROMETHEUS
    reads_anew: ClassVar = False

    server: ApiServer
    seconds: float = 5.0
    errors: float = 0.0
    looks: int = 0
    wait: float = 0.0
    """Seconds that an answer takes."""
    asked: list[Revisions] = field(default_factory=list)

    async def read_counters(self, of: Revisions, **_: Any) -> Metrics:
        self.asked.append(of)
        await asyncio.sleep(self.wait)
        self.looks += 1
        canary, _stable = of.metrics
        counters: list[Counter] = []
        for pod in self.server.of("Pod"):
            name = pod["metadata"]["name"]
            revision = pod["metadata"]["labels"][names.LABEL_REVISION]
            total = self.looks * 500
            failures = round(total * self.errors) if revision == canary else 0
            codes = (("200", total - failures), ("500", failures))
            counters += [
                Counter(revision=revision, pod=name, code=code, value=n) for code, n in codes
            ]
            counters += [
                Counter(revision=revision, pod=name, bound=bound, value=total) for bound in BOUNDS
            ]
        return tuple(counters)


class OneSource:
    """Stands where the sessions do: one for every release."""

    def __init__(self, source: Measured) -> None:
        self.source = source

    async def source_of(self, *_: Any, **__: Any) -> Measured:
        return self.source


@dataclass
class Operating:
    """Passes, made one at a time and at a time that a test chooses."""

    server: ApiServer
    kube: Cached
    reconciler: Reconciler
    clock: Clock
    measured: Measured
    woken: list[tuple[str, str]]
    """Releases that the watches have waked, in order."""
    reporters: dict[str, Reporter] = field(default_factory=dict)

    async def once(self, name: str = "qna") -> timedelta | None:
        """Make one pass, over what the watches have told by now;
        let the time pass that it asks for.
        """
        await self.caught_up()
        if self.server.has("ModelRelease", name):
            self.kube.release_told(self.server.get("ModelRelease", name))
        else:
            self.kube.release_gone(("ml", name), None)
        reporter = self.reporters.setdefault(name, Reporter(self.kube, "ml", name))
        requeue = await self.reconciler.reconcile("ml", name, reporter)
        self.clock.now += requeue or timedelta(seconds=1)
        return requeue

    async def until(
        self, is_reached: Callable[[Object], bool], name: str = "qna", *, passes: int = 100
    ) -> Object:
        """Make passes until a status is as wanted; return it."""
        for _ in range(passes):
            await self.once(name)
            status: Object = self.server.get("ModelRelease", name).get("status", {})
            if is_reached(status):
                return status
        raise AssertionError(f"not seen in {passes} passes; last: {status}")

    async def caught_up(self) -> None:
        """Wait until pods are as their Deployments ask, and the watches have told everything."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            while self._behind():  # noqa: ASYNC110 - a predicate over two programs
                await asyncio.sleep(0.005)

    def _behind(self) -> bool:
        return self.server.busy or any(self._is_behind(kind) for kind in WATCHED)

    def _is_behind(self, kind: str) -> bool:
        of_releases = [obj for obj in self.server.of(kind) if names.LABEL_RELEASE in _labels(obj)]
        gone = len(self.kube.stores[kind]) > len(of_releases)
        return gone or any(self._is_news(kind, obj) for obj in of_releases)

    def _is_news(self, kind: str, obj: Object) -> bool:
        meta, store = obj["metadata"], self.kube.stores[kind]
        if not _labels(obj)[names.LABEL_RELEASE] or meta["uid"] in store._deleted:
            return False
        stored = store.get((meta["namespace"], meta["name"]))
        if stored is None:
            return True
        return int(stored["metadata"]["resourceVersion"]) < int(meta["resourceVersion"])

    def release(self, version: str, name: str = "qna", **parts: Any) -> Object:
        """Apply a release as a person would."""
        before = self.server.objects.get((BY_KIND["ModelRelease"], "ml", name), {})
        notes = before.get("metadata", {}).get("annotations", {})
        spec = {"model": model(version), **FAST, **parts}
        return self.server.put("ModelRelease", name, metadata={"annotations": notes}, spec=spec)

    def annotate(self, name: str = "qna", **notes: str) -> None:
        release = self.server.get("ModelRelease", name)
        annotations = {f"{names.GROUP}/{key}": text for key, text in notes.items()}
        meta = {
            **release["metadata"],
            "annotations": {**release["metadata"]["annotations"], **annotations},
        }
        self.server.put("ModelRelease", name, metadata=meta, spec=release["spec"])

    async def serves(self, version: str = "1", name: str = "qna", **parts: Any) -> Object:
        """Apply a first version and have it serve."""
        self.release(version, name, **parts)
        return await self.until(lambda status: status.get("phase") == "Stable", name)

    async def with_canary(self, **parts: Any) -> Object:
        """Have version 1 serve beside the canary 2, which has half of the traffic."""
        await self.serves("1", **parts)
        self.release("2", **parts)
        return await self.until(
            lambda status: (
                status.get("phase") == "Progressing"
                and status["canary"].get("stepSince") is not None
            )
        )

    def routed(self, name: str = "qna") -> str | None:
        """Return the one revision that clients reach, or None where they reach both."""
        selector: Object = self.server.get("Service", name)["spec"]["selector"]
        return selector.get(names.LABEL_REVISION)

    def status(self, name: str = "qna") -> Object:
        status: Object = self.server.get("ModelRelease", name).get("status", {})
        return status


async def connected(server: ApiServer) -> Kube:
    with tempfile.TemporaryDirectory() as folder:
        settings = kube_client.Configuration()
        path = str(server.kubeconfig(Path(folder)))
        await kube_config.load_kube_config(path, client_configuration=settings)
    settings.connection_pool_maxsize = 0
    return Kube(kube_client.ApiClient(settings))


@asynccontextmanager
async def operating(**settings: Any) -> AsyncIterator[Operating]:
    """Start a server and what passes need."""
    server = await ApiServer().start()
    woken: list[tuple[str, str]] = []
    kube = Cached(await connected(server), wake=woken.append)
    kube.start()
    await kube.filled(PATIENCE_SECONDS)
    parsed = Settings(**settings)
    clock, measured = Clock(), Measured(server, seconds=parsed.prometheus_timeout_seconds)
    reconciler = Reconciler(
        kube=kube,
        settings=parsed,
        clock=clock,
        sources=OneSource(measured),  # type: ignore[arg-type]
    )
    world = Operating(server, kube, reconciler, clock, measured, woken)
    try:
        yield world
    finally:
        for reporter in world.reporters.values():
            reporter.forget()
        await kube.stop()
        await kube.close()
        await server.stop()
