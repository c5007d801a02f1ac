"""Whole statuses as operators stored them: today's is read and written byte for byte, an older one
is read.

`python -m tests.unit.api.test_golden_status` records today's anew, where a change of the form is
meant. The older one was written by the operator of 2026-11-23 and is never changed: releases that
it left in the middle of a canary are still there.
"""

import base64
import json
import zlib
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from modelrelease_operator.api.drift import DriftStatus, FeatureStatus
from modelrelease_operator.api.registry import Registered
from modelrelease_operator.api.retrain import RetrainCause, RetrainOutcome, RetrainStatus
from modelrelease_operator.api.routing import ExistingRoute
from modelrelease_operator.api.status import (
    PACKED,
    CommandSeen,
    Phase,
    Reason,
    RegistryFate,
    RegistryOutcome,
    Rejected,
    Resolved,
    ShareCounts,
    ShareStatus,
    Status,
    Streak,
)
from modelrelease_operator.core.analysis.gates.threshold import key_of
from modelrelease_operator.core.desired import Decision
from modelrelease_operator.core.observed import Commands, MetricsUnavailable, Observed, Workload
from modelrelease_operator.core.release.decide import decide
from testbed.builders import START, a_spec, a_target
from testbed.world import Behaviour, a_serving_world
from tests.support.scraping import ScrapedWorld

FOLDER = Path(__file__).parent / "golden_status"
TODAY, OLDER = FOLDER / "today.json", FOLDER / "2026-11-23.json"
REFUNDS = {"bad": "refunds{revision='{{revision}}'}", "total": "orders{revision='{{revision}}'}"}
P99 = {"query": "p99{revision='{{revision}}'}", "max": 0.5}
ASKED: dict[str, Any] = {
    "serving": {"replicas": 2},
    "canary": {"steps": [{"weight": 33, "bake": "10s"}, {"weight": 50, "bake": "1h"}]},
    "analysis": {
        "interval": "5s",
        "probe": {"rate": 2},
        "gates": [
            {"name": "errors", "errorRate": {}},
            {"name": "latency", "latency": {}},
            {"name": "shift", "predictions": {}},
            {"name": "refunds", "counts": REFUNDS},
            {"name": "p99", "threshold": P99, "dryRun": True},
        ],
    },
}
"""What was asked for when both were stored, as far as they knew it."""


def text_of(status: Status) -> str:
    """Return what is stored of a status as text, in the one order that both files have.

    Much evidence is stored compressed; here it is as it is before that, for people to read in a
    diff, and because two builds of zlib need not give the same bytes.
    """
    raw = status.to_dict()
    raw["evidence"] = json.loads(zlib.decompress(base64.b64decode(raw["evidence"][PACKED])))
    return json.dumps(raw, indent=2, sort_keys=True) + "\n"


def stored(file: Path) -> dict[str, Any]:
    raw: dict[str, Any] = json.loads(file.read_text())
    return raw


def decided(status: Status, **observed: Any) -> Decision:
    """Decide about a stored status while Prometheus is away and every pod is ready."""
    workloads = {
        name: Workload(
            revision=name, wanted=2, ready=2, pods=2, ready_names=frozenset({f"{name}-1"})
        )
        for name in ("rev1", "rev2")
    }
    here: dict[str, Any] = {
        "generation": 1,
        "target": a_target("2"),
        "workloads": workloads,
        "routed": frozenset(workloads),
        "metrics": MetricsUnavailable(message="Prometheus does not answer"),
    }
    seen = Observed(**(here | observed))
    assert status.canary
    assert status.canary.next_look
    return decide(spec=a_spec(**ASKED), status=status, observed=seen, now=status.canary.next_look)


def test_todays_status_is_written_back_byte_for_byte():
    assert text_of(Status.parse(stored(TODAY))) == TODAY.read_text()


def test_todays_status_is_the_same_when_its_evidence_comes_compressed():
    status = Status.parse(stored(TODAY))
    raw = status.to_dict()
    assert list(raw["evidence"]) == [PACKED]
    assert Status.parse(raw) == status


def test_todays_status_holds_every_part_that_there_is():
    """A part that is added to the status has to be added here too, and recorded."""
    status = Status.parse(stored(TODAY))
    empty = {name for name in Status.model_fields if not getattr(status, name)}
    assert empty == {"previous"}, "which there is only after a promotion"
    evidence = {
        name for name in type(status.evidence).model_fields if not getattr(status.evidence, name)
    }
    assert evidence == {"absent", "forgotten", "recut", "uneven"}, (
        "which are of pods and looks that are missing"
    )
    assert {gate.name for gate in status.gates} == {
        "errors", "latency", "shift", "refunds", "p99", "probe/errors", "probe/latency",
    }  # fmt: skip
    assert {gate.name for gate in status.gates if gate.interval} >= {"errors", "latency"}


