"""What is concluded about a cluster: its API server, our schema, the operator, and one's rights."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from modelrelease_operator.api import names
from modelrelease_operator.api.durations import format_duration
from modelrelease_operator.core.checkup.finding import Finding, Object, Subject, Unseen
from modelrelease_operator.core.checkup.schema import differences, published_spec

CLUSTER: Final = Subject("cluster")
OLDEST_MINOR: Final = 29
"""Of Kubernetes 1, as the chart's kubeVersion says it; a test keeps the two alike."""
MOST_FIELDS: Final = 5
"""Fields that are named of those that differ."""
LEASE_SECONDS: Final = 10
"""For which a Lease that does not say it is taken to be good."""
INSTALL: Final = (
    "helm install modelrelease charts/modelrelease -n modelrelease-system --create-namespace, "
    "with the values that README.md names"
)
ASK: Final = "ask somebody who may, or name a --context of theirs"


def about_version(version: Object | Unseen) -> Finding:
    """Say whether the API server answers, and whether its version is supported."""
    check = "API server"
    if isinstance(version, Unseen) and version.refused:
        return CLUSTER.unseen(check, f"it answers, and does not tell its version: {version.why}")
    if isinstance(version, Unseen):
        remedy = "log in again, set KUBECONFIG, or name another --context"
        return CLUSTER.wrong(check, version.why, remedy)
    text = str(version.get("gitVersion") or f"{version.get('major')}.{version.get('minor')}")
    digits = re.match(r"\d+", str(version.get("minor", "")))
    if version.get("major") != "1" or digits is None:
        return CLUSTER.unseen(check, f"it answers, and calls its version {text}")
    if int(digits[0]) < OLDEST_MINOR:
        return CLUSTER.wrong(
            check,
            f"it is Kubernetes {text}, older than 1.{OLDEST_MINOR}, the oldest that is supported",
            "upgrade the cluster",
        )
    return CLUSTER.ok(check, f"Kubernetes {text} answers")


def about_kind(served: Object | Unseen | None) -> Finding:
    """Say whether the cluster serves our kind, in the version that we speak."""
    check = "ModelRelease kind"
    if isinstance(served, Unseen):
        return CLUSTER.unseen(check, served.why)
    resources = [each.get("name") for each in (served or {}).get("resources", ())]
    if names.PLURAL not in resources:
        return CLUSTER.wrong(
            check,
            f"the cluster serves no {names.PLURAL} in {names.API_VERSION}",
            f"install the chart: {INSTALL}",
        )
    return CLUSTER.ok(check, f"{names.API_VERSION} is served")


def about_schema(document: Object | Unseen | None) -> Iterator[Finding]:
    """Say where the cluster's schema and this command line's differ."""
    check = "schema"
    if isinstance(document, Unseen):
        yield CLUSTER.unseen(check, document.why, ASK)
        return
    spec = published_spec(document or {})
    if spec is None:
        yield CLUSTER.unseen(check, f"the API server publishes no schema of a {names.KIND}")
        return
    lacking, newer = differences(spec)
    if lacking:
        yield CLUSTER.warning(
            check,
            f"it lacks {_some(lacking)}, which this command line knows: a manifest that sets what "
            "is missing is refused or loses it",
            "upgrade the operator and its CRD with the chart, or use an older modelrelease",
        )
    if newer:
        yield CLUSTER.warning(
            check,
            f"it has {_some(newer)}, which this command line does not know: `validate` refuses it",
            "upgrade modelrelease on this machine",
        )
    if not lacking and not newer:
        yield CLUSTER.ok(check, "the cluster's spec has the fields that this command line knows")


def _some(fields: Sequence[str]) -> str:
    more = f" and {len(fields) - MOST_FIELDS} more" if len(fields) > MOST_FIELDS else ""
    return ", ".join(fields[:MOST_FIELDS]) + more


@dataclass(frozen=True, slots=True, kw_only=True)
class LeaseSeen:
    """The operator's Lease, as it was read once or twice."""

    namespace: str
    first: Object | Unseen | None
    again: Object | Unseen | None
    """A few seconds later; None where nobody read it again."""
    now: datetime
    """By this machine's clock, at the first reading."""
    name: str = names.FIELD_MANAGER

    @property
    def where(self) -> str:
        """Return how people find it."""
        return f"Lease {self.namespace}/{self.name}"

    @property
    def holder(self) -> str:
        """Return who holds it, empty where that is nobody or not known."""
        return (
            (self.first.get("spec") or {}).get("holderIdentity") or ""
            if isinstance(self.first, dict)
            else ""
        )


def age_of(lease: Object, now: datetime) -> timedelta | None:
    """Return how long ago a Lease was renewed by our clock; None where it does not say."""
    try:
        return now - datetime.fromisoformat(lease["spec"]["renewTime"])
    except (LookupError, TypeError, ValueError):
        return None


def is_fresh(lease: Object, now: datetime) -> bool:
    """Return whether a Lease is surely held: two clocks that differ are no proof of the contrary"""
    age = age_of(lease, now)
    seconds = (lease.get("spec") or {}).get("leaseDurationSeconds") or LEASE_SECONDS
    return age is not None and timedelta(0) <= age <= timedelta(seconds=seconds)


