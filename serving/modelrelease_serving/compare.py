"""Asks two servers that are not ours the same example rows, and counts pairs of their answers.

A predictor of ours copies its users' requests; other servers copy nothing. So the rows that the
artifacts record at training are asked of both arms, drawn anew for each pair, and of both once more
now and then: stable may differ from itself, and times are each arm's quicker of two. What pairs say
holds for the examples, and for users as far as those are like them. Rows and answers are never
logged.

One pair is on its way at a time: a canary has fewer pods than stable, and an example that waited
for another there would be taken for a slow answer.

Only examples that stable answers when the comparison begins are asked: a body that no server takes
would make both fail on everything, and nobody would be the worse one.
"""

import asyncio
import json
import logging
import signal
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any, Final

import prometheus_client
from prometheus_client import CollectorRegistry, start_http_server
from pydantic_core import from_json

from modelrelease_contract import ArtifactManifest
from modelrelease_contract.runtime import EXIT_REFUSED, PROBE_CANARY_DIR, PROBE_STABLE_DIR
from modelrelease_contract.shadow import (
    CANARY_FAILED,
    REFUSED,
    UNREACHABLE,
    RequestForm,
    ShadowSettings,
)
from modelrelease_serving.artifact import read_manifest
from modelrelease_serving.errors import RefusedError
from modelrelease_serving.http_client import (
    Headers,
    LateError,
    NoConnectionError,
    NoResponseError,
    Peer,
)
from modelrelease_serving.listening import usable
from modelrelease_serving.logs import fail_with_message, fields
from modelrelease_serving.settings import Settings
from modelrelease_serving.shadow_pairs import (
    NO_ANSWER,
    NOT_REACHED,
    TOO_LATE,
    ArmAnswer,
    Comparison,
    ShadowPairs,
    same_values,
)

ANSWER_SECONDS: Final = 30.0
"""For the whole of an answer."""
MUCH_SLOWER: Final = 3
"""Times as long as stable a canary must take to have failed: less is no pair."""
MOST_TRIED: Final = 500
"""Examples that are tried before the first pair: half a minute's, at the usual rate."""
TRY_AGAIN_SECONDS: Final = 5.0
"""Between two tries to find examples that stable answers."""
_HEADERS: Final[Headers] = ((b"content-type", b"application/json"),)

_LOG = logging.getLogger(__name__)

Row = Mapping[str, float | str | None]
"""An example row, by the features' names in their order."""


def rows_of(stable: ArtifactManifest, canary: ArtifactManifest) -> list[Row]:
    """Return the example rows of stable's artifact, and of the canary's where it takes the same."""
    manifests = [stable, canary] if stable.inputs == canary.inputs else [stable]
    rows = {
        values: dict(zip((feature.name for feature in manifest.features), values, strict=True))
        for manifest in manifests
        for values in manifest.examples.rows
    }
    return list(rows.values())


@dataclass(frozen=True, slots=True, kw_only=True)
class Arm:
    """A server, and how it is asked."""

    peer: Peer
    form: RequestForm

    async def ask(self, row: Row) -> ArmAnswer:
        """Return what it answers to a row, or what came instead.

        Of a good answer the members that are compared; one that lacks any is no answer.
        """
        began = time.monotonic()
        try:
            response = await self.peer.ask(
                "POST", self.form.path, headers=_HEADERS, body=self.form.body_for(row),
                seconds=ANSWER_SECONDS,
            )  # fmt: skip
        except NoConnectionError:
            return NOT_REACHED
        except LateError:
            return TOO_LATE
        except NoResponseError:
            return NO_ANSWER
        took = time.monotonic() - began
        if response.status != 200:
            return ArmAnswer(response.status)
        try:
            body = _compared(response.body, self.form.answer)
        except (ValueError, LookupError, TypeError):
            return NO_ANSWER
        return ArmAnswer(200, body, seconds=took)


def _compared(body: bytes, members: Sequence[str]) -> bytes:
    """Return what of an answer is compared; raises where it is no such document."""
    document: Any = from_json(body)
    if members:
        document = {name: document[name] for name in members}
    return json.dumps(document).encode()


