"""The chart, rendered by the real Helm: what each option changes, what is refused, what is told."""

import json
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from tests.support.chart import (
    CHART,
    VALUES_FILES,
    default,
    helm,
    nested,
    notes,
    options,
    refused,
    rendered,
)

DIGEST: Final = "sha256:" + "ab" * 32
KEY: Final = "-----BEGIN PUBLIC KEY-----\nMFkw\n-----END PUBLIC KEY-----\n"


@dataclass(frozen=True, kw_only=True)
class Case:
    """One option set, what it adds to the manifests, and what it takes away."""

    path: str
    value: Any
    adds: str = ""
    removes: str = ""
    beside: Mapping[str, Any] = field(default_factory=dict)
    """Other options that have to be set for this one to say anything."""


def setting(variable: str, value: str) -> str:
    return f'- {{name: MODELRELEASE_{variable}, value: "{value}"}}'


UI: Final = {"ui.enabled": True}
MLFLOW: Final = {"mlflow.trackingUri": "http://mlflow"}
WEBHOOK: Final = {"notify.webhookSecret": "chat"}
MONITOR: Final = {"podMonitor.enabled": True}
FENCED: Final = {"networkPolicy.enabled": True}
CASES: Final = [
    Case(path="image.repository", value="r/op", adds='image: "r/op:dev"'),
    Case(path="image.tag", value="1.2", adds='image: "modelrelease-operator:1.2"'),
    Case(path="image.digest", value=DIGEST, adds=f'image: "modelrelease-operator@{DIGEST}"'),
    Case(path="image.pullPolicy", value="Always", adds="imagePullPolicy: Always"),
    Case(path="imagePullSecrets", value=[{"name": "reg"}], adds="- name: reg"),
    Case(path="replicas", value=2, adds="replicas: 2"),
    Case(path="shards", value=2, adds="name: mr-operator-1"),
    Case(path="serving.image", value="s:1", adds=setting("SERVING_IMAGE", "s:1")),
    Case(
        path="podTemplates.allowed", value=["metadata", "spec.volumes"],
        adds=setting("POD_TEMPLATES", "metadata,spec.volumes"),
    ),
    Case(
        path="admissionPolicy.enabled", value=False,
        removes="kind: ValidatingAdmissionPolicyBinding",
    ),
    Case(path="roles.create", value=False, removes="name: mr-edit"),
    Case(path="networkPolicy.enabled", value=True, adds="kind: NetworkPolicy"),
    Case(
        path="networkPolicy.metricsFrom", value=[{"podSelector": {}}], adds="- podSelector: {}",
        beside=FENCED,
    ),
    Case(path="podDisruptionBudget.enabled", value=True, adds="maxUnavailable: 0"),
    Case(path="prometheus.url", value="http://p:9", adds=setting("PROMETHEUS_URL", "http://p:9")),
    Case(path="prometheus.tenant", value="us", adds=setting("PROMETHEUS_TENANT", "us")),
    Case(
        path="prometheus.namespaceParameter", value="ns",
        adds=setting("PROMETHEUS_NAMESPACE_PARAMETER", "ns"),
    ),
    Case(
        path="prometheus.timeoutSeconds", value=2.5,
        adds=setting("PROMETHEUS_TIMEOUT_SECONDS", "2.5"),
    ),
    Case(
        path="prometheus.maxBytes", value=67108864, adds=setting("PROMETHEUS_MAX_BYTES", "67108864")
    ),
    Case(path="prometheus.allowSecretRefs", value=True, adds="resources: [secrets]"),
    Case(
        path="allowedAddresses", value=["*.ours", "10.0.0.0/8"],
        adds=setting("ALLOWED_HOSTS", "*.ours,10.0.0.0/8"),
    ),
    Case(
        path="ca.configMap", value="us",
        adds='configMap: {name: "us", items: [{key: "ca.crt", path: ca.crt}]}',
    ),
    Case(
        path="ca.secret", value="us",
        adds='secret: {secretName: "us", items: [{key: "ca.crt", path: ca.crt}]}',
    ),
    Case(
        path="ca.key", value="pem", beside={"ca.secret": "us"},
        adds='secret: {secretName: "us", items: [{key: "pem", path: ca.crt}]}',
    ),
    Case(
        path="stores.credentialsSecret", value="us",
        adds='secret: {secretName: "us", items: [{key: "netrc", path: netrc}]}',
    ),
    Case(
        path="stores.key", value="k", beside={"stores.credentialsSecret": "us"},
        adds='secret: {secretName: "us", items: [{key: "k", path: netrc}]}',
    ),
    Case(path="stores.hubUrl", value="https://hub", adds=setting("HUB_URL", "https://hub")),
    Case(
        path="signatures.publicKeys", value=[KEY],
        adds=setting("SIGNING_KEYS", KEY.replace("\n", r"\n")),
    ),
    Case(path="mlflow.trackingUri", value="http://m", adds=setting("MLFLOW_TRACKING_URI", "http://m")),
    Case(
        path="mlflow.intervalSeconds", value=7, beside=MLFLOW,
        adds=setting("MLFLOW_INTERVAL_SECONDS", "7"),
    ),
    Case(
        path="mlflow.credentialsSecret", value="us", beside=MLFLOW,
        adds='valueFrom: {secretKeyRef: {name: "us", key: token, optional: true}}',
    ),
    Case(
        path="mlflow.recordOutcomes", value=True, beside=MLFLOW,
        adds=setting("MLFLOW_RECORD_OUTCOMES", "true"),
    ),
    Case(path="crds.install", value=False, removes="kind: CustomResourceDefinition"),
    Case(path="dashboard.enabled", value=False, removes="name: mr-dashboard-fleet"),
    Case(path="dashboard.labels", value={"mine": "yes"}, adds='mine: "yes"'),
    Case(path="dashboard.annotations", value={"folder": "ml"}, adds="annotations:"),
    Case(path="ui.enabled", value=True, adds="- --in-cluster"),
    Case(path="ui.viewers", value="anyone", beside=UI, adds="- --viewers=anyone"),
    Case(path="ui.commands", value=True, beside=UI, adds="- --commands"),
    Case(path="ui.hosts", value=["ours.example"], beside=UI, adds="- --host-name=ours.example"),
    Case(path="ui.basePath", value="/r", beside=UI, adds="- --base-path=/r"),
    Case(
        path="ui.from", value=[{"podSelector": {}}], beside={**UI, **FENCED},
        adds="- podSelector: {}",
    ),
    Case(path="ui.resources", value={"limits": {"memory": "1Gi"}}, beside=UI, adds="memory: 1Gi"),
    Case(
        path="notify.webhookSecret", value="us",
        adds='valueFrom: {secretKeyRef: {name: "us", key: "url"}}',
    ),
    Case(
        path="notify.webhookSecretKey", value="k", beside=WEBHOOK,
        adds='valueFrom: {secretKeyRef: {name: "chat", key: "k"}}',
    ),
    Case(
        path="notify.topics", value=["NeedsPerson"], beside=WEBHOOK,
        adds=setting("NOTIFY_ON", "NeedsPerson"),
    ),
    Case(path="alerts.enabled", value=True, adds="kind: PrometheusRule"),
    Case(
        path="alerts.kind", value="ConfigMap", beside={"alerts.enabled": True},
        adds="modelrelease.yaml: |-", removes="kind: PrometheusRule",
    ),
    Case(
        path="alerts.labels", value={"mine": "yes"}, beside={"alerts.enabled": True},
        adds='mine: "yes"',
    ),
    Case(
        path="metrics.authentication", value=True,
        adds=setting("METRICS_AUTHENTICATION", "true"),
    ),
    Case(
        path="metrics.tlsSecret", value="us", beside={"metrics.authentication": True},
        adds="- name: metrics-certificate",
    ),
    Case(path="recordingRules.enabled", value=True, adds="- record: release:predictions:rate5m"),
    Case(
        path="recordingRules.kind", value="ConfigMap", beside={"recordingRules.enabled": True},
        removes="kind: PrometheusRule",
    ),
    Case(
        path="recordingRules.labels", value={"mine": "yes"},
        beside={"recordingRules.enabled": True}, adds='mine: "yes"',
    ),
    Case(
        path="clusterScoped", value=False, beside={"watchNamespaces": ["a"]},
        removes="kind: ClusterRole",
    ),
    Case(path="podMonitor.enabled", value=True, adds="kind: PodMonitor"),
    Case(path="podMonitor.labels", value={"mine": "yes"}, beside=MONITOR, adds='mine: "yes"'),
    Case(path="podMonitor.interval", value="15s", beside=MONITOR, adds="interval: 15s"),
    Case(path="lease.namespace", value="ops", adds=setting("LEASE_NAMESPACE", "ops")),
    Case(path="watchNamespaces", value=["a", "b"], adds=setting("NAMESPACES", "a,b")),
    Case(path="logLevel", value="DEBUG", adds=setting("LOG_LEVEL", "DEBUG")),
    Case(path="resources", value={"limits": {"memory": "1Gi"}}, adds="memory: 1Gi"),
    Case(path="nodeSelector", value={"disk": "ssd"}, adds="disk: ssd"),
    Case(path="tolerations", value=[{"operator": "Exists"}], adds="- operator: Exists"),
    Case(path="affinity", value={"podAffinity": {}}, adds="podAffinity: {}"),
    Case(path="podAnnotations", value={"mine": "yes"}, adds='mine: "yes"'),
    Case(
        path="extraEnv", value=[{"name": "HTTPS_PROXY", "value": "p"}], adds="- name: HTTPS_PROXY"
    ),
    Case(path="extraVolumes", value=[{"name": "v", "emptyDir": {}}], adds="- emptyDir: {}"),
    Case(
        path="extraVolumeMounts", value=[{"name": "v", "mountPath": "/v"}], adds="- mountPath: /v"
    ),
]  # fmt: skip


