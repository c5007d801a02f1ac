"""Pairs of answers to one request: whether they are the same, which was slower, and how many there
were of each kind.

Answers are compared as documents, value by value up to a tolerance: whatever is left out, of
another type, of another shape or of another length is different. Values are never logged.
"""

import re
import secrets
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from math import isfinite
from typing import Any, Final, NamedTuple

import numpy as np
from prometheus_client.core import CounterMetricFamily, Metric
from prometheus_client.registry import Collector
from pydantic_core import from_json
from typing_extensions import override

from modelrelease_contract import metrics as names
from modelrelease_contract.shadow import (
    ALIKE,
    BOTH_FAILED,
    BUSY,
    CANARY,
    CANARY_FAILED,
    CANARY_SLOWER,
    DIFFERENT,
    LATE,
    NOISE_DIFFERENT,
    NOISE_SAME,
    PROCESS,
    SAME,
    SECONDS_HEADER,
    SHADOW_PAIRS_TOTAL,
    SHADOW_RESULTS,
    STABLE_FAILED,
    STABLE_SLOWER,
    UNREACHABLE,
    ShadowSettings,
)
from modelrelease_serving.comparison import repeats
from modelrelease_serving.inference import LENGTH_HEADER, NUMPY

MAX_CANARIES: Final = 3
"""Canaries whose counts are kept: more would be series of revisions that are long gone."""
_SECONDS: Final = SECONDS_HEADER.lower().encode()
BUSY_STATUS: Final = 503
"""Of an answer that says nothing about a model: its server had no time for the request."""
_LENGTH: Final = re.compile(rb"[0-9]{1,9}")


class ArmAnswer(NamedTuple):
    """What one arm answered to a request."""

    status: int
    """0: nothing, or nothing to its end, or too late."""
    body: bytes = b""
    json_length: int | None = None
    """Bytes of the JSON in front of binary tensors; None where all is JSON."""
    seconds: float | None = None
    """How long the arm worked on nothing else than this; None where it does not say so."""
    reached: bool = True
    """Whether the request was sent."""
    late: bool = False
    """Whether it came to no answer in a time that stable, too, would have taken much of."""

    @classmethod
    def read(cls, status: int, headers: Mapping[bytes, bytes], body: bytes) -> "ArmAnswer":
        """Return an answer as it came; header names are in lower case."""
        length = headers.get(LENGTH_HEADER, b"")
        return cls(
            status,
            body,
            json_length=int(length) if _LENGTH.fullmatch(length) else None,
            seconds=_seconds(headers.get(_SECONDS)),
        )

    @property
    def good(self) -> bool:
        """Whether it holds predictions."""
        return self.status == 200


NO_ANSWER: Final = ArmAnswer(0)
NOT_REACHED: Final = ArmAnswer(0, reached=False)
TOO_LATE: Final = ArmAnswer(0, late=True)


def _seconds(value: bytes | None) -> float | None:
    try:
        return None if value is None else float(value)
    except ValueError:
        return None


Same = Callable[[ArmAnswer, ArmAnswer, float], bool]
"""Says whether two good answers are the same, up to a tolerance."""


def same_predictions(stable: ArmAnswer, other: ArmAnswer, tolerance: float) -> bool:
    """Say whether two good answers of predictors predict the same."""
    # Most pairs are equal to the byte but for the model's name and version.
    if _without_version(stable.body) == _without_version(other.body):
        return True
    try:
        return _documents_are_same(_document(stable), _document(other), tolerance)
    # Another version's answer may be anything, and what is no such document is not the same.
    except Exception:
        return False


def same_values(stable: ArmAnswer, other: ArmAnswer, tolerance: float) -> bool:
    """Say whether two documents in JSON hold the same values, each in its place."""
    if stable.body == other.body:
        return True
    return _is_same(from_json(stable.body), from_json(other.body), tolerance)


class Comparison(NamedTuple):
    """How answers are compared."""

    settings: ShadowSettings
    tolerance: float
    same: Same = same_predictions

    def results(
        self, stable: ArmAnswer, canary: ArmAnswer, again: ArmAnswer | None = None
    ) -> list[str]:
        """Return what the answers to one request count as.

        `again` is what stable answered when it was asked again, if it was.
        """
        results = [self._pair(stable, canary)]
        if again is not None and stable.good and again.good:
            results.append(NOISE_SAME if self._are_same(stable, again) else NOISE_DIFFERENT)
        if again is not None and again.seconds is not None and canary.seconds is not None:
            results.append(self._speed(again.seconds, canary.seconds))
        return results

    def _pair(self, stable: ArmAnswer, canary: ArmAnswer) -> str:
        if not canary.reached:
            return UNREACHABLE
        if canary.status == BUSY_STATUS:
            return BUSY
        if canary.late:
            return LATE
        if not stable.good:
            return STABLE_FAILED if canary.good else BOTH_FAILED
        if not canary.good:
            return CANARY_FAILED
        return SAME if self._are_same(stable, canary) else DIFFERENT

    def _speed(self, stable: float, canary: float) -> str:
        if self._is_slower(canary, stable):
            return CANARY_SLOWER
        return STABLE_SLOWER if self._is_slower(stable, canary) else ALIKE

    def _is_slower(self, one: float, other: float) -> bool:
        settings = self.settings
        return one > settings.slower_ratio * other and one > other + settings.slower_seconds

    def _are_same(self, stable: ArmAnswer, other: ArmAnswer) -> bool:
        return self.same(stable, other, self.tolerance)


