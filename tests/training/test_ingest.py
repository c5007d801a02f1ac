"""Whatever comes in, one Parquet file with a fingerprint goes out, or one sentence."""

import hashlib
import json
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from modelrelease_training.__main__ import main
from modelrelease_training.data import make_data
from modelrelease_training.errors import EXIT_INVALID, EXIT_USAGE
from modelrelease_training.ingest import generate, read_table


def ingest(*arguments: object) -> int:
    return main(["ingest", *map(str, arguments)])


def failed(capsys: pytest.CaptureFixture[str]) -> str:
    """Return the last line on standard error, after the lines that tell of progress."""
    return capsys.readouterr().err.splitlines()[-1]


@pytest.fixture
def table(tmp_path: Path) -> Path:
    assert ingest("--generate", "--rows", "300", "--output", tmp_path / "table.parquet") == 0
    return tmp_path / "table.parquet"


def test_the_fingerprint_is_the_sha256_of_the_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "new" / "table.parquet"
    assert ingest("--generate", "--rows", "300", "--output", output, "-o", "json") == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["fingerprint"] == hashlib.sha256(output.read_bytes()).hexdigest()
    assert (answer["rows"], answer["path"]) == (300, str(output))
    assert answer["columns"][:3] == ["row_id", "channel", "feature_00"]


def test_the_same_seed_gives_the_same_bytes_and_another_seed_others(
    table: Path, tmp_path: Path
) -> None:
    same, other = tmp_path / "same.parquet", tmp_path / "other.parquet"
    ingest("--generate", "--rows", "300", "--output", same)
    ingest("--generate", "--rows", "300", "--seed", "8", "--output", other)
    assert same.read_bytes() == table.read_bytes() != other.read_bytes()


def test_a_table_through_csv_has_the_same_fingerprint(table: Path, tmp_path: Path) -> None:
    read_table(table).to_csv(tmp_path / "table.csv", index=False)
    assert ingest("--input", tmp_path / "table.csv", "--output", tmp_path / "back.parquet") == 0
    assert (tmp_path / "back.parquet").read_bytes() == table.read_bytes()


def test_a_text_of_digits_keeps_its_zeros(tmp_path: Path) -> None:
    (tmp_path / "in.csv").write_text("row_id,x\n007,1\n008,2\n")
    assert ingest("--input", tmp_path / "in.csv", "--output", tmp_path / "out.parquet") == 0
    assert read_table(tmp_path / "out.parquet")["row_id"].tolist() == ["007", "008"]


def test_another_encoding_is_read_when_it_is_named(tmp_path: Path) -> None:
    (tmp_path / "in.csv").write_bytes("channel\nTür\n".encode("latin-1"))
    arguments = ["--input", tmp_path / "in.csv", "--output", tmp_path / "out.parquet"]
    assert ingest(*arguments, "--encoding", "latin-1") == 0
    assert read_table(tmp_path / "out.parquet")["channel"].tolist() == ["Tür"]


def test_a_shift_moves_its_feature_alone_and_by_its_deviations() -> None:
    usual = make_data(seed=5, rows=20_000)
    drifted = make_data(seed=5, rows=20_000, shifts={"feature_03": 2.0})
    moved = (drifted.rows - usual.rows).mean(axis=0) / usual.rows.std(axis=0)
    assert moved[3] == pytest.approx(2.0, rel=0.02)
    assert np.delete(moved, 3) == pytest.approx(np.zeros(15), abs=1e-9)


def test_labels_follow_the_shifted_features() -> None:
    """Covariate shift: the rule stays, so what was learned elsewhere is what can go wrong."""
    usual = generate(rows=5000, seed=5, shifts={})["label"].mean()
    drifted = generate(rows=5000, seed=5, shifts={"feature_00": 3.0})["label"].mean()
    assert abs(drifted - usual) > 0.05


BAD_FILES = {
    "empty.csv": (b"", r"is empty \(0 bytes\)"),
    "empty.parquet": (b"", r"is empty \(0 bytes\)"),
    "header.csv": (b"a,b\n", "has a header and no rows"),
    "encoding.csv": ("a\nTür\n".encode("latin-1"), "is not utf-8 .*name its --encoding"),
    "ragged.csv": (b"a,b\n1,2\n1,2,3,4\n", "is not a CSV file: .*line 3"),
    "text.parquet": (b"this is no parquet file at all", "is not a Parquet file"),
    "cut.parquet": (b"PAR1 and then nothing", "is not a Parquet file"),
    "table.xlsx": (b"PK", r"ends in '\.xlsx': a table is read from \.csv or \.parquet"),
    "blank.csv": (b"\n\n", "is not a CSV file"),
}


