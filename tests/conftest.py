"""One MLflow server for all tests of a run, because it takes long to start."""

import signal
from collections.abc import Iterator
from contextlib import suppress

import pytest

from tests.support.mlflow_server import mlflow_server

# A shell's background job ignores SIGINT, and the processes that tests start and interrupt would
# too.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

with suppress(ImportError):  # The environments of the text and flow tests have none.
    import hypothesis

    # By default an example that takes over 200 ms fails, which it does on a busy machine.
    hypothesis.settings.register_profile("without a clock", deadline=None)
    hypothesis.settings.load_profile("without a clock")


@pytest.fixture(scope="session")
def mlflow_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with mlflow_server(tmp_path_factory.mktemp("mlflow")) as url:
        yield url