def _without_version(body: bytes) -> bytes:
    """Return an answer's bytes without the members that tell which model gave it.

    They stand before the outputs of the Open Inference Protocol, and at the end of an answer of
    `/predict`. No text is taken for a member: its quotes are escaped.
    """
    if body.startswith(b'{"model_name":'):
        return body[max(0, body.find(b'"outputs":')) :]
    version = body.rfind(b',"model_version":')
    return body if version < 0 else body[:version]


def _document(answer: ArmAnswer) -> dict[str, Any]:
    """Return an answer's JSON, with binary tensors as data. Raises ValueError and its like."""
    document: dict[str, Any] = from_json(answer.body[: answer.json_length])
    rest = b"" if answer.json_length is None else answer.body[answer.json_length :]
    for output in document.get("outputs", ()):
        size = (output.get("parameters") or {}).get("binary_data_size")
        if size is not None:
            output["data"] = _unpacked(output["datatype"], rest[:size])
            rest = rest[size:]
    return document


def _unpacked(datatype: str, content: bytes) -> list[Any]:
    """Return the values of a binary tensor; texts as the bytes of all."""
    if datatype not in NUMPY:
        return [content]
    values: list[Any] = np.frombuffer(content, dtype=NUMPY[datatype]).tolist()
    return values


def _documents_are_same(stable: dict[str, Any], other: dict[str, Any], tolerance: float) -> bool:
    if "outputs" in stable or "outputs" in other:
        return _outputs_are_same(stable["outputs"], other["outputs"], tolerance)
    members = ["prediction", "predictions"]
    if any((name in stable) != (name in other) for name in members):
        return False
    if "probabilities" in stable and "probabilities" in other:
        members.append("probabilities")
    return all(_is_same(stable.get(name), other.get(name), tolerance) for name in members)


def _outputs_are_same(
    stable: Sequence[dict[str, Any]], other: Sequence[dict[str, Any]], tolerance: float
) -> bool:
    if len(stable) != len(other):
        return False
    for mine, theirs in zip(stable, other, strict=True):
        if any(mine[name] != theirs[name] for name in ("name", "datatype", "shape")):
            return False
        if not _is_same(mine["data"], theirs["data"], tolerance):
            return False
    return True


def _is_same(stable: Any, other: Any, tolerance: float) -> bool:
    """Compare two parts of answers: values, or lists or objects of them."""
    if isinstance(stable, float | int) and isinstance(other, float | int):
        return _is_same_number(stable, other, tolerance)
    if isinstance(stable, list) and isinstance(other, list):
        return len(stable) == len(other) and all(
            _is_same(mine, theirs, tolerance) for mine, theirs in zip(stable, other, strict=True)
        )
    if isinstance(stable, dict) and isinstance(other, dict):
        return stable.keys() == other.keys() and all(
            _is_same(value, other[name], tolerance) for name, value in stable.items()
        )
    return bool(stable == other)


def _is_same_number(stable: float, other: float, tolerance: float) -> bool:
    if stable == other or (stable != stable and other != other):  # noqa: PLR0124 - NaN equals NaN
        return True
    # The tolerance is a share of stable's number, and a share of infinity would be any distance.
    return isfinite(stable) and isfinite(other) and repeats(other, stable, tolerance)


class _Counts:
    """Counts of one canary, under a name of their own for every time that they begin at 0."""

    __slots__ = ("by_result", "ended", "process")

    def __init__(self) -> None:
        self.ended = False
        """Whether the canary has gone: one of its revision that comes later is counted anew."""
        self.process = secrets.token_hex(8)
        self.by_result = dict.fromkeys(SHADOW_RESULTS, 0)


class ShadowPairs(Collector):
    """Counts pairs by canary and result. Used from the event loop's thread only."""

    def __init__(self, *, release: str, revision: str) -> None:
        self._who = {names.RELEASE: release, names.REVISION: revision}
        self._canaries: OrderedDict[str, _Counts] = OrderedDict()

    def begin(self, canary: str) -> None:
        """Show every series of a canary: a rate needs a value before the first event.

        Of more canaries than are kept, the one that began longest ago goes.
        """
        known = self._canaries.get(canary)
        if known is None or known.ended:
            self._canaries[canary] = _Counts()
        self._canaries.move_to_end(canary)
        while len(self._canaries) > MAX_CANARIES:
            self._canaries.popitem(last=False)

    def end(self, canary: str) -> None:
        """Keep what was counted of a canary, and count nothing more to it."""
        if canary in self._canaries:
            self._canaries[canary].ended = True

    def count(self, canary: str, result: str) -> None:
        """Count one copy or pair; nothing for a canary that is not kept any more."""
        if canary in self._canaries:
            self._canaries[canary].by_result[result] += 1

    def counts(self, canary: str) -> dict[str, int]:
        """Return what was counted for a canary, by result."""
        known = self._canaries.get(canary)
        return {} if known is None else dict(known.by_result)

    @override
    def collect(self) -> Iterator[Metric]:
        pairs = CounterMetricFamily(
            SHADOW_PAIRS_TOTAL,
            "Copies of answered requests by the canary that was asked and by what came of them.",
            labels=[*self._who, CANARY, PROCESS, names.RESULT],
        )
        for canary, counts in self._canaries.items():
            for result, count in counts.by_result.items():
                pairs.add_metric([*self._who.values(), canary, counts.process, result], count)
        yield pairs
