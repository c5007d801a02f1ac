"""What a pod template may set, and the sentence that names what it may not."""

from typing import Any

import pytest

from modelrelease_operator.api.pod_policy import LEVELS, Allowed
from modelrelease_operator.api.pods import POD_SPEC
from modelrelease_operator.errors import Invalid
from testbed.builders import a_spec

OWN = {"name": "tunnel", "image": "t:1"}
USUAL = Allowed.parse("scheduling")


def refusal(allowed: Allowed = USUAL, **serving: Any) -> str | None:
    return allowed.refusal_of_serving(a_spec(serving=serving))


HARMLESS: list[dict[str, Any]] = [
    {},
    {"metadata": {"labels": {"team": "nlp"}, "annotations": {"prometheus.io/scrape": None}}},
    {
        "spec": {
            "tolerations": [{"key": "gpu"}],
            "nodeSelector": {"a": "b"},
            "affinity": {"podAffinity": {}},
        }
    },
    {"spec": {"securityContext": {"runAsUser": None, "runAsGroup": None, "fsGroup": None}}},
    {"spec": {"containers": [{"name": "predictor", "resources": {"limits": {"cpu": "1"}}}]}},
    {"spec": {}},
]


@pytest.mark.parametrize("template", HARMLESS)
def test_where_pods_run_is_for_whoever_makes_a_release(template: dict[str, Any]):
    assert refusal(podTemplate=template) is None


POWERFUL: list[tuple[dict[str, Any], str]] = [
    ({"serviceAccountName": "deployer"}, "spec.serviceAccountName"),
    ({"automountServiceAccountToken": True}, "spec.automountServiceAccountToken"),
    ({"hostPID": True}, "spec.hostPID"),
    ({"hostNetwork": True}, "spec.hostNetwork"),
    ({"securityContext": None}, "spec.securityContext"),
    ({"securityContext": {"runAsNonRoot": False}}, "spec.securityContext.runAsNonRoot"),
    ({"securityContext": {"sysctls": []}}, "spec.securityContext.sysctls"),
    ({"volumes": [{"name": "host", "hostPath": {"path": "/"}}]}, "spec.volumes.hostPath.path"),
    ({"volumes": [{"name": "s", "secret": {"secretName": "db"}}]},
    "spec.volumes.secret.secretName"),
    ({"containers": [{"name": "predictor", "command": ["sh"]}]}, "spec.containers.command"),
    ({"containers": [{"name": "predictor", "securityContext": None}]},
    "spec.containers.securityContext"),
    ({"containers": [{"name": "side", "image": "evil:1"}]}, "spec.containers.image"),
    ({"containers": [{"name": "predictor", "envFrom": [{"secretRef": {"name": "db"}}]}]},
     "spec.containers.envFrom.secretRef.name"),
    ({"initContainers": [{"name": "fetch", "image": "evil:1"}]}, "spec.initContainers.image"),
    ({"nodeName": "control-plane"}, "spec.nodeName"),
    ({"shareProcessNamespace": True}, "spec.shareProcessNamespace"),
    ({"ephemeralContainers": [{"name": "x"}]}, "spec.ephemeralContainers.name"),
]  # fmt: skip


@pytest.mark.parametrize(("spec", "field"), POWERFUL, ids=[field for _, field in POWERFUL])
def test_what_reaches_beyond_the_pod_is_refused_with_the_field_and_the_charts_value(
    spec: dict[str, Any], field: str
):
    said = refusal(podTemplate={"spec": spec})
    assert said is not None
    assert f"spec.serving.podTemplate.{field}" in said.partition(" may not")[0].split(", ")
    assert "chart value podTemplates.allowed" in said
    assert refusal(Allowed.parse("all"), podTemplate={"spec": spec}) is None


def test_every_field_that_is_refused_is_named_once():
    said = refusal(
        podTemplate={"spec": {"hostPID": True, "volumes": [{"name": "a"}, {"name": "b"}]}}
    )
    assert said is not None
    assert said.startswith(
        "spec.serving.podTemplate.spec.hostPID, spec.serving.podTemplate.spec.volumes.name may not"
    )


def test_a_path_lets_through_what_lies_below_it_and_nothing_beside_it():
    allowed = Allowed.parse("spec.volumes, metadata.labels")
    assert (
        refusal(allowed, podTemplate={"spec": {"volumes": [{"name": "a", "hostPath": {}}]}}) is None
    )
    assert refusal(allowed, podTemplate={"metadata": {"labels": {"a": "b"}}}) is None
    assert refusal(allowed, podTemplate={"metadata": {"annotations": {"a": "b"}}}) is not None
    assert (
        refusal(Allowed.parse("spec.volume"), podTemplate={"spec": {"volumes": [{"name": "a"}]}})
        is not None
    )


