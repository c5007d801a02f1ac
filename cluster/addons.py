"""What `up` installs into a cluster beside Kubernetes itself, and the operator."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from string import Template

from cluster import cache, shell, toolchain
from cluster.errors import ClusterError
from cluster.gateways import Gateway
from cluster.imageset import REPOSITORY
from cluster.progress import step

MANIFESTS = Path(__file__).parent / "manifests"
CHART = REPOSITORY / "charts" / "modelrelease"
Kubectl = Callable[..., str]


def apply(kubectl: Kubectl, manifest: str, values: dict[str, str]) -> None:
    """Fill in a manifest and apply it."""
    text = (MANIFESTS / manifest).read_text()
    filled = Template(text).substitute({"CONFIG_DIGEST": cache.digest(text), **values})
    owner = "--field-manager=modelrelease-cluster"
    kubectl("apply", "--server-side", "--force-conflicts", owner, "-f-", input=filled)


def install_dns(kubectl: Kubectl, image: str, address: str) -> None:
    """Install the cluster's DNS."""
    with step("installing DNS"):
        apply(kubectl, "dns.yaml", {"COREDNS_IMAGE": image, "DNS_IP": address})


def install_prometheus(kubectl: Kubectl, image: str) -> None:
    """Install Prometheus into the namespace `monitoring`."""
    with step("installing Prometheus (namespace monitoring)"):
        apply(kubectl, "prometheus.yaml", {"PROMETHEUS_IMAGE": image})


def prometheus_values(kubectl: Kubectl) -> list[str]:
    """Return the chart's values that name our Prometheus, where the cluster has it."""
    found = kubectl(
        "get", "deployment", "prometheus", "-n", "monitoring", "--ignore-not-found", "-o", "name"
    )
    return ["prometheus.url=http://prometheus.monitoring:9090"] if found.strip() else []


def install_gateway(
    kubectl: Kubectl, gateway: Gateway, crds: Sequence[Path], images: dict[str, str]
) -> None:
    """Install an implementation of the Gateway API with one Gateway, and the kinds it reads."""
    with step(f"installing the Gateway API and {gateway.name} (namespace {gateway.namespace})"):
        for files in crds:
            kubectl("apply", "--server-side", "-f", str(files))
            kubectl("wait", "--for=condition=Established", "--timeout=60s", "-f", str(files))
        apply(kubectl, gateway.manifest, images)
    await_deployment(kubectl, gateway.namespace, gateway.name)


def remove_prometheus(kubectl: Kubectl, *, and_namespace: bool) -> None:
    """Remove Prometheus, object by object; the namespace only where it came with us."""
    cluster_wide = (
        "clusterrole/modelrelease-prometheus",
        "clusterrolebinding/modelrelease-prometheus",
    )
    kubectl("delete", *cluster_wide, "--ignore-not-found")
    namespaced = [
        f"{kind}/prometheus" for kind in ("deployment", "service", "configmap", "serviceaccount")
    ]
    kubectl("delete", "-n", "monitoring", *namespaced, "--ignore-not-found")
    if and_namespace:
        kubectl("delete", "namespace", "monitoring", "--ignore-not-found")


def await_deployment(kubectl: Kubectl, namespace: str, name: str) -> None:
    """Wait until a Deployment's pods are ready, or show why they are not."""
    with step(f"waiting for {namespace}/{name}"):
        try:
            kubectl("rollout", "status", f"deployment/{name}", "-n", namespace, "--timeout=120s")
        except ClusterError as error:
            pods = kubectl("describe", "pods", "-n", namespace, check=False)
            problem = f"Deployment {namespace}/{name} is not ready: {error.problem}\n{pods[-3000:]}"
            raise ClusterError(problem, f"kubectl -n {namespace} logs deployment/{name}") from error


def install_operator(
    kubeconfig: Path, images: dict[str, str], values: list[str], chart: Path = CHART
) -> None:
    """Install the operator with its own chart, as a user would."""
    repository, _, tag = images["operator"].rpartition(":")
    settings = {
        "image.repository": repository,
        "image.tag": tag,
        "serving.image": images["serving"],
    }
    command: list[str | Path] = [toolchain.helm(), "upgrade", "--install", "modelrelease"]
    command += [chart, "--kubeconfig", kubeconfig]
    command += [
        "--namespace",
        "modelrelease-system",
        "--create-namespace",
        "--wait",
        "--timeout",
        "3m",
    ]
    # People and tests change the Deployment by kubectl: Helm's patch overrules them, its apply
    # would refuse.
    command += ["--server-side=false"]
    for name, value in settings.items():
        command += ["--set", f"{name}={value}"]
    for value in values:
        command += ["--set", value]
    with step("installing the operator (namespace modelrelease-system)"):
        shell.run(command)
