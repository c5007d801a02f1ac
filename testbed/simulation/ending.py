"""What must be when nothing goes wrong any more and nothing is left to do."""

from typing import TYPE_CHECKING

from modelrelease_operator.api import names
from modelrelease_operator.api.status import Phase, Reason, Status
from testbed.simulation.cluster import Object
from testbed.simulation.machines import RELEASE

if TYPE_CHECKING:
    from testbed.simulation.run import Simulation


def look(simulation: "Simulation") -> None:
    """Hold the end of a release against what was asked for and what its versions are."""
    audit, status = simulation.audit, simulation.people.status()
    if status.phase is not Phase.STABLE or status.stable is None:
        audit.fail("every release ends", f"in {status.phase}: {status.message}")
        return
    _pointer(simulation, status)
    _leftovers(simulation, status)
    _version(simulation, status)


def may_wait(simulation: "Simulation") -> bool:
    """Return whether a release need not end: its first version never starts, so there is nothing to
    go back to; or somebody had a sick version take over, beside which nothing can be proven.
    """
    status = simulation.people.stored_status()
    stable = status.get("stable")
    if stable and simulation.behaviours[stable["version"]].sick:
        return True
    wanted = simulation.behaviours[simulation.people.version]
    if wanted.starts and not wanted.refuses:
        return False
    return bool(status.get("phase", Phase.PENDING) == Phase.PENDING)


def _pointer(simulation: "Simulation", status: Status) -> None:
    """Clients reach stable, all of its pods, and nothing else."""
    assert status.stable
    main = simulation.cluster.get("Service", RELEASE)
    selector = (main or {}).get("spec", {}).get("selector")
    wanted = {names.LABEL_RELEASE: RELEASE, names.LABEL_REVISION: status.stable.revision}
    if selector != wanted:
        simulation.audit.fail("clients reach stable", f"the Service selects {selector}")
    ready = len(simulation.machines.routed())
    replicas = simulation.people.settings["serving"]["replicas"]
    if ready != replicas:
        simulation.audit.fail("clients reach stable", f"{ready} of {replicas} pods are ready")


def _leftovers(simulation: "Simulation", status: Status) -> None:
    """What no release needs is gone."""
    assert status.stable
    kept = names.workload_name(RELEASE, status.stable.revision)
    owned = [
        f"{kind} {name}"
        for (kind, name), obj in simulation.cluster.objects.items()
        if kind in ("Deployment", "PodDisruptionBudget") and name != kept and _is_ours(obj)
    ]
    if owned:
        simulation.audit.fail("nothing is left behind", ", ".join(owned))


def _is_ours(obj: Object) -> bool:
    labels = obj["metadata"].get("labels") or {}
    return labels.get(names.LABEL_MANAGED_BY) == names.MANAGED_BY


def _version(simulation: "Simulation", status: Status) -> None:
    """What was asked for serves, or it says why not."""
    assert status.stable
    wanted, serves = simulation.people.version, status.stable.version
    ready = next((each for each in status.conditions if each.type == "Ready"), None)
    if wanted == serves:
        if ready is None or ready.status != "True":
            words = f"Ready is {ready and ready.message}"
            simulation.audit.fail("conditions are true", words)
        return
    if status.rejected is None or status.rejected.version != wanted:
        words = f"{serves} serves, {wanted} is asked for, and nothing says why: {status.message}"
        simulation.audit.fail("what is asked for serves", words)
        return
    if ready is None or ready.status != "False":
        simulation.audit.fail("conditions are true", "Ready, although another version serves")
    if simulation.behaviours[wanted].well and status.rejected.reason is not Reason.ABORTED:
        words = f"{wanted} is well, and was rejected: {status.rejected.message}"
        simulation.audit.fail("what is asked for serves", words)
