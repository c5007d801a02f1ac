"""Numerical libraries get as many threads as the container has CPUs, and never the node's."""

from pathlib import Path

import pytest

from modelrelease_serving.threads import chosen, pin, share


@pytest.mark.parametrize(
    ("limit", "threads"),
    [
        pytest.param("50000 100000", 1, id="half a CPU"),
        pytest.param("100000 100000", 1, id="one CPU"),
        pytest.param("350000 100000", 3, id="three and a half"),
        pytest.param("max 100000", 1, id="no limit"),
        pytest.param("nonsense", 1, id="what is no limit"),
    ],
)
def test_the_limit_of_version_2_is_the_number_of_threads(
    tmp_path: Path, limit: str, threads: int
) -> None:
    (tmp_path / "cpu.max").write_text(f"{limit}\n")
    assert share(tmp_path) == threads


@pytest.mark.parametrize(
    ("quota", "threads"), [("200000", 2), ("-1", 1)], ids=["two CPUs", "no limit"]
)
def test_the_limit_of_version_1_is_read_too(tmp_path: Path, quota: str, threads: int) -> None:
    (tmp_path / "cpu").mkdir()
    (tmp_path / "cpu/cpu.cfs_quota_us").write_text(f"{quota}\n")
    (tmp_path / "cpu/cpu.cfs_period_us").write_text("100000\n")
    assert share(tmp_path) == threads


def test_without_cgroups_there_is_one_thread(tmp_path: Path) -> None:
    assert share(tmp_path / "nothing") == 1


@pytest.mark.parametrize(
    ("said", "threads"), [("3", 3), ("4,2", 4), ("", 1), ("0", 1), ("many", 1), (None, 1)]
)
def test_what_does_not_read_the_environment_is_told_its_number(
    said: str | None, threads: int
) -> None:
    assert chosen({} if said is None else {"OMP_NUM_THREADS": said}) == threads


def test_the_environment_goes_first(tmp_path: Path) -> None:
    (tmp_path / "cpu.max").write_text("400000 100000\n")
    environment = {"OMP_NUM_THREADS": "2", "MKL_NUM_THREADS": "3"}
    pin(environment, cgroup=tmp_path)
    assert environment == {
        "OMP_NUM_THREADS": "2",
        "OPENBLAS_NUM_THREADS": "2",
        "MKL_NUM_THREADS": "3",
        "JOBLIB_MULTIPROCESSING": "0",
    }
