"""The example with texts: what people begin to ask about otherwise is drift of its texts."""

from pathlib import Path

import pytest

from examples.text.tickets import draw
from modelrelease_training.drift import __main__ as command
from modelrelease_training.drift.encoder import MODEL_VARIABLE, SentenceEncoder
from tests.text.conftest import MODEL
from tests.text.corpus import cooking

BATCH = 120


def written(path: Path, texts: list[str]) -> str:
    path.write_text("\n".join(texts))
    return str(path)


def test_other_questions_are_drift_and_more_of_the_same_are_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, encoder: SentenceEncoder
):
    monkeypatch.setenv(MODEL_VARIABLE, MODEL)
    monkeypatch.setattr(command, "SentenceEncoder", lambda name: encoder)
    baseline = str(tmp_path / "baseline.npz")
    texts = written(tmp_path / "tickets.txt", draw(400, 2)[0])
    assert command.main(["baseline", "--input-file", texts, "--output-file", baseline]) == 0

    asked = draw(BATCH, 3)[0]
    same = written(tmp_path / "same.txt", asked)
    assert command.main(["check", "--baseline", baseline, "--input-texts", same]) == 0

    half = BATCH // 2
    other = written(tmp_path / "other.txt", [*asked[:half], *cooking(half, 4)])
    assert command.main(["check", "--baseline", baseline, "--input-texts", other]) == 1
