"""What a spec means beside what its release runs: images and templates of before are left alone."""

from typing import Any

import pytest

from modelrelease_operator.api.pod_policy import Allowed
from modelrelease_operator.api.spec import ReleaseSpec
from modelrelease_operator.api.status import Reason, StableStatus, Status, Target, Verifier
from modelrelease_operator.policy import Policy
from modelrelease_operator.runtime.registry_watch import RegistryWatch
from modelrelease_operator.runtime.resolution import Resolution, resolution_of
from testbed.builders import START, a_spec

MODEL = {"uri": "pvc://models/qna/7", "version": "7", "sha256": "0" * 64}
HOST = {"spec": {"hostPID": True}}


async def resolution(spec: ReleaseSpec, status: Status | None = None, **more: Any) -> Resolution:
    known = {"default_image": "i:1", **more}
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
    found = await resolution(
        spec_of(podTemplate=HOST), policy=Policy(allowed=Allowed.parse("scheduling"))
    )
    assert found.target is None
    assert found.problem is not None
    assert found.problem.reason is Reason.SPEC_INVALID
    assert "spec.serving.podTemplate.spec.hostPID may not be set here" in found.problem.message


async def test_a_stricter_setting_stops_no_revision_that_runs():
    spec = spec_of(podTemplate=HOST)
    status, target = await serving_now(spec)
    found = await resolution(spec, status, policy=Policy(allowed=Allowed.parse("none")))
    assert (found.target, found.problem) == (target, None)


async def test_an_image_that_was_named_is_not_meant_once_the_spec_names_none():
    status, _ = await serving_now(spec_of(image="typo:1"))
    for _ in range(3):
        found = await resolution(spec_of(), status)
        assert found.target is not None
        assert found.target.recipe.image == "i:1"
        status = status.model_copy(update={"resolved": found.resolved})


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


SIGNED = {"signature": {"key": {"configMapKeyRef": {"name": "keys", "key": "models.pub"}}}}
KEYS = "-----BEGIN PUBLIC KEY-----\nMFkw\n-----END PUBLIC KEY-----\n"


async def test_a_signature_that_a_release_wants_is_checked_by_the_operators_image():
    spec = a_spec(model=MODEL | SIGNED, serving={"image": "own:1"})
    recipe = (await serving_now(spec))[1].recipe
    assert recipe.verifier == Verifier(image="i:1")
    assert recipe.pod["signature"] == SIGNED["signature"]["key"]


async def test_another_key_is_another_revision_and_none_leaves_it_as_it_was():
    other = {"signature": {"key": {"secretKeyRef": {"name": "keys", "key": "models.pub"}}}}
    models = (MODEL, MODEL | SIGNED, MODEL | other)
    revisions = {(await serving_now(a_spec(model=model)))[1].revision for model in models}
    assert len(revisions) == 3


async def test_keys_of_the_operator_hold_for_what_begins_from_then_on():
    """They start no canary, and take nothing away that serves."""
    status, before = await serving_now(spec_of())
    status_of_later, later = await serving_now(spec_of(), policy=Policy(signing_keys=KEYS))
    assert later.revision == before.revision
    assert later.recipe.verifier == Verifier(image="i:1", keys=KEYS)
    assert Status.parse(status_of_later.to_dict()).stable == status_of_later.stable
    assert status.stable is not None
    assert status.stable.recipe.verifier is None


@pytest.mark.parametrize(
    ("model", "policy", "who"),
    [
        (MODEL | SIGNED, Policy(), "spec.model.signature wants"),
        (
            MODEL,
            Policy(signing_keys=KEYS),
            "(chart value signatures.publicKeys) wants",
        ),
    ],
)
async def test_a_server_that_gets_the_artifact_by_itself_cannot_have_it_checked(
    model: dict[str, Any], policy: Policy, who: str
):
    server = {"image": "s:1", "runtime": {"profile": "mlserver", "fetch": False}}
    found = await resolution(a_spec(model=model, serving=server), policy=policy)
    assert found.target is None
    assert found.problem is not None
    assert who in found.problem.message
    assert "set spec.serving.runtime.fetch to true" in found.problem.message
