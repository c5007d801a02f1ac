"""Why Prometheus shows no counters of a pod that is ready: one cheap question, and a sentence.

What is asked of other namespaces' series is never told: only labels of rows that hold the pod's own
name.
"""

from collections.abc import Collection, Iterable, Mapping
from typing import Any

from modelrelease_contract import metrics as words
from modelrelease_operator.runtime.metric_sources.source import Revisions

MOST_PODS = 3
"""Pods that are asked for: what is wrong with one is wrong with all."""
COUNTER = words.PREDICTIONS_TOTAL
SETUP = "docs/reference/metrics.md says what a scrape job needs"


def query_of(of: Revisions, *, revision: str, pods: Collection[str]) -> str:
    """Return the query for a revision's series, whatever their labels' names, and its targets."""
    pattern = "|".join(_asked_for(pods))
    targets = (
        f'up{{{words.NAMESPACE}="{of.namespace}",{words.POD}=~"{pattern}"}}',
        f'up{{kubernetes_namespace="{of.namespace}",kubernetes_pod_name=~"{pattern}"}}',
    )
    if not of.metrics[revision].labelled:
        return "\nor\n".join(targets)
    well = f'{COUNTER}{{{words.CODE}="200"'
    return "\nor\n".join(
        (
            f'{well},{words.REVISION}="{revision}"}}',
            f'{well},exported_{words.REVISION}="{revision}"}}',
            *targets,
        )
    )


def _asked_for(pods: Collection[str]) -> list[str]:
    return sorted(pods)[:MOST_PODS]


def diagnosis_of(
    rows: Iterable[Mapping[str, Any]], of: Revisions, *, revision: str, pods: Collection[str]
) -> str:
    """Return what is wrong, as a sentence about Prometheus."""
    labelled = of.metrics[revision].labelled
    counter = COUNTER if labelled else "up"
    names = _asked_for(pods)
    series = [(row["metric"], float(row["value"][1])) for row in rows]
    ours = {words.RELEASE: of.release, words.REVISION: revision} if labelled else {}
    for pod in names:
        wanted = {words.NAMESPACE: of.namespace, words.POD: pod, **ours}
        for labels, _ in series:
            if labels.get("__name__") == counter and _is_misnamed(labels, wanted, counter):
                return _misnamed(counter, labels, wanted)
    for labels, _ in series:
        if words.POD not in labels and labels.get(words.NAMESPACE) == of.namespace:
            wanted = {words.POD: names[0], words.RELEASE: of.release}
            return _misnamed(counter, labels, wanted)
    ups = [value for labels, value in series if labels.get("__name__") == "up"]
    name = f"pod {names[0]}"
    if not ups:
        return f"Prometheus has no target for {name} (yet): {SETUP}"
    if not any(ups):
        return f"Prometheus cannot scrape {name}: its `up` is 0"
    if not labelled:
        return f"Prometheus has scraped {name} since a moment ago"
    return f"Prometheus scrapes {name}, which shows no {counter} of revision {revision}"


def _is_misnamed(labels: Mapping[str, str], wanted: Mapping[str, str], counter: str) -> bool:
    """Return whether a series is of this pod; a target that is named as it must be is no fault."""
    if wanted[words.POD] not in labels.values():
        return False
    return counter == COUNTER or any(labels.get(name) != value for name, value in wanted.items())


def _misnamed(counter: str, labels: Mapping[str, str], wanted: Mapping[str, str]) -> str:
    """Say under which names a series has what it is asked by."""
    wrong = [name for name, value in wanted.items() if labels.get(name) != value]
    if not wrong:
        return f"Prometheus has {counter} of pod {wanted[words.POD]} since a moment ago"
    parts = []
    for name in wrong:
        others = sorted(other for other, value in labels.items() if value == wanted[name])
        instead = f"it has `{others[0]}`" if others else "nothing has it"
        parts.append(f"`{name}` ({instead})")
    return (
        f"Prometheus has {counter} of pod {wanted[words.POD]}, but not under the label "
        f"{' and '.join(parts)}: relabel its scrape job; {SETUP}"
    )
