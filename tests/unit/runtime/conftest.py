"""What several files of these tests start: the tests' API server, and a client of it."""

from collections.abc import AsyncIterator

import pytest

from modelrelease_operator.runtime.kube import Kube
from testbed.api_server import ApiServer
from testbed.operating import connected


@pytest.fixture
async def server() -> AsyncIterator[ApiServer]:
    found = await ApiServer().start()
    yield found
    await found.stop()


@pytest.fixture
async def kube(server: ApiServer) -> AsyncIterator[Kube]:
    found = await connected(server)
    yield found
    await found.close()
