"""How each contender's own object says that a release is over. Pure."""

from typing import Any

from benchmarks.rollouts.figures import PROMOTED, ROLLED_BACK, UNDECIDED

Object = dict[str, Any]


def of_ours(release: Object, version: str) -> str:
    """Read a ModelRelease: it is stable, with the new version or with its rejection."""
    status = release.get("status", {})
    is_fresh = status.get("observedGeneration") == release["metadata"]["generation"]
    if not is_fresh or status.get("phase") != "Stable":
        return UNDECIDED
    if status.get("stable", {}).get("version") == version:
        return PROMOTED
    is_rejected = status.get("rejected", {}).get("version") == version
    return ROLLED_BACK if is_rejected else UNDECIDED


def of_rollout(rollout: Object) -> str:
    """Read a Rollout: aborted, or healthy with the newest pods as its stable ones."""
    status = rollout.get("status", {})
    # It writes the generation as a text.
    if status.get("observedGeneration") != str(rollout["metadata"]["generation"]):
        return UNDECIDED
    if status.get("abort"):
        return ROLLED_BACK
    newest = status.get("currentPodHash")
    is_stable = newest is not None and status.get("stableRS") == newest
    return PROMOTED if is_stable and status.get("phase") == "Healthy" else UNDECIDED


def of_canary(canary: Object, spec_before: str | None) -> str:
    """Read a Canary, which has no generation: `spec_before` is the hash of what it last took up."""
    status = canary.get("status", {})
    if status.get("lastAppliedSpec") == spec_before:
        return UNDECIDED
    ends = {"Succeeded": PROMOTED, "Failed": ROLLED_BACK}
    return ends.get(status.get("phase", ""), UNDECIDED)
