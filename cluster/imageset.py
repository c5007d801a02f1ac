"""Which images there are, what goes into each, and when one has to be built or loaded again."""

from __future__ import annotations

import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

from cluster import builder, cache
from cluster.errors import ClusterError
from cluster.progress import say

REPOSITORY = Path(__file__).resolve().parent.parent
SOURCES = (
    "pyproject.toml",
    "README.md",
    "LICENSE",
    "operator",
    "serving",
    "training",
    "contract",
    "crds",
)
KEEP = 2


@dataclass(frozen=True)
class Image:
    """An image of ours: its name in the cluster, its Dockerfile, the paths it is built from."""

    reference: str
    dockerfile: str
    inputs: tuple[str, ...] = ()
    arguments: tuple[tuple[str, str], ...] = ()
    """Of the build, by name."""

    @property
    def name(self) -> str:
        """The reference without its tag."""
        return self.reference.partition(":")[0]

    def files(self) -> list[Path]:
        """List every file that goes into the image, at its place in the repository."""
        files = [REPOSITORY / self.dockerfile]
        for name in self.inputs:
            path = REPOSITORY / name
            if path.is_file():
                files.append(path)
            else:
                files += filter(_is_input, path.rglob("*"))
        return sorted(files)

    def check(self) -> None:
        """Refuse to build from a checkout that lacks an input."""
        for name in (self.dockerfile, *self.inputs):
            if not (REPOSITORY / name).exists():
                problem = f"{self.reference}: {name} is not in {REPOSITORY}"
                raise ClusterError(problem, "git status tells whether the checkout is complete")


OPERATOR = Image(
    "modelrelease-operator:dev",
    "Dockerfile.operator",
    ("locks/operator.txt", "locks/build.txt", *SOURCES),
)
SERVING = Image(
    "modelrelease-serving:dev",
    "Dockerfile.serving",
    ("locks/serving.txt", "locks/build.txt", "tools/slim", *SOURCES),
)
BOOSTERS = Image(
    "modelrelease-serving-boosters:dev",
    "Dockerfile.serving",
    ("locks/boosters.txt", "locks/build.txt", "tools/slim", *SOURCES),
    arguments=(("LOCK", "boosters"),),
)
"""The predictor with XGBoost, LightGBM and CatBoost."""

TRAINING = Image(
    "modelrelease-training:dev",
    "Dockerfile.training",
    ("locks/training.txt", "locks/build.txt", *SOURCES),
)
DRIFT = Image(
    "modelrelease-drift:dev", "Dockerfile.drift", ("locks/drift.txt", "locks/build.txt", *SOURCES)
)
MLSERVER = Image(
    "mlserver-sklearn:dev",
    "examples/servers/mlserver.Dockerfile",
    ("locks/mlserver.txt", "tools/slim"),
)
BENTOML = Image(
    "bentoml-qna:dev",
    "examples/servers/bentoml.Dockerfile",
    ("locks/bentoml.txt", "tools/slim", "examples/servers/bentoml_service.py"),
)
LLAMA_CPP = Image(
    "llama-cpp:dev",
    "examples/servers/llama_cpp.Dockerfile",
    ("locks/llama-cpp.txt", "examples/servers/llama_cpp_server.py"),
)
"""Model servers that are not ours, with nothing of ours in them."""
ENVOY = Image("modelrelease-envoy:dev", "cluster/envoy.Dockerfile", ("locks/envoy.txt",))
"""The proxy of Contour."""
IMAGES = {
    "serving": SERVING,
    "boosters": BOOSTERS,
    "operator": OPERATOR,
    "training": TRAINING,
    "drift": DRIFT,
    "mlserver": MLSERVER,
    "bentoml": BENTOML,
    "llama-cpp": LLAMA_CPP,
    "envoy": ENVOY,
}
USUAL = ("serving", "operator")
"""What every cluster with the operator needs."""


def _is_input(file: Path) -> bool:
    return file.is_file() and "__pycache__" not in file.parts and file.suffix != ".pyc"


def build_once(image: Image, tool: str) -> tuple[Path, str]:
    """Return an image's archive and key; build it if these inputs were not built before."""
    image.check()
    files = image.files()
    key = cache.digest(
        cache.digest_of_files(REPOSITORY, files),
        builder.base_key(tool),
        tool,
        *(f"{name}={value}" for name, value in image.arguments),
    )
    target = cache.root() / "images" / f"{image.name}-{key}.tar"
    if target.is_file():
        return target, key
    with cache.lock(image.name):
        if not target.is_file():
            with cache.making(target) as temporary, tempfile.TemporaryDirectory() as folder:
                context = Path(folder)
                for name in image.inputs:
                    # A folder may be empty, and COPY wants it all the same.
                    if (REPOSITORY / name).is_dir():
                        (context / name).mkdir()
                for file in files:
                    copy = context / file.relative_to(REPOSITORY)
                    copy.parent.mkdir(parents=True, exist_ok=True)
                    shutil.copy2(file, copy)
                builder.build(
                    tool,
                    context / image.dockerfile,
                    context,
                    image.reference,
                    temporary,
                    arguments=dict(image.arguments),
                )
            _prune(image)
    say(f"  {image.reference} is {target.stat().st_size / 1e6:.0f} MB")
    return target, key


def _prune(image: Image) -> None:
    """Keep the last few archives of an image; older ones are only in the way."""
    archives = list((cache.root() / "images").glob(f"{image.name}-*.tar"))
    archives.sort(key=lambda path: path.stat().st_mtime)
    for old in archives[:-KEEP]:
        old.unlink(missing_ok=True)
