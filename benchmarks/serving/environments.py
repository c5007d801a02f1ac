"""One Python environment for each server, made once from pinned requirements and kept in the cache.

Ours gets what the serving image has, and nothing else: what else is installed changes what
scikit-learn imports (with pandas beside it, it takes 90 MB more).
"""

import sys
from pathlib import Path
from typing import Final

from benchmarks.serving.candidates import OWN
from cluster import cache
from cluster.progress import step
from cluster.shell import has, run

ROOT: Final = Path(__file__).parents[2]
RIVALS: Final = Path(__file__).parent / "rivals"
_READY: Final = "ready"


def requirements_of(name: str) -> Path:
    """Return the file with the exact versions of an environment."""
    return ROOT / "locks" / "serving.txt" if name == OWN else RIVALS / f"{name}.txt"


def folder_of(name: str) -> Path:
    """Return where the environment called `name` is or will be:
    its path names its Python and its pins.
    """
    pins = requirements_of(name).read_bytes()
    return cache.root() / "serving" / f"{name}-{cache.digest(pins, sys.version, sys.base_prefix)}"


def make(name: str) -> Path:
    """Return the folder of the environment called `name`, and make it first where it is not there
    yet.

    Raises ClusterError with the installer's last words when that fails.
    """
    folder = folder_of(name)
    if (folder / _READY).exists():
        return folder
    requirements = requirements_of(name)
    count = requirements.read_text().count("==")
    with (
        cache.lock(f"serving-{name}"),
        step(f"making the environment `{name}` ({count} packages, once) in {folder}"),
    ):
        # In place, not beside it and renamed: the scripts of an environment name its folder.
        cache.remove(folder)
        folder.parent.mkdir(parents=True, exist_ok=True)
        _install(folder, requirements)
        (folder / _READY).touch()
    return folder


def _install(folder: Path, requirements: Path) -> None:
    """Make the environment with uv where there is one, and with Python's own tools otherwise."""
    python = folder / "bin" / "python"
    # Nicely: it must not disturb what else the machine does.
    nice = ("nice", "-n", "19")
    if has("uv"):
        run((*nice, "uv", "venv", "--quiet", "--python", sys.executable, folder))
        run(
            (
                *nice,
                "uv",
                "pip",
                "install",
                "--quiet",
                "--python",
                python,
                "--requirement",
                requirements,
            )
        )
        return
    run((*nice, sys.executable, "-m", "venv", folder))
    run((*nice, python, "-m", "pip", "install", "--quiet", "--requirement", requirements))
