"""The operator is heard on IPv4 and on IPv6, each where the machine has it."""

import socket

import aiohttp
import pytest
from prometheus_client import CollectorRegistry, start_http_server

from modelrelease_operator.runtime.health import every_address, serving_health
from testbed.ports import free_port


def there(host: str) -> bool:
    """Return whether this machine has such an address."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        with socket.socket(family) as one:
            one.bind((host.strip("[]"), 0))
    except OSError:
        return False
    return True


async def status_of(url: str) -> int:
    async with aiohttp.ClientSession() as session, session.get(url) as answer:
        return answer.status


async def test_health_is_answered_on_every_family():
    heard = [host for host in ("127.0.0.1", "[::1]") if there(host)]
    assert "127.0.0.1" in heard
    port = free_port()
    async with serving_health(port, lambda: None):
        assert [await status_of(f"http://{host}:{port}/healthz") for host in heard] == [200] * len(
            heard
        )


async def test_health_says_what_is_wrong():
    port = free_port()
    async with serving_health(port, lambda: "a look is an hour late"):
        assert await status_of(f"http://127.0.0.1:{port}/healthz") == 503


async def test_metrics_are_answered_on_every_family():
    server, thread = start_http_server(0, addr=every_address(), registry=CollectorRegistry())
    try:
        for host in ("127.0.0.1", "[::1]"):
            if there(host):
                assert await status_of(f"http://{host}:{server.server_port}/metrics") == 200
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def test_a_machine_without_ipv6_listens_on_ipv4(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(socket, "has_dualstack_ipv6", lambda: False)
    assert every_address() == "0.0.0.0"  # noqa: S104
