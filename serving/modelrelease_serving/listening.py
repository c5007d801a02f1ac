"""Where this process listens: by default on every address of both families, where it may."""

import contextlib
import errno
import logging
import resource
import socket
from typing import Final

from modelrelease_serving.logs import fields

EVERYWHERE: Final = "::"
_EVERYWHERE_IPV4: Final = "0.0.0.0"  # noqa: S104 - a pod is called from outside
_BACKLOG: Final = 2048
_OTHER_FILES: Final = 256
"""Files and sockets that are no client's connection."""
_NO_IPV6: Final = {errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL, errno.EPROTONOSUPPORT}

_LOG = logging.getLogger(__name__)


def listen(host: str, port: int) -> socket.socket:
    """Return a socket that listens there. Raises OSError.

    `::` takes IPv4 as well, and is every address of IPv4 where the kernel or the pod has no IPv6.
    """
    if host == EVERYWHERE:
        try:
            return _bound(host, port)
        except OSError as error:
            if error.errno not in _NO_IPV6:
                raise
            host = _EVERYWHERE_IPV4
    return _bound(host, port)


def usable(host: str) -> str:
    """Return `host`, or every address of IPv4 where it is `::` and there is no IPv6."""
    with listen(host, 0) as listener:
        only_ipv4 = host == EVERYWHERE and listener.family == socket.AF_INET
    return _EVERYWHERE_IPV4 if only_ipv4 else host


def _bound(host: str, port: int) -> socket.socket:
    family, _, _, _, address = socket.getaddrinfo(
        host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )[0]
    dualstack = host == EVERYWHERE and family == socket.AF_INET6 and socket.has_dualstack_ipv6()
    listener = socket.create_server(
        address[:2],
        family=family,
        backlog=_BACKLOG,
        dualstack_ipv6=dualstack,
    )
    listener.setblocking(False)
    return listener


def allow_connections(connections: int) -> int:
    """Raise the limit of open files for so many connections. Return how many there may be."""
    open_files = connections * 2 + _OTHER_FILES
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < open_files:
        soft = open_files if hard == resource.RLIM_INFINITY else min(open_files, hard)
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= open_files:
        return connections
    allowed = max(1, (soft - _OTHER_FILES) // 2)
    _LOG.warning(
        "fewer connections are served than MAX_CONNECTIONS, because few files may be open",
        extra=fields(asked=connections, served=allowed, open_files=soft),
    )
    return allowed
