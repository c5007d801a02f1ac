"""Ports for servers that cannot choose one themselves."""

import errno
import itertools
import os
import socket
from collections.abc import Iterator

FIRST, LAST = 12_000, 29_999
"""Below the ports that Linux hands out by itself (from 32768), so that no client of this machine
gets one before its server has begun, and below a cluster's node ports (from 30000).
"""
EACH = 60
"""Ports from which a process on begins, so that tests side by side do not meet."""


def _ports() -> Iterator[int]:
    places = (LAST - FIRST + 1) // EACH
    begin = os.getpid() % places * EACH
    return (FIRST + (begin + n) % (LAST - FIRST + 1) for n in itertools.count())


_mine = _ports()


def free_port() -> int:
    """Return a port that nobody listens on, on any address, and that was not returned before."""
    return next(port for port in _mine if _is_free(port))


def free_ports(count: int) -> list[int]:
    """Return so many of them."""
    return [free_port() for _ in range(count)]


def _is_free(port: int) -> bool:
    for family, host in ((socket.AF_INET, "0.0.0.0"), (socket.AF_INET6, "::")):  # noqa: S104
        try:
            with socket.socket(family) as one:
                if family == socket.AF_INET6:
                    one.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
                one.bind((host, port))
        except OSError as problem:
            if family == socket.AF_INET or problem.errno == errno.EADDRINUSE:
                return False
    return True
