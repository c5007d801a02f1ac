"""A short form of `make bench-cluster`:
releases side by side, each ending as its own evidence says.
"""

from pathlib import Path

from benchmarks.cluster import cases, make_artifacts, run, stock
from cluster import Cluster


def test_releases_side_by_side_end_as_they_must(cluster: Cluster, tmp_path: Path) -> None:
    stock(cluster, make_artifacts(tmp_path))
    results = run(cluster, cases(healthy=1, failing=1, shared=1), rps=40, at_once=3)
    assert [result for result in results if not result.as_expected] == []
