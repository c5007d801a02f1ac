"""Whatever a column holds, a shift of the stated size is found, and none is invented:
benchmarks/drift.py.
"""

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pytest

from benchmarks.drift import Family, alarms, families, numeric_families, operated
from modelrelease_training.drift.__main__ import main

EVERY = [pytest.param(each, id=f"{each.name}, {each.shift}") for each in families()]
NUMERIC = numeric_families()


@pytest.mark.parametrize("family", EVERY)
def test_the_command_finds_95_of_100_shifts(family: Family) -> None:
    assert alarms(family, rows=1000, batch=1000, moved=True, seeds=100) >= 95


@pytest.mark.parametrize("family", EVERY)
def test_the_command_finds_drift_in_2_of_100_clean_batches_at_most(family: Family) -> None:
    assert alarms(family, rows=1000, batch=1000, moved=False, seeds=100) <= 2


def test_the_operator_finds_every_shift_that_predictors_counted_and_no_other() -> None:
    for seed in range(20):
        window, status = operated(NUMERIC, moved=True, seed=seed)
        found = {NUMERIC[int(each.name)].name for each in window.drifted}
        assert found == {each.name for each in NUMERIC}
        assert status.drifted
        window, status = operated(NUMERIC, moved=False, seed=seed)
        assert window.drifted == ()
        assert not status.drifted


def test_a_flag_and_a_count_that_moved_end_the_command_with_1(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    draw = np.random.default_rng(1)
    before = {"flag": (draw.random(5000) < 0.05).astype(int), "count": draw.poisson(0.08, 5000)}
    after = {"flag": np.ones(5000, dtype=int), "count": draw.poisson(50, 5000)}
    for name, columns in (("base.csv", before), ("new.csv", after)):
        pyarrow.csv.write_csv(pa.table(columns), tmp_path / name)
    known = tmp_path / "b.json"
    given = ["--input-file", str(tmp_path / "base.csv")]
    assert main(["baseline", "--kind", "numeric", *given, "--output-file", str(known)]) == 0
    assert main(["check", "--baseline", str(known), *given]) == 0
    capsys.readouterr()
    line = [
        "check",
        "--baseline",
        str(known),
        "--input-file",
        str(tmp_path / "new.csv"),
        "--format",
        "json",
    ]
    assert main(line) == 1
    assert set(json.loads(capsys.readouterr().out)["found_by"]) == {"flag", "count"}