def test_a_key_with_dots_is_no_path():
    for template in ({"spec": {"tolerations.x": 1}}, {"spec.tolerations": [{"key": "a"}]}):
        assert refusal(podTemplate=template) is not None
    labels = {"app.kubernetes.io/name": "x", "spec.hostPID": "x"}
    assert refusal(podTemplate={"metadata": {"labels": labels}}) is None


@pytest.mark.parametrize("context", ["x", 1, ["privileged"]])
def test_own_containers_of_a_wrong_shape_stop_nothing_here(context: Any):
    assert refusal(sidecars=[{**OWN, "securityContext": context, "ports": "x"}]) is None


def test_none_lets_nothing_through():
    assert (
        refusal(Allowed.parse("none"), podTemplate={"metadata": {"labels": {"a": "b"}}}) is not None
    )
    assert refusal(Allowed.parse("none"), nodeSelector={"a": "b"}) is None, "that is no template"


@pytest.mark.parametrize("text", ["", "some", "serving.env", "spec.tolerations;rm", "spec."])
def test_a_setting_that_allows_what_is_no_path_is_told(text: str):
    if text == "":
        assert Allowed.parse(text).paths == ()
        return
    with pytest.raises(ValueError, match="must be none, scheduling, all or paths such as"):
        Allowed.parse(text)


def test_every_field_of_a_pod_that_the_usual_level_names_exists():
    named = {path.split(".")[1] for path in LEVELS["scheduling"] if path.startswith("spec.")}
    assert named <= set(POD_SPEC)


@pytest.mark.parametrize(
    ("more", "field"),
    [
        ({"securityContext": {"privileged": True}}, "securityContext.privileged"),
        (
            {"securityContext": {"allowPrivilegeEscalation": True}},
            "securityContext.allowPrivilegeEscalation",
        ),
        ({"securityContext": {"runAsNonRoot": False}}, "securityContext.runAsNonRoot"),
        (
            {"securityContext": {"capabilities": {"add": ["SYS_ADMIN"]}}},
            "securityContext.capabilities.add",
        ),
        ({"securityContext": {"procMount": "Unmasked"}}, "securityContext.procMount"),
        (
            {"securityContext": {"seccompProfile": {"type": "Unconfined"}}},
            "securityContext.seccompProfile.type",
        ),
        ({"ports": [{"containerPort": 1, "hostPort": 1}]}, "ports.hostPort"),
        ({"volumeDevices": [{"name": "d", "devicePath": "/dev/sda"}]}, "volumeDevices.name"),
    ],
)
@pytest.mark.parametrize("part", ["sidecars", "initContainers"])
def test_own_containers_ask_for_no_privilege(part: str, more: dict[str, Any], field: str):
    serving: dict[str, Any] = {part: [{**OWN, **more}]}
    said = refusal(USUAL, **serving)
    assert said is not None
    assert f"spec.serving.{part}.tunnel.{field}" in said
    assert refusal(Allowed.parse("all"), **{part: [{**OWN, **more}]}) is None


def test_own_containers_without_privilege_are_nobodys_business():
    harmless = {
        "securityContext": {"runAsUser": 7, "privileged": False, "capabilities": {"drop": ["ALL"]}}
    }
    assert (
        refusal(sidecars=[{**OWN, **harmless}], initContainers=[{**OWN, "name": "login"}]) is None
    )


@pytest.mark.parametrize("kind", ["hostPath", "nfs", "iscsi", "flexVolume"])
def test_volumes_are_nothing_of_the_nodes_own(kind: str):
    said = refusal(
        volumes=[{"name": "disk", kind: {"path": "/"}}, {"name": "tmp2", "emptyDir": {}}]
    )
    assert said is not None
    assert said.startswith(f"spec.serving.volumes.disk.{kind} may not")


def test_the_template_of_a_retraining_is_held_to_the_same():
    def asked(template: dict[str, Any]) -> Any:
        return a_spec(retrain={"image": "i", "podTemplate": template}).retrain

    USUAL.check_retrain(asked({"spec": {"tolerations": [{"key": "gpu"}]}}))
    with pytest.raises(
        Invalid, match=r"spec\.retrain\.podTemplate\.spec\.hostPID may not be set here"
    ):
        USUAL.check_retrain(asked({"spec": {"hostPID": True}}))
