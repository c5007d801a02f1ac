"""A short form of `make bench-cluster`:
releases side by side, each ending as its own evidence says.
"""

from pathlib import Path

import pytest

from benchmarks.cluster import Case, cases, make_artifacts, run, stock
from cluster import Cluster
from examples.models.faulty import main as make_faulty

FAILING = Case(name="failing", stable="20", canary="99", promoted=False)
"""A fifth of the requests beside 2 %: no chance makes the two alike."""


@pytest.mark.long
def test_releases_side_by_side_end_as_they_must(cluster: Cluster, tmp_path: Path) -> None:
    make_artifacts(tmp_path)
    fails = ["failing", "--version", FAILING.canary, "--share", "0.2", "--output", str(tmp_path)]
    assert make_faulty(fails) == 0
    stock(cluster, sorted((tmp_path / "qna").iterdir()))
    results = run(cluster, [*cases(healthy=1, failing=0, shared=1), FAILING], rps=40, at_once=3)
    assert [result for result in results if not result.as_expected] == []
