"""Late labels find their predictions, and decay is told; a wrong file is named with its line."""

import asyncio
import json
from pathlib import Path

import pytest
from aiohttp import web

from modelrelease_contract import Output
from modelrelease_training.__main__ import main
from modelrelease_training.labels import Classes
from testbed.servers import serving


@pytest.fixture(scope="module")
def artifact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("artifacts")
    assert main(["train", "--version", "1", "--rows", "1000", "--output", str(folder)]) == 0
    return folder / "qna" / "1"


def sampled(number: int, probability: float, *, version: str = "1") -> str:
    """A sampled request as the predictor sends it."""
    event = {
        "specversion": "1.0",
        "id": f"event-{number}",
        "source": "/releases/qna/revisions/abc",
        "type": "dev.modelrelease.prediction.sampled",
        "release": "qna",
        "revision": "abc",
        "modelversion": version,
        "predictionid": f"order-{number}",
        "data": {"features": ["a"], "rows": [[1.0]], "predictions": [probability]},
    }
    return json.dumps(event)


def files(folder: Path, labels: list[str], *, version: str = "1") -> list[str]:
    """Write 300 answers, all of class 1, and their labels; return the options that name both."""
    folder.joinpath("events.jsonl").write_text(
        "\n".join(sampled(number, 0.9, version=version) for number in range(len(labels)))
    )
    rows = [f"order-{number},{label}" for number, label in enumerate(labels)]
    folder.joinpath("labels.csv").write_text("\n".join(["id,label", *rows]))
    return ["--predictions", str(folder / "events.jsonl"), "--labels", str(folder / "labels.csv")]


def test_a_model_that_is_mostly_wrong_has_decayed_and_people_are_told(
    artifact: Path, tmp_path: Path, capsys, monkeypatch
):
    monkeypatch.setenv("ALERT_STATE", str(tmp_path / "alerts.json"))
    told: list[str] = []

    async def inbox(request: web.Request) -> web.Response:
        told.append((await request.json())["text"])
        return web.Response()

    async def check() -> int:
        async with serving(inbox) as url:
            options = [
                *files(tmp_path, ["0"] * 200 + ["1"] * 100),
                "--artifact",
                str(artifact),
                "-o",
                "json",
            ]
            return await asyncio.to_thread(main, ["feedback", *options, "--slack-webhook", url])

    assert asyncio.run(check()) == 1
    found = json.loads(capsys.readouterr().out)
    assert found["decayed"] is True
    assert found["accuracy"] == pytest.approx(1 / 3)
    assert "qna 1 answers worse" in told[0]


def test_a_model_that_is_right_has_not_decayed(artifact: Path, tmp_path: Path, capsys):
    assert main(["feedback", *files(tmp_path, ["1"] * 300), "--artifact", str(artifact)]) == 0
    assert "no decay: 100.0 % of 300" in capsys.readouterr().out


