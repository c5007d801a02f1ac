"""The compare command: accepted is 0, refused is 4, and what cannot be compared is 2."""

import json
from pathlib import Path

import pytest

from modelrelease_training.__main__ import main
from modelrelease_training.errors import EXIT_INVALID, EXIT_REFUSED, EXIT_USAGE
from modelrelease_training.ingest import generate, write_table
from modelrelease_training.registry import Registry


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two worlds of rows, and a model of each:
    `old` was made before feature_00 moved, `new` after.
    """
    folder = tmp_path_factory.mktemp("compare")
    for name, seed, shifts in (("old", 7, {}), ("new", 8, {"feature_00": 2.0})):
        data = write_table(
            generate(rows=4000, seed=seed, shifts=shifts), folder / f"{name}.parquet"
        ).path
        assert (
            main(
                [
                    "train",
                    "--version",
                    name,
                    "--data",
                    str(data),
                    "--output",
                    str(folder),
                    "--no-card",
                ]
            )
            == 0
        )
    return folder


def compare(
    made: Path, champion: str, challenger: str, *options: str, data: str = "new.parquet"
) -> int:
    sides = [
        "--champion",
        str(made / "qna" / champion),
        "--challenger",
        str(made / "qna" / challenger),
    ]
    return main(["compare", *sides, "--data", str(made / data), *options])


def test_a_model_that_knows_the_new_world_is_accepted(
    made: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert compare(made, "old", "new", "-o", "json") == 0
    answer = json.loads(capsys.readouterr().out)
    decided = answer["acceptance"]
    assert decided["accepted"]
    assert 0 < decided["interval"][0] < decided["gain"] < decided["interval"][1]
    assert decided["challenger"] == pytest.approx(answer["challenger"]["metrics"]["roc_auc"])
    assert set(answer["challenger"]["segments"]) == {"mobile", "partner", "web"}


def test_a_model_that_does_not_is_refused_with_its_own_exit_code(
    made: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert compare(made, "new", "old") == EXIT_REFUSED
    printed = capsys.readouterr().out
    assert printed.startswith("Refused: qna old against qna new")
    assert "it is worse: 95% interval of its gain in roc_auc" in printed
    assert "in web" in printed


def test_the_floor_refuses_too(made: Path) -> None:
    assert compare(made, "old", "new", "--floor", "0.999") == EXIT_REFUSED


def test_all_rows_are_measured_where_that_was_asked_for(
    made: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    compare(made, "old", "new", "--all-rows", "-o", "json")
    assert json.loads(capsys.readouterr().out)["acceptance"]["rows"] == 4000


def test_the_champion_may_come_from_mlflow(
    made: Path, mlflow_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    Registry(mlflow_url).register(made / "qna" / "old", aliases=["serving"])
    sides = ["--champion", "models:/qna@serving", "--challenger", str(made / "qna" / "new")]
    arguments = ["compare", *sides, "--data", str(made / "new.parquet"), "--mlflow", mlflow_url]
    assert main(arguments) == 0
    assert "Accepted: qna new against qna old" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("options", "words"),
    [
        pytest.param(
            ["--margin", "-1"], "margin must be 0 or more, got -1.0", id="a margin below nothing"
        ),
        pytest.param(["--confidence", "1"], "below 1, got 1.0", id="certainty"),
        pytest.param(["--champion", "models:/qna"], "names no registered model", id="no alias"),
        pytest.param(
            ["--champion", "nowhere"], "nowhere/manifest.json cannot be read", id="no champion"
        ),
        pytest.param(["--data", "none.parquet"], "none.parquet cannot be read", id="no data"),
    ],
)
def test_what_cannot_be_compared_is_one_sentence(
    options: list[str], words: str, made: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert compare(made, "old", "new", *options) == EXIT_USAGE
    assert words in capsys.readouterr().err.splitlines()[-1]


def test_too_few_rows_are_no_decision(
    made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    few = write_table(generate(rows=220, seed=9, shifts={}), tmp_path / "few.parquet").path
    assert compare(made, "old", "new", "--data", str(few)) == EXIT_USAGE
    assert "at least 30 rows of each label" in capsys.readouterr().err


def test_data_that_breaks_its_schema_is_exit_code_3(made: Path, tmp_path: Path) -> None:
    bad = write_table(
        generate(rows=400, seed=9, shifts={}).assign(channel="tv"), tmp_path / "bad.parquet"
    ).path
    assert compare(made, "old", "new", "--data", str(bad)) == EXIT_INVALID


def test_a_model_of_other_features_is_not_compared(
    made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    schema = tmp_path / "small.yaml"
    schema.write_text(
        "version: 1\nlabel: y\ncolumns: {x: {type: number}, y: {type: integer, categories: [0, "
        "1]}}\n"
    )
    rows = "\n".join(f"{number / 7},{number % 2}" for number in range(600))
    (tmp_path / "small.csv").write_text(f"x,y\n{rows}\n")
    options = ["--data", str(tmp_path / "small.csv"), "--schema", str(schema)]
    assert compare(made, "old", "new", *options) == EXIT_USAGE
    assert "takes the features feature_00" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["compare", "register"])
def test_help_shows_an_example(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main([command, "--help"])
    assert f"  modelrelease-train {command} " in capsys.readouterr().out