@cache
def by_default(beside: str = "{}") -> Counter[str]:
    """Count the lines of what is rendered with options, given as JSON."""
    return Counter(line.strip() for line in rendered(json.loads(beside)).splitlines())


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.path)
def test_an_option_changes_what_it_says(case: Case):
    before = by_default(json.dumps(case.beside))
    lines = rendered({**case.beside, case.path: case.value}).splitlines()
    after = Counter(line.strip() for line in lines)
    if case.adds:
        assert case.adds in after - before
    if case.removes:
        assert case.removes in before - after


def test_no_option_is_left_out_here():
    assert sorted(case.path for case in CASES) == sorted(options())


def test_every_option_has_its_default_in_the_values():
    for path in options():
        default(path)


WRONG: Final[dict[str, Any]] = {
    "boolean": "perhaps", "string": 7, "integer": "some", "number": "some", "array": "one",
    "object": "one",
}  # fmt: skip
TYPED: Final = [path for path, rule in options().items() if "type" in rule]


@pytest.fixture(scope="module")
def said_of_wrong_types() -> str:
    """All at once: Helm says what is wrong with each."""
    return refused({path: WRONG[options()[path]["type"]] for path in TYPED})


@pytest.mark.parametrize("path", TYPED)
def test_a_value_of_another_type_is_refused_with_its_path_and_the_type(
    path: str, said_of_wrong_types: str
):
    wanted = options()[path]["type"]
    given = "number" if wanted == "string" else "string"
    assert f"- at '/{path.replace('.', '/')}': got {given}, want {wanted}" in said_of_wrong_types


