"""Whether a server answers what scikit-learn answers, asked over several connections at once."""

import http.client
import json
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import chain
from typing import Final

from benchmarks.serving.candidates import Row, Wire

TOLERANCE: Final = 1e-6
_CONNECTIONS: Final = 16
_PATIENCE_SECONDS: Final = 30


class DisagreesError(Exception):
    """A server that gives other answers than the model is not worth timing."""


def predict_rows(port: int, wire: Wire, rows: Sequence[Row]) -> list[float]:
    """Return the probability of class 1 for each row, one request a row over one connection.

    Raises OSError or HTTPException while nobody listens, ValueError for an answer that is not 200.
    """
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=_PATIENCE_SECONDS)
    try:
        probabilities = []
        for row in rows:
            body = json.dumps(wire.body(row))
            connection.request("POST", wire.path, body, {"Content-Type": "application/json"})
            response = connection.getresponse()
            raw = response.read()
            if response.status != 200:
                msg = f"{response.status} {raw[:300]!r}"
                raise ValueError(msg)
            probabilities.append(wire.probability(json.loads(raw)))
        return probabilities
    finally:
        connection.close()


def worst_difference(
    port: int, wire: Wire, rows: Sequence[Row], expected: Sequence[float]
) -> float:
    """Ask all rows at once, return the largest difference; DisagreesError beyond TOLERANCE."""
    shares = [list(range(first, len(rows), _CONNECTIONS)) for first in range(_CONNECTIONS)]

    def ask_share(share: list[int]) -> list[float]:
        return predict_rows(port, wire, [rows[index] for index in share])

    with ThreadPoolExecutor(_CONNECTIONS) as pool:
        probabilities = chain.from_iterable(pool.map(ask_share, shares))
        answers = list(zip(chain.from_iterable(shares), probabilities, strict=True))
    worst, row = max((abs(probability - expected[index]), index) for index, probability in answers)
    if worst > TOLERANCE:
        raise DisagreesError(f"row {row} is answered {worst:.2g} away from scikit-learn")
    return worst
