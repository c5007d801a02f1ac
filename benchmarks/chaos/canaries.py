"""Versions and specs that no release may keep, each in a release of its own."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

from benchmarks.chaos.figures import WAITING, Row, row_of
from benchmarks.chaos.stage import Stage, ended
from benchmarks.chaos.trials import BEGIN, Trial, await_status, is_waiting
from benchmarks.rollouts.figures import PROMOTED, ROLLED_BACK
from benchmarks.rollouts.models import HEALTHY
from examples import fixtures

TAMPERED, DYING, HANGING = "60", "80", "90"
VERSIONS: Final = {
    TAMPERED: ("tampered",),
    DYING: ("dying", "--share", "0.02"),
    HANGING: ("hanging", "--share", "0.02"),
}
"""What `examples.models.faulty` is told, by version."""
MENDED: Final = f"{WAITING}, then {PROMOTED}"
NOWHERE: Final = "registry.invalid/nobody/serving:1"

Object = dict[str, Any]


def _before(name: str, statement: str) -> Object:
    """Return a container that runs before the predictor."""
    return {
        "initContainers": [{
            "name": name, "image": fixtures.SERVING_IMAGE, "command": ["python", "-c", statement],
            "securityContext": fixtures.CONTAINER_SECURITY,
        }]
    }  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """One bad canary."""

    name: str
    does: str
    version: str = HEALTHY
    serving: Mapping[str, Any] = field(default_factory=dict)
    """What is wrong with how it is to be served."""
    must: str = ROLLED_BACK
    loses: str = ""
    within: float = 240


KINDS: Final[tuple[Kind, ...]] = (
    Kind(
        name="canary-crash-loops", does="a container of the canary ends with 3 whenever it starts",
        serving=_before("ends", "raise SystemExit(3)"),
    ),
    Kind(
        name="canary-never-ready", does="a container of the canary never gets further",
        serving=_before("waits", "import time; time.sleep(3600)"),
    ),
    Kind(
        name="canary-out-of-memory", does="the canary has 40 MiB, and is ended for wanting more",
        serving={"resources": {
            "requests": {"cpu": "30m", "memory": "40Mi"}, "limits": {"memory": "40Mi"},
        }},
    ),
    Kind(
        name="canary-no-image", does="the canary's image does not exist; later it is put right",
        serving={"image": NOWHERE}, must=MENDED,
    ),
    Kind(
        name="canary-tampered", version=TAMPERED,
        does="the canary's artifact is not what its manifest says",
    ),
    Kind(
        name="canary-hangs", version=HANGING, loses="the canary", within=420,
        does="the canary does not come back from a fiftieth of its requests",
    ),
    Kind(
        name="canary-dies", version=DYING, loses="the canary", within=900,
        does="the canary's process ends on a fiftieth of its requests",
    ),
)  # fmt: skip


def run(stage: Stage, kind: Kind, must: Mapping[str, int]) -> Row:
    """Release a bad canary over a good version, and see how it ends."""
    trial = stage.trial(kind.name)
    trial.begin(BEGIN, stage.rps)
    trial.canary = {"serving": dict(kind.serving)}
    trial.release(kind.version)
    if kind.must == MENDED:
        _mend(trial, kind)
    (ending,) = ended(stage, [(trial, kind.version)], faulty=(kind.version,), within=kind.within)
    if kind.must == MENDED and ending.outcome == PROMOTED:
        ending = replace(ending, outcome=MENDED)
    trial.end()
    return row_of(
        kind.name, kind.does, [ending],
        must=must, loses=kind.loses, notes=(ending.sentence,),
    )  # fmt: skip


def _mend(trial: Trial, kind: Kind) -> None:
    """Wait until the release says that it waits, and then put right what it waits for."""
    await_status(trial, "to wait for the cluster", is_waiting, within=120)
    trial.put_right(kind.version)
