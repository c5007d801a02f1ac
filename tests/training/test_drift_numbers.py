"""`modelrelease-drift` on numbers: the operator's test on files, and its worst inputs."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest

from modelrelease_training.data import feature_names, make_data, split
from modelrelease_training.drift.__main__ import main
from modelrelease_training.evaluate import evaluate
from modelrelease_training.export import Label, export_artifact
from modelrelease_training.train import fit


def rows(number: int, seed: int, *, shift: float = 0.0) -> dict[str, Any]:
    chance = np.random.default_rng(seed)
    return {
        "age": chance.normal(40 + 10 * shift, 10, number),
        "income": np.where(chance.random(number) < 0.1, np.nan, chance.lognormal(10, 1, number)),
        "country": chance.choice(["DE", "FR", "IT"], number, p=[0.5, 0.3, 0.2]).tolist(),
    }


def saved(path: Path, columns: dict[str, Any]) -> Path:
    table = pa.table({name: pa.array(values, from_pandas=True) for name, values in columns.items()})
    if path.suffix == ".parquet":
        pyarrow.parquet.write_table(table, path)
    else:
        pyarrow.csv.write_csv(table, path)
    return path


@pytest.fixture
def baseline(tmp_path: Path) -> Path:
    source, target = saved(tmp_path / "rows.csv", rows(5000, 1)), tmp_path / "baseline.json"
    assert (
        main(
            [
                "baseline",
                "--kind=numeric",
                "--input_file",
                str(source),
                "--output_file",
                str(target),
            ]
        )
        == 0
    )
    return target


def check(
    baseline: Path, batch: Path, capsys: pytest.CaptureFixture[str]
) -> tuple[int, dict[str, Any]]:
    capsys.readouterr()
    code = main(["check", "--baseline", str(baseline), "--input-file", str(batch), "--format=json"])
    return code, json.loads(capsys.readouterr().out)


def test_rows_like_the_baseline_end_with_0(
    baseline: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for seed in range(20):
        code, found = check(
            baseline, saved(tmp_path / "new.parquet", rows(1000, 100 + seed)), capsys
        )
        assert (code, found["found_by"]) == (0, [])


def test_a_shifted_column_ends_with_1_and_is_named(
    baseline: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, found = check(baseline, saved(tmp_path / "new.csv", rows(1000, 7, shift=0.6)), capsys)
    assert code == 1
    assert found["found_by"] == ["age"]
    assert "age (PSI" in found["sentence"]


def test_a_category_that_was_never_seen_is_drift(
    baseline: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    batch = rows(1000, 7)
    batch["country"] = ["XX" if n % 4 == 0 else value for n, value in enumerate(batch["country"])]
    code, found = check(baseline, saved(tmp_path / "new.csv", batch), capsys)
    assert (code, found["found_by"]) == (1, ["country"])


def test_values_that_went_missing_are_drift(
    baseline: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    batch = rows(1000, 7)
    batch["income"][:600] = np.nan
    code, found = check(baseline, saved(tmp_path / "new.csv", batch), capsys)
    assert (code, found["found_by"]) == (1, ["income"])


def test_few_rows_are_undecided_and_no_drift(
    baseline: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, found = check(baseline, saved(tmp_path / "new.csv", rows(30, 7, shift=3)), capsys)
    assert (code, found["insufficient"]) == (0, True)
    assert (
        main(["check", "--baseline", str(baseline), "--input-file", str(tmp_path / "new.csv")]) == 0
    )
    said = capsys.readouterr().out
    assert said.startswith(
        "Undecided: 30 rows hold 30 values of a column at most, and 100 are needed"
    )


def test_the_baseline_of_an_artifact_is_one_too(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = split(make_data(seed=7, rows=5000))
    model = fit(data.training)
    metrics = evaluate(model, data.held_out)
    label = Label(name="qna", version="1")
    exported = export_artifact(model, label=label, data=data, metrics=metrics, output=tmp_path)
    fresh = dict(zip(feature_names(), make_data(seed=8, rows=1000).rows.T, strict=True))
    manifest = exported.path / "manifest.json"
    assert check(manifest, saved(tmp_path / "new.csv", fresh), capsys)[0] == 0
    moved = feature_names()[3]
    fresh[moved] = fresh[moved] + 2 * fresh[moved].std()
    code, found = check(manifest, saved(tmp_path / "new.csv", fresh), capsys)
    assert (code, found["found_by"]) == (1, [moved])


BAD: list[tuple[str, bytes, str]] = [
    ("new.csv", b"", "is empty"),
    ("new.csv", b"age,income,country\n", "has columns but no rows"),
    ("new.csv", b"age,income\n1,2\n", "the rows lack country"),
    (
        "new.csv",
        b"age,income,country\nold,2,DE\n",
        "column age must hold numbers, got 'old' in row 1",
    ),
    ("new.csv", "age,income,country\n1,2,Österreich\n".encode("latin-1"), "is not utf-8: line 2"),
    ("new.csv", b"age,age\n1,2\n", "several columns called 'age'"),
    ("new.jsonl", b'{"age": 1}\n', "numbers are read from .csv and .parquet files"),
    ("new.parquet", b"nonsense", "no readable .parquet file"),
]


@pytest.mark.parametrize(("name", "content", "sentence"), BAD, ids=[it[2] for it in BAD])
def test_rows_that_cannot_be_used_end_with_2_and_one_sentence(
    baseline: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    name: str,
    content: bytes,
    sentence: str,
) -> None:
    (tmp_path / name).write_bytes(content)
    assert main(["check", "--baseline", str(baseline), "--input-file", str(tmp_path / name)]) == 2
    assert sentence in capsys.readouterr().err


@pytest.mark.parametrize(
    "content", [b"", b"{}", b"[1]", b'{"model_file": 1}', b'{"rows": 5}', b"\xff"]
)
def test_a_baseline_that_is_none_ends_with_2(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], content: bytes
) -> None:
    (tmp_path / "baseline.json").write_bytes(content)
    saved(tmp_path / "new.csv", rows(500, 1))
    line = [
        "check",
        "--baseline",
        str(tmp_path / "baseline.json"),
        "--input-file",
        str(tmp_path / "new.csv"),
    ]
    assert main(line) == 2
    assert "baseline" in capsys.readouterr().err


def test_a_baseline_that_is_missing_ends_with_2(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["check", "--baseline", str(tmp_path / "no.npz"), "--input-file", "x.csv"]) == 2
    assert "make one with `modelrelease-drift baseline`" in capsys.readouterr().err


def test_a_column_without_a_value_makes_no_baseline(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = saved(tmp_path / "rows.csv", {**rows(500, 1), "nothing": [None] * 500})
    line = [
        "baseline",
        "--kind",
        "numeric",
        "--input-file",
        str(source),
        "--output-file",
        "never.json",
    ]
    assert main(line) == 2
    assert "column nothing has no value at all" in capsys.readouterr().err


def judged(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], before: str, after: str
) -> tuple[int, Any]:
    """Return what the command says of one column of CSV against another,
    both 600 rows of the words given.
    """
    for name, words in (("base.csv", before), ("new.csv", after)):
        rows = np.random.default_rng(len(name)).choice(words.split("|"), 600).tolist()
        (tmp_path / name).write_text("\n".join(["column", *rows]) + "\n")
    target = tmp_path / "known.json"
    line = ["baseline", "--kind=numeric", "--input-file", str(tmp_path / "base.csv")]
    assert main([*line, "--output-file", str(target)]) == 0
    return check(target, tmp_path / "new.csv", capsys)


@pytest.mark.parametrize(
    ("before", "after", "drift"),
    [
        ("NA|EU|None", "NA|EU|None", 0),
        ("NA|EU|None", "NA|EU|EU", 1),
        ("NA|EU|None", "NA", 1),
        ("007|7|x", "007|7|x", 0),
        ("007|7|x", "7|7|x", 1),
        ("1234567|1234568|x", "1234567|1234568", 1),
        ("1234567|1234568|x|x|x", "1234567|1234568|x|x|x", 0),
        ("2024-01-01|2024-01-02", "2024-01-01|2024-01-02", 0),
        ("2024-01-01|2024-01-02", "2024-02-01|2024-02-02", 1),
        ("2024-01-01T10:00:00|x", "2024-01-01T10:00:00", 1),
        ("true|false", "true|false", 0),
        ("true|false", "true", 1),
        ("é|ü|漢", "é|ü|漢", 0),
        ("é|ü|漢", "é|ü|語", 1),
    ],
)
def test_words_codes_days_and_flags_are_compared_as_they_are_spelled(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], before: str, after: str, drift: int
) -> None:
    code, found = judged(tmp_path, capsys, before, after)
    assert code == drift, found["sentence"]


def test_infinite_values_are_told_from_large_ones(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = np.where(np.arange(1000) % 3 == 0, np.inf, np.arange(1000.0))
    known = tmp_path / "known.json"
    given = ["--input-file", str(saved(tmp_path / "base.parquet", {"x": before}))]
    assert main(["baseline", "--kind=numeric", *given, "--output-file", str(known)]) == 0
    assert check(known, tmp_path / "base.parquet", capsys)[0] == 0
    after = np.where(np.isinf(before), 1e300, before)
    assert check(known, saved(tmp_path / "new.parquet", {"x": after}), capsys)[0] == 1


def test_texts_without_the_encoder_say_what_to_install(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """This environment has no torch, as an install without the extra."""
    (tmp_path / "texts.txt").write_text("one\n" * 200)
    line = ["baseline", "--input-file", str(tmp_path / "texts.txt"), "--output-file", "never.npz"]
    assert main(line) == 2
    assert "pip install 'modelrelease[drift]'" in capsys.readouterr().err