@dataclass(slots=True, kw_only=True)
class Comparer:
    """Asks pairs until it is told to stop, and counts them."""

    stable: Arm
    canary: Arm
    canary_revision: str
    rows: Sequence[Row]
    settings: ShadowSettings
    tolerance: float
    pairs: ShadowPairs
    random: Random = field(default_factory=Random)

    async def run(self) -> None:
        """Let new pods warm up, find the examples to ask, and keep the rate, until cancelled."""
        self.pairs.begin(self.canary_revision)
        await asyncio.sleep(self.settings.warm_up_seconds)
        rows = await self._answered()
        _LOG.info("comparing", extra=fields(examples=len(rows), of=len(self.rows)))
        pause = 1 / self.settings.per_second
        loop = asyncio.get_running_loop()
        due = loop.time()
        while True:
            await self._pair(self.random.choice(rows))
            # What was missed because the servers were slow is not made up for.
            due = max(due + pause, loop.time())
            await asyncio.sleep(due - loop.time())

    async def _answered(self) -> list[Row]:
        """Return the examples that stable answers, as soon as there is one."""
        while True:
            tried = self.random.sample(self.rows, min(len(self.rows), MOST_TRIED))
            answers = [(row, await self._try(row)) for row in tried]
            good = [row for row, answer in answers if answer.good]
            for _, answer in answers:
                if not answer.good:
                    self._count(REFUSED if answer.reached else UNREACHABLE)
            if good:
                return good
            _LOG.warning(
                "stable answers no example",
                extra=fields(
                    path=self.stable.form.path,
                    statuses=sorted({answer.status for _, answer in answers}),
                ),
            )
            await asyncio.sleep(TRY_AGAIN_SECONDS)

    async def _try(self, row: Row) -> ArmAnswer:
        """Ask stable alone, at the rate of pairs at most: it has users meanwhile."""
        answer = await self.stable.ask(row)
        await asyncio.sleep(1 / self.settings.per_second)
        return answer

    async def _pair(self, row: Row) -> None:
        try:
            results = await self._results(row)
        except Exception:
            # What a server answers must not end the comparison of all pairs to come.
            _LOG.exception("a pair could not be compared")
            results = [CANARY_FAILED]
        for result in results:
            self._count(result)

    async def _results(self, row: Row) -> list[str]:
        """Ask both arms, and now and then both again. Return what the answers count as."""
        stable, canary = await self._both(row)
        if not stable.reached:
            return [UNREACHABLE]
        again: ArmAnswer | None = None
        if self.random.random() < self.settings.noise_share:
            again, canary_again = await self._both(row)
            again, canary = _quicker(again, stable), _quicker(canary, canary_again)
        if canary.late and MUCH_SLOWER * (stable.seconds or 0.0) < ANSWER_SECONDS:
            canary = NO_ANSWER
        return Comparison(self.settings, self.tolerance, same_values).results(stable, canary, again)

    async def _both(self, row: Row) -> tuple[ArmAnswer, ArmAnswer]:
        """Return stable's answer and the canary's. Neither is always the first to meet a row."""
        if self.random.random() < 0.5:
            stable = await self.stable.ask(row)
            return stable, await self.canary.ask(row)
        canary = await self.canary.ask(row)
        return await self.stable.ask(row), canary

    def _count(self, result: str) -> None:
        self.pairs.count(self.canary_revision, result)


def _quicker(answer: ArmAnswer, other: ArmAnswer) -> ArmAnswer:
    """Return an answer with the shorter time of two of one arm; without one where either failed.

    A process that nobody has asked for a moment is slow at first, and a canary in the dark is one;
    stable has users, of whom an example may have to wait for.
    """
    if answer.seconds is None or other.seconds is None:
        return answer._replace(seconds=None)
    return answer._replace(seconds=min(answer.seconds, other.seconds))


def run(settings: Settings) -> int:
    """Compare until told to stop. Return the exit code."""
    # As in the predictor: one `_created` series for each counter would serve no query of ours.
    prometheus_client.disable_created_metrics()  # type: ignore[no-untyped-call]
    pairs = ShadowPairs(release=settings.release, revision=settings.probe_stable_revision)
    try:
        comparer = _comparer(settings, pairs)
    except RefusedError as error:
        fail_with_message(str(error), termination_log=settings.termination_log)
        return EXIT_REFUSED
    registry = CollectorRegistry()
    registry.register(pairs)
    server, thread = start_http_server(settings.port, usable(settings.host), registry)
    _LOG.info("listening", extra=fields(host=settings.host, port=server.server_address[1]))
    try:
        asyncio.run(_until_told(comparer))
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
    counts = {result: count for result, count in pairs.counts(settings.revision).items() if count}
    _LOG.info("stopped", extra=fields(**counts))
    return 0


def _comparer(settings: Settings, pairs: ShadowPairs) -> Comparer:
    """Return what is asked for; raises RefusedError where something of it is missing."""
    wanted, of_stable, of_canary = settings.shadow, settings.stable_form, settings.canary_form
    if wanted is None or of_stable is None or of_canary is None:
        msg = "compare needs MODELRELEASE_SHADOW, SHADOW_STABLE_FORM and SHADOW_CANARY_FORM"
        raise RefusedError(msg)
    if not settings.probe_stable_url or not settings.probe_canary_url:
        msg = "compare needs PROBE_STABLE_URL and PROBE_CANARY_URL, such as http://qna-stable"
        raise RefusedError(msg)
    stable, canary = (
        read_manifest(settings.model_path / Path(folder).name, sha256=None)[0]
        for folder in (PROBE_STABLE_DIR, PROBE_CANARY_DIR)
    )
    rows = rows_of(stable, canary)
    if not rows:
        msg = (
            f"the artifacts of {stable.name} have no example rows to ask both servers: leave "
            "canary.shadow out"
        )
        raise RefusedError(msg)
    tolerance = stable.examples.tolerance if wanted.tolerance is None else wanted.tolerance
    return Comparer(
        stable=Arm(peer=Peer(settings.probe_stable_url), form=of_stable),
        canary=Arm(peer=Peer(settings.probe_canary_url), form=of_canary),
        canary_revision=settings.revision,
        rows=rows,
        settings=wanted,
        tolerance=tolerance,
        pairs=pairs,
    )


async def _until_told(comparer: Comparer) -> None:
    running = asyncio.ensure_future(comparer.run())
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, running.cancel)
    try:
        await running
    except asyncio.CancelledError:
        return
