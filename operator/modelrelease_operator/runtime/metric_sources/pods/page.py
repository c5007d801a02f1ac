"""Reading a pod's page while it comes: only the lines that are needed are kept, and understood.

A page of a model with many features has thousands of series, and a look reads sixty of them.
"""

from collections.abc import Collection, Iterable
from typing import NamedTuple

from prometheus_client.parser import text_string_to_metric_families

from modelrelease_operator.runtime.web import Trouble

LONGEST_LINE = 16 * 1024
"""Bytes of a line without an end: more is no page of metrics."""
LONGEST_SERIES = 2048
"""Bytes of a line that is understood: what it takes grows with their square."""
NO_PAGE = "shows no page of metrics in Prometheus' text format"
BEFORE_LABELS = b"{ \t"
"""What follows the name of a series."""


class Room(NamedTuple):
    """How much is kept of one page. Understanding a kilobyte takes a millisecond of one core."""

    series: int
    bytes: int


FOR_COUNTERS = Room(series=2_000, bytes=256 * 1024)
"""For a decision: thirty times the sixty series of a server with one histogram."""
FOR_BINS = Room(series=20_000, bytes=2 * 1024 * 1024)
"""For drift: ten times what a model with 150 features shows."""


class Series(NamedTuple):
    """One series of a page."""

    name: str
    labels: dict[str, str]
    value: float


class Lines:
    """Takes a page's pieces and keeps the lines of some series."""

    def __init__(self, names: Collection[str], room: Room = FOR_COUNTERS) -> None:
        self._begins = tuple(b"\n" + name.encode() for name in sorted(names))
        self._room = room
        # A page begins as if after a line's end.
        self._rest = b"\n"
        self._kept: list[bytes] = []
        self.size = 0
        """Bytes that are kept."""

    def feed(self, piece: bytes) -> None:
        """Read on; raises Trouble for what is no page, or is too much of one.

        The names are searched for: to take every line in hand would cost a hundred times as much,
        and a small answer can unpack to millions of lines.
        """
        text = self._rest + piece
        end = text.rfind(b"\n")
        self._rest = text[end:]
        if len(self._rest) > LONGEST_LINE:
            raise Trouble(NO_PAGE)
        if end:
            for begin in self._begins:
                self._keep(text, begin, end)

    def _keep(self, text: bytes, begin: bytes, end: int) -> None:
        """Keep the lines that begin so, of those that end by `end`."""
        at = text.find(begin, 0, end)
        while at >= 0:
            stop = text.index(b"\n", at + 1)
            after = at + len(begin)
            if text[after : after + 1] in BEFORE_LABELS and after < stop:
                self._take(text[at + 1 : stop])
            at = text.find(begin, stop, end)

    def _take(self, line: bytes) -> None:
        if len(line) > LONGEST_SERIES:
            msg = f"shows a series with a line of more than {LONGEST_SERIES:,} bytes"
            raise Trouble(msg)
        self._kept.append(line)
        self.size += len(line)
        if len(self._kept) > self._room.series or self.size > self._room.bytes:
            most = f"{self._room.series:,} series or {self._room.bytes:,} bytes"
            msg = f"shows more than {most} of the names that are read"
            raise Trouble(msg)

    def series(self) -> tuple[Series, ...]:
        """Return what was kept; raises Trouble for what cannot be understood.

        A last line without an end was cut off, so it is left out.
        """
        try:
            text = b"\n".join([*self._kept, b""]).decode()
            return tuple(_series_in(text))
        except (ValueError, LookupError, TypeError, AttributeError, ArithmeticError) as problem:
            # Not its text, which may quote the page.
            raise Trouble(NO_PAGE) from problem


def _series_in(text: str) -> Iterable[Series]:
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            yield Series(name=sample.name, labels=sample.labels, value=float(sample.value))
