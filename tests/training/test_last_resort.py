"""Whatever happens, a command ends with 2 and a sentence:
1 is an answer, and a traceback is none.
"""

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest

from modelrelease_training import __main__ as training
from modelrelease_training.drift import __main__ as drift
from modelrelease_training.flow import __main__ as flow

Main = Callable[[Sequence[str]], int]
COMMANDS: list[Any] = [
    pytest.param(
        training,
        ["validate", "--data", "x.csv"],
        "modelrelease_training.commands.validate.run",
        id="train",
    ),
    pytest.param(
        drift,
        ["check", "--baseline", "b", "--input-file", "x"],
        "modelrelease_training.drift.__main__._check",
        id="drift",
    ),
    pytest.param(
        flow, ["run", "--id", "one"], "modelrelease_training.flow.__main__._run", id="flow"
    ),
]


class UnforeseenError(Exception):
    """What nobody thought of."""


def fails(error: BaseException) -> Callable[..., int]:
    def run(*_: object) -> int:
        raise error

    return run


@pytest.mark.parametrize(("module", "line", "inside"), COMMANDS)
@pytest.mark.parametrize(
    "error",
    [UnforeseenError("a\nb"), ZeroDivisionError("by zero"), MemoryError(), RecursionError()],
)
def test_an_error_that_nobody_foresaw_ends_with_2_and_one_line(
    module: Any,
    line: list[str],
    inside: str,
    error: Exception,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(inside, fails(error))
    assert module.main(line) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert (
        f"cannot go on: {type(error).__name__}: {' '.join(str(error).split())} (test_last_resort.py"
        in said
    )


@pytest.mark.parametrize(("module", "line", "inside"), COMMANDS)
def test_the_traceback_is_there_for_who_asks(
    module: Any,
    line: list[str],
    inside: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(inside, fails(UnforeseenError("a")))
    monkeypatch.setenv("MODELRELEASE_TRACEBACK", "1")
    assert module.main(line) == 2
    assert "Traceback (most recent call last)" in capsys.readouterr().err


@pytest.mark.parametrize(("module", "line", "inside"), COMMANDS)
def test_an_interrupt_ends_with_130(
    module: Any, line: list[str], inside: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inside, fails(KeyboardInterrupt()))
    assert module.main(line) == 130


def test_ids_beyond_what_a_double_holds_are_compared(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    draw = np.random.default_rng(1)
    for name, start in (("base", 2**60), ("new", 2**60), ("moved", 2**62)):
        ids = pa.array((start + draw.integers(0, 2**58, 1000)).tolist(), type=pa.uint64())
        pyarrow.parquet.write_table(pa.table({"id": ids}), tmp_path / f"{name}.parquet")
    known = str(tmp_path / "known.json")
    line = ["baseline", "--kind", "numeric", "--output-file", known]
    assert drift.main([*line, "--input-file", str(tmp_path / "base.parquet")]) == 0
    for name, code in (("new", 0), ("moved", 1)):
        assert (
            drift.main(
                ["check", "--baseline", known, "--input-file", str(tmp_path / f"{name}.parquet")]
            )
            == code
        )
    assert "id (PSI" in capsys.readouterr().out


@pytest.mark.parametrize("value", [str(2**64), "9" * 400])
def test_integers_that_parquet_cannot_hold_end_ingest_with_2_and_say_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], value: str
) -> None:
    (tmp_path / "rows.csv").write_text(f"a,b\n-1,2\n{value},3\n")
    line = [
        "ingest",
        "--input",
        str(tmp_path / "rows.csv"),
        "--output",
        str(tmp_path / "rows.parquet"),
    ]
    code = training.main(line)
    said = capsys.readouterr().err.splitlines()[-1]
    assert (code, "whole numbers of 64 bits at most" in said) in ((2, True), (0, False))
    assert (tmp_path / "rows.parquet").exists() == (code == 0)


def test_a_flow_without_prefect_says_where_it_runs(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setitem(sys.modules, "prefect", None)
    assert flow.main(["run", "--drawn", "500"]) == 2
    said = capsys.readouterr().err
    assert "pip install 'modelrelease[flow]'" in said
    assert "fault of ours" not in said
