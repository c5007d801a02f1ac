"""Encodes what waits, in a thread of its own: taking an event never waits for the encoder."""

import logging
import threading
import time
from collections import defaultdict, deque
from collections.abc import Callable
from typing import Final

from modelrelease_training.drift.baseline import TextBaseline, check_encoder
from modelrelease_training.drift.encoder import LONGEST_TEXT, Encoder
from modelrelease_training.drift.errors import DriftError
from modelrelease_training.drift.exported import Exported
from modelrelease_training.drift.report import text_sentence
from modelrelease_training.drift.settings import ServiceSettings
from modelrelease_training.drift.text import TextDrift, count
from modelrelease_training.drift.windows import Key, Rules, Windows

BATCH: Final = 64
"""Texts that are encoded at once: while one batch is encoded, the next gathers."""
_IDLE: Final = 0.5

_LOG = logging.getLogger("modelrelease.drift")


class Worker:
    """A bounded queue of texts, and the thread that empties it."""

    def __init__(
        self,
        baseline: TextBaseline,
        settings: ServiceSettings,
        exported: Exported,
        load: Callable[[str], Encoder],
    ) -> None:
        self._baseline = baseline
        self._settings = settings
        self._exported = exported
        self._load = load
        rules = Rules(
            texts=settings.window_texts, minimum=settings.window_minimum,
            seconds=settings.window_seconds,
            threshold=settings.threshold, alpha=settings.alpha,
        )  # fmt: skip
        self._windows = Windows(baseline.reference, rules, revisions=settings.revisions)
        self._waiting: deque[tuple[Key, str]] = deque()
        self._changed = threading.Condition()
        self._ending = False
        self.ready = False
        self.failed: DriftError | None = None
        """Why there is no encoder: the service cannot work."""
        self._thread = threading.Thread(target=self._run, name="encoder", daemon=True)

    def start(self) -> None:
        """Load the encoder, then encode, until told to stop."""
        self._thread.start()

    def stop(self) -> None:
        """Stop after the batch that is being encoded."""
        with self._changed:
            self._ending = True
            self._changed.notify()
        self._thread.join()

    def offer(self, key: Key, texts: list[str]) -> bool:
        """Take the texts of one event, all or none. Return False where there is no room."""
        with self._changed:
            if len(self._waiting) + len(texts) > self._settings.queue:
                return False
            self._waiting.extend((key, text[:LONGEST_TEXT]) for text in texts)
            self._changed.notify()
        return True

    def _run(self) -> None:
        try:
            encoder = self._load(self._settings.encoder)
            check_encoder(self._baseline, encoder)
        except DriftError as error:
            self.failed = error
            return
        self.ready = True
        while not self._ending:
            batch = self._next()
            try:
                self._take(encoder, batch)
            except Exception:
                # One batch that cannot be encoded must not end the watch for good.
                _LOG.exception("a batch of %d texts was lost", len(batch))

    def _next(self) -> list[tuple[Key, str]]:
        """Wait for texts, for a moment; return at most BATCH of them."""
        with self._changed:
            if not self._waiting and not self._ending:
                self._changed.wait(_IDLE)
            return [self._waiting.popleft() for _ in range(min(BATCH, len(self._waiting)))]

    def _take(self, encoder: Encoder, batch: list[tuple[Key, str]]) -> None:
        texts_of: dict[Key, list[str]] = defaultdict(list)
        for key, text in batch:
            texts_of[key].append(text)
        for key, texts in texts_of.items():
            vectors = encoder.encode(texts)
            for drift in self._windows.add(key, texts, vectors, now=time.monotonic()):
                self._judged(key, drift)
            counts = count(self._baseline.reference, texts, vectors)
            self._exported.counted(key, counts, len(texts), self._windows.size(key))
        for key, drift in self._windows.expired(now=time.monotonic()):
            self._judged(key, drift)
        for key in self._windows.forgotten():
            self._exported.forget(key)

    def _judged(self, key: Key, drift: TextDrift) -> None:
        self._exported.judged(key, drift, now=time.time())
        log = _LOG.warning if drift.calibrated else _LOG.info
        log("release %s, revision %s: %s", *key, text_sentence(drift))