@pytest.mark.parametrize("file", [TODAY, OLDER], ids=["today's", "an older one"])
def test_a_stored_canary_goes_on_where_it_was(file: Path):
    status = Status.parse(stored(file))
    decision = decided(status)
    assert decision.status.phase is Phase.PROGRESSING
    assert decision.status.canary
    assert (decision.status.canary.step, decision.status.canary.requested_weight) == (1, 50)
    assert decision.desired.routed == frozenset({"rev1", "rev2"})
    assert decision.status.evidence.release == status.evidence.release, "no count is lost"
    assert status.evidence.processes
    assert status.evidence.processes.items() <= decision.status.evidence.processes.items()


@pytest.mark.parametrize("file", [TODAY, OLDER], ids=["today's", "an older one"])
def test_a_stored_canary_can_be_aborted(file: Path):
    decision = decided(Status.parse(stored(file)), commands=Commands(abort="rev2"))
    assert decision.status.phase is Phase.ROLLING_BACK
    assert decision.desired.routed == frozenset({"rev1"})


@pytest.mark.parametrize(
    ("errors", "stable"), [(0.01, "2"), (0.5, "1")], ids=["a healthy one", "a sick one"]
)
def test_a_canary_that_an_older_operator_left_is_brought_to_its_end(errors: float, stable: str):
    world = a_serving_world(
        **{**ASKED, "analysis": {"interval": "5s"}, "canary": {"steps": ASKED["canary"]["steps"]}}
    )
    world.release(a_target("2"))
    world.status = Status.parse(stored(OLDER))
    assert world.canary.next_look
    world.now = world.canary.next_look
    world.behaviours = {"rev1": Behaviour(error_rate=0.01), "rev2": Behaviour(error_rate=errors)}
    assert world.run().stable.version == stable


def recorded() -> Status:
    """Release version 2 by real passes until its second step,
    and add what only others would bring.
    """
    world = ScrapedWorld(spec=a_spec(**ASKED), target=a_target("1"), scrape=20.0, rps=100.0)
    world.bounds = (0.02, 0.05)
    alike = Behaviour(error_rate=0.01, gone_bad=0.02, bins=(0.5, 0.5))
    world.behaviours = {"rev1": alike, "rev2": alike}
    world.run()
    world.settle()
    world.release(a_target("2")).run(until=Phase.PROGRESSING)
    while world.canary.step == 0:
        world.step()
    world.steps(9)
    while not world.status.evidence.pending:
        world.step()
    return _with_the_rest(world.status)


def _with_the_rest(status: Status) -> Status:
    assert status.canary
    [threshold] = [gate.threshold for gate in a_spec(**ASKED).analysis.gates if gate.threshold]
    registered = Registered(name="qna", version="12")
    refused = Rejected(
        revision="rev9",
        version="9",
        reason=Reason.REGRESSION,
        message="canary 9 fails 9 %",
        at=START,
    )
    feature = FeatureStatus(
        name="feature_03", psi=0.31, threshold=0.1, values=1200, verdict="Drifted"
    )
    evidence = status.evidence.but(
        streaks={key_of("p99", threshold): Streak(looks=2, at=START)},
        resets=[0, 1],
        share=ShareCounts(weight=50, tries=2, counts=(90, 110), first=(9, 11), newest=(8, 12)),
    )
    share = ShareStatus(
        weight=50, percent=45.0, requests=200, mismatch=False, message="canary 2 answered 45 %"
    )
    return status.but(
        uid="uid-1",
        replicas=4,
        selector="modelrelease.dev/release=qna",
        resolved=Resolved(uri="models:/qna@candidate", version="2", sha256="2" * 64,
        registered=registered),
        rejected=refused,
        rejections=(refused,),
        crashes=status.crashes.but(stable=1, words="container predictor ended with exit code 139"),
        commands=(
            CommandSeen(command="approve", value="rev2", taken=True, message="it goes on",
            at=START),
            CommandSeen(command="retry", value="9/2", stands=False, at=START,
            by="kubectl-annotate"),
        ),
        judged_by=a_spec(**ASKED).analysis.model_dump(mode="json", by_alias=True,
        exclude_none=True),
        canary=status.canary.but(probed_steps=(1,), returned=(START,),
        note="33 % of 2 replicas is 1 of 3", share=share),
        evidence=evidence,
        route=ExistingRoute(name="front", rule="predict"),
        drift=DriftStatus(revision="rev1", windows="SSD", at=START, features=(feature,),
        message="1 of 3"),
        retrain=RetrainStatus(
            request="r-1", cause=RetrainCause.DRIFTED, revision="rev1", version="1",
            features=("feature_03",),
            since=START, job="qna-retrain-r-1", ended=START + timedelta(hours=1),
            outcome=RetrainOutcome.SUCCEEDED, next_allowed=START + timedelta(days=1),
        ),
        outcomes=(
            RegistryOutcome(
                registered=registered, fate=RegistryFate.ROLLED_BACK, reason=Reason.REGRESSION,
                message="it fails",
                at=START,
            ),
        ),
    )  # fmt: skip


if __name__ == "__main__":
    TODAY.write_text(text_of(recorded()))