@pytest.mark.parametrize("command", ["ingest", "validate", "train"])
@pytest.mark.parametrize("name", BAD_FILES)
def test_a_file_that_is_no_table_is_one_sentence_and_exit_code_2(
    name: str, command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    content, words = BAD_FILES[name]
    (tmp_path / name).write_bytes(content)
    flag = "--input" if command == "ingest" else "--data"
    arguments = [command, flag, str(tmp_path / name)]
    if command != "validate":
        arguments += ["--output", str(tmp_path / "out.parquet")]
    if command == "train":
        arguments += ["--version", "1"]
    assert main(arguments) == EXIT_USAGE
    sentence = failed(capsys)
    assert str(tmp_path / name) in sentence
    assert re.search(words, sentence), sentence
    assert [path.name for path in tmp_path.iterdir()] == [name]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        pytest.param(
            ["--input", "none.csv"], "none.csv cannot be read: No such file", id="no file"
        ),
        pytest.param(["--generate", "--rows", "5"], "at least 200", id="too few rows"),
        pytest.param(
            ["--generate", "--shift", "feature_03"], "must be FEATURE=", id="half a shift"
        ),
        pytest.param(
            ["--generate", "--shift", "age=+2"], "a shift names 'age'", id="an unknown feature"
        ),
        pytest.param(
            ["--input", "a.csv", "--shift", "feature_03=1"], "goes with --generate", id="no seed"
        ),
    ],
)
def test_a_bad_request_is_one_sentence(
    arguments: list[str], words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert ingest(*arguments, "--output", tmp_path / "out.parquet") == EXIT_USAGE
    assert words in failed(capsys)
    assert list(tmp_path.iterdir()) == []


def test_an_output_is_replaced_only_by_force(
    table: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = table.read_bytes()
    arguments = ["--generate", "--rows", "300", "--seed", "8", "--output", table]
    assert ingest(*arguments) == EXIT_USAGE
    assert "--force" in failed(capsys)
    assert table.read_bytes() == before
    assert ingest(*arguments, "--force") == 0
    assert table.read_bytes() != before


def test_an_output_of_another_kind_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert ingest("--generate", "--output", tmp_path / "out.csv") == EXIT_USAGE
    assert "must end in .parquet" in failed(capsys)


def test_validate_answers_0_for_good_rows_and_3_for_bad_ones(
    table: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["validate", "--data", str(table)]) == 0
    assert "is valid: 300 rows" in capsys.readouterr().out
    frame: pd.DataFrame = read_table(table)
    frame.loc[[4, 6], "channel"] = "tv"
    frame.to_csv(tmp_path / "bad.csv", index=False)
    assert main(["validate", "--data", str(tmp_path / "bad.csv"), "--limit", "1"]) == EXIT_INVALID
    printed = capsys.readouterr().out
    assert "breaks its schema in 2 places" in printed
    assert "row 5, column channel" in printed
    assert "and 1 more" in printed


def test_validate_answers_a_script_in_json(
    table: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    frame = read_table(table).drop(columns="label")
    frame.to_csv(tmp_path / "bad.csv", index=False)
    capsys.readouterr()
    assert main(["validate", "--data", str(tmp_path / "bad.csv"), "-o", "json"]) == EXIT_INVALID
    answer = json.loads(capsys.readouterr().out)
    assert answer["violations"] == [
        {"row": None, "column": "label", "value": None, "rule": "is not in the table"}
    ]
    assert (answer["valid"], answer["total"]) == (False, 1)


@pytest.mark.parametrize("command", ["ingest", "validate", "train"])
def test_help_of_each_command_shows_an_example(
    command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        main([command, "--help"])
    assert f"modelrelease-train {command} --" in capsys.readouterr().out


def test_the_words_for_nothing_are_words_in_a_column_of_texts_and_missing_among_numbers(
    tmp_path: Path,
) -> None:
    """NA is North America, and None a brand; a schema says which columns are texts."""
    words = ["NA", "None", "null", "nan", "N/A", "EU", ""]
    lines = [
        f"{number},{word},{word if word != 'EU' else 1.5}" for number, word in enumerate(words)
    ]
    (tmp_path / "in.csv").write_text("\n".join(["row_id,channel,feature_00", *lines]))
    assert ingest("--input", tmp_path / "in.csv", "--output", tmp_path / "out.parquet") == 0
    found = read_table(tmp_path / "out.parquet")
    assert found["channel"].tolist()[:6] == words[:6]
    assert found["channel"].isna().tolist() == [False] * 6 + [True]
    assert found["feature_00"].dropna().tolist() == [1.5]
