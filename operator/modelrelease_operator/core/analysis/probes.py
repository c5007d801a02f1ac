"""Probes as evidence: what they are asked, and when they answer for users.

Each gate on errors or latency is asked twice: of users' requests, and under a name of its own of
the prober's. A probe that fails is held against the canary whoever else is there. A probe that
succeeds counts only where users are silent: a gate that lacks users' requests then passes on the
evidence of its gate on probes.
"""

from collections.abc import Iterable, Iterator, Mapping

from modelrelease_operator.api.spec import Gate, ReleaseSpec
from modelrelease_operator.api.status import GateStatus, Verdict
from modelrelease_operator.core.immutable import immutable
from modelrelease_operator.core.measurement.series import PROBE

ORDER = (Verdict.FAIL, Verdict.UNAVAILABLE, Verdict.INSUFFICIENT, Verdict.PASS)
"""Worst first: a release's verdict is the worst of its gates'."""


def is_of_probes(gate: str) -> bool:
    """Return whether a gate, by its name, is asked of probes. No person can name a gate so."""
    return gate.startswith(PROBE)


def gates_of(spec: ReleaseSpec) -> tuple[Gate, ...]:
    """Return every gate that is asked: each of the spec's,
    followed by its gate on probes where it has one.
    """
    if spec.analysis.probe is None:
        return spec.analysis.gates
    return tuple(_with_probe_gates(spec.analysis.gates))


def _with_probe_gates(gates: Iterable[Gate]) -> Iterator[Gate]:
    for gate in gates:
        yield gate
        if gate.settings.by_probes:
            # Unchecked: the rule for names keeps people from such a one.
            yield gate.model_copy(update={"name": f"{PROBE}{gate.name}"})


@immutable
class Settled:
    """The verdict of all gates together."""

    verdict: Verdict
    message: str
    by_probes: str | None = None
    """Says so, where it passes and users were too few."""


def settle(
    spec: ReleaseSpec, gates: Mapping[str, GateStatus], *, doubtful: frozenset[str], users: int
) -> Settled:
    """Return the worst of the gates' verdicts, after probes have answered for silent users.

    `users` is how many users' requests the canary has answered at this weight: with `minRequests`
    of them, users decide alone. `doubtful` names gates whose users' requests speak against going
    on, few as they may be: probes do not answer those.
    """
    few = users < spec.analysis.min_requests
    heard: list[GateStatus] = []
    proofs: list[GateStatus] = []
    for gate in spec.analysis.gates:
        own, probe_gate = gates[gate.name], gates.get(f"{PROBE}{gate.name}")
        if gate.dry_run:
            continue
        if probe_gate and few and own.verdict is Verdict.INSUFFICIENT and gate.name not in doubtful:
            proofs += [probe_gate] if probe_gate.verdict is Verdict.PASS else []
            heard.append(_instead(own, probe_gate))
        else:
            heard.append(own)
        if probe_gate and probe_gate.verdict in (Verdict.FAIL, Verdict.UNAVAILABLE):
            heard.append(probe_gate)
    worst = min(heard, key=lambda gate: ORDER.index(gate.verdict))
    if worst.verdict is not Verdict.PASS or not proofs:
        return Settled(verdict=worst.verdict, message=worst.message)
    text = (
        f"probes decided and not users, who sent the canary {users} of the "
        f"{spec.analysis.min_requests} requests needed: {proofs[0].message}"
    )
    return Settled(verdict=Verdict.PASS, message=text, by_probes=text)


def _instead(own: GateStatus, probe_gate: GateStatus) -> GateStatus:
    """Return what a gate without users says: the verdict of its gate on probes,
    and both sentences while that is open.
    """
    if probe_gate.verdict is Verdict.INSUFFICIENT:
        return own.but(message=f"{own.message}; of probes: {probe_gate.message}")
    return own.but(verdict=probe_gate.verdict, message=probe_gate.message)
