"""Pods whose pages can be read: real servers on addresses of this machine, and an API server's word
for them.
"""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any, cast

from aiohttp import web

from modelrelease_contract.metrics import duration_buckets
from modelrelease_operator.api import names
from modelrelease_operator.errors import ReleaseError
from modelrelease_operator.runtime.kube import Kube, Object, Objects
from modelrelease_operator.runtime.metric_sources.pods.clock import Clock
from modelrelease_operator.runtime.metric_sources.pods.reader import PageReader
from modelrelease_operator.runtime.metric_sources.pods.source import PodSource, Shared
from modelrelease_operator.runtime.metric_sources.source import Revisions
from modelrelease_operator.runtime.web import Reach
from modelrelease_operator.serving_runtimes import ServerMetrics
from modelrelease_operator.serving_runtimes.predictor import PREDICTOR
from testbed.servers import Handler, serving

LOOPBACK = Reach.of("127.0.0.0/8,::1/128")
"""Where the pods of tests are, and no other pods."""


def a_pod(
    name: str, ip: str = "127.0.0.2", *, revision: str = "rev2", ready: bool = True, **parts: Any
) -> Object:
    """Return a pod of release qna as the API server tells it; `parts` are of its metadata."""
    status = {
        "podIP": ip,
        "phase": parts.pop("phase", "Running"),
        "conditions": [{"type": "Ready", "status": "True" if ready else "False"}],
        "containerStatuses": parts.pop("containers", []),
    }
    owner = {"kind": "ReplicaSet", "name": f"qna-{revision}-5d4f8", "controller": True}
    meta = {
        "name": name,
        "namespace": "ml",
        "uid": f"uid-of-{name}",
        "labels": {names.LABEL_RELEASE: "qna", names.LABEL_REVISION: revision},
        "ownerReferences": [owner],
        "creationTimestamp": "2026-11-01T12:00:00Z",
    }
    return {"kind": "Pod", "metadata": meta | parts, "status": status}


def a_prober(name: str, ip: str, canary: str = "rev2") -> Object:
    """Return the pod that probes both revisions while one is the canary."""
    owner = {"kind": "ReplicaSet", "name": f"qna-{canary}-probe-5d4f8", "controller": True}
    labels = {names.LABEL_PROBER: "qna", names.LABEL_REVISION: canary}
    return a_pod(name, ip, labels=labels, ownerReferences=[owner])


@dataclass
class Listed:
    """Stands for the cache of what the API server tells: it lists pods, or fails."""

    pods: Objects = field(default_factory=list)
    problem: ReleaseError | None = None
    asked: list[str] = field(default_factory=list)

    async def list(self, kind: str, namespace: str, labels: Mapping[str, str]) -> Objects:
        """Return the pods that carry all the labels."""
        self.asked.append(f"{kind} {namespace} {dict(labels)}")
        if self.problem:
            raise self.problem
        return [pod for pod in self.pods if labels.items() <= pod["metadata"]["labels"].items()]


def a_page(
    revision: str = "rev2", codes: Mapping[str, float] | None = None, *, started: float = 1000.0
) -> str:
    """Return the page of a predictor that has answered requests with these codes."""
    who = f'release="qna",revision="{revision}",model_version="1"'
    counts = codes if codes is not None else {"200": 7, "500": 0}
    lines = ["# TYPE predictions_total counter"]
    lines += [f'predictions_total{{{who},code="{code}"}} {n}' for code, n in counts.items()]
    total = sum(counts.values())
    bounds = [*(str(bound) for bound in duration_buckets()), "+Inf"]
    lines += [f'prediction_duration_seconds_bucket{{{who},le="{le}"}} {total}' for le in bounds]
    lines += [f'feature_bin_total{{{who},feature="age",bin="0"}} 3']
    return "\n".join([*lines, f"process_start_time_seconds {started}", ""])


@dataclass
class Reading:
    """Pods behind real servers, and the source that reads them."""

    source: PodSource
    of: Revisions
    kube: Listed
    reader: PageReader


@asynccontextmanager
async def pods_showing(
    pages: Mapping[str, str | Handler], *pods: Object, seconds: float = 5.0,
    clock: Clock | None = None, metrics: ServerMetrics = PREDICTOR.metrics,
) -> AsyncIterator[Reading]:  # fmt: skip
    """Serve a page, or whatever a handler does, at each address; yields what reads them."""

    async def handler(request: web.Request) -> web.StreamResponse:
        page = pages.get(request.host.rpartition(":")[0])
        if page is None:
            raise web.HTTPNotFound
        return web.Response(text=page) if isinstance(page, str) else await page(request)

    kube = Listed(list(pods))
    reader = PageReader(clock, seconds=seconds, reach=LOOPBACK)
    async with serving(handler, host="0.0.0.0") as address:  # noqa: S104 - all of loopback's
        port = int(address.rpartition(":")[2])
        arms = dict.fromkeys(("rev2", "rev1"), replace(metrics, port=port))
        of = Revisions(namespace="ml", release="qna", metrics=arms)
        shared = Shared.of(reader)
        source = PodSource(cast("Kube", kube), shared)
        yield Reading(source=source, of=of, kube=kube, reader=reader)
        await shared.close()