REFUSED: Final = [
    ("image.digest", "sha256:12", "does not match pattern"),
    ("image.repository", "", "minLength: got 0, want 1"),
    ("image.pullPolicy", "Sometimes", "value must be one of 'Always', 'IfNotPresent', 'Never'"),
    ("replicas", 0, "minimum: got 0, want 1"),
    ("replicas", 10, "maximum: got 10, want 9"),
    ("shards", 0, "minimum: got 0, want 1"),
    ("shards", 100, "maximum: got 100, want 99"),
    ("serving.image", "", "minLength: got 0, want 1"),
    ("podTemplates.allowed", "most", "value must be one of 'none', 'scheduling', 'all'"),
    ("podTemplates.allowed", ["status"], "does not match pattern"),
    ("prometheus.url", "prometheus:9090", "does not match pattern"),
    ("prometheus.tenant", "a b", "does not match pattern"),
    ("prometheus.tenant", "a" * 151, "maxLength: got 151, want 150"),
    ("prometheus.namespaceParameter", "a&b", "does not match pattern"),
    ("prometheus.timeoutSeconds", 0, "exclusiveMinimum: got 0, want 0"),
    ("prometheus.maxBytes", 1000, "minimum: got 1,000, want"),
    ("allowedAddresses", ["a,b"], "does not match pattern"),
    ("ca.key", "", "minLength: got 0, want 1"),
    ("stores.key", "", "minLength: got 0, want 1"),
    ("stores.hubUrl", "https://me@hub", "does not match pattern"),
    ("signatures.publicKeys", ["-----BEGIN PRIVATE KEY-----"], "does not match pattern"),
    ("mlflow.trackingUri", "http://me:secret@mlflow", "does not match pattern"),
    ("mlflow.intervalSeconds", 0, "minimum: got 0, want 1"),
    ("dashboard.labels", {"grafana_dashboard": None}, "minProperties: got 0, want 1"),
    ("ui.viewers", "all", "value must be one of 'token', 'anyone'"),
    ("ui.hosts", ["https://ours"], "does not match pattern"),
    ("ui.basePath", "releases", "does not match pattern"),
    ("notify.topics", ["Everything"], "value must be one of 'RolledBack'"),
    ("alerts.kind", "Secret", "value must be one of 'PrometheusRule', 'ConfigMap'"),
    ("podMonitor.interval", "often", "does not match pattern"),
    ("watchNamespaces", [""], "minLength: got 0, want 1"),
    ("logLevel", "LOUD", "value must be one of 'DEBUG', 'INFO', 'WARNING', 'ERROR'"),
    ("extraEnv", [{"value": "x"}], "missing property 'name'"),
    ("extraVolumeMounts", [{"name": "x"}], "missing property 'mountPath'"),
    ("imagePullSecret", "reg", "additional properties 'imagePullSecret' not allowed"),
    ("image.name", "op", "additional properties 'name' not allowed"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("path", "value", "said"), REFUSED, ids=[f"{path}-{value}"[:60] for path, value, _ in REFUSED]
)
def test_a_value_that_cannot_be_is_refused_with_its_path_and_the_rule(
    path: str, value: Any, said: str
):
    complained = refused({path: value})
    folder = path.rpartition(".")[0] if "additional" in said else path
    place = f"/{folder.replace('.', '/')}" if folder else ""
    assert re.search(rf"- at '{re.escape(place)}(/\d+)?': .*{re.escape(said)}", complained)


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"ca.configMap": "a", "ca.secret": "b"}, "at '/ca': 'not' failed"),
        (
            {"podMonitor.enabled": True, "metrics.authentication": True},
            "podMonitor.enabled scrapes the operator without the token that metrics.authentication",
        ),
        (
            {"ui.enabled": True, "ui.viewers": "anyone", "ui.commands": True},
            "ui.viewers anyone tells nobody apart, so ui.commands must be false",
        ),
    ],
)
def test_options_that_contradict_each_other_are_refused(values: dict[str, Any], said: str):
    assert said in refused(values)


