"""The stages of the demonstration: release a version, watch it, see how it ends."""

import json
import sys
import time
from dataclasses import dataclass, field
from typing import Any

from rich.console import Console
from rich.live import Live
from rich.table import Table

from cluster import Cluster
from examples import fixtures
from examples.waiting import wait_until

WITHIN_SECONDS = 1200
"""Longer than any stage takes: at one scrape in 15 seconds a good version takes minutes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """A version, and how it must end."""

    version: str
    description: str
    promoted: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class StageResult:
    """How a version ended, and what users met meanwhile."""

    stage: Stage
    promoted: bool
    seconds: float
    sentence: str
    answered_by_canary: int
    bad_answers: int

    @property
    def as_expected(self) -> bool:
        """Whether it ended as it must."""
        return self.promoted == self.stage.promoted


@dataclass(slots=True, kw_only=True)
class Scenario:
    """One release on one cluster, with clients that call it."""

    cluster: Cluster
    space: str
    model: str
    spec: dict[str, Any]
    rps: float
    console: Console = field(default_factory=Console)

    def clear(self) -> None:
        """Remove what an earlier run left."""
        self.cluster.kubectl(
            "delete", "modelrelease,deployment", "--all", "-n", self.space,
            "--ignore-not-found", "--wait", "--timeout=120s", check=False,
        )  # fmt: skip

    def begin(self, version: str) -> None:
        """Release the first version, then start the clients."""
        self.release(version)
        self._announce(f"Version {version} is applied: the first one only has to be ready")
        self._watch(lambda status: status.get("phase") == "Stable", f"version {version} to serve")
        url = f"http://{self.model}.{self.space}/predict"
        fixtures.apply(
            self.cluster, *fixtures.load_generator(self.space, url=url, rps=self.rps, seconds=3600)
        )
        self.cluster.kubectl(
            "rollout", "status", "-n", self.space, "deployment/load", "--timeout=120s"
        )
        self._announce(
            f"Clients call it: {self.rps:g} requests a second, half of them on kept-alive "
            "connections"
        )

    def release(self, version: str) -> None:
        """Apply the ModelRelease, as a user or a Git repository would."""
        uri = fixtures.store_uri(self.space, self.model, version)
        fixtures.apply(self.cluster, fixtures.release(self.model, self.space, uri, **self.spec))

    def play(self, stage: Stage) -> StageResult:
        """Release a version and watch until it is decided."""
        subject = "" if stage.promoted else "it "
        self._announce(f"Version {stage.version} is applied: {subject}{stage.description}")
        before = self.stats()
        began = time.monotonic()
        self.release(stage.version)
        status = self._watch(
            lambda latest: _decided(latest, stage.version),
            f"a decision about version {stage.version}",
        )
        took = time.monotonic() - began
        time.sleep(3)  # the last answers of the canary's pods are counted
        after = self.stats()
        promoted = status["stable"]["version"] == stage.version
        sentence = status["message"] if promoted else status["rejected"]["message"]
        result = StageResult(
            stage=stage,
            promoted=promoted,
            seconds=took,
            sentence=sentence,
            answered_by_canary=after.count(version=stage.version)
            - before.count(version=stage.version),
            bad_answers=_bad_answers(after, stage.version) - _bad_answers(before, stage.version),
        )
        end = "promoted" if promoted else "rolled back"
        self.console.print(f"   -> {end} after {took:.0f} s")
        return result

    def stats(self) -> fixtures.LoadStats:
        """Return what the clients saw so far."""
        return fixtures.LoadStats.read(self.cluster, self.space)

    def status(self) -> dict[str, Any]:
        """Return the release's status, empty before there is one."""
        raw = self.cluster.kubectl(
            "get", "modelrelease", self.model, "-n", self.space, "-o", "json"
        )
        document: dict[str, Any] = json.loads(raw)
        if (
            document.get("status", {}).get("observedGeneration")
            != document["metadata"]["generation"]
        ):
            return {}
        status: dict[str, Any] = document["status"]
        return status

    def _watch(self, is_done: Any, condition: str) -> dict[str, Any]:
        """Show the release while it moves; return its status when it is done."""
        with _Lines(self.console, time.monotonic()) as lines:

            def look() -> dict[str, Any]:
                status = self.status()
                lines.show(status)
                return status

            return wait_until(
                condition,
                look,
                lambda latest: bool(latest) and is_done(latest),
                within=WITHIN_SECONDS,
                every=1,
            )

    def _announce(self, text: str) -> None:
        self.console.print(f"\n== {text}", style="bold", highlight=False, soft_wrap=True)


class _Lines:
    """The table that grows a row at every change; live on a terminal, plain elsewhere."""

    def __init__(self, console: Console, began: float) -> None:
        self._console = console
        self._began = began
        self._last: tuple[str, ...] = ()
        self._table = Table(box=None, pad_edge=False, expand=False)
        for name in ("time", "phase", "stable", "canary", "weight", "seen", "verdict", "why"):
            self._table.add_column(name, overflow="fold", no_wrap=name != "why")
        self._live = Live(
            self._table, console=console, refresh_per_second=2, vertical_overflow="visible"
        )

    def __enter__(self) -> "_Lines":
        if sys.stdout.isatty():
            self._live.start()
        else:
            print(
                f" time  {'phase':<12} {'stable canary weight seen':>25}  {'verdict':<12} why",
                flush=True,
            )
        return self

    def __exit__(self, *_: object) -> None:
        if sys.stdout.isatty():
            self._live.stop()

    def show(self, status: dict[str, Any]) -> None:
        """Add a row when it says something new."""
        canary = status.get("canary", {})
        effective_weight = canary.get("effectiveWeight")
        row = (
            status.get("phase", "-"),
            status.get("stable", {}).get("version", "-"),
            canary.get("version", "-"),
            f"{status.get('weight', 0)} %",
            "-" if effective_weight is None else f"{effective_weight:.0f} %",
            status.get("verdict", "-"),
            status.get("message", "the operator has not looked yet"),
        )
        if row == self._last:
            return
        self._last = row
        clock = f"{time.monotonic() - self._began:4.0f}s"
        if sys.stdout.isatty():
            self._table.add_row(clock, *row)
        else:
            phase, stable, canary, weight, share, verdict, why = row
            arms = f"{stable:>6} {canary:>6} {weight:>6} {share:>4}"
            print(f"{clock}  {phase:<12} {arms}  {verdict:<12} {why}", flush=True)


def _decided(status: dict[str, Any], version: str) -> bool:
    """Return whether a version ended: it is stable, or rejected with its pods gone."""
    if status.get("phase") != "Stable":
        return False
    rejected = status.get("rejected", {}).get("version") == version
    return rejected or bool(status.get("stable", {}).get("version") == version)


def _bad_answers(stats: fixtures.LoadStats, version: str) -> int:
    return stats.count(version=version) - stats.count(version=version, outcome="200")
