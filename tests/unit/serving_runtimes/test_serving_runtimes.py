"""The door for model servers: one more is a module and an entry of the registry, and nothing else.

The server here is a double: another port, other paths, arguments, metrics, and a way of its own to
leave.
"""

import json
from typing import Any

import pytest

from modelrelease_operator.api.probe import Probe
from modelrelease_operator.api.status import Recipe, Target
from modelrelease_operator.core.desired import Desired, DesiredProber, DesiredWorkload
from modelrelease_operator.errors import Invalid
from modelrelease_operator.manifests import Owner, render
from modelrelease_operator.serving_runtimes import ServingRuntime, runtime_of
from modelrelease_operator.serving_runtimes.registry import SERVING_RUNTIMES
from testbed.builders import a_target
from tests.support.foreign_server import FOREIGN, FOREIGN_IMAGE, registered

OWNER = Owner(namespace="ml", name="qna", uid="uid-1")
THEIRS = Recipe(image=FOREIGN_IMAGE)


@pytest.fixture(autouse=True)
def one_more_runtime(monkeypatch: pytest.MonkeyPatch) -> None:
    registered(monkeypatch)


def world(*targets: Target, probed: bool = False) -> Desired:
    stable, canary = targets[0], targets[-1]
    probing = DesiredProber(stable=stable, canary=canary, settings=Probe()) if probed else None
    return Desired(
        running=tuple(
            DesiredWorkload(target=target, replicas=1, track="stable") for target in targets
        ),
        routed=frozenset(target.revision for target in targets),
        stable=stable.revision,
        canary=canary.revision if len(targets) > 1 else None,
        probing=probing,
    )


def pod_of(target: Target) -> dict[str, Any]:
    pod: dict[str, Any] = render(OWNER, world(target))[0]["spec"]["template"]
    return pod


def target_ports(desired: Desired) -> dict[str, Any]:
    services = [obj for obj in render(OWNER, desired) if obj["kind"] == "Service"]
    return {obj["metadata"]["name"]: obj["spec"]["ports"][0]["targetPort"] for obj in services}


def test_an_image_is_the_first_runtime_that_knows_it_and_otherwise_the_predictor():
    assert runtime_of(FOREIGN_IMAGE) is FOREIGN
    assert runtime_of("modelrelease-serving:dev").name == "predictor"
    assert runtime_of("").name == "predictor"


def test_a_pod_is_as_its_runtime_describes_it():
    pod = pod_of(a_target("1", recipe=THEIRS))
    (server,) = pod["spec"]["containers"]
    assert server["args"] == ["--model=/mnt/model", "--name=qna", "--version=1"]
    assert server["ports"] == [{"name": "http", "containerPort": 9000, "protocol": "TCP"}]
    assert server["env"] == [{"name": "MODEL_REVISION", "value": "rev1"}]
    assert server["readinessProbe"]["httpGet"]["path"] == "/v2/health/ready"
    assert server["startupProbe"]["failureThreshold"] == 600
    assert server["lifecycle"] == {"preStop": {"exec": {"command": ["sleep", "15"]}}}
    assert pod["spec"]["terminationGracePeriodSeconds"] == 120
    assert pod["metadata"]["annotations"]["prometheus.io/port"] == "9000"
    assert pod["metadata"]["annotations"]["prometheus.io/path"] == "/v2/metrics"


def test_the_artifact_is_fetched_to_where_the_runtime_looks_for_it_by_an_image_that_can():
    pod = pod_of(a_target("1", recipe=THEIRS))
    (fetch,) = pod["spec"]["initContainers"]
    (server,) = pod["spec"]["containers"]
    assert fetch["image"] == "modelrelease-serving:test"
    assert {"name": "MODEL_PATH", "value": "/mnt/model"} in fetch["env"]
    assert server["volumeMounts"][0] == {
        "name": "model",
        "mountPath": "/mnt/model",
        "readOnly": True,
    }


def test_a_release_changes_no_variable_that_is_the_runtimes():
    recipe = Recipe(image=FOREIGN_IMAGE, env=({"name": "MODEL_REVISION", "value": "mine"},))
    (server,) = pod_of(a_target("1", recipe=recipe))["spec"]["containers"]
    assert server["env"] == [{"name": "MODEL_REVISION", "value": "rev1"}]


def test_services_lead_to_the_port_of_the_runtime():
    assert set(target_ports(world(a_target("1", recipe=THEIRS))).values()) == {9000}


def test_a_service_of_two_runtimes_leads_to_each_ones_port_by_its_name():
    ports = target_ports(world(a_target("1"), a_target("2", recipe=THEIRS)))
    assert ports == {"qna": "http", "qna-stable": 8000, "qna-canary": 9000}


def test_a_runtime_without_a_prober_is_refused_probes_with_a_sentence():
    with pytest.raises(Invalid, match=r"serving runtime foreign, .* take analysis\.probe away"):
        render(OWNER, world(a_target("1"), a_target("2", recipe=THEIRS), probed=True))


# --- every entry of the registry


@pytest.mark.parametrize("runtime", [FOREIGN, *SERVING_RUNTIMES], ids=lambda runtime: runtime.name)
def test_every_runtime_can_be_rendered_and_leaves_no_template_unfilled(runtime: ServingRuntime):
    image = runtime.images[0].replace("*", "x")
    assert runtime_of(image) is runtime
    pod = pod_of(a_target("1", recipe=Recipe(image=image)))
    (server,) = pod["spec"]["containers"]
    texts = [*server["args"], *(item["value"] for item in server["env"])]
    assert not [text for text in texts if "{" in text]
    assert json.loads(json.dumps(pod)) == pod
    for probe in (runtime.startup, runtime.readiness, runtime.liveness):
        assert probe.path.startswith("/")
        assert probe.timeout_seconds > 0
    assert 1 <= runtime.port <= 65535
    assert runtime.metrics.path.startswith("/")
    assert runtime.drain.grace_seconds > 0
    assert runtime.artifact.directory.startswith("/")


def test_the_runtimes_have_names_of_their_own_and_the_last_one_takes_every_image():
    names = [runtime.name for runtime in SERVING_RUNTIMES]
    assert len(set(names)) == len(names)
    assert SERVING_RUNTIMES[-1].runs("any/image@sha256:0f")
