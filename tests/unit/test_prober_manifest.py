"""The prober's Deployment: of no revision, without rights, with both manifests, where the canary may run."""

import json
from typing import Any

import pytest

from modelrelease_contract import runtime
from modelrelease_operator.api import names
from modelrelease_operator.api.probe import Probe
from modelrelease_operator.api.status import Recipe, Target
from modelrelease_operator.core.state import Desired, Probing
from modelrelease_operator.manifests import Owner, render
from modelrelease_operator.traffic.replicas import selector_for
from tests.support.builders import a_target

OWNER = Owner(namespace="ml", name="qna", uid="uid-1")

Object = dict[str, Any]


def prober(stable: Target | None = None, canary: Target | None = None, **asked: Any) -> Object:
    probing = Probing(
        stable=stable or a_target("1"), canary=canary or a_target("2"), asked=Probe.model_validate(asked)
    )
    (found,) = render(OWNER, Desired(probing=probing))
    assert json.loads(json.dumps(found)) == found
    return found


def pod(found: Object) -> Object:
    spec: Object = found["spec"]["template"]["spec"]
    return spec


def env_of(container: Object) -> dict[str, str]:
    assert len({item["name"] for item in container["env"]}) == len(container["env"]), "each name once"
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
    assert names.LABEL_REVISION not in found["metadata"]["labels"], "it is a pod of neither revision"
    assert found["spec"]["selector"]["matchLabels"] == found["spec"]["template"]["metadata"]["labels"]


def test_it_may_do_nothing_but_ask():
    spec = pod(prober())
    assert spec["automountServiceAccountToken"] is False
    assert spec["securityContext"]["runAsNonRoot"] is True
    for container in (*spec["initContainers"], *spec["containers"]):
        context = container["securityContext"]
        assert (context["readOnlyRootFilesystem"], context["allowPrivilegeEscalation"]) == (True, False)
        assert context["capabilities"] == {"drop": ["ALL"]}
        assert container["resources"]["limits"]["memory"]
    assert spec["containers"][0]["volumeMounts"][0]["readOnly"] is True


def test_it_brings_the_manifest_of_each_artifact_pinned_and_nothing_else():
    stable, canary = pod(prober())["initContainers"]
    assert (stable["name"], canary["name"]) == ("fetch-stable", "fetch-canary")
    for container, version, folder in ((stable, "1", "/models/stable"), (canary, "2", "/models/canary")):
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
        "containers": [{"name": "predictor", "command": ["mine"]}, {"name": "proxy", "image": "proxy:1"}],
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
    assert (spec["securityContext"]["runAsUser"], spec["securityContext"]["runAsNonRoot"]) == (1000, True)
    assert [container["name"] for container in spec["containers"]] == ["prober"], "no sidecar comes along"
    assert spec["containers"][0]["image"] == "serving:mine"
    stable, canary = spec["initContainers"]
    assert "TOKEN" not in env_of(stable)
    assert env_of(canary)["TOKEN"] == "t"
    assert {"name": "ca", "mountPath": "/ca"} in canary["volumeMounts"]
    assert [volume["name"] for volume in spec["volumes"]] == ["model", "tmp", "ca"]
    assert "app" not in found["spec"]["template"]["metadata"]["labels"], "a user's Service may select by it"


@pytest.mark.parametrize("stable", ["claim-a", "claim.b"])
def test_manifests_may_lie_on_two_claims(stable: str):
    found = pod(prober(a_target("1", uri=f"pvc://{stable}/qna/1"), a_target("2", uri="pvc://claim-a/qna/2")))
    claims = {
        volume["name"]: volume["persistentVolumeClaim"]["claimName"]
        for volume in found["volumes"]
        if "persistentVolumeClaim" in volume
    }
    assert set(claims.values()) == {stable, "claim-a"}
    for container, claim in zip(found["initContainers"], (stable, "claim-a"), strict=True):
        (mount,) = (each for each in container["volumeMounts"] if each["mountPath"].startswith("/pvc"))
        assert (claims[mount["name"]], mount["mountPath"]) == (claim, f"/pvc/{claim}")
        assert "." not in mount["name"]
