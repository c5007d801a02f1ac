"""The prober's Deployment: of no revision, without rights, with both manifests,
where the canary may run.
"""

import json
import re
from typing import Any

import pytest

from modelrelease_contract import runtime
from modelrelease_contract.shadow import RequestForm, ShadowSettings
from modelrelease_operator.api import names
from modelrelease_operator.api.probe import Probe
from modelrelease_operator.api.status import Recipe, Target
from modelrelease_operator.core.desired import Desired, DesiredComparison, DesiredProber
from modelrelease_operator.manifests import Owner, render
from modelrelease_operator.traffic.replicas import selector_for
from testbed.builders import a_target
from tests.support.foreign_server import FETCH_IMAGE, FOREIGN_IMAGE, RUNTIME

OWNER = Owner(namespace="ml", name="qna", uid="uid-1")

Object = dict[str, Any]


def prober(stable: Target | None = None, canary: Target | None = None, **asked: Any) -> Object:
    probing = DesiredProber(
        stable=stable or a_target("1"),
        canary=canary or a_target("2"),
        settings=Probe.model_validate(asked),
    )
    (found,) = render(OWNER, Desired(probing=probing))
    assert json.loads(json.dumps(found)) == found
    return found


def pod(found: Object) -> Object:
    spec: Object = found["spec"]["template"]["spec"]
    return spec


def env_of(container: Object) -> dict[str, str]:
    assert len({item["name"] for item in container["env"]}) == len(container["env"]), (
        "each name once"
    )
    return {item["name"]: item["value"] for item in container["env"]}


def test_no_service_of_the_release_selects_it():
    labels = prober()["spec"]["template"]["metadata"]["labels"]
    for revisions in ({"rev1"}, {"rev2"}, {"rev1", "rev2"}):
        assert not selector_for("qna", revisions).items() <= labels.items()
    assert names.LABEL_RELEASE not in labels


def test_its_deployment_belongs_to_the_release_and_its_name_to_one_canary():
    found = prober()
    assert found["metadata"]["name"] == "qna-rev2-probe"
    assert found["metadata"]["labels"][names.LABEL_RELEASE] == "qna"
    assert found["metadata"]["labels"][names.LABEL_PROBER] == "qna"
    assert found["metadata"]["ownerReferences"][0]["uid"] == "uid-1"
    assert names.LABEL_REVISION not in found["metadata"]["labels"], (
        "it is a pod of neither revision"
    )
    assert (
        found["spec"]["selector"]["matchLabels"] == found["spec"]["template"]["metadata"]["labels"]
    )


def test_it_may_do_nothing_but_ask():
    spec = pod(prober())
    assert spec["automountServiceAccountToken"] is False
    assert spec["securityContext"]["runAsNonRoot"] is True
    for container in (*spec["initContainers"], *spec["containers"]):
        context = container["securityContext"]
        assert (context["readOnlyRootFilesystem"], context["allowPrivilegeEscalation"]) == (
            True,
            False,
        )
        assert context["capabilities"] == {"drop": ["ALL"]}
        assert container["resources"]["limits"]["memory"]
    assert spec["containers"][0]["volumeMounts"][0]["readOnly"] is True


def test_it_brings_the_manifest_of_each_artifact_pinned_and_nothing_else():
    stable, canary = pod(prober())["initContainers"]
    assert (stable["name"], canary["name"]) == ("fetch-stable", "fetch-canary")
    for container, version, folder in (
        (stable, "1", "/models/stable"),
        (canary, "2", "/models/canary"),
    ):
        env = env_of(container)
        assert env[runtime.ENV_MODEL_URI] == f"http://store/qna/{version}"
        assert env[runtime.ENV_MODEL_SHA256] == f"{int(version):064d}"
        assert (env[runtime.ENV_MODEL_PATH], env[runtime.ENV_MANIFEST_ONLY]) == (folder, "true")


def test_it_is_told_whom_to_ask_and_how_often():
    (container,) = pod(prober(rate=2.5, timeout="1m30s"))["containers"]
    assert container["args"] == ["probe"]
    env = env_of(container)
    assert (env[runtime.ENV_REVISION], env[runtime.ENV_PROBE_STABLE_REVISION]) == ("rev2", "rev1")
    assert env[runtime.ENV_PROBE_STABLE_URL] == "http://qna-stable"
    assert env[runtime.ENV_PROBE_CANARY_URL] == "http://qna-canary"
    assert (env[runtime.ENV_PROBE_RATE], env[runtime.ENV_PROBE_TIMEOUT_SECONDS]) == ("2.5", "90")


TEMPLATE = {
    "metadata": {"labels": {"app": "qna"}},
    "spec": {
        "nodeSelector": {"pool": "ml"},
        "imagePullSecrets": [{"name": "registry"}],
        "securityContext": {"runAsUser": 1000},
        "containers": [
            {"name": "predictor", "command": ["mine"]},
            {"name": "proxy", "image": "proxy:1"},
        ],
        "initContainers": [
            {
                "name": "fetch",
                "env": [{"name": "TOKEN", "value": "t"}],
                "volumeMounts": [{"name": "ca", "mountPath": "/ca"}],
            }
        ],
        "volumes": [{"name": "ca", "configMap": {"name": "ca"}}, {"name": "cache", "emptyDir": {}}],
    },
}


