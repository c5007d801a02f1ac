"""The page as a program: on a desk with a person's kubeconfig, or in a cluster with its account."""

import asyncio
import socket
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, Literal

import uvicorn
from kubernetes.aio import client as kube_client
from kubernetes.aio import config as kube_config

from modelrelease_operator.errors import Invalid
from modelrelease_operator.runtime.as_user import as_user
from modelrelease_operator.runtime.kube import Kube
from modelrelease_operator.ui.app import Page, create_app
from modelrelease_operator.ui.viewers import Anybody, ByToken, OnePerson
from modelrelease_operator.ui.watching import Releases, watched

LOOPBACK: Final = ("127.0.0.1", "localhost", "::1")
GRACE_SECONDS: Final = 2
"""For streams to end in, which would never end by themselves."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Desk:
    """The page for the person who starts it."""

    namespace: str | None
    context: str | None
    everywhere: bool
    commands: bool
    port: int
    """0: any that is free."""
    base_path: str = ""
    hosts: Sequence[str] = ()
    ready: Callable[[str, str | None], None]
    """Told the address, and the code that a command needs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class InCluster:
    """The page for everybody whom a proxy, or the network, lets through."""

    namespaces: Sequence[str]
    """None: all."""
    viewers: Literal["token", "anyone"]
    commands: bool
    port: int
    base_path: str = ""
    hosts: Sequence[str] = ()


def serve_desk(desk: Desk) -> None:
    """Serve on the loopback until interrupted."""
    asyncio.run(_serve_desk(desk))


def serve_in_cluster(page: InCluster) -> None:
    """Serve on every address until told to stop."""
    asyncio.run(_serve_in_cluster(page))


async def _serve_desk(desk: Desk) -> None:
    releases = Releases()
    async with as_user(desk.namespace, desk.context) as cluster:
        api = cluster.api.api_client
        viewers = OnePerson(api, desk.commands)
        where = "all namespaces" if desk.everywhere else f"namespace {cluster.namespace}"
        page = Page(
            releases=releases, viewers=viewers,
            title=f"{where} at {desk.context or 'the current context'}", context=desk.context,
            hosts=(*LOOPBACK, *desk.hosts), base_path=desk.base_path,
        )  # fmt: skip
        namespaces = [None] if desk.everywhere else [cluster.namespace]

        def tell(port: int) -> None:
            address = f"http://{LOOPBACK[0]}:{port}{desk.base_path}/"
            desk.ready(address, viewers.code if desk.commands else None)

        with _listening(LOOPBACK[0], desk.port) as listener:
            async with watched(Kube(api), releases, namespaces):
                await _run(page, listener, tell)


async def _serve_in_cluster(settings: InCluster) -> None:
    configuration = kube_client.Configuration()
    try:
        kube_config.load_incluster_config(client_configuration=configuration)  # type: ignore[no-untyped-call]
    except kube_config.ConfigException as problem:
        msg = f"--in-cluster is for a pod, and this is none ({problem}): leave it out on a desk"
        raise Invalid(msg) from problem
    configuration.connection_pool_maxsize = 0  # Watches hold theirs.
    kube = Kube(kube_client.ApiClient(configuration))
    by_token = settings.viewers == "token"
    viewers = ByToken(configuration, settings.commands) if by_token else Anybody(kube.api)
    releases = Releases()
    page = Page(
        releases=releases, viewers=viewers,
        title=", ".join(settings.namespaces) or "this cluster",
        # By another name nobody has a proxy's login, so with tokens the names do not matter.
        hosts=("*",) if by_token and not settings.hosts else (*LOOPBACK, *settings.hosts),
        base_path=settings.base_path,
    )  # fmt: skip
    try:
        with _listening("", settings.port) as listener:
            async with watched(kube, releases, list(settings.namespaces) or [None]):
                await _run(page, listener, lambda _: None)
    finally:
        await viewers.close()
        await kube.close()


async def _run(page: Page, listener: socket.socket, ready: Callable[[int], None]) -> None:
    """Serve until a signal; say the port once it is open. Addresses asked for are not logged."""
    config = uvicorn.Config(
        create_app(page), log_level="warning", access_log=False, server_header=False,
        proxy_headers=False, timeout_graceful_shutdown=GRACE_SECONDS, lifespan="off",
    )  # fmt: skip
    ready(listener.getsockname()[1])
    sys.stdout.flush()
    await uvicorn.Server(config).serve(sockets=[listener])


def _listening(host: str, port: int) -> socket.socket:
    """Open a port of an address, or with none of all, in both families where there are both; raises
    Invalid where it is taken.
    """
    try:
        if host or not socket.has_dualstack_ipv6():
            return socket.create_server((host, port))
        return socket.create_server(("", port), family=socket.AF_INET6, dualstack_ipv6=True)
    except (OSError, OverflowError) as problem:
        msg = f"port {port} cannot be opened ({problem}): name another --port"
        raise Invalid(msg) from problem
