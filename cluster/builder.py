"""Builds images with docker, podman or buildah, whichever the machine has.

Settings of this machine that a build needs (a private certificate authority, pip's options) are
given as build secrets; no layer of an image holds them.
"""

from __future__ import annotations

import ast
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from cluster import base, cache, shell

CERTIFICATES = Path("/etc/ssl/certs/ca-certificates.crt")
PYTHON_IMAGE = "python:3.12-slim-bookworm"


def build(
    tool: str,
    dockerfile: Path,
    context: Path,
    reference: str,
    archive: Path,
    *,
    arguments: Mapping[str, str],
) -> None:
    """Build one image and save it as an archive that every container runtime reads."""
    given: list[str] = []
    for name, value in arguments.items():
        given += ["--build-arg", f"{name}={value}"]
    with host_settings() as settings:
        if tool == "buildah":
            _with_buildah(
                dockerfile, context, reference, archive, [*given, *_secrets(settings)], settings
            )
        else:
            _with_docker(
                tool, dockerfile, context, reference, archive, [*given, *_secrets(settings)]
            )


def base_key(tool: str) -> str:
    """Name the base that a tool's images stand on."""
    return base.key() if tool == "buildah" else PYTHON_IMAGE


def _no_networks(settings: Path) -> dict[str, str]:
    """Point buildah elsewhere for networks, which our builds do not use: else it makes /etc/cni."""
    file = settings / "containers.conf"
    file.write_text(f'[network]\nnetwork_config_dir = "{settings / "cni"}"\n')
    return {"CONTAINERS_CONF": str(file)}


def run_folder() -> Path:
    """Name buildah's folder for what does not outlive the machine's running: one for each cache."""
    return Path(f"/run/modelrelease-{cache.digest(str(cache.root()))}")


def _buildah() -> list[str]:
    """Keep buildah's images in our cache; where overlay cannot be stacked, copy instead."""
    store = ["buildah", "--root", str(cache.root() / "buildah"), "--runroot", str(run_folder())]
    overlay = [*store, "--storage-driver", "overlay"]
    if shell.run([*overlay, "images", "--quiet"], check=False).returncode == 0:
        return overlay
    return [*store, "--storage-driver", "vfs"]


def _with_buildah(
    dockerfile: Path,
    context: Path,
    reference: str,
    archive: Path,
    options: Sequence[str | Path],
    settings: Path,
) -> None:
    buildah = _buildah()
    bottom = f"localhost/{base.reference()}"
    bottom_archive = base.archive()
    with cache.lock("buildah"):
        if not shell.output([*buildah, "images", "--quiet", "--filter", f"reference={bottom}"]):
            shell.run([*buildah, "pull", "--quiet", f"docker-archive:{bottom_archive}"])
        command: list[str | Path] = [
            *buildah,
            "build",
            "--isolation",
            "chroot",
            "--layers",
            "--pull=never",
        ]
        command += ["--build-arg", f"BASE={bottom}", "--file", dockerfile, "--tag", reference]
        command += options
        wheels = Path(os.environ.get("PIP_FIND_LINKS", ""))
        if wheels.is_absolute() and wheels.is_dir():
            command += ["--volume", f"{wheels}:/run/wheels:ro"]
        log = cache.root() / "logs" / f"image-{dockerfile.name}.log"
        shell.stream(f"building {reference}", [*command, context], log, env=_no_networks(settings))
        target = f"docker-archive:{archive}:docker.io/library/{reference}"
        shell.run([*buildah, "push", "--quiet", reference, target])


def _with_docker(
    tool: str,
    dockerfile: Path,
    context: Path,
    reference: str,
    archive: Path,
    options: Sequence[str | Path],
) -> None:
    command: list[str | Path] = [tool, "build", "--file", dockerfile, "--tag", reference]
    for variable in ("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY"):
        if variable in os.environ:
            command += ["--build-arg", variable]
    command += options
    log = cache.root() / "logs" / f"image-{dockerfile.name}.log"
    env = {"DOCKER_BUILDKIT": "1"}
    shell.stream(f"building {reference}", [*command, context], log, env=env)
    shell.run([tool, "save", "--output", archive, reference])


@contextmanager
def host_settings() -> Iterator[Path]:
    """Write this machine's settings for pip into a folder that goes when the build ends."""
    configured = pip_configuration(
        shell.run([sys.executable, "-m", "pip", "config", "list"], check=False).stdout
    )
    environment = configured | os.environ
    with tempfile.TemporaryDirectory(prefix="modelrelease-build-") as name:
        folder = Path(name)
        # What this machine trusts, the build trusts: a private authority may stand in any of these.
        for authority in (
            environment.get("PIP_CERT"),
            environment.get("SSL_CERT_FILE"),
            CERTIFICATES,
        ):
            if authority and Path(authority).is_file():
                shutil.copy(authority, folder / "ca.crt")
                break
        (folder / "pip.conf").write_text(
            pip_settings(environment, certificates=(folder / "ca.crt").exists())
        )
        yield folder


def pip_configuration(listed: str) -> dict[str, str]:
    """Turn what `pip config list` prints of pip's files into the variables that mean the same."""
    variables = {}
    for line in listed.splitlines():
        name, _, value = line.partition("=")
        section, _, option = name.partition(".")
        if section in ("global", "install"):
            variables["PIP_" + option.upper().replace("-", "_")] = str(ast.literal_eval(value))
    return variables


def pip_settings(environment: Mapping[str, str], *, certificates: bool) -> str:
    """Turn PIP_* variables into a pip.conf for the inside of a build."""
    options = {"disable-pip-version-check": "true", "root-user-action": "ignore"}
    for variable in (
        "PIP_INDEX_URL",
        "PIP_EXTRA_INDEX_URL",
        "PIP_TRUSTED_HOST",
        "PIP_DEFAULT_TIMEOUT",
    ):
        if variable in environment:
            options[variable.removeprefix("PIP_").lower().replace("_", "-")] = " ".join(
                environment[variable].split()
            )
    if certificates:
        options["cert"] = "/run/secrets/ca.crt"
    if Path(environment.get("PIP_FIND_LINKS", "")).is_absolute():
        options["find-links"] = "/run/wheels"
    return "[global]\n" + "".join(f"{name} = {value}\n" for name, value in options.items())


def _secrets(settings: Path) -> list[str]:
    """Hand this machine's settings to a build as secrets, which no layer keeps."""
    files = [settings / secret for secret in ("pip.conf", "ca.crt") if (settings / secret).exists()]
    return [f"--secret=id={file.name},src={file}" for file in files]
