"""The Prometheus servers that releases name, each kept open and shared by all who name it."""

import asyncio
from collections import OrderedDict
from dataclasses import replace
from weakref import WeakValueDictionary

from yarl import URL

from modelrelease_operator.api.spec import Analysis
from modelrelease_operator.errors import Unavailable
from modelrelease_operator.runtime.credentials import Credentials, read_credentials
from modelrelease_operator.runtime.kube import Kube
from modelrelease_operator.runtime.metric_sources.prometheus.client import MOST_LARGE, Lane
from modelrelease_operator.runtime.metric_sources.prometheus.source import PrometheusSource
from modelrelease_operator.runtime.web import Reach, Web
from modelrelease_operator.settings import Settings

NO_ADDRESS = (
    "spec.analysis.source is Prometheus, and nobody has named one: set "
    "spec.analysis.prometheus.url, have whoever installed the operator set the chart value "
    "prometheus.url, or set source Pods"
)
MAX_SESSIONS = 64
"""Servers that are kept open; rotated tokens and addresses that nobody names any more fall out."""


class PrometheusServers:
    """Every server that is named, the one that was used last at the end."""

    def __init__(self, most: int = MAX_SESSIONS) -> None:
        self._most = most
        self._sources: OrderedDict[tuple[str, Credentials], PrometheusSource] = OrderedDict()
        self._lanes: WeakValueDictionary[str, Lane] = WeakValueDictionary()
        """By address: a server is asked so much and no more, however many logins are used."""
        self._large = asyncio.Semaphore(MOST_LARGE)
        self._closing: set[asyncio.Task[None]] = set()

    def serves(self, analysis: Analysis, settings: Settings) -> bool:  # noqa: ARG002 - as every kind is asked
        """Return True: a release that names no server is served by the operator's own."""
        return True

    async def source_of(
        self, kube: Kube, namespace: str, analysis: Analysis, settings: Settings
    ) -> PrometheusSource:
        """Return a release's server. Without its credentials it is one that does not answer."""
        named = analysis.prometheus
        url = named.url if named else settings.prometheus_url
        if not url:
            return PrometheusSource(
                url, timeout_seconds=settings.prometheus_timeout_seconds, trouble=NO_ADDRESS
            )
        allowed = settings.prometheus_allow_secret_refs
        try:
            credentials = await read_credentials(kube, namespace, named, allowed=allowed)
        except Unavailable as problem:
            seconds = settings.prometheus_timeout_seconds
            return PrometheusSource(url, timeout_seconds=seconds, trouble=str(problem))
        if named is None:
            credentials = replace(credentials, tenant=settings.prometheus_tenant or None)
        if settings.prometheus_namespace_parameter and _is_ours(url, settings):
            # Also where the release names the address: its word is no way around the fence.
            fence = (settings.prometheus_namespace_parameter, namespace)
            credentials = replace(credentials, fence=fence)
        return self.get(url, credentials, settings)

    def get(self, url: str, credentials: Credentials, settings: Settings) -> PrometheusSource:
        """Return a server, made at the first use."""
        key = (url, credentials)
        if key not in self._sources:
            self._sources[key] = self._new(url, credentials, settings)
        self._sources.move_to_end(key)
        while len(self._sources) > self._most:
            self._retire(self._sources.popitem(last=False)[1])
        return self._sources[key]

    def _new(self, url: str, credentials: Credentials, settings: Settings) -> PrometheusSource:
        # Whoever installed the operator may send it anywhere; whoever makes a release may not.
        reach = None if _is_ours(url, settings) else Reach.of(settings.allowed_hosts)
        return PrometheusSource(
            url,
            timeout_seconds=settings.prometheus_timeout_seconds,
            credentials=credentials,
            web=Web(reach=reach, credentials=credentials, ca_file=settings.ca_file),
            lane=self._lane(url),
            max_bytes=settings.prometheus_max_bytes,
        )

    def _lane(self, url: str) -> Lane:
        try:
            address = str(URL(url).origin())
        except ValueError:
            # No address of a server, such as a port above 65535: whoever asks there is told so.
            address = url
        lane = self._lanes.get(address) or Lane(large=self._large)
        self._lanes[address] = lane
        return lane

    def _retire(self, source: PrometheusSource) -> None:
        """Close a server that may still be asked something, or be asked again by who holds it."""
        task = asyncio.get_running_loop().create_task(source.close())
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)

    async def close(self) -> None:
        """Close every server."""
        while self._sources:
            await self._sources.popitem()[1].close()
        await asyncio.gather(*self._closing)


def _is_ours(url: str, settings: Settings) -> bool:
    """Return whether an address is the one that the operator itself was told of."""
    return url.rstrip("/") == settings.prometheus_url.rstrip("/")
