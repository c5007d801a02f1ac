"""Two real operators contend for one Lease: one dies, leaves or freezes, and the other goes on.

Both are processes as in a pod, and see a fake API server. The Lease's own figures add up to the
seconds within which the other acts: 13 after a kill (tests/unit/runtime/test_lease.py). Here a busy
machine may take three times as long.
"""

import asyncio
import os
import signal
import sys
from asyncio.subprocess import Process
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from testbed.api_server import ApiServer
from testbed.operating import FAST, model
from testbed.ports import free_ports

ONE, TWO = "one", "two"
STARTS_WITHIN = 90
ACTS_WITHIN = 45


@dataclass
class Pair:
    """Operator ONE holds the Lease and TWO waits for it."""

    server: ApiServer
    processes: dict[str, Process]

    async def wait(self, what: str, seen: Callable[[], Any], within: float) -> None:
        try:
            async with asyncio.timeout(within):
                while not seen():  # noqa: ASYNC110 - what other processes do
                    await asyncio.sleep(0.02)
        except TimeoutError:
            leases = [obj for key, obj in self.server.objects.items() if key[0] == "leases"]
            pytest.fail(f"{what}: not within {within} s; {self.server.writes}, {leases}")

    def apply(self, version: str) -> None:
        self.server.put("ModelRelease", "qna", spec={"model": model(version), **FAST})

    def has_served(self, version: str) -> Callable[[], bool]:
        def seen() -> bool:
            status = self.server.get("ModelRelease", "qna").get("status", {})
            stable: Any = status.get("stable") or {}
            return bool(stable.get("version") == version)

        return seen

    def holder(self) -> str:
        """Return who holds the Lease."""
        lease = self.server.get("Lease", "modelrelease-operator", "kube-system")
        found: str = lease["spec"]["holderIdentity"]
        return found

    def acts(self, who: str) -> Callable[[], bool]:
        """Return whether an operator writes more than it has written now."""
        before = self.server.writes[who]
        return lambda: self.server.writes[who] > before


async def _started(server: ApiServer, name: str, folder: Path) -> Process:
    folder.mkdir()  # noqa: ASYNC240 - a temporary one
    health, metrics = free_ports(2)
    variables = {
        "KUBECONFIG": str(server.kubeconfig(folder, name)),
        "MODELRELEASE_LEASE_NAMESPACE": "kube-system",
        "MODELRELEASE_LIVENESS_PORT": str(health),
        "MODELRELEASE_METRICS_PORT": str(metrics),
    }
    with (folder / "log").open("wb") as log:
        return await asyncio.create_subprocess_exec(
            sys.executable, "-m", "modelrelease_operator", "run",
            env={**os.environ, **variables}, stdout=log, stderr=log,
        )  # fmt: skip


@pytest.fixture
async def pair(tmp_path: Path) -> AsyncIterator[Pair]:
    server = await ApiServer().start()
    pair = Pair(server, {})
    try:
        pair.processes[ONE] = await _started(server, ONE, tmp_path / ONE)
        pair.apply("1")
        await pair.wait("version 1 to serve", pair.has_served("1"), STARTS_WITHIN)
        pair.processes[TWO] = await _started(server, TWO, tmp_path / TWO)
        waits = "this operator waits"
        await pair.wait(
            "the second to wait", lambda: waits in (tmp_path / TWO / "log").read_text(),
            STARTS_WITHIN,
        )  # fmt: skip
        assert server.writes[TWO] == 0
        yield pair
    finally:
        for process in pair.processes.values():
            with suppress(ProcessLookupError):
                process.kill()
            await process.wait()
        await server.stop()


async def test_after_a_kill_the_other_goes_on_with_the_release(pair: Pair):
    pair.processes[ONE].kill()
    pair.apply("2")
    await pair.wait("the second to act", pair.acts(TWO), ACTS_WITHIN)
    await pair.wait("its canary", lambda: len(pair.server.of("Deployment")) == 2, ACTS_WITHIN)


async def test_after_a_goodbye_the_other_need_not_wait_for_the_lease_to_run_out(pair: Pair):
    holder, acts = pair.holder(), pair.acts(TWO)
    pair.processes[ONE].terminate()
    pair.apply("2")
    assert await pair.processes[ONE].wait() == 0
    assert pair.holder() != holder, "it was given back"
    await pair.wait("the second to act", acts, ACTS_WITHIN)


async def test_one_that_was_frozen_and_wakes_writes_nothing_and_ends(pair: Pair):
    frozen = pair.processes[ONE]
    frozen.send_signal(signal.SIGSTOP)
    pair.apply("2")
    await pair.wait("the second to act", pair.acts(TWO), ACTS_WITHIN)
    before = pair.server.writes[ONE]
    # What the frozen one will see at once: a release that changed, and pods that came.
    pair.apply("3")
    frozen.send_signal(signal.SIGCONT)
    async with asyncio.timeout(90):
        await frozen.wait()
    assert pair.server.writes[ONE] == before
