"""Model servers that are not ours: known by name from a data file, or in a release's own words.

The server here is a double: another port, other paths, arguments, metrics, and a way of its own to
leave.
"""

import json
from typing import Any

import pytest

from modelrelease_operator.api.probe import Probe
from modelrelease_operator.api.spec import ReleaseSpec
from modelrelease_operator.api.status import Recipe, Resolved, Target
from modelrelease_operator.core.desired import Desired, DesiredProber, DesiredWorkload
from modelrelease_operator.errors import Invalid
from modelrelease_operator.manifests import Owner, render
from modelrelease_operator.manifests.read_back import read_back
from modelrelease_operator.runtime.resolve import target_for_spec
from modelrelease_operator.serving_runtimes import refusal_of_runtime, runtime_for, runtime_of
from modelrelease_operator.serving_runtimes.predictor import PREDICTOR
from testbed.builders import a_spec, a_target
from tests.support.foreign_server import FETCH_IMAGE, FOREIGN_IMAGE, RUNTIME, THEIRS

OWNER = Owner(namespace="ml", name="qna", uid="uid-1")
SOURCE = {"uri": "http://store/qna/1"}


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


def spec_with(runtime: dict[str, Any], **parts: Any) -> ReleaseSpec:
    serving = {"image": FOREIGN_IMAGE, "runtime": runtime, **parts.pop("serving", {})}
    return a_spec(serving=serving, **{"model": SOURCE, **parts})


def test_a_release_that_names_no_server_is_served_by_the_predictor():
    assert runtime_of(Recipe(image="any/image@sha256:0f")) is PREDICTOR


def test_a_pod_is_as_its_release_describes_its_server():
    pod = pod_of(a_target("1", recipe=THEIRS))
    (server,) = pod["spec"]["containers"]
    assert server["args"] == RUNTIME["args"]
    assert "command" not in server
    assert server["ports"] == [
        {"name": "http", "containerPort": 9000, "protocol": "TCP"},
        {"name": "metrics", "containerPort": 9002, "protocol": "TCP"},
    ]
    assert server["readinessProbe"]["httpGet"]["path"] == "/v2/health/ready"
    assert server["livenessProbe"]["httpGet"]["path"] == "/v2/health/live"
    assert server["startupProbe"]["failureThreshold"] == 900
    assert server["lifecycle"] == {"preStop": {"sleep": {"seconds": 15}}}
    assert pod["spec"]["terminationGracePeriodSeconds"] == 120
    assert pod["metadata"]["annotations"]["prometheus.io/port"] == "9002"
    assert pod["metadata"]["annotations"]["prometheus.io/path"] == "/v2/metrics"
    assert json.loads(json.dumps(pod)) == pod


def test_a_server_knows_the_model_by_variables_that_no_release_changes():
    mine = ({"name": "MODEL_VERSION", "value": "mine"}, {"name": "MY_OWN", "value": "1"})
    recipe = THEIRS.but(env=mine)
    (server,) = pod_of(a_target("1", recipe=recipe))["spec"]["containers"]
    variables = {item["name"]: item["value"] for item in server["env"]}
    assert variables["MODEL_VERSION"] == "1"
    assert variables["MODEL_PATH"] == "/mnt/model"
    assert variables["MODELRELEASE_RELEASE"] == "qna"
    assert variables["MY_OWN"] == "1"
    assert "MODEL_URI" not in variables


def test_the_artifact_is_fetched_to_where_the_server_looks_for_it_by_an_image_that_can():
    pod = pod_of(a_target("1", recipe=THEIRS))
    (fetch,) = pod["spec"]["initContainers"]
    (server,) = pod["spec"]["containers"]
    assert fetch["image"] == FETCH_IMAGE
    assert {"name": "MODEL_PATH", "value": "/mnt/model"} in fetch["env"]
    assert server["image"] == FOREIGN_IMAGE
    assert server["volumeMounts"][0] == {
        "name": "model",
        "mountPath": "/mnt/model",
        "readOnly": True,
    }


def test_a_server_that_fetches_the_artifact_by_itself_is_told_where_it_is():
    recipe = THEIRS.but(runtime={**RUNTIME, "fetch": False})
    pod = pod_of(a_target("1", recipe=recipe))
    (server,) = pod["spec"]["containers"]
    assert pod["spec"]["initContainers"] == []
    assert "MODEL_URI" in {item["name"] for item in server["env"]}


def test_without_arguments_probes_and_waits_a_server_starts_and_ends_as_its_image_says():
    runtime = {"port": 9000, "readinessPath": "/ready"}
    pod = pod_of(a_target("1", recipe=THEIRS.but(runtime=runtime)))
    (server,) = pod["spec"]["containers"]
    assert not {"args", "command", "livenessProbe", "lifecycle"} & set(server)


