"""The process that answers: starts listening, loads, drains on SIGTERM, and says how it ended.

The order matters: it listens before it loads, so that `/health` answers while a large model loads,
and it goes on listening after SIGTERM, so that clients who do not know yet still get an answer.
"""

import asyncio
import gc
import logging
import os
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Final

import prometheus_client
import uvicorn
import uvloop
from typing_extensions import override

from modelrelease_contract.runtime import EXIT_REFUSED
from modelrelease_contract.shadow import canary_service, stable_service
from modelrelease_serving.app import PredictorApp, create_app
from modelrelease_serving.connections import Drain
from modelrelease_serving.engine import THREAD
from modelrelease_serving.errors import RefusedError, UnreachableError
from modelrelease_serving.http_client import Peer
from modelrelease_serving.listening import allow_connections, listen
from modelrelease_serving.logs import fail_with_message, fields
from modelrelease_serving.model import Model
from modelrelease_serving.protocol import Limits, protocol
from modelrelease_serving.settings import NO_RELEASE, Settings
from modelrelease_serving.shadow import ShadowCopier
from modelrelease_serving.shadow_pairs import ShadowPairs

EXIT_FAILED: Final = 1
_LOADER: Final = "loader"

_LOG = logging.getLogger(__name__)


class DrainingServer(uvicorn.Server):
    """A uvicorn server that answers SIGTERM by draining. SIGINT or a second SIGTERM stop it at
    once.

    So does the first SIGTERM while there is nothing to drain: `is_ready` tells.
    """

    def __init__(
        self,
        config: uvicorn.Config,
        *,
        drain: Drain,
        drain_seconds: float,
        is_ready: Callable[[], bool],
    ) -> None:
        super().__init__(config)
        self._drain = drain
        self._drain_seconds = drain_seconds
        self._is_ready = is_ready
        self._announced = False

    @override
    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Start the drain on the first SIGTERM; leave everything else to uvicorn.

        A SIGTERM is not passed to `super`, which would raise it again at the end: leaving when
        asked to is a success, with exit code 0.
        """
        if sig != signal.SIGTERM:
            super().handle_exit(sig, frame)
        elif self._drain.active:
            self.should_exit = True
        else:
            # Before the model is ready every prediction was refused: nobody has to move on.
            self._drain_seconds = self._drain_seconds if self._is_ready() else 0
            self._drain.start(self._drain_seconds)

    @override
    async def on_tick(self, counter: int) -> bool:
        """Stop when the drain is over. Called by uvicorn ten times a second."""
        if self._drain.active and not self._announced:
            # Not in the signal handler: it may have interrupted a log call.
            self._announced = True
            _LOG.info("draining", extra=fields(seconds=self._drain_seconds))
        if self._drain.over:
            self.should_exit = True
        return await super().on_tick(counter)

    @override
    async def startup(self, sockets: list[object] | None = None) -> None:  # type: ignore[override]
        """Listen, and say where."""
        await super().startup(sockets)  # type: ignore[arg-type]
        for listener in self.servers:
            for listening in listener.sockets:
                host, port, *_ = listening.getsockname()
                _LOG.info("listening", extra=fields(host=host, port=port))


def run(settings: Settings) -> int:
    """Serve the model at MODEL_PATH until told to stop. Return the exit code."""
    # One `_created` series for each counter would double what Prometheus stores, for no query of
    # ours.
    prometheus_client.disable_created_metrics()  # type: ignore[no-untyped-call]
    try:
        model = Model.open(
            settings.model_path,
            version=settings.model_version,
            sha256=settings.model_sha256,
            name=settings.release,
            rules=settings.rules,
        )
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(_serve(model, settings))
    except RefusedError as error:
        fail_with_message(str(error), termination_log=settings.termination_log)
        return EXIT_REFUSED
    except UnreachableError as error:
        fail_with_message(str(error), termination_log=settings.termination_log)
        return EXIT_FAILED
    except KeyboardInterrupt:
        return _stopped(130)
    return _stopped(0)


def _stopped(code: int) -> int:
    """Return `code`, or end the process by it while a model may still load or answer: nobody can
    interrupt that, and nobody waits for it any more.
    """
    if code == 0:
        _LOG.info("stopped")
    if any(thread.name.startswith((_LOADER, THREAD)) for thread in threading.enumerate()):
        logging.shutdown()
        os._exit(code)
    return code


async def _serve(model: Model, settings: Settings) -> None:
    """Listen and load side by side. Raises RefusedError when the model must not serve."""
    drain = Drain()
    app = create_app(model, settings, drain=drain)
    limits = Limits(
        connections=allow_connections(settings.max_connections),
        request_seconds=settings.max_request_seconds,
        receiving_bytes=settings.max_receiving_bytes,
    )
    guarded = protocol(limits)
    config = uvicorn.Config(
        app,
        http=guarded,
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
    )
    server = DrainingServer(
        config,
        drain=drain,
        drain_seconds=settings.drain_seconds,
        # Of a model that is stuck nobody gets an answer, and another process is wanted soon.
        is_ready=lambda: model.ready and not app.predictions.are_stuck,
    )
    listening = _listen(settings)
    watching = asyncio.create_task(guarded.PEERS.watch())
    loading = _load(model, server, fast=settings.compile_model)
    with _sampling(app, model, settings), _copying(app, model, settings):
        await server.serve([listening])
    watching.cancel()
    if loading.done():
        await loading


def _listen(settings: Settings) -> socket.socket:
    try:
        return listen(settings.host, settings.port)
    except OSError as error:
        fact = (
            f"cannot listen on HOST={settings.host} PORT={settings.port} "
            f"({error.strerror or error})"
        )
        msg = f"{fact}: another process may have the port, or this machine has no such address"
        raise UnreachableError(msg) from error


@contextmanager
def _sampling(app: PredictorApp, model: Model, settings: Settings) -> Iterator[None]:
    """Sample answered requests while the block runs, if that is asked for."""
    if settings.sample_url is None:
        yield
        return
    # Most predictors sample nothing, and start sooner without an HTTP client.
    from modelrelease_serving.sampling import Origin, PayloadSampler  # noqa: PLC0415

    origin = Origin(
        release=settings.release,
        revision=settings.revision,
        version=model.manifest.version,
        features=tuple(feature.name for feature in model.manifest.features),
    )
    sampler = PayloadSampler(
        settings.sample_url,
        share=settings.sample_share,
        waiting=settings.sample_queue,
        origin=origin,
        registry=app.metrics.registry,
    )
    app.predictions.sampler = sampler
    sampler.start()
    try:
        yield
    finally:
        sampler.close()


@contextmanager
def _copying(app: PredictorApp, model: Model, settings: Settings) -> Iterator[None]:
    """Copy answered requests to a canary that asks for them, while the block runs.

    Outside a release there is no canary, and nobody is asked.
    """
    if not settings.shadow_copies or settings.release == NO_RELEASE:
        yield
        return
    pairs = ShadowPairs(release=settings.release, revision=settings.revision)
    app.metrics.registry.register(pairs)
    copier = ShadowCopier(
        revision=settings.revision,
        canary=Peer(settings.shadow_canary_url or f"http://{canary_service(settings.release)}"),
        stable=Peer(settings.shadow_stable_url or f"http://{stable_service(settings.release)}"),
        pairs=pairs,
        tolerance=model.manifest.examples.tolerance,
    )
    app.predictions.copier = copier
    running = asyncio.create_task(copier.run())
    try:
        yield
    finally:
        running.cancel()


def _load(model: Model, server: uvicorn.Server, *, fast: bool) -> asyncio.Future[None]:
    """Load in a thread that does not keep the process; stop the server when that fails."""
    loop = asyncio.get_running_loop()
    loading: asyncio.Future[None] = loop.create_future()

    def end(error: BaseException | None) -> None:
        if error is None:
            loading.set_result(None)
        else:
            server.should_exit = True
            loading.set_exception(error)

    def load() -> None:
        failure: BaseException | None = None
        try:
            model.load(fast=fast)
            # What lives until the end need not be looked at by every collection.
            gc.freeze()
        except BaseException as error:
            failure = error
        # A loop that was closed meanwhile waits for nothing.
        with suppress(RuntimeError):
            loop.call_soon_threadsafe(end, failure)

    threading.Thread(target=load, name=_LOADER, daemon=True).start()
    return loading
