"""A release in each state that a tool of GitOps may meet it in, as the API server shows it."""

import re
from pathlib import Path
from typing import Any

import yaml

from modelrelease_operator.api import names
from modelrelease_operator.api.status import Phase, Reason, Status
from modelrelease_operator.core.observed import Problem
from modelrelease_operator.core.release.conditions import with_stall, with_trouble
from testbed.builders import START, a_target
from testbed.world import Behaviour, World, a_serving_world, a_world_in

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs/how-to/release-by-git.md"


def an_object(status: dict[str, Any], generation: int = 1) -> dict[str, Any]:
    """Return a release, by what the tools read of it."""
    kept = ("observedGeneration", "message", "conditions")
    return {
        "apiVersion": names.API_VERSION,
        "kind": names.KIND,
        "metadata": {"name": "qna", "namespace": "prod", "generation": generation},
        "spec": {},
        "status": {name: status[name] for name in kept if name in status},
    }


def unseen() -> dict[str, Any]:
    """Return the status that the schema gives a release which no operator has looked at."""
    crd = yaml.safe_load((ROOT / "crds/modelreleases.yaml").read_text())
    schema = crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["status"]
    default: dict[str, Any] = schema["default"]
    return default


def situations() -> dict[str, dict[str, Any]]:
    """Return every state, by its name."""
    shown = {name: an_object(status.to_dict()) for name, status in _statuses().items()}
    return {
        "no operator has looked at it": an_object(unseen()),
        "the spec changed a moment ago": an_object(_serving().to_dict(), generation=2),
        **shown,
    }


def _statuses() -> dict[str, Status]:
    going = (
        Phase.STARTING, Phase.SHADOWING, Phase.PROGRESSING, Phase.PROMOTING, Phase.ROLLING_BACK,
    )  # fmt: skip
    return {
        "the first version starts": _after_a_pass(a_world_in(Phase.PENDING)),
        **{f"a canary is {phase}": a_world_in(phase).status for phase in going},
        "a person paused it": a_world_in(Phase.PAUSED).status,
        "an approval is awaited": a_serving_world(canary={"approval": "Manual"})
        .release(a_target("2"))
        .run(until=Phase.PAUSED)
        .status,
        "the version asked for serves": _serving(),
        "the version asked for was rejected": _rejected(),
        "the spec breaks a rule": with_stall(
            _serving(), Reason.SPEC_INVALID, "spec.canary: no", 1, START
        ),
        "the store does not answer": _waiting_for_the_store(),
        "passes fail": with_trouble(_serving(), "the API server does not answer", 1, START),
    }


def _after_a_pass(world: World) -> Status:
    world.step()
    return world.status


def _serving() -> Status:
    return a_serving_world().status


def _rejected() -> Status:
    world = a_serving_world().release(a_target("2"))
    world.behaviours["rev2"] = Behaviour(error_rate=0.5)
    return world.run().status


def _waiting_for_the_store() -> Status:
    world = a_serving_world()
    world.problem = Problem(reason=Reason.MODEL_UNAVAILABLE, message="the store does not answer")
    return _after_a_pass(world)


def script_for_argo() -> str:
    """Return the health script of the page."""
    (block,) = (it for it in _blocks() if "resource.customizations.health" in it)
    (script,) = yaml.safe_load(block).values()
    return str(script)


def expressions_for_flux() -> dict[str, str]:
    """Return the health check expressions of the page."""
    (block,) = (it for it in _blocks() if "healthCheckExprs" in it)
    (expressions,) = yaml.safe_load(block)["spec"]["healthCheckExprs"]
    about = {name: expressions.pop(name) for name in ("apiVersion", "kind")}
    assert about == {"apiVersion": names.API_VERSION, "kind": names.KIND}
    return dict(expressions)


def _blocks() -> list[str]:
    return re.findall(r"(?ms)^```yaml\n(.*?)^```", PAGE.read_text())
