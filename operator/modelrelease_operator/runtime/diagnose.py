"""Why Prometheus shows no counters of a pod that is ready: one cheap question, and a sentence.

What is asked of other namespaces' series is never told: only labels of rows that hold the pod's own name.
"""

from collections.abc import Collection, Iterable, Mapping
from typing import Any

from modelrelease_contract import metrics as words

MOST_PODS = 3
"""Pods that are asked for: what is wrong with one is wrong with all."""
SETUP = "docs/reference/metrics.md says what a scrape job needs"


def query_of(*, namespace: str, revision: str, pods: Collection[str]) -> str:
    """Return the question for a revision's series, whatever their labels are called, and for its targets."""
    which = "|".join(sorted(pods)[:MOST_PODS])
    return "\nor\n".join(
        (
            f'{words.PREDICTIONS_TOTAL}{{{words.CODE}="200",{words.REVISION}="{revision}"}}',
            f'{words.PREDICTIONS_TOTAL}{{{words.CODE}="200",exported_{words.REVISION}="{revision}"}}',
            f'up{{{words.NAMESPACE}="{namespace}",{words.POD}=~"{which}"}}',
            f'up{{kubernetes_namespace="{namespace}",kubernetes_pod_name=~"{which}"}}',
        )
    )


def meaning_of(
    rows: Iterable[Mapping[str, Any]],
    *,
    namespace: str,
    release: str,
    revision: str,
    pods: Collection[str],
) -> str:
    """Return what is wrong, as a sentence about Prometheus."""
    asked = sorted(pods)[:MOST_PODS]
    found = [(row["metric"], float(row["value"][1])) for row in rows]
    for pod in asked:
        wanted = {
            words.NAMESPACE: namespace,
            words.POD: pod,
            words.RELEASE: release,
            words.REVISION: revision,
        }
        for labels, _ in found:
            if labels.get("__name__") == words.PREDICTIONS_TOTAL and pod in labels.values():
                return _misnamed(labels, wanted)
    for labels, _ in found:
        if words.POD not in labels and labels.get(words.NAMESPACE) == namespace:
            wanted = {words.POD: asked[0], words.RELEASE: release}
            return _misnamed(labels, wanted)
    ups = [value for labels, value in found if labels.get("__name__") == "up"]
    name = f"pod {asked[0]}"
    if not ups:
        return f"Prometheus has no target for {name} (yet): {SETUP}"
    if not any(ups):
        return f"Prometheus cannot scrape {name}: its `up` is 0"
    return f"Prometheus scrapes {name}, which shows no {words.PREDICTIONS_TOTAL} of revision {revision}"


def _misnamed(labels: Mapping[str, str], wanted: Mapping[str, str]) -> str:
    """Say under which names a series has what it is asked by."""
    wrong = [name for name, value in wanted.items() if labels.get(name) != value]
    if not wrong:
        return f"Prometheus has {words.PREDICTIONS_TOTAL} of pod {wanted[words.POD]} since a moment ago"
    parts = []
    for name in wrong:
        others = sorted(other for other, value in labels.items() if value == wanted[name])
        parts.append(f"`{name}`" + (f" (it has `{others[0]}`)" if others else " (nothing has it)"))
    return (
        f"Prometheus has {words.PREDICTIONS_TOTAL} of pod {wanted[words.POD]}, but not under the label "
        f"{' and '.join(parts)}: relabel its scrape job; {SETUP}"
    )
