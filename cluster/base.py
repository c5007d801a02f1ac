"""The base of our images where no registry can be asked: mmdebstrap's small Debian with Python.

The host's own package sources and proxies are used while it is made, and none of them stays in it.
"""

from __future__ import annotations

import hashlib
import json
import tarfile
from pathlib import Path

from cluster import cache, shell
from cluster.archive import add
from cluster.errors import ClusterError

PACKAGES = ("ca-certificates", "python3", "python3-venv")
UNWANTED = tuple(f"/usr/share/{folder}/*" for folder in ("doc", "man", "info", "locale", "lintian"))
CLEAN = (
    'rm -rf "$1"/etc/apt/sources.list "$1"/etc/apt/sources.list.d/* '
    '"$1"/etc/apt/apt.conf.d/99mmdebstrap "$1"/etc/resolv.conf "$1"/etc/hostname "$1"/var/log/* '
    '"$1"/var/cache/* "$1"/var/lib/apt/lists/*'
)


LAYOUT = "2"
"""Raised when `_pack` writes another archive from the same tree."""
MERGED_USR = Path("/usr/share/mmdebstrap/hooks/maybe-merged-usr")
"""Merges /usr by itself, so that no package with a whole Perl is installed to do it: 48 MB less."""


def codename() -> str:
    """Name the host's release, which the base is made of: `bookworm`."""
    for line in Path("/etc/os-release").read_text().splitlines():
        key, _, value = line.partition("=")
        if key == "VERSION_CODENAME":
            return value.strip('"')
    raise ClusterError(
        "/etc/os-release has no VERSION_CODENAME: the base is made from Debian or Ubuntu"
    )


def reference() -> str:
    """Name the base image: its tag tells what is in it, so no older one is taken for it."""
    return f"modelrelease-base:{codename()}-{key()}"


def key() -> str:
    """Name what goes into the base image."""
    return cache.digest(codename(), *PACKAGES, *UNWANTED, CLEAN, *_hooks(), LAYOUT)


def archive() -> Path:
    """Return the base image as an archive, making it if this machine has not done so yet."""
    target = cache.root() / "images" / f"modelrelease-base-{key()}.tar"
    if target.is_file():
        return target
    with cache.lock("base"):
        if not target.is_file():
            with cache.making(target) as temporary:
                _make(temporary)
    return target


def _make(target: Path) -> None:
    tree, settings, sources = (
        target.with_suffix(f".{part}") for part in ("tree", "apt", "sources")
    )
    settings.write_text(apt_settings())
    sources.write_text(debian_sources(codename()))
    command: list[str | Path] = ["mmdebstrap", "--variant=apt", f"--include={','.join(PACKAGES)}"]
    command += [f"--dpkgopt=path-exclude={path}" for path in UNWANTED]
    command += [f"--aptopt={settings}", f"--customize-hook={CLEAN}", "--format=tar"]
    command += [*_hooks(), codename(), tree, sources]
    try:
        shell.stream(
            f"making the base image {reference()} from the packages of {codename()}",
            command,
            cache.root() / "logs" / "base.log",
        )
        _pack(tree, target)
    finally:
        for file in (tree, settings, sources):
            cache.remove(file)


def debian_sources(suite: str) -> str:
    """Collect the host's sources of this suite, in one of apt's two formats (no file has both)."""
    folder = Path("/etc/apt/sources.list.d")
    stanzas: list[str] = []
    for file in sorted(folder.glob("*.sources")):
        stanzas += file.read_text().split("\n\n")
    stanzas = [stanza.strip() for stanza in stanzas if _is_of(suite, stanza)]
    if stanzas:
        return "\n\n".join(stanzas) + "\n"
    lines: list[str] = []
    for file in (Path("/etc/apt/sources.list"), *sorted(folder.glob("*.list"))):
        lines += file.read_text().splitlines() if file.is_file() else ()
    of_suite = [line for line in lines if line.startswith("deb ") and suite in line]
    if not of_suite:
        raise ClusterError(f"apt has no source for {suite!r}", "look at /etc/apt/sources.list.d")
    return "\n".join(of_suite) + "\n"


def _is_of(suite: str, stanza: str) -> bool:
    return any(line.startswith("Suites:") and suite in line for line in stanza.splitlines())


def apt_settings() -> str:
    """Copy those settings of the host's apt that decide how packages are fetched."""
    prefixes = ("Acquire::http", "Acquire::https", "Acquire::Check-", "Acquire::Retries")
    dump = shell.output(["apt-config", "dump"]).splitlines()
    return (
        "\n".join(line for line in dump if line.startswith(prefixes) and not line.endswith('"";'))
        + "\n"
    )


def _hooks() -> list[str]:
    return [f"--hook-dir={MERGED_USR}"] if MERGED_USR.is_dir() else []


def _pack(tree: Path, target: Path) -> None:
    """Wrap a file system's tar as an image with one layer, as `docker save` would."""
    with tree.open("rb") as content:
        digest = hashlib.file_digest(content, "sha256").hexdigest()
    config = {
        "architecture": shell.output(["dpkg", "--print-architecture"]),
        "os": "linux",
        "config": {"Env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"]},
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{digest}"]},
        "history": [{"created": "1970-01-01T00:00:00Z", "created_by": "mmdebstrap"}],
    }
    text = json.dumps(config).encode()
    name = f"{hashlib.sha256(text).hexdigest()}.json"
    layer = f"{digest}/layer.tar"
    manifest = [{"Config": name, "RepoTags": [f"localhost/{reference()}"], "Layers": [layer]}]
    with tarfile.open(target, mode="w") as tar:
        add(tar, name, text)
        tar.add(tree, arcname=layer)
        add(tar, "manifest.json", json.dumps(manifest).encode())
