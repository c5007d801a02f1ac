"""Windows of texts, one open for each revision. Pure: texts and directions in, verdicts out."""

from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

from modelrelease_training.drift.text import Reference, TextDrift, Vectors, compare

Key = tuple[str, str]
"""Release and revision."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """When a window is complete, and how it is judged."""

    texts: int
    minimum: int
    seconds: float
    threshold: float
    alpha: float


@dataclass(slots=True)
class _Open:
    since: float
    texts: list[str] = field(default_factory=list)
    vectors: list[Vectors] = field(default_factory=list)


class Windows:
    """The open windows of at most `revisions` revisions, each of at most `rules.texts` texts."""

    def __init__(self, baseline: Reference, rules: Rules, *, revisions: int) -> None:
        self._baseline = baseline
        self._rules = rules
        self._revisions = revisions
        self._open: dict[Key, _Open] = {}
        self._by_last_text: OrderedDict[Key, None] = OrderedDict()
        """Every revision that is known, the one that spoke last at the end."""

    def add(self, key: Key, texts: list[str], vectors: Vectors, *, now: float) -> list[TextDrift]:
        """Add texts of one revision; return what the windows say that they complete."""
        verdicts = []
        for text, vector in zip(texts, vectors, strict=True):
            window = self._open.setdefault(key, _Open(since=now))
            window.texts.append(text)
            window.vectors.append(vector)
            if len(window.texts) >= self._rules.texts:
                verdicts.append(self._close(key))
        self._by_last_text[key] = None
        self._by_last_text.move_to_end(key)
        return verdicts

    def expired(self, *, now: float) -> Iterator[tuple[Key, TextDrift]]:
        """Judge the windows that have lasted long enough and hold enough."""
        for key, window in list(self._open.items()):
            if (
                now - window.since >= self._rules.seconds
                and len(window.texts) >= self._rules.minimum
            ):
                yield key, self._close(key)

    def forgotten(self) -> Iterator[Key]:
        """Forget the revisions that were silent for longest, while there are too many."""
        while len(self._by_last_text) > self._revisions:
            key, _ = self._by_last_text.popitem(last=False)
            self._open.pop(key, None)
            yield key

    def size(self, key: Key) -> int:
        """Return how many texts the open window of a revision holds."""
        window = self._open.get(key)
        return len(window.texts) if window else 0

    def _close(self, key: Key) -> TextDrift:
        window = self._open.pop(key)
        rules = self._rules
        vectors = np.stack(window.vectors)
        return compare(
            self._baseline, window.texts, vectors, threshold=rules.threshold, alpha=rules.alpha
        )