def test_a_command_before_the_signal_is_run_instead_of_a_wait():
    runtime = {**RUNTIME, "drain": {"preStopCommand": ["/bin/leave"]}}
    (server,) = pod_of(a_target("1", recipe=THEIRS.but(runtime=runtime)))["spec"]["containers"]
    assert server["lifecycle"] == {"preStop": {"exec": {"command": ["/bin/leave"]}}}


@pytest.mark.parametrize("fetch", [True, False])
def test_a_release_whose_status_was_lost_finds_its_server_in_the_pods(fetch: bool):
    target = a_target("1", recipe=THEIRS.but(runtime={**RUNTIME, "fetch": fetch}))
    deployment = render(OWNER, world(target))[0]
    found = read_back(deployment)
    assert found is not None
    assert found.recipe.runtime == {**RUNTIME, "fetch": fetch}
    assert found.recipe.image == FOREIGN_IMAGE
    assert found.recipe.fetch_image == (FETCH_IMAGE if fetch else None)
    assert (found.uri, found.sha256) == (target.uri, target.sha256)
    (again,) = pod_of(found)["spec"]["containers"]
    assert again == deployment["spec"]["template"]["spec"]["containers"][0]


def test_another_runtime_is_another_revision_and_another_default_image_is_none():
    resolved = Resolved(uri=SOURCE["uri"], version="1", sha256="0" * 64)

    def revision(runtime: dict[str, Any], default: str) -> str:
        spec = spec_with(runtime)
        return target_for_spec(spec, resolved, default_image=default).revision

    assert revision(RUNTIME, "serving:1") == revision(RUNTIME, "serving:2")
    assert revision(RUNTIME, "serving:1") != revision({**RUNTIME, "port": 9001}, "serving:1")


def test_a_recipe_that_an_older_operator_stored_is_the_predictors():
    stored = Recipe.model_validate({"image": "i", "resources": {}, "env": []})
    assert runtime_of(stored) is PREDICTOR
    assert "runtime" not in stored.model_dump(mode="json", by_alias=True)
    assert "runtime" not in stored.identity


def test_what_a_release_says_beside_a_profile_is_otherwise_and_the_rest_is_the_profiles():
    runtime = {"profile": "mlserver", "metrics": {"port": 9082}, "drain": {"graceSeconds": 90}}
    server, known = runtime_for(runtime), runtime_for({"profile": "mlserver"})
    assert server.metrics.port == 9082
    assert server.metrics.requests == known.metrics.requests
    assert (server.drain.grace_seconds, server.drain.pre_stop_seconds) == (90, 10)
    assert server.port == known.port == 8080


def test_services_lead_to_the_port_of_the_runtime():
    assert set(target_ports(world(a_target("1", recipe=THEIRS))).values()) == {9000}


def test_a_service_of_two_runtimes_leads_to_each_ones_port_by_its_name():
    ports = target_ports(world(a_target("1"), a_target("2", recipe=THEIRS)))
    assert ports == {"qna": "http", "qna-stable": 8000, "qna-canary": 9000}


@pytest.mark.parametrize(
    "targets",
    [
        pytest.param((a_target("1"), a_target("2", recipe=THEIRS)), id="the canary"),
        pytest.param((a_target("1", recipe=THEIRS), a_target("2")), id="stable"),
    ],
)
def test_an_arm_that_answers_no_probes_is_asked_none(targets: tuple[Target, ...]):
    with pytest.raises(Invalid, match=r"serving runtime of its own of version . answers no probes"):
        render(OWNER, world(*targets, probed=True))


# --- what is refused

ERRORS = {"gates": [{"name": "errors", "errorRate": {}}]}
LATENCY = {"gates": [{"name": "latency", "latency": {}}]}