def test_it_runs_where_the_canary_may_and_reaches_the_artifacts_as_they_are_reached():
    recipe = Recipe(image="serving:mine", pod_template=TEMPLATE)
    found = prober(canary=a_target("2", recipe=recipe))
    spec = pod(found)
    assert spec["nodeSelector"] == {"pool": "ml"}
    assert spec["imagePullSecrets"] == [{"name": "registry"}]
    assert (spec["securityContext"]["runAsUser"], spec["securityContext"]["runAsNonRoot"]) == (
        1000,
        True,
    )
    assert [container["name"] for container in spec["containers"]] == ["prober"], (
        "no sidecar comes along"
    )
    assert spec["containers"][0]["image"] == "serving:mine"
    stable, canary = spec["initContainers"]
    assert "TOKEN" not in env_of(stable)
    assert env_of(canary)["TOKEN"] == "t"
    assert {"name": "ca", "mountPath": "/ca"} in canary["volumeMounts"]
    assert [volume["name"] for volume in spec["volumes"]] == ["model", "tmp", "ca"]
    assert "app" not in found["spec"]["template"]["metadata"]["labels"], (
        "a user's Service may select by it"
    )


@pytest.mark.parametrize("stable", ["claim-a", "claim.b"])
def test_manifests_may_lie_on_two_claims(stable: str):
    found = pod(
        prober(a_target("1", uri=f"pvc://{stable}/qna/1"), a_target("2", uri="pvc://claim-a/qna/2"))
    )
    claims = {
        volume["name"]: volume["persistentVolumeClaim"]["claimName"]
        for volume in found["volumes"]
        if "persistentVolumeClaim" in volume
    }
    assert set(claims.values()) == {stable, "claim-a"}
    for container, claim in zip(found["initContainers"], (stable, "claim-a"), strict=True):
        (mount,) = (
            each for each in container["volumeMounts"] if each["mountPath"].startswith("/pvc")
        )
        assert (claims[mount["name"]], mount["mountPath"]) == (claim, f"/pvc/{claim}")
        assert "." not in mount["name"]


@pytest.mark.parametrize("uri", ["http://store/qna/2", f"oci://r/qna@sha256:{'a' * 64}"])
def test_there_is_room_for_a_whole_artifact_where_the_manifest_cannot_be_had_alone(uri: str):
    volumes = prober(canary=a_target("2", uri=uri))["spec"]["template"]["spec"]["volumes"]
    assert volumes[0] == {"name": "model", "emptyDir": {"sizeLimit": "10Gi"}}


def test_a_mesh_is_told_of_it_what_it_is_told_of_the_canary():
    template = {
        "metadata": {
            "labels": {"app": "qna", "app.kubernetes.io/name": "qna",
            "sidecar.istio.io/inject": "false",
                       names.LABEL_RELEASE: "qna"},
            "annotations": {"traffic.sidecar.istio.io/excludeOutboundPorts": "80",
                            "prometheus.io/path": None},
        }
    }  # fmt: skip
    found = prober(canary=a_target("2", recipe=Recipe(image="i", pod_template=template)))
    metadata = found["spec"]["template"]["metadata"]
    assert metadata["labels"]["sidecar.istio.io/inject"] == "false"
    assert set(metadata["labels"]) == {
        "sidecar.istio.io/inject",
        names.LABEL_PROBER,
        names.LABEL_REVISION,
    }
    assert metadata["annotations"]["traffic.sidecar.istio.io/excludeOutboundPorts"] == "80"
    assert "prometheus.io/path" not in metadata["annotations"]
    assert found["spec"]["selector"]["matchLabels"].items() <= metadata["labels"].items()


def test_it_runs_where_fields_of_the_release_let_the_canary_run():
    fields: Object = {
        "nodeSelector": {"pool": "ml"},
        "serviceAccountName": "models",
        "topologySpreadConstraints": [
            {"topologyKey": "zone", "whenUnsatisfiable": "DoNotSchedule"}
        ],
        "sidecars": [{"name": "proxy", "image": "p"}],
        "volumes": [{"name": "ca", "configMap": {"name": "ca"}}, {"name": "rest", "emptyDir": {}}],
        "volumeMounts": [{"name": "ca", "mountPath": "/ca"}],
    }
    env = ({"name": "HOST", "value": "::"}, {"name": "HTTPS_PROXY", "value": "http://proxy"})
    recipe = Recipe(image="i", pod=fields, env=env)
    spec = pod(prober(a_target("1", recipe=recipe), a_target("2", recipe=recipe)))
    assert (spec["nodeSelector"], spec["serviceAccountName"]) == ({"pool": "ml"}, "models")
    assert "topologySpreadConstraints" not in spec, "it is one pod, of no revision"
    assert [each["name"] for each in spec["initContainers"]] == ["fetch-stable", "fetch-canary"]
    for each in spec["initContainers"]:
        assert {"name": "ca", "mountPath": "/ca"} in each["volumeMounts"]
        assert env_of(each)["HTTPS_PROXY"] == "http://proxy"
    assert [volume["name"] for volume in spec["volumes"]] == ["model", "tmp", "ca"]
    (asks,) = spec["containers"]
    assert env_of(asks)["HOST"] == "::"
    assert "HTTPS_PROXY" not in env_of(asks), "it asks Services of its own namespace"


