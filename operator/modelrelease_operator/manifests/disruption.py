"""PodDisruptionBudgets: a drain takes the pods of a revision that has clients a few at a time."""

from typing import Any

from modelrelease_operator.api import names
from modelrelease_operator.core.desired import Desired
from modelrelease_operator.manifests.workload import Owner, metadata, selector_of

PDB = "PodDisruptionBudget"


def disruption_budgets(owner: Owner, desired: Desired) -> list[dict[str, Any]]:
    """Return a budget for each revision that is to have one.

    One for each, because the API server evicts no pod that two budgets select.
    """
    budgets = desired.budgets
    if budgets is None:
        return []
    return [
        _budget(owner, revision, budgets.max_unavailable) for revision in sorted(budgets.revisions)
    ]


def _budget(owner: Owner, revision: str, max_unavailable: int) -> dict[str, Any]:
    return {
        "apiVersion": "policy/v1",
        "kind": PDB,
        "metadata": metadata(
            owner, names.workload_name(owner.name, revision), **{names.LABEL_REVISION: revision}
        ),
        "spec": {
            "maxUnavailable": max_unavailable,
            "selector": {"matchLabels": selector_of(owner, revision)},
            # A pod that answers nobody holds up no drain.
            "unhealthyPodEvictionPolicy": "AlwaysAllow",
        },
    }
