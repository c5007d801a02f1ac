"""One MLflow server for the tests of the retrain flow, which run in .venv-flow beside Prefect."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.mlflow_server import mlflow_server

QUIET = {
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "DO_NOT_TRACK": "1",
    "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "300",
    "PREFECT_SERVER_DATABASE_TIMEOUT": "60",
    "MLFLOW_DISABLE_TELEMETRY": "true",
}


@pytest.fixture(scope="session")
def mlflow(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A real tracking server with its registry."""
    with mlflow_server(tmp_path_factory.mktemp("mlflow")) as url:
        yield url


@pytest.fixture
def quiet() -> dict[str, str]:
    """Environment in which Prefect and MLflow send nothing anywhere."""
    return dict(QUIET)


@pytest.fixture
def workdir(tmp_path: Path) -> Path:
    return tmp_path / "retrain"