@pytest.mark.parametrize("file", [None, *VALUES_FILES], ids=lambda file: file.name if file else "")
def test_helm_finds_nothing_to_complain_of(file: Path | None):
    code, printed, complained = helm("lint", "--strict", CHART, *(("-f", file) if file else ()))
    assert code == 0, printed + complained
    assert "[WARNING]" not in printed


@pytest.mark.parametrize("file", VALUES_FILES, ids=lambda file: file.name)
def test_every_object_has_a_name_of_its_own_and_the_charts_labels(file: Path):
    objects = [each for each in yaml.safe_load_all(rendered(None, "-f", file)) if each]
    assert objects
    meta = [each["metadata"] for each in objects]
    named = Counter(
        (each["kind"], each["metadata"].get("namespace"), each["metadata"]["name"])
        for each in objects
    )
    assert [name for name, times in named.items() if times > 1] == []
    for each in meta:
        if each["name"] != "modelreleases.modelrelease.dev":
            assert each["labels"]["app.kubernetes.io/instance"] == "mr"


@pytest.mark.parametrize("path", ["image.digest", "prometheus.url", "ui.enabled", "shards"])
def test_the_values_files_set_what_they_are_for(path: str):
    group, _, name = path.partition(".")
    found = [yaml.safe_load(file.read_text()) for file in VALUES_FILES]
    assert any(name in values.get(group, {}) if name else group in values for values in found)


def test_two_replicas_stand_on_two_nodes_where_there_are_two_and_go_one_at_a_time():
    text = rendered({"replicas": 2})
    assert "topologyKey: kubernetes.io/hostname" in text
    assert "maxUnavailable: 1" in text


def test_a_kind_of_ours_stays_when_the_chart_goes_and_comes_with_each_upgrade():
    """As a template, because Helm never touches what lies in crds/ again."""
    assert not (CHART / "crds").exists()
    assert "helm.sh/resource-policy: keep" in rendered()


