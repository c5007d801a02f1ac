"""A newcomer follows the tutorial in a clean clone, word for word, on the tests' cluster."""

from pathlib import Path

import pytest

from cluster import Cluster
from tests.support import newcomer
from tests.support.walkthrough import Reader, fresh_clone, lend_environment


@pytest.mark.long
def test_the_tutorial_does_what_it_says(cluster: Cluster, tmp_path: Path):
    cluster.kubectl("delete", "namespace", "tutorial", "--ignore-not-found", "--timeout=600s")
    clone = fresh_clone(newcomer.ROOT, tmp_path / "clone")
    lend_environment(newcomer.ROOT, clone)
    reader = Reader(clone, tmp_path, {"NAME": cluster.name})
    for block in newcomer.of_lessons():
        if not newcomer.begins(block, newcomer.BORROWED):
            reader.read(block)
