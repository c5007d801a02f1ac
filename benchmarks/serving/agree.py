"""Whether a server answers what scikit-learn answers, asked over several connections at once."""

import http.client
import json
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Final

from benchmarks.serving.candidates import Row, Wire

TOLERANCE: Final = 1e-6
_CONNECTIONS: Final = 16
_PATIENCE_SECONDS: Final = 30


class DisagreesError(Exception):
    """A server that gives other answers than the model is not worth timing."""


def ask(port: int, wire: Wire, rows: Sequence[Row]) -> list[float]:
    """Return the probability of class 1 for each row, one request a row over one connection.

    Raises OSError or HTTPException while nobody listens, ValueError for an answer that is not 200.
    """
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=_PATIENCE_SECONDS)
    try:
        answers = []
        for row in rows:
            body = json.dumps(wire.body(row))
            connection.request("POST", wire.path, body, {"Content-Type": "application/json"})
            answer = connection.getresponse()
            raw = answer.read()
            if answer.status != 200:
                msg = f"{answer.status} {raw[:300]!r}"
                raise ValueError(msg)
            answers.append(wire.probability(json.loads(raw)))
        return answers
    finally:
        connection.close()


def worst_difference(port: int, wire: Wire, rows: Sequence[Row], right: Sequence[float]) -> float:
    """Ask all rows at once and return the largest difference.
    Raises DisagreesError beyond TOLERANCE.
    """
    shares = [list(range(first, len(rows), _CONNECTIONS)) for first in range(_CONNECTIONS)]
    with ThreadPoolExecutor(_CONNECTIONS) as pool:
        answered = list(
            pool.map(lambda share: ask(port, wire, [rows[index] for index in share]), shares)
        )
    worst, row = max(
        (abs(answer - right[index]), index)
        for share, answers in zip(shares, answered, strict=True)
        for index, answer in zip(share, answers, strict=True)
    )
    if worst > TOLERANCE:
        raise DisagreesError(f"row {row} is answered {worst:.2g} away from scikit-learn")
    return worst
