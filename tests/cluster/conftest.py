"""One cluster for all cluster tests, and one namespace for each.

If the cluster cannot start, the tests fail: nothing is skipped. A context that neither we made nor
a person named is refused. KEEP_CLUSTER=1 leaves the cluster up for the next run, and TEST_CLUSTER
names another one than `tests`.

Most tests only wait, so `pytest -n 3 -m "cluster and not alone"` runs them side by side on one
cluster. Those that break what all share (they kill the operator or Prometheus, or install the
operator anew) or count every lost request are marked `alone` and refused there.
"""

import os
import re
import zlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from cluster import Cluster, cache, cluster_for
from examples import fixtures
from examples.models.faulty import main as make_faulty
from modelrelease_training.__main__ import main as train
from testbed.releases import Release

HERE = Path(__file__).parent
WORKER = os.environ.get("PYTEST_XDIST_WORKER", "")
STORE_SPACE = "artifacts"
LONGEST_SPACE = 50
FAULTY = {
    "3": "failing", "4": "slow", "5": "broken", "6": "tampered", "7": "failing",
    "8": "dying", "9": "dropping",
}  # fmt: skip
LOST_SHARE = "0.02"
"""Of the requests that versions 8 and 9 leave without an answer, by themselves."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark everything in this folder, so that no file can forget to; begin with what is long."""
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.cluster)
    items.sort(key=lambda item: item.get_closest_marker("long") is None)


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Refuse what cannot run side by side."""
    if WORKER and item.get_closest_marker("alone"):
        pytest.fail('wants the cluster for itself: add -m "cluster and not alone", or leave out -n')


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    """The tests' own cluster, with the operator installed by its chart."""
    ours = cluster_for(os.environ.get("TEST_CLUSTER", "tests"))
    ours.up()
    ours.require_ours()
    ours.install_operator()
    yield ours
    if not (WORKER or os.environ.get("KEEP_CLUSTER")):
        ours.down()


@pytest.fixture(scope="session")
def artifacts(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Versions of one model: two good ones, one of each kind of faulty one, and 7 that fails as 3.

    Workers share them: a version that one of them serves must be what the others would write.
    """
    base = tmp_path_factory.getbasetemp()
    output = (base.parent if WORKER else base) / "models"
    with cache.lock("models-of-the-cluster-tests"):
        if not output.is_dir():
            with cache.making(output) as folder:
                _make_versions(folder)
    return {folder.name: folder for folder in sorted((output / "qna").iterdir())}


def _make_versions(output: Path) -> None:
    for version, seed in (("1", "7"), ("2", "8")):
        assert train(["train", "--version", version, "--seed", seed, "--output", str(output)]) == 0
    for version, kind in FAULTY.items():
        share = ["--share", LOST_SHARE] if kind in ("dying", "dropping") else []
        assert make_faulty([kind, "--version", version, "--output", str(output), *share]) == 0


@pytest.fixture(scope="session")
def store(cluster: Cluster, artifacts: dict[str, Path]) -> str:
    """A web server with every artifact; returns its namespace."""
    folders = list(artifacts.values())
    fixtures.apply(cluster, fixtures.namespace(STORE_SPACE))
    fixtures.apply(
        cluster, *(fixtures.artifact_configmap(STORE_SPACE, folder) for folder in folders)
    )
    fixtures.apply(cluster, *fixtures.model_store(STORE_SPACE, folders))
    cluster.kubectl(
        "rollout", "status", "-n", STORE_SPACE, f"deployment/{fixtures.STORE}", "--timeout=600s"
    )
    return STORE_SPACE


def _space_of(test: str) -> str:
    """Return a namespace's name for a test: cases whose names begin alike have their own."""
    name = re.sub("[^a-z0-9]+", "-", test.lower()).strip("-")
    if len(name) <= LONGEST_SPACE:
        return name
    mark = f"{zlib.crc32(test.encode()):08x}"
    return f"{name[: LONGEST_SPACE - 9].rstrip('-')}-{mark}"


@pytest.fixture
def space(cluster: Cluster, request: pytest.FixtureRequest) -> Iterator[str]:
    """A namespace of the test's own, which takes only pods without privileges."""
    name = _space_of(request.node.name)
    cluster.kubectl("delete", "namespace", name, "--ignore-not-found", "--wait", "--timeout=600s")
    fixtures.apply(cluster, fixtures.namespace(name))
    yield name
    cluster.kubectl("delete", "namespace", name, "--wait=false")


@pytest.fixture
def release(cluster: Cluster, store: str, space: str) -> Release:
    """A release in the test's namespace, not applied yet."""
    return Release(cluster=cluster, space=space, store=store)
