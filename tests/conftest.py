"""One MLflow server for all tests of a run, because it takes long to start."""

import signal
from collections.abc import Iterator

import pytest

from tests.support.mlflow_server import mlflow_server

# A shell's background job ignores SIGINT, and the processes that tests start and interrupt would
# too.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def mlflow_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with mlflow_server(tmp_path_factory.mktemp("mlflow")) as url:
        yield url