def test_answers_of_another_version_are_not_counted(artifact: Path, tmp_path: Path, capsys):
    options = files(tmp_path, ["0"] * 300, version="2")
    assert main(["feedback", *options, "--artifact", str(artifact), "-o", "json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["labelled"], found["unanswered"], found["enough"]) == (0, 300, False)


def test_a_webhook_that_is_none_changes_nothing_but_what_is_said(
    artifact: Path, tmp_path: Path, capsys, monkeypatch
):
    monkeypatch.setenv("ALERT_STATE", str(tmp_path / "alerts.json"))
    options = [
        *files(tmp_path, ["0"] * 300),
        "--artifact",
        str(artifact),
        "--slack-webhook",
        "slack",
    ]
    assert main(["feedback", *options]) == 1
    assert "the webhook must be an http" in capsys.readouterr().err


@pytest.mark.parametrize("spelling", ["1", "1.0", " 1", "1 ", "true", "True", "yes", "Y", "1e0"])
def test_a_label_in_another_spelling_is_the_class_that_it_means(
    artifact: Path, tmp_path: Path, capsys, spelling: str
):
    options = [*files(tmp_path, [spelling] * 300), "--artifact", str(artifact)]
    assert main(["feedback", *options]) == 0
    assert "no decay: 100.0 % of 300" in capsys.readouterr().out
    wrong = {"1": "0", "true": "false", "yes": "no"}.get(spelling, "0.0")
    assert main(["feedback", *files(tmp_path, [wrong] * 300), "--artifact", str(artifact)]) == 1


def test_labels_that_are_no_class_are_refused_line_by_line_and_nothing_is_judged(
    artifact: Path, tmp_path: Path, capsys
):
    options = files(tmp_path, ["0"] * 200 + ["maybe", "2", "nan"] + ["0.5"] * 100)
    assert main(["feedback", *options, "--artifact", str(artifact)]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert (
        "line 202: 'maybe' is not one of 0, 1; line 203: '2' is not one of 0, 1; line 204: 'nan'"
        in said.err
    )
    assert "and 83 more. Nothing was judged: correct such lines (103 in all)" in said.err


@pytest.mark.parametrize(
    ("output", "label", "meant"),
    [
        (Output(classes=("no", "yes")), "TRUE", "yes"),
        (Output(classes=("no", "yes")), "0", "no"),
        (Output(classes=("True", "False")), "yes", "True"),
        (Output(classes=("ham", "spam")), " spam ", "spam"),
        (Output(classes=("ham", "spam")), "1", None),
        (Output(classes=("ham", "spam")), "true", None),
        (Output(classes=("cafe\u0301", "the")), "caf\u00e9", "cafe\u0301"),
        (Output(classes=("1", "2", "3")), "2.0", "2"),
        (Output(classes=("1", "2", "3")), "yes", None),
        (Output(classes=("01", "1")), "1", "1"),
        (Output(), "1", "1.0"),
        (Output(), "", None),
        (Output(), "red", "red"),
    ],
)
def test_a_label_is_read_as_what_the_model_answers(output: Output, label: str, meant: str | None):
    assert Classes(output).of(label) == meant


def test_without_classes_a_text_is_no_label_of_a_model_that_answers_numbers():
    assert Classes(Output(), numbers=True).of("red") is None


def test_a_file_of_a_spreadsheet_may_begin_with_a_byte_order_mark(
    artifact: Path, tmp_path: Path, capsys
):
    options = files(tmp_path, ["1"] * 300)
    labels = tmp_path / "labels.csv"
    labels.write_bytes(b"\xef\xbb\xbf" + labels.read_bytes())
    assert main(["feedback", *options, "--artifact", str(artifact)]) == 0
    assert "100.0 % of 300" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("options", "word"),
    [
        (["--minimum", "0"], "must be a whole number from 1 up, got '0'"),
        (["--minimum", "9" * 5000], "must be a whole number from 1 up"),
        (["--margin", "nan"], "must be a number from 0 to 1, got 'nan'"),
    ],
)
def test_options_that_judge_nothing_are_refused(
    artifact: Path, tmp_path: Path, capsys, options, word: str
):
    with pytest.raises(SystemExit) as ended:
        main(["feedback", *files(tmp_path, ["1"] * 300), "--artifact", str(artifact), *options])
    assert ended.value.code == 2
    assert word in capsys.readouterr().err


@pytest.mark.parametrize(
    ("events", "labels", "word"),
    [
        (b"{}", b"id,label\n", "line 1 is no sampled prediction: specversion"),
        (b"not json", b"id,label\n", "line 1 is no sampled prediction"),
        (b"\xff\xfe", b"id,label\n", "not UTF-8"),
        (b"", b"", "lacks the column 'id'"),
        (b"", b"id,truth\na,1\n", "lacks the column 'label'"),
        (b"", b"id,label\na,\n", "line 2: needs an id, a label"),
        (b"", b"id,label,row\na,1,first\n", "line 2: needs an id, a label"),
        (b"", b"id,label,row\na,1," + b"9" * 5000 + b"\n", "line 2: needs an id, a label"),
        (b"", b"id,label\na," + b"1" * 200_000 + b"\n", "is no CSV: field larger than field limit"),
    ],
)
def test_a_wrong_file_is_named_with_its_line(
    artifact: Path, tmp_path: Path, capsys, events: bytes, labels: bytes, word: str
):
    (tmp_path / "events.jsonl").write_bytes(events)
    (tmp_path / "labels.csv").write_bytes(labels)
    options = [
        "--predictions",
        str(tmp_path / "events.jsonl"),
        "--labels",
        str(tmp_path / "labels.csv"),
    ]
    assert main(["feedback", *options, "--artifact", str(artifact)]) == 2
    assert word in capsys.readouterr().err


def test_a_file_that_is_not_there_is_named(artifact: Path, tmp_path: Path, capsys):
    missing = tmp_path / "none.jsonl"
    assert (
        main(
            [
                "feedback",
                "--predictions",
                str(missing),
                "--labels",
                str(missing),
                "--artifact",
                str(artifact),
            ]
        )
        == 2
    )
    assert f"{missing} cannot be read" in capsys.readouterr().err
