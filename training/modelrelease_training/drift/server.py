"""The process of the drift service: reads its settings, loads, listens, and says how it ended."""

import asyncio
import logging
import signal
import sys
from types import FrameType
from typing import Final

import uvicorn
from fastapi import FastAPI
from pydantic import ValidationError
from typing_extensions import override

from modelrelease_training.drift.baseline import load
from modelrelease_training.drift.encoder import SentenceEncoder
from modelrelease_training.drift.errors import DriftError
from modelrelease_training.drift.exported import Exported
from modelrelease_training.drift.service import create_app
from modelrelease_training.drift.settings import ServiceSettings, explain
from modelrelease_training.drift.worker import Worker

EXIT_REFUSED: Final = 2
_EVERY_FAMILY: Final = ""
"""As a host for asyncio: a socket for each family that there is. It reads `::` as IPv6 alone."""

_LOG = logging.getLogger("modelrelease.drift")


class WatchedServer(uvicorn.Server):
    """A uvicorn server that says where it listens, and ends where its worker cannot work."""

    def __init__(self, config: uvicorn.Config, worker: Worker) -> None:
        super().__init__(config)
        self._worker = worker

    @override
    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Leave on SIGTERM with exit code 0: `super` would raise the signal again at the end."""
        if sig == signal.SIGTERM:
            self.should_exit = True
        else:
            super().handle_exit(sig, frame)

    @override
    async def on_tick(self, counter: int) -> bool:
        """Look at the worker. Called by uvicorn ten times a second."""
        if self._worker.failed is not None:
            self.should_exit = True
        return await super().on_tick(counter)

    @override
    async def startup(self, sockets: list[object] | None = None) -> None:  # type: ignore[override]
        """Listen, and say where."""
        await super().startup(sockets)  # type: ignore[arg-type]
        for listener in self.servers:
            for socket in listener.sockets:
                host, port, *_ = socket.getsockname()
                _LOG.info("listening on %s:%d", host, port)


def run() -> int:
    """Serve until told to stop. Return the exit code: 0, or 2 where the service can never work."""
    logging.basicConfig(
        stream=sys.stderr, level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s"
    )
    # Which files the encoder was looked for in is of no use to who runs this.
    logging.getLogger("httpx").setLevel(logging.WARNING)
    try:
        settings = ServiceSettings()
        baseline = load(settings.baseline)
    except ValidationError as error:
        return _give_up(explain(error))
    except DriftError as error:
        return _give_up(str(error))
    exported = Exported(baseline.about.histograms)
    worker = Worker(baseline, settings, exported, SentenceEncoder)
    app = create_app(worker, exported, feature=settings.feature or baseline.about.column)
    worker.start()
    try:
        asyncio.run(WatchedServer(config_of(app, settings), worker).serve())
    except KeyboardInterrupt:
        return 130
    if worker.failed is not None:
        return _give_up(str(worker.failed))
    worker.stop()
    return 0


def config_of(app: FastAPI, settings: ServiceSettings) -> uvicorn.Config:
    """Return how the application is served."""
    host = _EVERY_FAMILY if settings.host == "::" else settings.host
    return uvicorn.Config(
        app, host=host, port=settings.port,
        lifespan="off", log_config=None, access_log=False, server_header=False,
        timeout_graceful_shutdown=5,
    )  # fmt: skip


def _give_up(sentence: str) -> int:
    _LOG.error("%s", sentence)
    return EXIT_REFUSED
