"""`modelrelease-drift` on texts: the lines of its help as they stand, and its worst inputs."""

import json
import os
import shlex
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest

from modelrelease_training.drift import __main__ as command
from modelrelease_training.drift.baseline import PROBE, TextBaseline, load, make, save
from modelrelease_training.drift.encoder import MODEL_VARIABLE, SentenceEncoder, Vectors
from tests.text.conftest import MODEL
from tests.text.corpus import bank, mixed

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def saved(known: TextBaseline, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("baselines") / "baseline.npz"
    save(known, path)
    return path


@pytest.fixture(autouse=True)
def surroundings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, encoder: SentenceEncoder) -> None:
    monkeypatch.setenv(MODEL_VARIABLE, MODEL)
    monkeypatch.setenv("ALERT_STATE", str(tmp_path / "alerts.json"))
    monkeypatch.delenv("SLACK_WEBHOOK_URL", raising=False)
    # Loading takes seconds, and is the same for every test of this module but one, which is a
    # process.
    monkeypatch.setattr(command, "SentenceEncoder", lambda name: encoder)


def written(path: Path, texts: list[str]) -> Path:
    path.write_text("\n".join(texts) + "\n")
    return path


@contextmanager
def webhook(status: int = 200) -> Iterator[tuple[str, list[Any]]]:
    """A real web server that takes alerts; yields its address and what it was told."""
    told: list[Any] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            told.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(status)
            self.end_headers()

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
            """Stay silent."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}/hook", told
        finally:
            server.shutdown()
            thread.join()


def answer(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, dict[str, Any], str]:
    """Run the command with JSON output;
    return its exit code, its answer and what it said to people.
    """
    code = command.main([*arguments, "--format", "json"])
    said = capsys.readouterr()
    return code, json.loads(said.out) if said.out else {}, said.err


def test_the_first_designs_lines_work_as_they_were_typed(tmp_path: Path) -> None:
    written(tmp_path / "texts.txt", bank(150, seed=1))
    written(tmp_path / "new.txt", mixed(120, seed=2, share=0.5))

    def run(line: str) -> subprocess.CompletedProcess[str]:
        script, *words = shlex.split(line)
        environment = {
            **os.environ,
            MODEL_VARIABLE: MODEL,
            "WANDB_MODE": "offline",
            "WANDB_DIR": str(tmp_path),
        }
        return subprocess.run(
            [sys.executable, str(ROOT / script), *words],
            cwd=tmp_path, env=environment, capture_output=True, text=True, check=False,
        )  # fmt: skip

    made = run("scripts/generate_baseline.py --input_file texts.txt --output_file baseline_emb.pkl")
    assert made.returncode == 0, made.stderr
    assert "150 of 150 texts" in made.stdout
    with webhook() as (url, told):
        checked = run(
            "drift_detector.py --baseline baseline_emb.pkl --input_texts new.txt --threshold 0.12 "
            f"--slack_webhook {url} --wandb_project drift-monitor"
        )
    assert checked.returncode == 1, checked.stderr
    assert checked.stdout.startswith("DRIFT: 120 texts, centroid distance")
    assert "Drift against baseline_emb.pkl" in told[0]["text"]
    assert "Weights & Biases" not in checked.stderr
    assert list(tmp_path.glob("wandb/offline-run-*"))


def test_a_clean_batch_ends_with_0_and_both_answers(
    saved: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    batch = written(tmp_path / "new.txt", bank(200, seed=9))
    code, found, _ = answer(capsys, "check", "--baseline", str(saved), "--input-texts", str(batch))
    assert (code, found["drift"], found["over_threshold"], found["calibrated"]["drift"]) == (
        0,
        False,
        False,
        False,
    )
    assert found["n"] == 200
    assert found["centroid_distance"] < found["calibrated"]["distance_limit"] < found["threshold"]


@pytest.mark.parametrize(("rule", "code"), [("either", 1), ("calibrated", 1), ("threshold", 0)])
def test_the_rule_says_which_answer_counts(
    saved: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], rule: str, code: int
) -> None:
    batch = written(tmp_path / "new.txt", mixed(200, seed=2, share=0.25))
    line = ["check", "--baseline", str(saved), "--input-texts", str(batch), "--rule", rule]
    assert answer(capsys, *line)[0] == code


def test_an_alert_is_sent_once_for_the_same_news(
    saved: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    batch = written(tmp_path / "new.txt", mixed(200, seed=2, share=0.5))
    with webhook() as (url, told):
        line = [
            "check",
            "--baseline",
            str(saved),
            "--input-texts",
            str(batch),
            "--slack-webhook",
            url,
        ]
        assert [answer(capsys, *line)[0] for _ in range(2)] == [1, 1]
    assert len(told) == 1


@pytest.mark.parametrize("share", [0.0, 0.5])
def test_a_webhook_that_fails_is_said_and_changes_no_exit_code(
    saved: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], share: float
) -> None:
    batch = written(tmp_path / "new.txt", mixed(200, seed=2, share=share))
    line = [
        "check",
        "--baseline",
        str(saved),
        "--input-texts",
        str(batch),
        "--slack-webhook",
        "nonsense",
    ]
    code, found, said = answer(capsys, *line)
    assert code == (1 if share else 0)
    assert bool(found["problems"]) is bool(share)
    assert ("the alert was not sent" in said) is bool(share)


def test_texts_come_from_every_kind_of_file(encoder: SentenceEncoder, tmp_path: Path) -> None:
    texts = bank(120, seed=3)
    files = [
        written(tmp_path / "a.txt", texts),
        tmp_path / "a.csv",
        tmp_path / "a.jsonl",
        tmp_path / "a.parquet",
    ]
    files[1].write_text("id,text\n" + "".join(f'{n},"{text}"\n' for n, text in enumerate(texts)))
    files[2].write_text(
        "".join(json.dumps({"id": n, "text": text}) + "\n" for n, text in enumerate(texts))
    )
    pyarrow.parquet.write_table(pa.table({"id": list(range(120)), "text": texts}), files[3])
    for file in files:
        target = tmp_path / f"{file.suffix[1:]}.npz"
        assert (
            command.main(["baseline", "--input-file", str(file), "--output-file", str(target)]) == 0
        )
    vectors = [load(tmp_path / f"{file.suffix[1:]}.npz").reference.vectors for file in files]
    assert all(np.array_equal(vectors[0], each) for each in vectors[1:])


BAD_FILES: list[tuple[str, bytes, list[str], str]] = [
    ("empty.txt", b"", [], "is empty"),
    ("blank.txt", b"\n \n", [], "is empty"),
    ("latin.txt", "caf\u00e9\n".encode("latin-1") * 3, [], "is not utf-8: line 1 holds byte 0xe9"),
    (
        "a.csv",
        b"id,body\n1,hello\n",
        ["--column", "text"],
        "no column 'text' with texts; its columns: id, body",
    ),
    ("a.csv", b"one,two\nx,y\n", [], "several hold texts: one, two; name one with --column"),
    ("a.csv", b"id\n1\n2\n", [], "none holds texts"),
    ("a.csv", b"text,text\nx,y\n", [], "several columns called 'text'"),
    ("a.csv", b"a,b\n1\n", [], "no readable .csv file"),
    ("a.jsonl", b'{"text": "x"}\n{broken\n', [], "line 2 is no JSON"),
    ("a.jsonl", b"[1]\n", [], "line 1 must be a JSON object"),
    ("a.parquet", b"PAR1 nonsense", [], "no readable .parquet file"),
    ("a.docx", b"x", [], "cannot tell what is in it"),
    ("few.txt", b"one\ntwo\n", [], "at least 100 texts, got 2"),
    ("x.txt", b"x\n", ["--encoding", "klingon"], "no encoding 'klingon'"),
]


@pytest.mark.parametrize(
    ("name", "content", "options", "sentence"), BAD_FILES, ids=[it[3] for it in BAD_FILES]
)
def test_a_file_that_cannot_be_used_ends_with_2_and_one_sentence(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    name: str,
    content: bytes,
    options: list[str],
    sentence: str,
) -> None:
    (tmp_path / name).write_bytes(content)
    target = tmp_path / "baseline.npz"
    line = [
        "baseline",
        "--input-file",
        str(tmp_path / name),
        "--output-file",
        str(target),
        *options,
    ]
    assert command.main(line) == 2
    said = capsys.readouterr().err.splitlines()[-1]
    assert sentence in said
    assert said.startswith("modelrelease-drift: ")
    assert not target.exists()


class Other:
    """An encoder whose directions are not those of the baseline's."""

    name = "other"

    def __init__(self, dimension: int) -> None:
        self.dimension = dimension

    def encode(self, texts: Sequence[str], *, progress: bool = False) -> Vectors:
        found = np.random.default_rng(len(texts)).normal(size=(len(texts), self.dimension))
        unit: Vectors = (found / np.linalg.norm(found, axis=1, keepdims=True)).astype(np.float32)
        return unit


