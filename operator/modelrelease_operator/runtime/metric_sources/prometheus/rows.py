"""Reading Prometheus' answer while it comes, one series at a time.

A whole answer as Python's objects takes eight times its bytes, and reading it in one go holds
everybody else up. So each series is handed on as soon as it is complete, and only the envelope is
kept.
"""

import codecs
import json
import re
from collections.abc import Callable
from typing import Any

from modelrelease_operator.runtime.web import Trouble

ROWS = re.compile(r'"result"\s*:\s*\[')
"""Where series begin. Quotes in a server's strings are escaped, so none of them looks like it."""
BLANK = re.compile(r"[\s,]*")
END = re.compile(r"\s*[\],]")
LONGEST = 1024 * 1024
"""Characters of one series, and of everything beside the series."""
TOO_LONG = (
    f"answered nonsense: one series, or the text beside them, has more than {LONGEST:,} characters"
)


class Rows:
    """Takes an answer's pieces, gives its series to `take`, and returns the envelope at its end.

    Raises Trouble for what is no answer of Prometheus', and for more than `most` series.
    """

    def __init__(self, take: Callable[[Any], None], *, most: int, too_many: str) -> None:
        self._take = take
        self._room = most
        self._too_many = too_many
        self._text = codecs.getincrementaldecoder("utf-8")()
        self._decode = json.JSONDecoder().raw_decode
        self._rest = ""
        self._head: str | None = None
        """What stands before the series; None until they begin."""
        self._in_rows = False
        self._tried = 0
        """Characters of the rest in which no series ends: not read anew with each piece."""

    def feed(self, piece: bytes) -> None:
        """Read on."""
        try:
            self._rest += self._text.decode(piece)
        except UnicodeDecodeError as problem:
            msg = "answered nonsense: it is no UTF-8"
            raise Trouble(msg) from problem
        if self._head is None and (begin := ROWS.search(self._rest)):
            self._head = self._rest[: begin.end()]
            self._rest = self._rest[begin.end() :]
            self._in_rows = True
        if self._in_rows:
            self._rest = self._rest[self._series() :]
        if len(self._rest) > LONGEST:
            raise Trouble(TOO_LONG)

    def end(self) -> dict[str, Any]:
        """Return the envelope: all but the series."""
        try:
            self._text.decode(b"", final=True)
            envelope = json.loads((self._head or "") + self._rest)
        except (ValueError, RecursionError) as problem:
            msg = "answered nonsense: it answered with no JSON, or broke off"
            raise Trouble(msg) from problem
        match envelope:
            case {"status": "success", "data": {"result": []}}:
                return dict(envelope)
            case _:
                msg = "answered nonsense: it has no result"
                raise Trouble(msg)

    def _series(self) -> int:
        """Hand on every series that is complete; return where the rest begins."""
        text = self._rest
        at = 0
        while True:
            at = _end_of(BLANK, text, at)
            if at == len(text):
                return at
            if text[at] == "]":
                self._in_rows = False
                return at
            if text[at] == "{" and text.find("}", max(at, self._tried)) < 0:
                self._tried = len(text) - at
                return at
            try:
                row, after = self._decode(text, at)
            except RecursionError as problem:
                raise Trouble(TOO_LONG) from problem
            except ValueError:
                self._tried = len(text) - at
                return at
            self._tried = 0
            if not END.match(text, after):
                # A number may go on in the next piece.
                return at
            if self._room <= 0:
                raise Trouble(self._too_many)
            self._room -= 1
            self._take(row)
            at = after


def _end_of(pattern: re.Pattern[str], text: str, at: int) -> int:
    match = pattern.match(text, at)
    return match.end() if match else at