@pytest.mark.parametrize(
    ("runtime", "parts", "reason"),
    [
        pytest.param({"profile": "mine"}, {}, "profile mine is not known: it is one of bentoml",
                     id="an unknown profile"),
        pytest.param({"readinessPath": "/r"}, {}, "set port; or name a profile", id="no port"),
        pytest.param({"port": 1}, {}, "set readinessPath; or name a profile", id="no readiness"),
        pytest.param({"profile": "tensorflow-serving"}, {},
                     "set readinessPath; profile tensorflow-serving leaves it open",
                     id="a readiness that the profile cannot know"),
        pytest.param({"profile": "ray-serve"}, {},
                     "set readinessPath; profile ray-serve leaves it open",
                     id="a readiness that only the application has"),
        pytest.param({"profile": "kserve"}, {"analysis": ERRORS},
                     "gate errors of kind errorRate cannot be answered by the counters of serving "
                     "runtime kserve: it times every prediction and counts no outcome",
                     id="no outcome is counted"),
        pytest.param({"profile": "triton"}, {"analysis": LATENCY}, "kind latency cannot",
                     id="no histogram"),
        pytest.param({"port": 1, "readinessPath": "/r"}, {"analysis": LATENCY},
                     "metrics.duration names no histogram", id="no histogram is named"),
        pytest.param(RUNTIME, {"analysis": {"gates": [{"name": "p", "predictions": {}}]}},
                     "only our predictor counts predictions by bin", id="no bins"),
        pytest.param(RUNTIME, {"analysis": {"probe": {}}}, "answers no probes", id="no prober"),
        pytest.param(RUNTIME, {"canary": {"shadow": {}}},
                     "nobody has said how it is asked an example row: set "
                     "spec.serving.runtime.exampleRequests.path and body", id="no requests"),
        pytest.param({"profile": "bentoml"}, {"canary": {"shadow": {}}},
                     "serving runtime bentoml copies no requests, and nobody has said how",
                     id="a path that the profile cannot know"),
        pytest.param({"profile": "mlserver", "fetch": False}, {"canary": {"shadow": {}}},
                     "are in the artifact, which is not fetched", id="no artifact with examples"),
        pytest.param({"profile": "mlserver", "fetch": False},
                     {"model": {**SOURCE, "cache": {"persistentVolumeClaim": {"claimName": "c"}}}},
                     "fetches the model by itself", id="nothing to keep"),
        pytest.param({"profile": "mlserver", "fetch": False},
                     {"model": {"uri": "oci://registry/qna:v3", "imageVolume": {}}},
                     "spec.model.imageVolume: serving runtime mlserver gets the model by itself",
                     id="nothing to mount"),
        pytest.param({"profile": "mlserver", "modelDirectory": "/"}, {},
                     "modelDirectory: / holds other files of the pod", id="a folder of others"),
        pytest.param({"profile": "mlserver", "modelDirectory": "/data"},
                     {"serving": {"volumeMounts": [{"name": "v", "mountPath": "/data"}]}},
                     "mounted at /data already", id="two mounts of one path"),
    ],
)  # fmt: skip
def test_what_a_server_cannot_answer_is_refused_with_the_reason(
    runtime: dict[str, Any], parts: dict[str, Any], reason: str
):
    assert reason in str(refusal_of_runtime(spec_with(runtime, **parts)))


def test_a_server_that_is_not_ours_needs_an_image_that_is_not_ours():
    spec = a_spec(model=SOURCE, serving={"runtime": RUNTIME})
    assert "needs spec.serving.image" in str(refusal_of_runtime(spec))


@pytest.mark.parametrize(
    ("runtime", "parts"),
    [
        pytest.param({}, {"analysis": {"probe": {}}}, id="our predictor, by a runtime of nothing"),
        pytest.param({"profile": "mlserver"}, {}, id="both gates"),
        pytest.param({"profile": "mlserver"}, {"canary": {"shadow": {}}}, id="example requests"),
        pytest.param(
            {"profile": "bentoml", "exampleRequests": {"path": "/p", "body": '{"x": $(ROW)}'}},
            {"canary": {"shadow": {}}}, id="example requests of one's own"),
        pytest.param({"profile": "kserve"}, {"analysis": LATENCY}, id="latency alone"),
        pytest.param({"profile": "triton"}, {"analysis": ERRORS}, id="errors alone"),
        pytest.param(
            {"profile": "kserve", "metrics": {"requests": [{"name": "mine", "codeLabel": "c"}]}},
            {"analysis": ERRORS}, id="a counter of one's own"),
    ],
)  # fmt: skip
def test_what_a_server_can_answer_is_not_refused(runtime: dict[str, Any], parts: dict[str, Any]):
    assert refusal_of_runtime(spec_with(runtime, **parts)) is None


# --- example requests


def test_a_profile_says_how_its_server_is_asked_and_a_release_changes_parts_of_it():
    asked = {"profile": "mlserver", "exampleRequests": {"answer": ["outputs", "parameters"]}}
    form = runtime_for(asked).form_for("qna", a_target("2"))
    assert form
    assert form.path == "/v2/models/qna/infer", "MLServer is told that the model is the release's"
    assert form.answer == ("outputs", "parameters")
    body = json.loads(form.body_for({"a": 1.0, "b": None}))
    assert body["inputs"][0]["shape"] == [1, 2]
    assert body["inputs"][0]["data"] == [1.0, None]


@pytest.mark.parametrize(
    ("body", "why"),
    [
        pytest.param("{}", "must have $(ROW) or $(COLUMNS)", id="no row"),
        pytest.param("{$(ROW)}", "must be JSON once the example row is in it", id="no JSON"),
        pytest.param("rows=$(ROW)", "must be JSON", id="a form"),
    ],
)
def test_a_body_asks_a_row_in_json(body: str, why: str):
    with pytest.raises(Invalid) as refused:
        spec_with({"profile": "mlserver", "exampleRequests": {"body": body}})
    assert why in str(refused.value)
    assert "spec.serving.runtime.exampleRequests" in str(refused.value)
