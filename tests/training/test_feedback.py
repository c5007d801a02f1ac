"""Late labels find their predictions, and decay is told; a wrong file is named with its line."""

import asyncio
import json
from pathlib import Path

import pytest
from aiohttp import web

from modelrelease_training.__main__ import main
from tests.support.servers import serving


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
            options = [*files(tmp_path, ["0"] * 200 + ["1"] * 100), "--artifact", str(artifact), "-o", "json"]
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
    options = [*files(tmp_path, ["0"] * 300), "--artifact", str(artifact), "--slack-webhook", "slack"]
    assert main(["feedback", *options]) == 1
    assert "the webhook must be an http" in capsys.readouterr().err


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
    ],
)
def test_a_wrong_file_is_named_with_its_line(
    artifact: Path, tmp_path: Path, capsys, events: bytes, labels: bytes, word: str
):
    (tmp_path / "events.jsonl").write_bytes(events)
    (tmp_path / "labels.csv").write_bytes(labels)
    options = ["--predictions", str(tmp_path / "events.jsonl"), "--labels", str(tmp_path / "labels.csv")]
    assert main(["feedback", *options, "--artifact", str(artifact)]) == 2
    assert word in capsys.readouterr().err


def test_a_file_that_is_not_there_is_named(artifact: Path, tmp_path: Path, capsys):
    missing = tmp_path / "none.jsonl"
    assert (
        main(
            ["feedback", "--predictions", str(missing), "--labels", str(missing), "--artifact", str(artifact)]
        )
        == 2
    )
    assert f"{missing} cannot be read" in capsys.readouterr().err
