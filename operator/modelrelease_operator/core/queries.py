"""A person's own queries: what is asked, and what an answer means. Pure: nothing here asks.

Both arms' counters of a gate are asked for at once, so that all are of one instant: requests that are
counted in one query and not yet in another would look like errors, or hide some.
"""

import hashlib
import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from operator import attrgetter
from typing import Any

from modelrelease_operator.api.queries import Threshold
from modelrelease_operator.api.spec import Counts, Gate
from modelrelease_operator.api.status import Target, Verdict
from modelrelease_operator.core.answers import Answer, NoAnswer, Number, Tallied

ARM, KIND = "modelrelease_arm", "modelrelease_kind"
"""Labels that mark which of the four queries of a gate a series is of."""
NO_IDENTITY = frozenset({"__name__", ARM, KIND, "job", "instance", "prometheus", "prometheus_replica"})
"""Labels by which two copies of one pod's counter may differ: it is counted once."""
SHOWN = 120
"""Characters of a query in a sentence."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """What the placeholders of a query stand for."""

    namespace: str
    release: str
    canary: Target
    stable: Target
    interval: timedelta

    def fill(self, query: str, arm: Target) -> str:
        """Return a query for one arm."""
        values = {
            "release": self.release,
            "namespace": self.namespace,
            "revision": arm.revision,
            "version": arm.version,
            "interval": f"{round(self.interval.total_seconds())}s",
        }
        for name, value in values.items():
            query = query.replace(f"{{{{{name}}}}}", value)
        return query


def query_of(gate: Gate, place: Place) -> str | None:
    """Return what is to be asked for a gate, or None for one that the predictor's own counters answer."""
    if gate.threshold:
        return place.fill(gate.threshold.query, place.canary)
    if gate.counts:
        parts = [
            _marked(place.fill(query, arm), name, kind)
            for name, arm in (("canary", place.canary), ("stable", place.stable))
            for kind, query in (("bad", gate.counts.bad), ("total", gate.counts.total))
        ]
        return "\nor\n".join(parts)
    return None


def _marked(query: str, arm: str, kind: str) -> str:
    # The line break ends a comment with which the query may close.
    marked = f'label_replace((\n{query}\n), "{KIND}", "{kind}", "", "")'
    return f'label_replace({marked}, "{ARM}", "{arm}", "", "")'


def shown(gate: Gate) -> str:
    """Return a gate's queries as a sentence names them."""
    queries = (gate.counts.bad, gate.counts.total) if gate.counts else ()
    asked = [gate.threshold.query] if gate.threshold else queries
    return " and ".join(f"`{_short(query)}`" for query in asked)


def _short(query: str) -> str:
    flat = " ".join(query.split())
    return flat if len(flat) <= SHOWN else f"{flat[:SHOWN]}…"


def answer_of(gate: Gate, place: Place, result: Any) -> Answer:
    """Return what Prometheus' answer means; anything that is not understood is no answer."""
    try:
        if gate.threshold:
            return _number(gate.threshold, result)
        if gate.counts:
            return _tallies(gate.counts, place, result)
    except (LookupError, ValueError, TypeError, AttributeError) as problem:
        message = f"Prometheus answered nonsense to {shown(gate)}: {problem!r}"
        return NoAnswer(verdict=Verdict.UNAVAILABLE, message=message[:500])
    return NoAnswer(verdict=Verdict.UNAVAILABLE, message="it has no query")


def _number(asked: Threshold, result: Any) -> Answer:
    query = f"`{_short(asked.query)}`"
    scalar = len(result) == 2 and not isinstance(result[0], Mapping)
    if not scalar and not result:
        return NoAnswer(verdict=Verdict.INSUFFICIENT, message=f"{query} found nothing")
    if not scalar and len(result) > 1:
        message = f"{query} gives {len(result)} series and must give one; put sum() or max() around it"
        return NoAnswer(verdict=Verdict.UNAVAILABLE, message=message)
    value = float(result[1] if scalar else result[0]["value"][1])
    if not math.isfinite(value):
        message = f"{query} gives {value}, which is no number to compare (no requests yet?)"
        return NoAnswer(verdict=Verdict.INSUFFICIENT, message=message)
    return Number(value=value)


def _tallies(asked: Counts, place: Place, result: Iterable[dict[str, Any]]) -> Answer:
    if place.fill(asked.total, place.canary) == place.fill(asked.total, place.stable):
        message = (
            f"`{_short(asked.total)}` asks the same of both arms, "
            f"which both have version {place.canary.version}; use {{{{revision}}}}"
        )
        return NoAnswer(verdict=Verdict.UNAVAILABLE, message=message)
    found: dict[Any, Tallied] = {}
    for row in result:
        one = _tallied(asked, place, row["metric"], float(row["value"][1]))
        if isinstance(one, NoAnswer):
            return one
        key = (one.revision, one.bad, one.pod, one.labels)
        known = found.setdefault(key, one)
        found[key] = max(known, one, key=attrgetter("value"))
    for name, arm in (("canary", place.canary), ("stable", place.stable)):
        if not any(one.revision == arm.revision and not one.bad for one in found.values()):
            message = f"`{_short(asked.total)}` found nothing for {name} {arm.version} yet"
            return NoAnswer(verdict=Verdict.INSUFFICIENT, message=message)
    return tuple(found.values())


def _tallied(asked: Counts, place: Place, labels: dict[str, str], value: float) -> Tallied | NoAnswer:
    bad = labels[KIND] == "bad"
    query = f"`{_short(asked.bad if bad else asked.total)}`"
    pod = labels.get("pod") or labels.get("instance")
    if not pod:
        message = f"{query} must keep the label pod or instance: a sum over pods falls when one goes"
        return NoAnswer(verdict=Verdict.UNAVAILABLE, message=message)
    if not (math.isfinite(value) and value >= 0 and value.is_integer()):
        message = f"{query} gives {value:g}, which is no number of requests; it must return raw counters"
        return NoAnswer(verdict=Verdict.UNAVAILABLE, message=message)
    identity = {name: text for name, text in labels.items() if name not in NO_IDENTITY}
    digest = hashlib.blake2s(json.dumps(identity, sort_keys=True).encode(), digest_size=4).hexdigest()
    arm = {"canary": place.canary, "stable": place.stable}[labels[ARM]]
    return Tallied(revision=arm.revision, bad=bad, pod=pod, labels=digest, value=value)
