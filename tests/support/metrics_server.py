"""A metrics API (metrics.k8s.io/v1beta1) for a cluster of tests: the CPU that pods use, as the
kubelets show it.

Runs in a pod as one file, with aiohttp alone, on port 8443; a certificate is in /tls. It stands in
for metrics-server, which takes minutes to compile: the same source (`/metrics/resource`), the same
answer, and what an autoscaler asks for alone.
"""

import asyncio
import os
import re
import ssl
import sys
from collections import defaultdict, deque
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from aiohttp import ClientError, ClientSession, TCPConnector, web

ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
API = f"https://{os.environ.get('KUBERNETES_SERVICE_HOST')}:443"
EVERY_SECONDS = 2.0
LEAST_WINDOW = 5.0
"""Seconds between the two readings that make a rate."""
READING = re.compile(
    r'container_cpu_usage_seconds_total\{container="([^"]*)",namespace="([^"]*)",pod="([^"]*)"\}'
    r" (\S+) (\d+)"
)

Container = tuple[str, str, str]
"""Namespace, pod and container."""
Readings = dict[Container, deque[tuple[float, float]]]
"""By container: when it was read, and the seconds of CPU by then."""


async def ask(session: ClientSession, path: str) -> Any:
    """Ask the API server as this pod's account; return JSON, or text of what is none."""
    headers = {"Authorization": f"Bearer {(ACCOUNT / 'token').read_text()}"}
    async with session.get(f"{API}{path}", headers=headers) as answer:
        answer.raise_for_status()
        is_json = answer.content_type == "application/json"
        return await answer.json() if is_json else await answer.text()


def take(readings: Readings, page: str) -> None:
    """Take the readings of one kubelet that are new."""
    for container, namespace, pod, used, at in READING.findall(page):
        known = readings[namespace, pod, container]
        moment = int(at) / 1000
        if not known or moment > known[-1][0]:
            known.append((moment, float(used)))


def rate(known: deque[tuple[float, float]]) -> tuple[float, float, float] | None:
    """Return the time, the length and the used cores of the newest window; None without one."""
    if not known:
        return None
    at, used = known[-1]
    for before, used_before in reversed(known):
        if at - before >= LEAST_WINDOW:
            return at, at - before, max(0.0, used - used_before) / (at - before)
    return None


async def read_kubelets(readings: Readings, session: ClientSession) -> None:
    """Read every kubelet for ever."""
    while True:
        try:
            for node in (await ask(session, "/api/v1/nodes"))["items"]:
                path = f"/api/v1/nodes/{node['metadata']['name']}/proxy/metrics/resource"
                take(readings, await ask(session, path))
        except (ClientError, TimeoutError, OSError) as problem:
            sys.stderr.write(f"the kubelets could not be read: {problem!r}\n")
        await asyncio.sleep(EVERY_SECONDS)


def metrics_of(pod: dict[str, Any], readings: Readings) -> dict[str, Any] | None:
    """Return a pod's PodMetrics; None while a container of it has no rate yet."""
    meta = pod["metadata"]
    names = [each["name"] for each in pod["spec"]["containers"]]
    rates = {name: rate(readings[meta["namespace"], meta["name"], name]) for name in names}
    told = {name: each for name, each in rates.items() if each}
    if len(told) < len(names):
        return None
    newest, window, _ = max(told.values())
    return {
        "metadata": {key: meta.get(key, {}) for key in ("name", "namespace", "labels")},
        "timestamp": datetime.fromtimestamp(newest, UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "window": f"{window:.0f}s",
        "containers": [
            {"name": name, "usage": {"cpu": f"{round(1e9 * cores)}n", "memory": "0"}}
            for name, (_, _, cores) in told.items()
        ],
    }


def application() -> web.Application:
    """Return the API."""
    readings: Readings = defaultdict(lambda: deque(maxlen=30))
    app = web.Application()
    session_key = web.AppKey("session", ClientSession)

    async def run(app: web.Application) -> Any:
        trusted = ssl.create_default_context(cafile=str(ACCOUNT / "ca.crt"))
        app[session_key] = ClientSession(connector=TCPConnector(ssl=trusted))
        reading = asyncio.create_task(read_kubelets(readings, app[session_key]))
        yield
        reading.cancel()
        await app[session_key].close()

    async def resources(_: web.Request) -> web.Response:
        pods = {"name": "pods", "namespaced": True, "kind": "PodMetrics", "verbs": ["get", "list"]}
        listed = {"groupVersion": "metrics.k8s.io/v1beta1", "resources": [pods]}
        return web.json_response({"kind": "APIResourceList", "apiVersion": "v1", **listed})

    async def pods(request: web.Request) -> web.Response:
        path = f"/api/v1/namespaces/{request.match_info['namespace']}/pods?{request.query_string}"
        listed = (await ask(request.app[session_key], path))["items"]
        items = [told for pod in listed if (told := metrics_of(pod, readings))]
        version = {"kind": "PodMetricsList", "apiVersion": "metrics.k8s.io/v1beta1"}
        return web.json_response({**version, "metadata": {}, "items": items})

    app.cleanup_ctx.append(run)
    app.router.add_get("/apis/metrics.k8s.io/v1beta1", resources)
    app.router.add_get("/apis/metrics.k8s.io/v1beta1/namespaces/{namespace}/pods", pods)
    return app


def main() -> None:
    """Serve until told to stop."""
    shown = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    shown.load_cert_chain("/tls/tls.crt", "/tls/tls.key")
    web.run_app(application(), port=8443, ssl_context=shown)


if __name__ == "__main__":
    main()
