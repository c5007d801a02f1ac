"""Many releases to look at: simulated ones, decided by the operator's own `decide`.

    python -m tests.browser.scene --port 8765          look at it in a browser

No cluster: what the watch would tell is put in by hand. Drift and a model's address are made up.
"""

import argparse
import asyncio
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import count
from typing import Any

import uvicorn

from modelrelease_operator.api.status import Phase
from modelrelease_operator.ui.app import Page, create_app
from modelrelease_operator.ui.viewers import Viewer, Viewers
from modelrelease_operator.ui.watching import Releases
from testbed.builders import a_target
from testbed.world import Behaviour, World, a_serving_world, a_world_in

Object = dict[str, Any]
LIVE = ("search", "ranker")
WORSE = ("search", "reranker")
SHADOW = ("search", "embeddings")
HOSTILE = ("zoo", "hostile")
MARKUP = "<img src=x onerror=alert(1)><script>document.title='taken'</script>"
DRIFT: Object = {
    "revision": "rev6", "drifted": True, "windows": "SSSDD", "at": "2026-11-01T12:20:00Z",
    "message": "query_length has drifted in 2 of the last 5 windows of 10m",
    "features": [
        {"name": name, "psi": psi, "threshold": 0.1, "values": 5120, "verdict": verdict}
        for name, psi, verdict in (
            ("query_length", 0.31, "Drifted"), ("country", 0.064, "Stable"),
            ("(predictions)", 0.041, "Stable"), ("hour", 0.018, "Stable"),
        )
    ],
}  # fmt: skip


@dataclass
class NoRights(Viewers):
    """Stands where viewers are told apart: everybody sees all, and what they ask for is kept."""

    commands: bool = False
    asks_code: bool = True
    code: str = "abc123"
    asked: list[tuple[str, str, Object]] = field(default_factory=list)
    releases: Releases | None = None

    def of(self, headers: Any) -> Viewer:
        return _Sees(self)

    def check_command(self, headers: Any) -> None:
        return None

    async def close(self) -> None:
        return None


@dataclass
class _Sees(Viewer):
    by: NoRights

    async def may_see(self, namespace: str) -> bool:
        return True

    async def read(self, namespace: str, name: str) -> Object:
        assert self.by.releases is not None
        return self.by.releases.by_key[namespace, name]

    async def patch(self, namespace: str, name: str, patch: Object) -> None:
        self.by.asked.append((namespace, name, patch))


SPACES = ("ads", "fraud", "pricing", "search", "support", "vision")
KINDS = ("ctr", "churn", "intent", "quality", "ranking", "risk", "topics", "demand")
DRIFTED = [
    {"type": "Drifted", "status": "True", "reason": "Drifted", "message": DRIFT["message"],
     "observedGeneration": 1, "lastTransitionTime": "2026-11-01T12:20:00Z"}
]  # fmt: skip
Ends = Callable[[World], bool]


class Scene:
    """Releases, and the time that they are looked at."""

    def __init__(self, *, commands: bool = False) -> None:
        self.now = datetime(2026, 11, 1, 12, tzinfo=UTC)
        self.releases = Releases(clock=lambda: self.now)
        self.viewers = NoRights(commands=commands, releases=self.releases)
        self._versions = count(1)

    def put(self, key: tuple[str, str], spec: Object, status: Object) -> None:
        """Have a release be as it is now."""
        meta = {
            "namespace": key[0], "name": key[1], "uid": "/".join(key), "generation": 1,
            "resourceVersion": str(next(self._versions)),
        }  # fmt: skip
        release = {"kind": "ModelRelease", "metadata": meta, "spec": spec, "status": status}
        self.releases.put(release)

    def show(self, key: tuple[str, str], world: World, **changes: Any) -> None:
        """Have a release be as one of a simulated world."""
        spec = world.spec.model_dump(
            mode="json", by_alias=True, exclude_none=True, exclude_unset=True
        )
        self.put(key, spec, {**world.status.to_dict(), **changes})

    def live(self, key: tuple[str, str], world: World, ends: Ends, **changes: Any) -> None:
        """Have a release be seen at every pass of a simulated world, until it is as wanted."""
        for _ in range(400):
            world.step()
            self.now = world.now
            self.show(key, world, **changes)
            if ends(world):
                return
        msg = f"{key}: not in 400 passes; last: {world.status.phase}, {world.status.message}"
        raise AssertionError(msg)

    @property
    def page(self) -> Page:
        """The page of all this."""
        return Page(
            releases=self.releases, viewers=self.viewers, title="all namespaces at production",
            hosts=("127.0.0.1", "localhost"),
        )  # fmt: skip


