"""What the host must bring: root, and Debian's packages for containers, networks and images."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from pathlib import Path

from cluster import cache, shell
from cluster.errors import ClusterError
from cluster.progress import say

REPOSITORY = Path(__file__).resolve().parent.parent.parent
# Where dpkg keeps what it began and has not ended.
DPKG_JOURNAL = Path("/var/lib/dpkg/updates")
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


PASSED_ON = (
    "HOME",
    "PATH",
    "SSL_",
    "PIP_",
    "XDG_",
    "MODELRELEASE_",
    "HTTP_",
    "HTTPS_",
    "NO_PROXY",
    "GOPROXY",
)


def is_root() -> bool:
    """Tell whether this process may make namespaces, links and mounts."""
    return os.geteuid() == 0


def run_as_root(*arguments: str) -> None:
    """Run this package's command line once more, as root, where sudo asks for no password."""
    if not shell.has("sudo") or shell.run(["sudo", "-n", "true"], check=False).returncode != 0:
        raise ClusterError(
            (
                "the native provider makes namespaces and mounts: that takes root, or sudo without "
                "a password"
            ),
            "run it as root, or use --provider kind or --provider existing --context NAME",
        )
    passed_on = [
        f"{name}={value}"
        for name, value in os.environ.items()
        if name.upper().startswith(PASSED_ON)
    ]
    command = ["sudo", "-n", "env", *passed_on, sys.executable, "-m", "cluster", *arguments]
    code = subprocess.run(command, cwd=REPOSITORY, check=False).returncode
    if code != 0:
        again = shell.text(["python", "-m", "cluster", *arguments])
        raise ClusterError(f"`{again}` as root ended with code {code}")


def give_to_caller(*paths: Path) -> None:
    """Let the user who called sudo own what they have to read and remove."""
    user, group = os.environ.get("SUDO_UID"), os.environ.get("SUDO_GID")
    if not (is_root() and user and group):
        return
    for path in paths:
        if path.exists():
            os.chown(path, int(user), int(group))


def install_packages(*groups: str) -> None:
    """Install, with apt, what is missing of groups of packages; say so before."""
    programs: dict[str, str] = {}
    for group in groups:
        programs |= PACKAGES[group]
    missing = [package for program, package in programs.items() if not shell.has(program)]
    if not missing:
        return
    if not sys.platform.startswith("linux") or not shell.has("apt-get"):
        raise ClusterError(
            (
                "these programs are missing and there is no apt-get to install them: "
                f"{', '.join(missing)}"
            ),
            "install them yourself, or use --provider kind or --provider existing --context NAME",
        )
    say(f"installing Debian packages: {' '.join(missing)}")
    quiet = {"DEBIAN_FRONTEND": "noninteractive"}
    logs = cache.root() / "logs"
    with cache.lock("apt"):
        wait = ["-o", "DPkg::Lock::Timeout=300"]
        # An installation that was ended halfway, by Ctrl-C say, makes apt refuse every later one.
        # If another dpkg is at work, this one is refused and apt waits for that one.
        if any(DPKG_JOURNAL.glob("*")):
            with contextlib.suppress(ClusterError):
                shell.stream(
                    "finishing an installation that was interrupted",
                    ["dpkg", "--configure", "-a"],
                    logs / "dpkg-configure.log",
                    env=quiet,
                )
        shell.stream(
            "refreshing the package lists",
            ["apt-get", *wait, "update"],
            logs / "apt-update.log",
            env=quiet,
        )
        shell.stream(
            "installing packages",
            ["apt-get", *wait, "install", "--yes", "--no-install-recommends", *missing],
            logs / "apt-install.log",
            env=quiet,
        )
