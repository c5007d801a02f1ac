"""What ours runs beside: a Gateway, Argo Rollouts and Flagger.

The rivals are compiled once for this benchmark, and installed as documented. Both come from the Go
module proxy, compiled as their own modules pin what they need, and are installed by what lies in
the same modules: the manifests of the one, the chart of the other.
"""

import json
from typing import Final

from benchmarks.rollouts.objects import PROMETHEUS
from cluster import Cluster, addons, archive, shell, toolchain
from cluster.gateways import Gateway
from cluster.progress import step
from cluster.toolchain import Upstream
from examples import fixtures

ARGO: Final = Upstream(
    module="github.com/argoproj/argo-rollouts",
    version="v1.10.1",
    checksum="h1:6oyVPGiHHxu3ixkT6mngemh88HLPDoTX1IwO6KNR1Y4=",
    package="./cmd/rollouts-controller",
    keep=("manifests/install.yaml",),
)
"""The newest that Go 1.26.1 compiles; 1.10.2 asks for 1.26.10."""
FLAGGER: Final = Upstream(
    module="github.com/fluxcd/flagger",
    version="v1.44.0",
    checksum="h1:JAb2mE3AAO5Y/JkfHy6xbFDPDPk9lGvqXwmtztNbdhw=",
    package="./cmd/flagger",
    keep=("charts/flagger",),
)
ARGO_SPACE: Final = "argo-rollouts"
FLAGGER_SPACE: Final = "flagger-system"


def compile_rivals(*upstreams: Upstream) -> None:
    """Compile them, unless this machine has done so."""
    toolchain.compile_upstream(*upstreams)


def install_argo(cluster: Cluster) -> None:
    """Install Argo Rollouts by its own manifest, with an image of what was compiled."""
    image = _loaded(cluster, ARGO)
    with step(f"installing Argo Rollouts {ARGO.version} (namespace {ARGO_SPACE})"):
        fixtures.apply(cluster, _namespace(ARGO_SPACE))
        manifest = str(ARGO.target / "manifests/install.yaml")
        owner = "--field-manager=modelrelease-benchmarks"
        apply = ("apply", "--server-side", "--force-conflicts", owner, "-n", ARGO_SPACE)
        cluster.kubectl(*apply, "-f", manifest)
        _patch(cluster, ARGO_SPACE, "argo-rollouts", image=image, imagePullPolicy="IfNotPresent")
    addons.await_deployment(cluster.kubectl, ARGO_SPACE, "argo-rollouts")


def install_flagger(cluster: Cluster) -> None:
    """Install Flagger by its own chart, for the Gateway API and the cluster's Prometheus."""
    image = _loaded(cluster, FLAGGER)
    repository, _, tag = image.rpartition(":")
    values = {
        "image.repository": repository,
        "image.tag": tag,
        "meshProvider": "gatewayapi:v1",
        "metricsServer": PROMETHEUS,
        "prometheus.install": "false",
    }
    command = [toolchain.helm(), "upgrade", "--install", "flagger"]
    command += [str(FLAGGER.target / "charts/flagger"), "--kubeconfig", str(cluster.kubeconfig)]
    command += ["--namespace", FLAGGER_SPACE, "--create-namespace", "--server-side=false"]
    for name, value in values.items():
        command += ["--set", f"{name}={value}"]
    with step(f"installing Flagger {FLAGGER.version} (namespace {FLAGGER_SPACE})"):
        shell.run(command)
        # Its probes run wget, which an image of one program has not: the kubelet asks instead.
        health = {"exec": None, "httpGet": {"path": "/healthz", "port": "http"}}
        _patch(cluster, FLAGGER_SPACE, "flagger", livenessProbe=health, readinessProbe=health)
    addons.await_deployment(cluster.kubectl, FLAGGER_SPACE, "flagger")


def give_gateway_room(cluster: Cluster, gateway: Gateway) -> None:
    """Ask for processor time for the proxy, which all clients of two contenders come through.

    What asks for little starves first on a full node: its probe failed, and both lost requests.
    """
    what = ("set", "resources", f"deployment/{gateway.name}", "-n", gateway.namespace)
    asked = ("--containers", gateway.proxy, "--requests=cpu=200m,memory=64Mi")
    cluster.kubectl(*what, *asked)
    addons.await_deployment(cluster.kubectl, gateway.namespace, gateway.name)


def _loaded(cluster: Cluster, upstream: Upstream) -> str:
    """Wrap the program as an image, load it, and return its name."""
    toolchain.compile_upstream(upstream)
    image = f"{upstream.program}:{upstream.version}"
    target = cluster.state.folder / f"{upstream.program}.tar"
    program = upstream.target / upstream.program
    cluster.load_image(archive.single_program(f"docker.io/library/{image}", program, target), image)
    target.unlink(missing_ok=True)
    return image


def _patch(cluster: Cluster, space: str, name: str, **fields: object) -> None:
    """Change fields of a Deployment's only container, which is named as the Deployment is."""
    pod = {"containers": [{"name": name, **fields}]}
    patch = json.dumps({"spec": {"template": {"spec": pod}}})
    cluster.kubectl("patch", "deployment", name, "-n", space, "--type=strategic", "-p", patch)


def _namespace(name: str) -> fixtures.Object:
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}
