"""Counters that a gate's own query gives: how a query is marked, and how its series are read."""

import hashlib
import json
import math

from modelrelease_operator.api.status import Verdict
from modelrelease_operator.core.measurement.queries import ARM, KIND, NO_IDENTITY
from modelrelease_operator.core.query_results import CounterSample, NotMeasured


def marked(query: str, arm: str, kind: str) -> str:
    """Return a query whose series tell of which arm and of what they are."""
    # The line break ends a comment with which the query may close.
    of_kind = f'label_replace((\n{query}\n), "{KIND}", "{kind}", "", "")'
    return f'label_replace({of_kind}, "{ARM}", "{arm}", "", "")'


def sample_of(
    labels: dict[str, str], value: float, query: str, revision: str, *, bad: bool
) -> CounterSample | NotMeasured:
    """Return a series as a counter of its pod, or why it is none; `query` names what was asked."""
    pod = labels.get("pod") or labels.get("instance")
    if not pod:
        message = (
            f"{query} must keep the label pod or instance: a sum over pods falls when one goes"
        )
        return NotMeasured(verdict=Verdict.UNAVAILABLE, message=message)
    if not (math.isfinite(value) and value >= 0 and value.is_integer()):
        message = (
            f"{query} gives {value:g}, which is no number of requests; it must return raw counters"
        )
        return NotMeasured(verdict=Verdict.UNAVAILABLE, message=message)
    identity = {name: text for name, text in labels.items() if name not in NO_IDENTITY}
    digest = hashlib.blake2s(
        json.dumps(identity, sort_keys=True).encode(), digest_size=4
    ).hexdigest()
    return CounterSample(revision=revision, bad=bad, pod=pod, labels=digest, value=value)