@pytest.mark.parametrize(
    ("dimension", "fault"), [(768, "gives 768 dimensions"), (384, "gives another direction")]
)
def test_a_baseline_of_another_encoder_is_refused(
    saved: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    dimension: int, fault: str,
) -> None:  # fmt: skip
    monkeypatch.setattr(command, "SentenceEncoder", lambda name: Other(dimension))
    batch = written(tmp_path / "new.txt", bank(60, seed=1))
    assert command.main(["check", "--baseline", str(saved), "--input-texts", str(batch)]) == 2
    said = capsys.readouterr().err
    assert fault in said
    assert "set EMB_MODEL to the one it was made with" in said


def test_a_baseline_that_would_run_code_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arrays: dict[str, Any] = {name: np.zeros((1, 1)) for name in ("probe", "vectors", "clusters")}
    np.savez(tmp_path / "evil.npz", about=np.array([{"a": 1}], dtype=object), **arrays)
    batch = written(tmp_path / "new.txt", bank(60, seed=1))
    assert (
        command.main(
            ["check", "--baseline", str(tmp_path / "evil.npz"), "--input-texts", str(batch)]
        )
        == 2
    )
    assert "is no text baseline" in capsys.readouterr().err


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04garbage", b"\x80\x04pickled"])
def test_a_baseline_that_is_none_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], content: bytes
) -> None:
    (tmp_path / "baseline.npz").write_bytes(content)
    batch = written(tmp_path / "new.csv", ["a,b", "1,2"])
    line = ["check", "--baseline", str(tmp_path / "baseline.npz"), "--input-texts", str(batch)]
    assert command.main(line) == 2
    assert "baseline" in capsys.readouterr().err


