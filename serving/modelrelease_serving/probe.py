"""Asks both revisions of a release their reference rows at a steady rate, and counts the answers.

Probes go out in pairs, one to each revision at the same moment, drawn anew each time: both arms
face the same rows, so that a row which is hard for both is held against neither, and draws are
independent of each other. A pair is counted when both have ended: both arms have as many. Rows and
answers are never logged.
"""

import asyncio
import json
import logging
import signal
import time
from collections import Counter as Tally
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from itertools import product
from pathlib import Path
from random import Random
from typing import Final, TypeGuard
from urllib.parse import urlsplit

import prometheus_client
from prometheus_client import CollectorRegistry, Counter, Histogram, start_http_server

from modelrelease_contract import ArtifactManifest
from modelrelease_contract import metrics as names
from modelrelease_contract.runtime import (
    EXIT_REFUSED,
    PROBE_CANARY_DIR,
    PROBE_PATH,
    PROBE_STABLE_DIR,
)
from modelrelease_serving.artifact import read_manifest
from modelrelease_serving.comparison import Answer, repeats
from modelrelease_serving.errors import RefusedError
from modelrelease_serving.listening import usable
from modelrelease_serving.logs import fail_with_message, fields
from modelrelease_serving.settings import Settings

MOST_PAIRS: Final = 32
"""Pairs that may be on their way at once; while there are so many, none is sent."""
TOLD_EVERY_SECONDS: Final = 60.0

_LOG = logging.getLogger(__name__)

