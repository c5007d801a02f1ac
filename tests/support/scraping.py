"""A world whose Prometheus scrapes as the world's do: each pod at a moment of its own, seldom, and
late.

One or two servers stand behind one Service, and any look may be answered by either. Samples carry
their own times and the starts of their processes, as the query of the operator brings them.
"""

from dataclasses import dataclass, field
from datetime import timedelta

from modelrelease_operator.core.observed import Counter, MetricsUnavailable
from testbed.world import Behaviour, Pod, World

DISCOVERY = 5.0
"""Seconds until Prometheus knows a new pod: it asks the API server that often."""


@dataclass
class Server:
    """One Prometheus: when it scrapes each pod, and what it saw last."""

    offsets: dict[str, float] = field(default_factory=dict)
    known_since: dict[str, float] = field(default_factory=dict)
    due: dict[str, float] = field(default_factory=dict)
    shown: dict[str, tuple[float, float, dict[tuple[str, str], int]]] = field(default_factory=dict)
    """By pod: when it was scraped, and what it told then: since when it runs, and its counters."""


@dataclass
class ScrapedWorld(World):
    """A world that is seen through scrapes only."""

    scrape: float = 60.0
    jitter: float = 0.0
    """Most seconds by which a scrape comes late."""
    servers: int = 1
    missed: float = 0.0
    """Share of scrapes that fail."""
    outages: tuple[tuple[float, float, float], ...] = ()
    """Seconds since the canary got clients: from, until, share of both arms' requests that fail."""
    base: float = 0.001
    """Share of requests that fail at other times."""
    opened_at: float | None = None
    prometheus: list[Server] = field(default_factory=list)
    born: dict[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        super().__post_init__()
        self.prometheus = [Server() for _ in range(self.servers)]

    def pass_time(self, seconds: float) -> None:
        """Let time go by in steps that are short beside a scrape interval."""
        left = seconds
        while left > 1e-9:
            part = min(1.0, left)
            self._meet_outages()
            super().pass_time(part)
            left -= part
            for server in self.prometheus:
                self._scrape(server)

    def restart_containers(self, revision: str) -> None:
        super().restart_containers(revision)
        for pod in self.pods[revision]:
            self.born[pod.name] = self.now.timestamp()

    def _meet_outages(self) -> None:
        if not self.outages:
            return
        both = self.routed is not None and len(self.routed) > 1
        if both and self.opened_at is None:
            self.opened_at = self.now.timestamp()
        since = self.now.timestamp() - (self.opened_at or self.now.timestamp())
        rates = [rate for start, end, rate in self.outages if start <= since < end]
        rate = max(rates, default=self.base) if self.opened_at else self.base
        for revision in ("rev1", "rev2"):
            self.behaviours.setdefault(revision, Behaviour()).error_rate = rate

    def _scrape(self, server: Server) -> None:
        now = self.now.timestamp()
        alive = {pod.name: pod for pods in self.pods.values() for pod in pods if pod.ready}
        for name in server.shown.keys() - alive.keys():
            del server.shown[name]  # the marker of staleness
        for name, pod in alive.items():
            self.born.setdefault(name, now)
            known = server.known_since.setdefault(name, now)
            offset = server.offsets.setdefault(name, self.random.uniform(0, self.scrape))
            due = server.due.get(name)
            if due is None:
                first = known + DISCOVERY
                due = first + (offset - first) % self.scrape
                server.due[name] = due
            if now >= due:
                server.due[name] += self.scrape
                if self.jitter:
                    server.due[name] += self.random.uniform(0, self.jitter)
                if self.random.random() >= self.missed and name not in self.unscraped:
                    server.shown[name] = (now, self.born[name], self._page(pod))

    def _page(self, pod: Pod) -> dict[tuple[str, str], int]:
        return dict(pod.counters) if pod.counters else {("code", "200"): 0}

    def _metrics(self) -> tuple[Counter, ...] | MetricsUnavailable:
        if not self.prometheus_up:
            return MetricsUnavailable(message="Prometheus does not answer")
        server = self.random.choice(self.prometheus)
        return tuple(
            Counter(
                revision=revision, pod=pod.name, value=count, at=server.shown[pod.name][0],
                started=server.shown[pod.name][1],
                code=value if kind == "code" else None, bound=value if kind == "le" else None,
                bin=value if kind == "bin" else None, layout=value if kind == "layout" else None,
            )
            for revision, pods in self.pods.items()
            for pod in pods
            if pod.name in server.shown
            for (kind, value), count in server.shown[pod.name][2].items()
            if kind != "own"
        )  # fmt: skip

    def settle(self) -> "ScrapedWorld":
        """Let stable be scraped for a while before a release."""
        self.pass_time(3 * self.scrape + timedelta(minutes=1).total_seconds())
        return self
