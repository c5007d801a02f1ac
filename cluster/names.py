"""From the name of a cluster to everything that must differ between two clusters on one machine."""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv4Network

from cluster.errors import ClusterError

NAME = re.compile(r"[a-z]([a-z0-9-]{0,18}[a-z0-9])?")
FIRST_OCTET, SUBNETS = 64, 64


def checked(name: str) -> str:
    """Return the name, or say why it cannot be one."""
    if NAME.fullmatch(name):
        return name
    raise ClusterError(
        (
            f"cluster name {name!r}: 1 to 20 of a-z, 0-9 and '-', beginning with a letter, not "
            "ending in '-'"
        ),
        "choose another with --name, for example --name dev",
    )


@dataclass(frozen=True)
class Subnets:
    """The addresses of one native cluster: a /16 of its own, for node link, Services and pods."""

    index: int

    @property
    def _prefix(self) -> str:
        return f"10.{FIRST_OCTET + self.index}"

    @property
    def all(self) -> IPv4Network:
        """Everything of this cluster, as the host routes it."""
        return IPv4Network(f"{self._prefix}.0.0/16")

    @property
    def host_ip(self) -> str:
        """The host's end of the link."""
        return f"{self._prefix}.0.1"

    @property
    def node_ip(self) -> str:
        """The node's end of the link, where the API server listens."""
        return f"{self._prefix}.0.2"

    @property
    def services(self) -> IPv4Network:
        """Addresses of Services."""
        return IPv4Network(f"{self._prefix}.16.0/20")

    @property
    def api_service_ip(self) -> str:
        """The Service `kubernetes`, always the first address."""
        return str(self.services[1])

    @property
    def dns_ip(self) -> str:
        """The Service of the cluster's DNS."""
        return str(self.services[10])

    @property
    def pods(self) -> IPv4Network:
        """Addresses of pods."""
        return IPv4Network(f"{self._prefix}.128.0/17")


def preferred_index(name: str) -> int:
    """Give a name the same subnet every time, as long as nobody else has it."""
    return zlib.crc32(name.encode()) % SUBNETS


def free_subnets(name: str, networks_in_use: Iterable[IPv4Network]) -> Subnets:
    """Choose the first subnets, from the preferred one on, that overlap with nothing in `taken`."""
    networks = list(networks_in_use)
    for offset in range(SUBNETS):
        candidate = Subnets((preferred_index(name) + offset) % SUBNETS)
        if not any(candidate.all.overlaps(network) for network in networks):
            return candidate
    raise ClusterError(
        (
            f"cluster {name!r}: each of the {SUBNETS} subnets 10.{FIRST_OCTET}.0.0/16 and up is "
            "routed elsewhere"
        ),
        "remove clusters that you no longer use: python -m cluster down --name NAME",
    )


def link_name(name: str) -> str:
    """Name the host's end of the veth pair, within the kernel's 15 characters."""
    short = f"mr-{name}"
    return short if len(short) <= 15 else f"mr-{name[:5]}-{zlib.crc32(name.encode()):06x}"[:15]