@pytest.mark.parametrize("length", [55, 56, 57, 63, 253])
def test_a_claim_of_a_long_name_has_a_volume_of_an_allowed_one(length: int):
    """Cut at 63 characters, it could end in what no name ends in,
    or be the name of another claim.
    """
    claims = ["a" * (length - 1) + end for end in "bc"]
    dashed = "a" * 55 + "-" + "b" * max(1, length - 56)
    for one, other in ((claims[0], claims[1]), (dashed, claims[0])):
        spec = pod(
            prober(a_target("1", uri=f"pvc://{one}/x"), a_target("2", uri=f"pvc://{other}/x"))
        )
        found = [volume["name"] for volume in spec["volumes"] if "persistentVolumeClaim" in volume]
        assert len(set(found)) == 2
        assert all(re.fullmatch(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?", name) for name in found)


# --- in the shadow, where neither server copies requests

FORM = {"path": "/models/$(MODEL_VERSION)/score", "body": '{"row": $(ROW)}', "answer": ["score"]}
ASKED = Recipe(
    image=FOREIGN_IMAGE, runtime={**RUNTIME, "exampleRequests": FORM}, fetch_image=FETCH_IMAGE
)
SETTINGS = ShadowSettings(
    share=1, per_second=20, noise_share=0.1, slower_ratio=1.2, slower_seconds=0.005
)


def comparer(**recipe: Any) -> Object:
    before = {**RUNTIME, "exampleRequests": {"path": "/wrong", "body": '{"no": $(ROW)}'}}
    stable = a_target("1", recipe=ASKED.but(runtime=before))
    canary = a_target("2", recipe=ASKED.but(**recipe))
    comparing = DesiredComparison(stable=stable, canary=canary, settings=SETTINGS)
    (found,) = render(OWNER, Desired(comparing=comparing))
    return found


def test_servers_that_are_not_ours_are_asked_by_our_image_as_the_release_says():
    spec = pod(comparer())
    (container,) = spec["containers"]
    env = env_of(container)
    assert container["image"] == FETCH_IMAGE
    assert container["args"] == ["compare"]
    assert container["ports"][0]["containerPort"] == runtime.HTTP_PORT
    assert env["PROBE_STABLE_URL"] == "http://qna-stable"
    assert env["PROBE_CANARY_URL"] == "http://qna-canary"
    assert ShadowSettings.model_validate_json(env["MODELRELEASE_SHADOW"]) == SETTINGS
    for name, version in (("SHADOW_STABLE_FORM", "1"), ("SHADOW_CANARY_FORM", "2")):
        assert not re.search(r"(?<!\$)\$\(", env[name]), "Kubernetes would fill it in"
        form = RequestForm.model_validate_json(env[name].replace("$$", "$"))
        assert form.path == f"/models/{version}/score", "as the canary's release says"
        assert (form.body, form.answer) == (FORM["body"], ("score",))


def test_both_manifests_are_where_it_looks_wherever_the_servers_look_for_their_models():
    spec = pod(comparer())
    for container in (*spec["initContainers"], *spec["containers"]):
        mounts = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
        assert mounts["model"] == runtime.MODEL_DIR
    folders = [env_of(container)["MODEL_PATH"] for container in spec["initContainers"]]
    assert folders == [runtime.PROBE_STABLE_DIR, runtime.PROBE_CANARY_DIR]
    assert {container["image"] for container in spec["initContainers"]} == {FETCH_IMAGE}


def test_what_is_set_for_another_server_is_not_set_for_the_prober():
    found = comparer(env=({"name": "LOG_LEVEL", "value": "trace"}, {"name": "HOST", "value": "x"}))
    assert not {"LOG_LEVEL", "HOST"} & set(env_of(pod(found)["containers"][0]))


def test_its_page_is_scraped_and_not_that_of_the_servers():
    theirs = {"prometheus.io/port": "9002", "prometheus.io/path": "/v2/metrics", "team.io/a": "b"}
    found = comparer(pod_template={"metadata": {"annotations": theirs}})
    annotations = found["spec"]["template"]["metadata"]["annotations"]
    assert annotations["team.io/a"] == "b"
    assert annotations["prometheus.io/port"] == str(runtime.HTTP_PORT)
    assert annotations["prometheus.io/path"] == "/metrics"
