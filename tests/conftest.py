"""What all tests share: one MLflow server for a run, because it takes long to start, and how
properties are tried.
"""

import os
import signal
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest

from tests.support.mlflow_server import mlflow_server

# A shell's background job ignores SIGINT, and the processes that tests start and interrupt would
# too.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

with suppress(ImportError):  # The environments of the text and flow tests have none.
    from hypothesis import HealthCheck, settings

    # By default an example that takes over 200 ms fails, and so does one that takes long to draw:
    # both happen on a busy machine.
    no_clock: dict[str, Any] = {"deadline": None, "suppress_health_check": [HealthCheck.too_slow]}
    # The same examples at every run: a test that fails by chance is of no use.
    settings.register_profile("ordinary", derandomize=True, **no_clock)
    # Others at every run, and many more: `make fuzz`.
    settings.register_profile(
        "search", derandomize=False, max_examples=1000, print_blob=True, **no_clock
    )
    settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ordinary"))


@pytest.fixture(scope="session")
def mlflow_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with mlflow_server(tmp_path_factory.mktemp("mlflow")) as url:
        yield url