def test_without_the_kind_no_policy_is_made():
    code, printed, _ = helm("template", "mr", CHART)
    assert code == 0
    assert "ValidatingAdmissionPolicy" not in printed


def test_one_target_is_made_of_a_pod_and_only_of_what_asks_for_it():
    text = rendered(MONITOR, "-s", "templates/pod-monitor.yaml")
    _, releases = yaml.safe_load_all(text)
    assert releases["spec"]["namespaceSelector"] == {"any": True}
    (endpoint,) = releases["spec"]["podMetricsEndpoints"]
    assert endpoint["honorLabels"], "a predictor names its own release"
    rules = endpoint["relabelings"]
    asked = ["__meta_kubernetes_pod_annotation_prometheus_io_scrape"]
    assert {"action": "keep", "sourceLabels": asked, "regex": "true"} in rules
    assert {"action": "labeldrop", "regex": "container"} in rules, "else a target for each port"


@pytest.mark.parametrize(
    ("ip", "port", "address"),
    [("10.1.2.3", "8000", "10.1.2.3:8000"), ("fd00::1", "9000", "[fd00::1]:9000")],
)
def test_a_pods_address_is_made_of_its_ip_and_the_port_that_it_names(
    ip: str, port: str, address: str
):
    text = rendered(MONITOR, "-s", "templates/pod-monitor.yaml")
    _, releases = yaml.safe_load_all(text)
    made = []
    for rule in releases["spec"]["podMetricsEndpoints"][0]["relabelings"]:
        if rule.get("targetLabel") == "__address__":
            found = re.fullmatch(rule["regex"], f"{ip};{port}")
            made += [found.expand(rule["replacement"].replace("$", "\\"))] if found else []
    assert made == [address]


def test_only_the_watched_namespaces_are_scraped():
    text = rendered({**MONITOR, "watchNamespaces": ["a"]}, "-s", "templates/pod-monitor.yaml")
    _, releases = yaml.safe_load_all(text)
    assert releases["spec"]["namespaceSelector"] == {"matchNames": ["a"]}


TOLD: Final = [
    ({}, "It looks after releases in every namespace."),
    ({"watchNamespaces": ["a", "b"]}, "It looks after releases in a, b."),
    ({"replicas": 2}, "it is ready when AVAILABLE is 2"),
    ({}, "the operator reads the pods'\nown pages"),
    ({"prometheus.url": "http://p:9"}, "reads Prometheus at\nhttp://p:9 (chart value"),
    ({"prometheus.url": "http://p:9"}, "for the Prometheus operator set podMonitor.enabled"),
    ({"prometheus.url": "http://p:9", **MONITOR}, "get podmonitors --show-labels"),
    ({}, "name them by digest: image.digest"),
    ({"crds.install": False}, "kubectl apply --server-side -f crds/modelreleases.yaml"),
    ({"admissionPolicy.enabled": False}, "(admissionPolicy.enabled is false)"),
    ({"alerts.enabled": True, "alerts.kind": "ConfigMap"}, "Mount the ConfigMap mr-alerts"),
    (UI, "Service mr-ui. It shows nothing without an authenticating proxy"),
    ({**UI, "ui.viewers": "anyone"}, "kubectl -n operator port-forward service/mr-ui 8080:80"),
    ({}, "helm uninstall takes the operator away and leaves releases as they are"),
]  # fmt: skip


@pytest.mark.parametrize(("values", "said"), TOLD, ids=[said[:40] for _, said in TOLD])
def test_the_notes_name_the_next_step(values: dict[str, Any], said: str):
    assert said in notes(values)


def test_the_notes_leave_out_what_is_done():
    done = {"image.digest": DIGEST, "prometheus.url": "http://p:9", **MONITOR}
    said = notes(done)
    for word in ("by digest", "own pages", "podMonitor.enabled", "crds/"):
        assert word not in said


def test_a_cluster_that_knows_no_policies_is_told_so():
    """The cluster test looks at the notes where there are some."""
    assert "This cluster has no ValidatingAdmissionPolicy" in notes({})


def test_values_by_path_become_a_tree():
    assert nested({"a.b": 1, "a.c": 2, "d": 3}) == {"a": {"b": 1, "c": 2}, "d": 3}
