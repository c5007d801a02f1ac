"""What a spec means beside what its release runs: images and templates of before are left alone."""

from typing import Any

from modelrelease_operator.api.pod_policy import Allowed
from modelrelease_operator.api.spec import ReleaseSpec
from modelrelease_operator.api.status import Reason, StableStatus, Status, Target
from modelrelease_operator.runtime.registry_watch import RegistryWatch
from modelrelease_operator.runtime.resolution import Resolution, resolution_of
from testbed.builders import START, a_spec

MODEL = {"uri": "pvc://models/qna/7", "version": "7", "sha256": "0" * 64}
HOST = {"spec": {"hostPID": True}}


async def resolution(spec: ReleaseSpec, status: Status | None = None, **more: Any) -> Resolution:
    known = {"default_image": "i:1", "allowed": Allowed.parse("all"), **more}
    return await resolution_of(
        spec, status or Status(), key=("ml", "qna"), watch=RegistryWatch(), **known
    )


def spec_of(**serving: Any) -> ReleaseSpec:
    return a_spec(model=MODEL, serving=serving)


async def serving_now(spec: ReleaseSpec, **more: Any) -> tuple[Status, Target]:
    """Return the status of a release that serves what a spec means."""
    found = await resolution(spec, **more)
    assert found.target is not None
    stable = StableStatus(**found.target.parts(), since=START)
    return Status(resolved=found.resolved, stable=stable), found.target


async def test_a_template_that_is_not_allowed_begins_no_revision_and_is_named():
    found = await resolution(spec_of(podTemplate=HOST), allowed=Allowed.parse("scheduling"))
    assert found.target is None
    assert found.problem is not None
    assert found.problem.reason is Reason.SPEC_INVALID
    assert "spec.serving.podTemplate.spec.hostPID may not be set here" in found.problem.message


async def test_a_stricter_setting_stops_no_revision_that_runs():
    spec = spec_of(podTemplate=HOST)
    status, target = await serving_now(spec)
    found = await resolution(spec, status, allowed=Allowed.parse("none"))
    assert (found.target, found.problem) == (target, None)


async def test_a_release_keeps_its_default_image_through_any_number_of_upgrades():
    status, target = await serving_now(spec_of())
    for image in ("i:2", "i:3"):
        found = await resolution(spec_of(), status, default_image=image)
        assert found.target == target
        status = status.model_copy(update={"resolved": found.resolved})
    assert found.resolved is not None
    assert found.resolved.image == "i:1"


async def test_an_annotation_takes_up_the_present_default_and_no_other():
    status, target = await serving_now(spec_of())
    asked = await resolution(spec_of(), status, default_image="i:2", renewed_image="i:2")
    assert asked.target is not None
    assert asked.target.recipe.image == "i:2"
    left_behind = await resolution(spec_of(), status, default_image="i:3", renewed_image="i:2")
    assert left_behind.target == target


async def test_a_status_of_an_operator_that_kept_no_image_is_read():
    status, target = await serving_now(spec_of())
    raw = status.to_dict()
    del raw["resolved"]["image"]
    assert (await resolution(spec_of(), Status.parse(raw), default_image="i:2")).target == target