def test_a_disk_that_refuses_leaves_no_half_baseline(
    encoder: SentenceEncoder, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    texts = written(tmp_path / "texts.txt", bank(120, seed=3))
    line = [
        "baseline",
        "--input-file",
        str(texts),
        "--output-file",
        str(tmp_path / "no" / "baseline.npz"),
    ]
    assert command.main(line) == 2
    assert "cannot write" in capsys.readouterr().err


def test_a_saved_baseline_comes_back_as_it_was(known: TextBaseline, saved: Path) -> None:
    found = load(saved)
    assert found.about == known.about
    assert found.about.kept == 600
    np.testing.assert_allclose(found.reference.vectors, known.reference.vectors, atol=1e-3)


def test_of_many_texts_a_sample_is_kept_and_both_counts_are_recorded() -> None:
    made = make([f"text {n}" for n in range(2500)], Other(8))
    assert (made.about.given, made.about.kept, len(made.reference.vectors)) == (2500, 2000, 2000)
    assert PROBE not in [f"text {n}" for n in range(2500)]


def test_an_encoder_that_is_not_there_is_said_without_a_traceback(
    saved: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(command, "SentenceEncoder", SentenceEncoder)
    batch = written(tmp_path / "new.txt", bank(60, seed=1))
    line = [
        "check",
        "--baseline",
        str(saved),
        "--input-texts",
        str(batch),
        "--model",
        str(tmp_path / "nowhere"),
    ]
    assert command.main(line) == 2
    assert "cannot be loaded" in capsys.readouterr().err


def test_the_help_teaches_by_example(capsys: pytest.CaptureFixture[str]) -> None:
    for line in (["--help"], ["check", "--help"], ["baseline", "--help"]):
        with pytest.raises(SystemExit) as left:
            command.main(line)
        assert left.value.code == 0
        assert (
            "modelrelease-drift baseline --input-file texts.txt --output-file baseline.npz"
            in capsys.readouterr().out
        )


@pytest.mark.parametrize(
    "options", [["--threshold", "x"], ["--threshold", "-1"], ["--alpha", "0.9"], ["--alpha", "0"]]
)
def test_a_bad_option_ends_with_2(saved: Path, options: list[str]) -> None:
    with pytest.raises(SystemExit) as left:
        command.main(["check", "--baseline", str(saved), "--input-texts", "x.txt", *options])
    assert left.value.code == 2
