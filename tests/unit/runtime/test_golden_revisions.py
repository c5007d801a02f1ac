"""Revisions are what they were: another hash of the same words would start a canary everywhere.

A hash changes only with what a release asks for. Where one must, it is a note for who upgrades.
"""

from typing import Any

import pytest

from modelrelease_operator.api.status import Resolved
from modelrelease_operator.runtime.resolve import target_for_spec
from testbed.builders import a_spec

FOUND = Resolved(uri="https://store/qna/7", version="7", sha256="7" * 64)
SPECS: dict[str, dict[str, Any]] = {
    "smallest": {},
    "image": {"serving": {"image": "registry.example/serving@sha256:0f"}},
    "replicas alone": {"serving": {"replicas": 7}},
    "fields": {
        "serving": {
            "env": [{"name": "A", "value": "b"}],
            "resources": {"requests": {"cpu": "1"}, "limits": {"memory": "1Gi"}},
            "serviceAccountName": "models",
            "tolerations": [{"key": "gpu", "operator": "Exists"}],
        }
    },
    "template": {"serving": {"podTemplate": {"spec": {"nodeSelector": {"pool": "gpu"}}}}},
    "gates alone": {"analysis": {"gates": [{"name": "errors", "errorRate": {}}]}},
}
REVISIONS = {
    "smallest": "b2dd7940c0",
    "image": "b4f91d876d",
    "replicas alone": "b2dd7940c0",
    "fields": "4d9223e9a5",
    "template": "5c5b927a00",
    "gates alone": "b2dd7940c0",
}
"""As the operator of 2026-11-30 names them."""


@pytest.mark.parametrize("words", SPECS)
def test_the_same_words_are_the_same_revision_in_every_version(words: str):
    target = target_for_spec(a_spec(**SPECS[words]), FOUND, default_image="serving:test")
    assert target.revision == REVISIONS[words]