Row = tuple[float | str | None, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """A row for one revision, and the answer that its artifact records, if the row is its own."""

    row: Row
    recorded: Answer | None = None
    tolerance: float = 0.0

    @property
    def body(self) -> bytes:
        """The request's bytes."""
        return json.dumps({"features": list(self.row)}, separators=(",", ":")).encode()


class Reference:
    """The example rows of both artifacts."""

    def __init__(self, stable: ArtifactManifest, canary: ArtifactManifest) -> None:
        of_stable, of_canary = _recorded(stable), _recorded(canary)
        if stable.inputs == canary.inputs:
            probes = {row: Probe(row=row) for row in (*of_stable, *of_canary)}
            self._pairs = [
                (of_stable.get(row, probe), of_canary.get(row, probe))
                for row, probe in probes.items()
            ]
        else:
            # What one takes the other cannot: each is asked its own rows.
            self._pairs = list(product(of_stable.values(), of_canary.values()))

    def draw(self, random: Random) -> tuple[Probe, Probe]:
        """Return a probe for stable and one for the canary."""
        return random.choice(self._pairs)

    @property
    def pairs(self) -> Sequence[tuple[Probe, Probe]]:
        """Everything that may be drawn."""
        return tuple(self._pairs)


def _recorded(manifest: ArtifactManifest) -> dict[Row, Probe]:
    examples = manifest.examples
    # MLflow records rows alone.
    predictions = examples.predictions or (None,) * len(examples.rows)
    return {
        row: Probe(row=row, recorded=prediction, tolerance=examples.tolerance)
        for row, prediction in zip(examples.rows, predictions, strict=True)
    }


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbeResult:
    """What came of one probe, and how long it took."""

    result: str
    seconds: float


def send_probe(url: str, probe: Probe, *, timeout_seconds: float) -> ProbeResult:
    """Ask on a connection of its own: kube-proxy spreads them, and every pod shall have a share."""
    began = time.monotonic()
    try:
        status, content = _post(url, probe.body, timeout_seconds)
        result = _result(status, content, probe)
    except (OSError, HTTPException):
        result = names.PROBE_ERROR
    return ProbeResult(result=result, seconds=time.monotonic() - began)


def _post(url: str, body: bytes, timeout_seconds: float) -> tuple[int, bytes]:
    parts = urlsplit(url)
    kind = HTTPSConnection if parts.scheme == "https" else HTTPConnection
    connection = kind(parts.hostname or "", parts.port, timeout=timeout_seconds)
    try:
        headers = {"Content-Type": "application/json", "Connection": "close"}
        connection.request("POST", f"{parts.path.rstrip('/')}{PROBE_PATH}", body, headers)
        response = connection.getresponse()
        return response.status, response.read()
    finally:
        connection.close()


def _result(status: int, content: bytes, probe: Probe) -> str:
    if 400 <= status < 500:
        return names.PROBE_REFUSED
    try:
        prediction = json.loads(content)["prediction"] if status == 200 else None
    except (ValueError, LookupError, TypeError):
        prediction = None
    if not _is_answer(prediction):
        return names.PROBE_ERROR
    if probe.recorded is None:
        return names.PROBE_ANSWERED
    repeated = repeats(prediction, probe.recorded, probe.tolerance)
    return names.PROBE_SAME if repeated else names.PROBE_DIFFERENT


def _is_answer(prediction: object) -> TypeGuard[Answer]:
    """Say whether it is a number or class, or a list of them."""
    values = prediction if isinstance(prediction, list) else [prediction]
    return all(isinstance(value, str | int | float) for value in values)


class ProbeMetrics:
    """The counts of one prober, for both revisions. `registry` is what `/metrics` shows."""

    def __init__(self, *, release: str, revisions: Sequence[str]) -> None:
        self.registry = CollectorRegistry()
        counter = Counter(
            names.PROBE_ANSWERS_TOTAL,
            "Probes by the revision that was asked and by what came of them.",
            [names.RELEASE, names.REVISION, names.RESULT],
            registry=self.registry,
        )
        seconds = Histogram(
            names.PROBE_DURATION_SECONDS,
            "Time until a probe's answer came, or until it was given up; refused ones left out.",
            [names.RELEASE, names.REVISION],
            buckets=names.duration_buckets(),
            registry=self.registry,
        )
        # Every series from the start: one that appears with its first error would lose it to
        # rate().
        self._results = {
            key: counter.labels(release, *key) for key in product(revisions, names.PROBE_RESULTS)
        }
        self._seconds = {revision: seconds.labels(release, revision) for revision in revisions}

    def count(self, revision: str, probe_result: ProbeResult) -> None:
        """Count what came of one probe."""
        self._results[revision, probe_result.result].inc()
        if probe_result.result != names.PROBE_REFUSED:
            self._seconds[revision].observe(probe_result.seconds)


@dataclass(slots=True, kw_only=True)
class Prober:
    """Sends pairs until it is told to stop."""

    settings: Settings
    reference: Reference
    metrics: ProbeMetrics
    random: Random = field(default_factory=Random)
    _tally: Tally[str] = field(default_factory=Tally)

    async def run(self, stop: asyncio.Event) -> None:
        """Keep the rate; when answers do not come back, send no more than may be on their way."""
        pause = 2 / self.settings.probe_rate
        loop = asyncio.get_running_loop()
        due, reported = loop.time(), loop.time()
        flying: set[asyncio.Task[None]] = set()
        with ThreadPoolExecutor(2 * MOST_PAIRS, thread_name_prefix="probe") as pool:
            while not stop.is_set():
                if len(flying) < MOST_PAIRS:
                    task = asyncio.create_task(self._pair(pool))
                    flying.add(task)
                    task.add_done_callback(flying.discard)
                else:
                    self._tally["skipped"] += 1
                due = max(due + pause, loop.time() - pause)
                await _first(stop, due - loop.time())
                if loop.time() - reported > TOLD_EVERY_SECONDS:
                    reported = loop.time()
                    self._log_tally()
            await asyncio.gather(*flying)
        self._log_tally()

    async def _pair(self, pool: ThreadPoolExecutor) -> None:
        settings, loop = self.settings, asyncio.get_running_loop()
        arms = (
            (settings.probe_stable_revision, settings.probe_stable_url),
            (settings.revision, settings.probe_canary_url),
        )
        probes = self.reference.draw(self.random)
        waiting = [
            loop.run_in_executor(pool, self._ask, url, probe)
            for (_, url), probe in zip(arms, probes, strict=True)
        ]
        results = await asyncio.gather(*waiting)
        for (revision, _), probe_result in zip(arms, results, strict=True):
            self.metrics.count(revision, probe_result)
            self._tally[f"{revision}_{probe_result.result}"] += 1

    def _ask(self, url: str, probe: Probe) -> ProbeResult:
        return send_probe(url, probe, timeout_seconds=self.settings.probe_timeout_seconds)

    def _log_tally(self) -> None:
        _LOG.info("probed", extra=fields(**dict(sorted(self._tally.items()))))
        self._tally.clear()


async def _first(stop: asyncio.Event, seconds: float) -> None:
    """Wait until it is time, or until told to stop."""
    try:
        await asyncio.wait_for(stop.wait(), timeout=max(0.0, seconds))
    except TimeoutError:
        return


def run(settings: Settings) -> int:
    """Probe until told to stop. Return the exit code."""
    # As in the predictor: one `_created` series for each counter would serve no query of ours.
    prometheus_client.disable_created_metrics()  # type: ignore[no-untyped-call]
    try:
        reference = Reference(
            *(_manifest(settings, folder) for folder in (PROBE_STABLE_DIR, PROBE_CANARY_DIR))
        )
        _check_addresses(settings)
    except RefusedError as error:
        fail_with_message(str(error), termination_log=settings.termination_log)
        return EXIT_REFUSED
    revisions = (settings.probe_stable_revision, settings.revision)
    metrics = ProbeMetrics(release=settings.release, revisions=revisions)
    server, thread = start_http_server(settings.port, usable(settings.host), metrics.registry)
    _LOG.info("listening", extra=fields(host=settings.host, port=server.server_address[1]))
    try:
        asyncio.run(_until_told(Prober(settings=settings, reference=reference, metrics=metrics)))
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
    _LOG.info("stopped")
    return 0


def _manifest(settings: Settings, folder: str) -> ArtifactManifest:
    """Read the manifest in the folder's namesake below MODEL_PATH."""
    return read_manifest(settings.model_path / Path(folder).name, sha256=None)[0]


def _check_addresses(settings: Settings) -> None:
    for name, url in (
        ("PROBE_STABLE_URL", settings.probe_stable_url),
        ("PROBE_CANARY_URL", settings.probe_canary_url),
    ):
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            msg = f"environment variable {name}={url!r} is wrong: it must be http(s)://host"
            raise RefusedError(msg)


async def _until_told(prober: Prober) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    settings = prober.settings
    _LOG.info(
        "probing",
        extra=fields(
            rate=settings.probe_rate, rows=len(prober.reference.pairs),
            stable=settings.probe_stable_url, canary=settings.probe_canary_url,
        ),
    )  # fmt: skip
    await prober.run(stop)
