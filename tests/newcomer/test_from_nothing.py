"""A newcomer makes all of it in a clean clone: the environment, the demo, a cluster, both lessons.

`make test-newcomer` runs it. It is no part of `make test`, which follows the tutorial on the
tests' own cluster.
"""

from collections.abc import Iterator

import pytest

from cluster import cluster_for
from tests.support import newcomer
from tests.support.walkthrough import Reader, fresh_clone

NAME = "newcomer"
"""Of the tutorial's cluster: one called `dev` may be the developer's own."""


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Reader]:
    folder = tmp_path_factory.mktemp("newcomer")
    yield Reader(fresh_clone(newcomer.ROOT, folder / "clone"), folder, {"NAME": NAME})
    cluster_for(NAME).down()
    cluster_for("demo").down()


def test_the_demo_comes_to_its_end_and_leaves_nothing_behind(reader: Reader):
    done = [
        it for it in newcomer.of_document(newcomer.README) if newcomer.begins(it, newcomer.ALONE)
    ]
    assert len(done) == len(newcomer.ALONE)
    for block in done:
        reader.read(block)


def test_the_tutorial_does_what_it_says(reader: Reader):
    for block in newcomer.of_lessons():
        reader.read(block)
