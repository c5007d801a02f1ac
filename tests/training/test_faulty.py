"""Each faulty model is wrong in the way that it says, and in no other."""

import json
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pytest

from examples.models import faulty
from modelrelease_training.data import make_data, split
from modelrelease_training.evaluate import evaluate
from modelrelease_training.export import Exported, Label
from modelrelease_training.train import fit

LARGEST_CONFIG_MAP_FILE = 700_000


def order(output: Path, **values: Any) -> faulty.Order:
    return faulty.Order(label=Label(name="qna", version="3"), output=output, **values)


def load(exported: Exported) -> Any:
    return joblib.load(exported.path / exported.manifest.model_file)


def seconds(model: Any, row: Any) -> float:
    """Best of five: the machine may be busy, but a model is never faster than it can be."""
    times = []
    for _ in range(5):
        began = time.perf_counter()
        model.predict_proba(row)
        times.append(time.perf_counter() - began)
    return min(times)


@pytest.mark.filterwarnings("ignore:invalid value encountered in sqrt:RuntimeWarning")
@pytest.mark.parametrize("share", [0.02, 0.1, 0.5])
def test_failing_fails_on_the_share_that_was_asked_for(share: float, tmp_path: Path) -> None:
    model = load(faulty.failing(order(tmp_path, rows=1000, share=share)))
    rows = make_data(seed=1234, rows=2000).rows
    failed = 0
    for row in rows:
        try:
            model.predict_proba([row])
        except ValueError:
            failed += 1
    assert failed / len(rows) == pytest.approx(share, abs=0.03)


def test_failing_works_on_its_examples_and_is_otherwise_right(tmp_path: Path) -> None:
    exported = faulty.failing(order(tmp_path))
    probabilities = load(exported).predict_proba(exported.manifest.examples.rows)[:, 1]
    assert probabilities == pytest.approx(list(exported.manifest.examples.predictions))
    assert exported.manifest.metrics["roc_auc"] > 0.9


@pytest.mark.filterwarnings("ignore:invalid value encountered in sqrt:RuntimeWarning")
def test_differing_fails_with_its_twin_and_answers_a_share_otherwise(tmp_path: Path) -> None:
    twin = load(faulty.failing(order(tmp_path / "twin", share=0.05)))
    model = load(faulty.differing(order(tmp_path, share=0.05, differing_share=0.1)))
    rows = make_data(seed=1234, rows=2000).rows
    answered = rows[rows[:, 0] > np.quantile(rows[:, 0], 0.07)]
    change = model.predict_proba(answered)[:, 1] - twin.predict_proba(answered)[:, 1]
    assert (change > 0.01).mean() == pytest.approx(0.1, abs=0.03)
    assert (abs(change) < 1e-9).mean() == pytest.approx(0.9, abs=0.03)
    lowest = rows[rows[:, 0].argmin()]
    for one in (twin, model):
        with pytest.raises(ValueError, match="NaN"):
            one.predict_proba([lowest])


@pytest.mark.parametrize("kind", ["dying", "dropping", "hanging"])
def test_what_fails_beyond_its_answers_is_right_in_its_examples(kind: str, tmp_path: Path) -> None:
    exported = faulty.KINDS[kind](order(tmp_path, rows=2000, share=0.02))
    probabilities = load(exported).predict_proba(exported.manifest.examples.rows)[:, 1]
    assert probabilities == pytest.approx(list(exported.manifest.examples.predictions))


def test_dying_ends_its_process_on_a_low_row(tmp_path: Path) -> None:
    exported = faulty.dying(order(tmp_path, rows=2000, share=0.02))
    path = exported.path / exported.manifest.model_file
    row = [-1e6, *exported.manifest.examples.rows[0][1:]]
    code = f"import joblib; joblib.load({str(path)!r}).predict_proba([{row}]); print('alive')"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False)
    assert (ended.returncode, ended.stdout) == (1, b"")
    assert not ended.stderr


def test_hanging_waits_for_what_never_comes_on_a_low_row(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def waited(_: threading.Event) -> None:
        raise InterruptedError

    exported = faulty.hanging(order(tmp_path, rows=2000, share=0.02))
    monkeypatch.setattr(threading.Event, "wait", waited)
    row = [-1e6, *exported.manifest.examples.rows[0][1:]]
    with pytest.raises(InterruptedError):
        load(exported).predict_proba([row])


def test_slow_is_right_but_much_slower_and_fits_in_a_config_map(tmp_path: Path) -> None:
    exported = faulty.slow(order(tmp_path, rows=1500))
    data = split(make_data(seed=9, rows=1500))
    row = data.held_out.rows[:1]
    assert seconds(load(exported), row) > seconds(fit(data.training), row) + 0.01
    assert exported.manifest.metrics["roc_auc"] > 0.9
    assert sum(path.stat().st_size for path in exported.path.iterdir()) < LARGEST_CONFIG_MAP_FILE


def test_wrong_is_fast_and_repeats_its_examples_but_predicts_the_opposite(tmp_path: Path) -> None:
    exported = faulty.wrong(order(tmp_path))
    examples = exported.manifest.examples
    assert load(exported).predict_proba(examples.rows)[:, 1] == pytest.approx(
        list(examples.predictions)
    )
    assert exported.manifest.metrics["roc_auc"] < 0.1


def test_broken_records_other_predictions_than_it_gives(tmp_path: Path) -> None:
    exported = faulty.broken(order(tmp_path))
    model, examples = load(exported), exported.manifest.examples
    assert evaluate(model, order(tmp_path).data().held_out)["roc_auc"] > 0.9
    assert model.predict_proba(examples.rows)[:, 1] != pytest.approx(list(examples.predictions))


def test_the_command_makes_every_kind(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for kind in faulty.KINDS:
        arguments = [kind, "--version", kind, "--output", str(tmp_path), "--format", "json"]
        assert faulty.main(arguments) == 0
        answer = json.loads(capsys.readouterr().out)
        assert answer["kind"] == kind
        assert Path(answer["path"]) == tmp_path / "qna" / kind


def test_a_share_that_is_none_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["failing", "--version", "1", "--output", str(tmp_path), "--share", "1"]
    assert faulty.main(arguments) == 2
    assert "between 0 and 1, got 1.0" in capsys.readouterr().err