def a_long_world(rps: float, *, stable: float, canary: float, **parts: Any) -> World:
    """Build a world in which version 6 serves and version 7 is tried in four steps."""
    steps = [{"weight": weight, "bake": "2m"} for weight in (5, 10, 25, 50)]
    world = a_serving_world(
        rps=rps, seed=7,
        serving={"replicas": 20}, analysis={"interval": "15s"},
        canary={"weight": None, "steps": steps, "progressDeadline": "6h", **parts},
    )  # fmt: skip
    world.behaviours |= {
        "rev1": Behaviour(error_rate=stable), "rev7": Behaviour(error_rate=canary),
        "rev6": Behaviour(error_rate=stable),
    }  # fmt: skip
    world.release(a_target("6")).run()
    return world.release(a_target("7"))


def in_step(step: int, seconds: float) -> Ends:
    """Return whether a canary has had its weight for so long in a step, counted from 1."""

    def is_there(world: World) -> bool:
        canary = world.status.canary
        return bool(canary and canary.step == step - 1 and canary.step_seconds >= seconds)

    return is_there


def a_scene(releases: int = 500, *, commands: bool = False) -> Scene:
    """Build so many releases in every phase, of which four are looked at in detail."""
    scene = Scene(commands=commands)
    worlds = [a_world_in(phase).steps(2) for phase in Phase if phase is not Phase.PENDING]
    for number in range(releases - 4):
        # Nine in ten have nothing going on, as in a cluster of people's.
        world = worlds[(number // 10) % len(worlds)] if number % 10 == 0 else worlds[0]
        key = (SPACES[number % len(SPACES)], f"{KINDS[number % len(KINDS)]}-{number:03d}")
        scene.show(key, world, **({"conditions": DRIFTED} if number % 47 == 5 else {}))
    message = f"the server said {MARKUP} when it was asked"
    scene.show(HOSTILE, a_world_in(Phase.PROGRESSING), message=message)
    rolled_back = lambda world: world.status.phase is Phase.ROLLING_BACK  # noqa: E731
    scene.live(WORSE, a_long_world(120.0, stable=0.01, canary=0.03), rolled_back)
    copied = lambda world: bool(  # noqa: E731
        world.status.canary and world.status.canary.shadow and world.canary.shadow.pairs > 2500
    )
    scene.live(
        SHADOW, a_long_world(60.0, stable=0.004, canary=0.004, shadow={"pairs": 4000}), copied
    )
    ranker = a_long_world(700.0, stable=0.01, canary=0.0103)
    scene.live(LIVE, ranker, in_step(3, 75), drift=DRIFT, conditions=DRIFTED)
    return scene


@contextmanager
def served(scene: Scene, port: int = 0) -> Iterator[str]:
    """Serve a scene by HTTP; yields the address."""
    config = uvicorn.Config(
        create_app(scene.page), host="127.0.0.1", port=port, log_level="warning", lifespan="off",
        timeout_graceful_shutdown=1,
    )  # fmt: skip
    server = uvicorn.Server(config)
    socket = config.bind_socket()
    thread = threading.Thread(target=lambda: asyncio.run(server.serve(sockets=[socket])))
    thread.start()
    try:
        yield f"http://127.0.0.1:{socket.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(10)


def main() -> None:
    """Serve a scene until interrupted."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, default=8765)
    parser.add_argument("--releases", type=int, default=500)
    parser.add_argument("--commands", action="store_true")
    parsed = parser.parse_args()
    with served(a_scene(parsed.releases, commands=parsed.commands), parsed.port) as url:
        print(url, flush=True)
        threading.Event().wait()


if __name__ == "__main__":
    main()
