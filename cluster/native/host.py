"""What the host must bring: root, and Debian's packages for containers, networks and images."""

from __future__ import annotations

import os
import sys

from cluster import cache, shell
from cluster.console import say
from cluster.errors import ClusterError

# program that shows it is there -> Debian package
PACKAGES = {
    "node": {
        "containerd": "containerd",
        "runc": "runc",
        "/usr/lib/cni/bridge": "containernetworking-plugins",
        "iptables": "iptables",
        "conntrack": "conntrack",
        "ipset": "ipset",
        "ip": "iproute2",
        "openssl": "openssl",
        "mount": "mount",
        "unshare": "util-linux",
    },
    "images": {"buildah": "buildah", "mmdebstrap": "mmdebstrap"},
}


def require_root() -> None:
    """Refuse to go on without root: namespaces, links and mounts need it."""
    if os.geteuid() != 0:
        raise ClusterError("the native provider makes namespaces, links and mounts, and must be root for it")


def install_packages(group: str) -> None:
    """Install, with apt, what is missing of a group of packages; say so before."""
    missing = [package for program, package in PACKAGES[group].items() if not shell.has(program)]
    if not missing:
        return
    if not sys.platform.startswith("linux") or not shell.has("apt-get"):
        raise ClusterError(
            f"these programs are missing and there is no apt-get to install them: {', '.join(missing)}",
            "install them yourself, or use --provider kind or --provider existing --context NAME",
        )
    say(f"installing Debian packages: {' '.join(missing)}")
    quiet = {"DEBIAN_FRONTEND": "noninteractive"}
    logs = cache.root() / "logs"
    with cache.lock("apt"):
        wait = ["-o", "DPkg::Lock::Timeout=300"]
        shell.stream(
            "refreshing the package lists", ["apt-get", *wait, "update"], logs / "apt-update.log", env=quiet
        )
        shell.stream(
            "installing packages",
            ["apt-get", *wait, "install", "--yes", "--no-install-recommends", *missing],
            logs / "apt-install.log",
            env=quiet,
        )
