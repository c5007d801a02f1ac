"""What a release may not ask for: every reason comes out of one door, whoever stands before it."""

from typing import Any

import pytest

from modelrelease_operator.api.pod_policy import Allowed
from modelrelease_operator.policy import ANYTHING, Policy
from testbed.builders import a_spec

BY_ITSELF = {"serving": {"image": "s:1", "runtime": {"profile": "mlserver", "fetch": False}}}
KEY = {"key": {"configMapKeyRef": {"name": "keys", "key": "models.pub"}}}
SIGNED = {"model": {"uri": "http://store/qna/1", "signature": KEY}}
PRIVILEGED = {"serving": {"podTemplate": {"spec": {"hostPID": True}}}}
STRICT = Policy(allowed=Allowed.parse("none"), signing_keys="PEM")


@pytest.mark.parametrize(
    ("parts", "policy", "why"),
    [
        pytest.param(
            {"serving": {"runtime": {"profile": "mlserver"}}}, ANYTHING,
            "needs spec.serving.image", id="a server",
        ),
        pytest.param(
            {"analysis": {"countedBy": "Kong"}}, ANYTHING, "Kong cannot be asked", id="a gateway"
        ),
        pytest.param(PRIVILEGED, STRICT, "hostPID may not be set here", id="a pod template"),
        pytest.param(SIGNED | BY_ITSELF, ANYTHING, "spec.model.signature wants", id="a signature"),
        pytest.param(BY_ITSELF, STRICT, "signatures.publicKeys) wants", id="an operator's key"),
    ],
)  # fmt: skip
def test_each_reason_is_told(parts: dict[str, Any], policy: Policy, why: str):
    assert why in str(policy.refusal(a_spec(**parts)))


@pytest.mark.parametrize("parts", [{}, PRIVILEGED, SIGNED, BY_ITSELF])
def test_what_runs_already_is_not_held_to_what_an_installer_wants(parts: dict[str, Any]):
    assert ANYTHING.refusal(a_spec(**parts)) is None
