"""The Prometheus servers that releases name: one session for each address and each way to prove oneself."""

from collections import OrderedDict

from modelrelease_operator.runtime.credentials import Credentials
from modelrelease_operator.runtime.prometheus import MetricSource

MOST = 64
"""Sessions that are kept; rotated tokens and addresses that nobody names any more fall out."""


class Sources:
    """Sessions, the one that was used last at the end."""

    def __init__(self, most: int = MOST) -> None:
        self._most = most
        self._sources: OrderedDict[tuple[str, float, Credentials], MetricSource] = OrderedDict()

    def get(self, url: str, credentials: Credentials, *, timeout_seconds: float) -> MetricSource:
        """Return the session with a server, made at the first use."""
        key = (url, timeout_seconds, credentials)
        if key not in self._sources:
            self._sources[key] = MetricSource(url, timeout_seconds=timeout_seconds, credentials=credentials)
        self._sources.move_to_end(key)
        while len(self._sources) > self._most:
            self._sources.popitem(last=False)[1].close()
        return self._sources[key]

    def close(self) -> None:
        """Close every session."""
        while self._sources:
            self._sources.popitem()[1].close()
