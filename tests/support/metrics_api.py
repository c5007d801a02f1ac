"""What installs the metrics API of `metrics_server.py` into a cluster."""

import base64
import subprocess
import tempfile
from pathlib import Path
from typing import Any

from examples import fixtures

SPACE = "metrics"
NAME = "metrics"
API_SERVICE = "v1beta1.metrics.k8s.io"
SERVER = Path(__file__).with_name("metrics_server.py")

Object = dict[str, Any]


def objects() -> list[Object]:
    """Return its namespace, its rights, the server, and the APIService that leads to it."""
    return [fixtures.namespace(SPACE), *_account(), _certificate(), *_server(), _api_service()]


def _account() -> list[Object]:
    account = {"name": NAME, "namespace": SPACE}
    rules = [
        {"apiGroups": [""], "resources": ["nodes", "pods"], "verbs": ["get", "list"]},
        {"apiGroups": [""], "resources": ["nodes/proxy", "nodes/metrics"], "verbs": ["get"]},
    ]
    api = "rbac.authorization.k8s.io"
    meta = {"name": "modelrelease-tests-metrics"}
    role = {"apiVersion": f"{api}/v1", "kind": "ClusterRole", "metadata": meta, "rules": rules}
    binding = {
        "apiVersion": f"{api}/v1",
        "kind": "ClusterRoleBinding",
        "metadata": meta,
        "roleRef": {"apiGroup": api, "kind": "ClusterRole", "name": meta["name"]},
        "subjects": [{"kind": "ServiceAccount", **account}],
    }
    return [{"apiVersion": "v1", "kind": "ServiceAccount", "metadata": account}, role, binding]


def _certificate() -> Object:
    """Return a certificate that nobody has to trust: the APIService does not verify it."""
    with tempfile.TemporaryDirectory() as folder:
        key, crt = (Path(folder) / name for name in ("tls.key", "tls.crt"))
        command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"]
        command += ["-subj", f"/CN={NAME}.{SPACE}.svc", "-keyout", str(key), "-out", str(crt)]
        subprocess.run(command, check=True, capture_output=True)
        data = {each.name: base64.b64encode(each.read_bytes()).decode() for each in (key, crt)}
    meta = {"name": NAME, "namespace": SPACE}
    return {"apiVersion": "v1", "kind": "Secret", "metadata": meta, "data": data}


def _server() -> list[Object]:
    meta = {"name": NAME, "namespace": SPACE}
    config = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": meta,
        "data": {SERVER.name: SERVER.read_text()},
    }
    volumes = [
        {"name": "server", "configMap": {"name": NAME}},
        {"name": "tls", "secret": {"secretName": NAME}},
    ]
    container = {
        "name": NAME,
        "image": fixtures.OPERATOR_IMAGE,
        "command": ["python", f"/server/{SERVER.name}"],
        "readinessProbe": {"tcpSocket": {"port": 8443}, "periodSeconds": 1},
        "volumeMounts": [
            {"name": "server", "mountPath": "/server"},
            {"name": "tls", "mountPath": "/tls"},
        ],
    }
    pod = fixtures.pod(container, 8443, "/", volumes)
    pod |= {"automountServiceAccountToken": True, "serviceAccountName": NAME}
    service = fixtures.service(NAME, SPACE, 8443)
    service["spec"]["ports"] = [{"port": 443, "targetPort": 8443}]
    return [config, fixtures.deployment(NAME, SPACE, pod), service]


def _api_service() -> Object:
    return {
        "apiVersion": "apiregistration.k8s.io/v1",
        "kind": "APIService",
        "metadata": {"name": API_SERVICE},
        "spec": {
            "group": "metrics.k8s.io",
            "version": "v1beta1",
            "groupPriorityMinimum": 100,
            "versionPriority": 100,
            "insecureSkipTLSVerify": True,
            "service": {"name": NAME, "namespace": SPACE, "port": 443},
        },
    }
