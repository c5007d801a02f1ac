"""Objects come out byte for byte as they were recorded: another rendering would replace running
pods.

A change that is meant is recorded by `python -m tests.unit.manifests.test_golden_manifests`, and
stands in the diff.
"""

import json
from pathlib import Path
from typing import Any

import pytest

from modelrelease_operator.api.probe import Probe
from modelrelease_operator.api.status import Recipe
from modelrelease_operator.core.desired import Desired, DesiredProber, DesiredWorkload
from modelrelease_operator.manifests import Owner, render
from testbed.builders import a_target
from tests.support.foreign_server import THEIRS

OWNER = Owner(namespace="ml", name="qna", uid="uid-1")
GOLDEN = Path(__file__).parent / "golden"

TEMPLATE = Recipe(
    image="serving:test",
    resources={"requests": {"cpu": "2"}, "limits": {"memory": "4Gi"}},
    env=(
        {"name": "THREADS", "value": "4"},
        {"name": "MODEL_SHA256", "value": "mine"},
        {"name": "ARTIFACT_MAX_BYTES", "value": "21474836480"},
        {"name": "LOG_LEVEL", "value": "DEBUG"},
    ),
    pod_template={
        "metadata": {
            "labels": {"team": "nlp", "mesh.io/inject": "yes"},
            "annotations": {"prometheus.io/scrape": None, "sidecar": "no"},
        },
        "spec": {
            "nodeSelector": {"pool": "gpu"},
            "securityContext": {"runAsUser": 1000},
            "terminationGracePeriodSeconds": 90,
            "initContainers": [{"name": "fetch", "env": [{"name": "CA", "value": "/ca"}]}],
            "containers": [
                {"name": "predictor", "env": [{"name": "THREADS", "value": "8"}]},
                {"name": "proxy", "image": "proxy:1", "env": None},
            ],
        },
    },
)
FIELDS = Recipe(
    image="registry.example.com/serving@sha256:0f",
    pod={
        "credentialsSecretRef": "store",
        "imagePullSecrets": [{"name": "registry"}],
        "serviceAccountName": "models",
        "tolerations": [{"key": "gpu", "operator": "Exists"}],
        "topologySpreadConstraints": [
            {"maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "DoNotSchedule"}
        ],
        "initContainers": [{"name": "credentials", "image": "c:1"}],
        "sidecars": [{"name": "tunnel", "image": "t:1"}],
        "volumes": [{"name": "ca", "configMap": {"name": "ca"}}],
        "volumeMounts": [{"name": "ca", "mountPath": "/ca", "readOnly": True}],
    },
)


def alone(**target: Any) -> Desired:
    """Return a world with one revision."""
    run = DesiredWorkload(target=a_target("1", **target), replicas=3, track="stable")
    return Desired(running=(run,), routed=frozenset({"rev1"}), stable="rev1")


def beside(**asked: Any) -> Desired:
    """Return a world with a canary on another claim that is probed."""
    stable = a_target("1", recipe=FIELDS, uri="pvc://models/qna/1")
    canary = a_target("2", recipe=TEMPLATE, uri="pvc://others/qna/2")
    return Desired(
        running=(
            DesiredWorkload(target=stable, replicas=3, track="stable"),
            DesiredWorkload(target=canary, replicas=1, track="canary"),
        ),
        routed=frozenset({"rev1", "rev2"}),
        stable="rev1",
        canary="rev2",
        probing=DesiredProber(stable=stable, canary=canary, settings=Probe.model_validate(asked)),
    )


CASES = {
    "smallest": alone(),
    "template": alone(recipe=TEMPLATE),
    "fields": alone(recipe=FIELDS),
    "claim": alone(uri="pvc://models/qna/1"),
    "image": alone(uri="file:///models/qna"),
    "canary": beside(rate=2.5),
    "cached": alone(recipe=Recipe(image="i", pod={"cache": "artifacts"}, keeps="0" * 64)),
    "server": alone(recipe=THEIRS),
    "mounted": alone(
        recipe=Recipe(image="i", pod={"imageVolume": {"path": "models"}}),
        uri=f"oci://registry.example/team/qna@sha256:{'d' * 64}",
    ),
}


def text_of(desired: Desired) -> str:
    return json.dumps(render(OWNER, desired), indent=1) + "\n"


@pytest.mark.parametrize("case", CASES)
def test_objects_come_out_byte_for_byte_as_they_were_recorded(case: str):
    assert text_of(CASES[case]) == (GOLDEN / f"{case}.json").read_text()


if __name__ == "__main__":
    for name, world in CASES.items():
        (GOLDEN / f"{name}.json").write_text(text_of(world))
