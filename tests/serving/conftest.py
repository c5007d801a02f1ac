"""Fixtures of the serving tests."""

from collections.abc import Iterator

import pytest

from modelrelease_serving.model import Model
from modelrelease_training.export import Exported
from tests.serving.support import Web, train, web_server


@pytest.fixture(scope="session")
def artifact(tmp_path_factory: pytest.TempPathFactory) -> Exported:
    return train(tmp_path_factory.mktemp("artifacts"))


@pytest.fixture(scope="session")
def loaded(artifact: Exported) -> Model:
    model = Model.open(artifact.path, sha256=artifact.digest)
    model.load()
    return model


@pytest.fixture
def web() -> Iterator[Web]:
    with web_server() as server:
        yield server