def about_lease(seen: LeaseSeen) -> Finding:
    """Say which operator acts, if any. What our clock doubts is decided by a second reading."""
    check, lease = "operator", seen.first
    if isinstance(lease, Unseen):
        return CLUSTER.unseen(check, lease.why, f"{ASK}, or name the right --lease-namespace")
    if lease is None:
        return CLUSTER.wrong(
            check,
            f"{seen.where} does not exist: no operator has acted that keeps its Lease there",
            f"install the chart ({INSTALL}), or name its lease.namespace with --lease-namespace "
            "(with watchNamespaces it is the first of them)",
        )
    holder = (lease.get("spec") or {}).get("holderIdentity")
    if not holder:
        return CLUSTER.wrong(check, f"{seen.where} is held by nobody: no operator acts", _PODS)
    if is_fresh(lease, seen.now):
        age = age_of(lease, seen.now) or timedelta(0)
        return CLUSTER.ok(check, f"{holder} acts, and renewed {seen.where} {_ago(age)}")
    return _about_doubtful(seen, lease, holder)


def about_own_rights(seen: LeaseSeen) -> Iterator[Finding]:
    """Say what the operator that acts may not do, as its Lease tells it."""
    lease = seen.first
    if not isinstance(lease, dict) or not seen.holder:
        return
    told = (lease.get("metadata") or {}).get("annotations") or {}
    for sentence in str(told.get(names.ANNOTATION_WITHOUT) or "").splitlines():
        yield CLUSTER.warning(
            "operator's rights",
            sentence,
            "this is as it should be with the chart's clusterScoped: false; otherwise upgrade the "
            "chart, which grants it",
        )


_PODS: Final = (
    "look at its pods and their log: kubectl get pods -A -l app.kubernetes.io/name="
    f"{names.FIELD_MANAGER}"
)


def _about_doubtful(seen: LeaseSeen, lease: Object, holder: str) -> Finding:
    """Tell an operator that ended from two clocks that differ."""
    check, again = "operator", seen.again
    if again is None or isinstance(again, Unseen):
        why = again.why if isinstance(again, Unseen) else "it is gone by now"
        return CLUSTER.unseen(check, f"{seen.where} could not be read a second time: {why}")
    before, after = lease["spec"], again["spec"]
    if before.get("renewTime") != after.get("renewTime"):
        return CLUSTER.ok(
            check,
            f"{after.get('holderIdentity') or holder} acts, and renews {seen.where}; its clock "
            "and this machine's differ",
        )
    return CLUSTER.wrong(
        check,
        f"{holder} does not renew {seen.where}, last at {before.get('renewTime')}: no operator "
        "acts",
        _PODS,
    )


def _ago(age: timedelta) -> str:
    return "just now" if age < timedelta(seconds=1) else f"{format_duration(age)} ago"


def about_deployments(found: Sequence[Object] | Unseen | None) -> Iterator[Finding]:
    """Say of each Deployment of an operator whether its pods are ready."""
    check = "operator's pods"
    if isinstance(found, Unseen):
        yield CLUSTER.unseen(check, found.why, ASK)
        return
    if not found:
        yield CLUSTER.warning(
            check,
            f"no Deployment has the label app.kubernetes.io/name={names.FIELD_MANAGER}: the "
            "operator runs elsewhere, or was not installed by the chart",
        )
    for each in found or ():
        meta, wanted = each["metadata"], each["spec"].get("replicas", 1)
        ready = (each.get("status") or {}).get("readyReplicas") or 0
        says = f"Deployment {meta['namespace']}/{meta['name']}: {ready} of {wanted} pods are ready"
        if ready < wanted or not wanted:
            yield CLUSTER.wrong(check, says, f"kubectl describe pods -n {meta['namespace']}")
        else:
            yield CLUSTER.ok(check, says)


def about_policy(
    policies: Sequence[Object] | Unseen | None, bindings: Sequence[Object] | Unseen | None
) -> Finding:
    """Say whether the chart's admission policy is in force: it keeps a release's author from pods
    that they may not make themselves.
    """
    check = "admission policy"
    if isinstance(policies, Unseen):
        return CLUSTER.unseen(check, policies.why, ASK)
    if isinstance(bindings, Unseen):
        return CLUSTER.unseen(check, bindings.why, ASK)
    there = {each["metadata"]["name"] for each in policies or ()}
    bound = {
        each["spec"]["policyName"]
        for each in bindings or ()
        if "Deny" in each["spec"].get("validationActions", ())
    }
    if in_force := sorted(there & bound):
        return CLUSTER.ok(check, f"ValidatingAdmissionPolicy {', '.join(in_force)} is bound")
    makes = "whoever may write a ModelRelease may have the operator make pods with any image"
    if policies is None:
        says = f"the cluster serves no ValidatingAdmissionPolicy, so {makes}"
        return CLUSTER.warning(
            check, says, "upgrade the cluster to 1.30, and then the chart: it makes one there"
        )
    return CLUSTER.warning(
        check,
        f"there is none of the chart's: {makes}",
        "install the chart with admissionPolicy.enabled=true and clusterScoped=true",
    )


def about_rights(allowed: Mapping[str, bool | Unseen], where: str) -> Iterator[Finding]:
    """Say what the person may do with releases; `where` names the namespace, or all."""
    check = "your rights"
    for verb, may in allowed.items():
        if isinstance(may, Unseen):
            yield CLUSTER.unseen(check, may.why)
            return
        if not may and verb != "patch":
            yield CLUSTER.wrong(
                check,
                f"you may not {verb} {names.PLURAL} in {where}",
                "ask for a RoleBinding to the ClusterRole view, which the chart adds releases to",
            )
            return
    if not allowed.get("patch"):
        yield CLUSTER.warning(
            check,
            f"you may read {names.PLURAL} in {where}, and not change them: approve, abort, pause "
            "and the like are refused",
            "ask for a RoleBinding to the ClusterRole edit, which the chart adds releases to",
        )
        return
    yield CLUSTER.ok(check, f"you may read and change {names.PLURAL} in {where}")
