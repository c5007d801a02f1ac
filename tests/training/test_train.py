"""What the recipe says is what is fitted, and the same recipe gives the same bytes."""

import hashlib
import json
import signal
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import skops.io

from modelrelease_contract import MANIFEST_NAME, ArtifactManifest
from modelrelease_training.data import Data, make_data, split, split_by_content
from modelrelease_training.errors import EXIT_INVALID, EXIT_USAGE
from modelrelease_training.evaluate import evaluate, evaluate_segments, quantile_segments
from modelrelease_training.export import Label, describe, dump, write
from modelrelease_training.ingest import generate, write_table
from modelrelease_training.load import load_model
from modelrelease_training.skops_bytes import skops_bytes
from modelrelease_training.train import Recipe, fit_recipe
from tests.support import training

DATA = split(make_data(seed=7, rows=2000))
ESTIMATORS = [
    pytest.param(Recipe(), id="logistic"),
    pytest.param(Recipe(estimator="forest"), id="forest"),
    pytest.param(Recipe(estimator="sgd", max_steps=300, batch_size=32), id="sgd"),
]


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("data") / "table.parquet"
    return write_table(generate(rows=1500, seed=7, shifts={}), path).path


def train(output: Path, *arguments: object) -> int:
    return training.train(output, *training.VERSION, *arguments)


def read(output: Path) -> ArtifactManifest:
    return ArtifactManifest.model_validate_json((output / "qna" / "1" / MANIFEST_NAME).read_bytes())


@pytest.mark.parametrize("recipe", ESTIMATORS)
def test_every_estimator_learns_and_repeats(recipe: Recipe) -> None:
    one, two = fit_recipe(DATA.training, recipe), fit_recipe(DATA.training, recipe)
    assert evaluate(one, DATA.held_out)["roc_auc"] > 0.88
    assert np.array_equal(
        one.predict_proba(DATA.held_out.rows), two.predict_proba(DATA.held_out.rows)
    )


@pytest.mark.parametrize("recipe", ESTIMATORS)
def test_skops_bytes_repeat_and_load_to_the_same_answers(recipe: Recipe) -> None:
    model = fit_recipe(DATA.training, recipe)
    content = skops_bytes(model)
    assert content == skops_bytes(fit_recipe(DATA.training, recipe))
    trusted = skops.io.get_untrusted_types(data=content)
    assert all(name.startswith("sklearn.") for name in trusted)
    loaded = skops.io.loads(content, trusted=trusted)
    rows = DATA.held_out.rows
    assert np.array_equal(loaded.predict_proba(rows), model.predict_proba(rows))


def losses(recipe: Recipe) -> tuple[list[int], list[float]]:
    reports: list[tuple[int, int, float]] = []
    fit_recipe(DATA.training, recipe, progress=lambda *values: reports.append(values))
    return [step for step, _, _ in reports], [loss for _, _, loss in reports]


def test_steps_are_told_up_to_the_last_and_lower_the_loss() -> None:
    steps, loss = losses(Recipe(estimator="sgd", max_steps=500))
    assert steps[-1] == 500
    assert 10 <= len(steps) <= 20
    assert loss[-1] < loss[0]


def test_more_steps_and_larger_batches_fit_better() -> None:
    few = losses(Recipe(estimator="sgd", max_steps=5, batch_size=8))[1][-1]
    assert losses(Recipe(estimator="sgd", max_steps=200, batch_size=8))[1][-1] < few
    assert losses(Recipe(estimator="sgd", max_steps=5, batch_size=800))[1][-1] < few


def test_enough_steps_come_close_to_the_exact_solution() -> None:
    exact = evaluate(fit_recipe(DATA.training, Recipe()), DATA.held_out)
    stepped = evaluate(
        fit_recipe(DATA.training, Recipe(estimator="sgd", max_steps=3000)), DATA.held_out
    )
    assert stepped["log_loss"] == pytest.approx(exact["log_loss"], abs=0.01)


@pytest.mark.parametrize(
    "spelling", [("--max-steps", "--batch-size"), ("--max_steps", "--batch_size")]
)
def test_steps_choose_sgd_in_either_spelling(
    spelling: tuple[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    steps, size = spelling
    assert train(tmp_path, "--rows", 400, steps, 40, size, 16) == 0
    assert "step 40 of 40, log loss" in capsys.readouterr().err
    record = json.loads((tmp_path / "qna" / "1" / "training.json").read_text())
    assert record["parameters"] == {
        "batch_size": "16", "estimator": "sgd", "max_steps": "40", "regularization": "1.0",
        "seed": "7",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        pytest.param(
            ["--estimator", "logistic", "--max-steps", "5"],
            "--max-steps is for --estimator sgd",
            id="a",
        ),
        pytest.param(
            ["--estimator", "forest", "--batch-size", "5"],
            "--batch-size is for --estimator",
            id="b",
        ),
        pytest.param(["--max-steps", "0"], "must be at least 1, got 0", id="no steps"),
        pytest.param(["--batch-size", "-1"], "must be at least 1, got -1", id="a batch below none"),
        pytest.param(
            ["--segment-by", "age"], "'age' is not one of the features", id="an unknown segment"
        ),
    ],
)
def test_a_recipe_that_makes_no_sense_is_one_sentence(
    arguments: list[str], words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train(tmp_path, "--rows", 400, *arguments) == EXIT_USAGE
    assert words in capsys.readouterr().err.splitlines()[-1]
    assert not (tmp_path / "qna" / "1").exists()


def test_a_file_that_breaks_its_schema_stops_the_training_with_exit_code_3(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bad = write_table(
        generate(rows=400, seed=7, shifts={}).assign(channel="tv"), tmp_path / "bad.parquet"
    )
    assert train(tmp_path / "out", "--data", bad.path) == EXIT_INVALID
    assert "row 1, column channel: must be one of" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_training_on_a_file_says_which_file_it_was(
    table: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train(tmp_path, "--data", table, "--format", "json") == 0
    answer = json.loads(capsys.readouterr().out)
    digest = hashlib.sha256(table.read_bytes()).hexdigest()
    assert answer["data"] == {"fingerprint": digest, "schema_version": 1}
    assert set(answer["segments"]) == {"mobile", "partner", "web"}
    assert (
        sum(part["held_out_rows"] for part in answer["segments"].values())
        == answer["metrics"]["held_out_rows"]
    )


def test_training_on_a_file_gives_the_same_bytes_in_another_process(
    table: Path, tmp_path: Path
) -> None:
    assert train(tmp_path / "here", "--data", table) == 0
    there = training.train_apart(tmp_path / "there", *training.VERSION, "--data", table)
    there.check_returncode()
    names = [file.path for file in read(tmp_path / "here").files]
    assert names == ["model.joblib", "model.skops", "training.json"]
    for name in (MANIFEST_NAME, *names):
        copies = [tmp_path / output / "qna" / "1" / name for output in ("here", "there")]
        assert copies[0].read_bytes() == copies[1].read_bytes(), name


@pytest.mark.parametrize("served", ["joblib", "skops"])
def test_the_format_that_was_asked_for_is_the_one_that_is_served(
    served: str, tmp_path: Path
) -> None:
    assert train(tmp_path, "--rows", 400, "--model-format", served) == 0
    manifest = read(tmp_path)
    assert (manifest.format, manifest.model_file) == (served, f"model.{served}")
    assert ("skops" in manifest.libraries) == (served == "skops")
    model, _ = load_model(tmp_path / "qna" / "1")
    repeated = model.predict_proba(manifest.examples.rows)[:, 1]
    assert repeated == pytest.approx(list(manifest.examples.predictions))


def test_a_row_is_held_out_in_every_file_or_in_none() -> None:
    data = make_data(seed=1, rows=3000)
    once, mixed = (
        split_by_content(data),
        split_by_content(data.take(np.random.default_rng(0).permutation(3000))),
    )
    assert len(once.held_out.labels) == pytest.approx(600, abs=80)
    keys: Any = {row.tobytes() for row in once.held_out.rows}
    assert keys == {row.tobytes() for row in mixed.held_out.rows}
    assert keys.isdisjoint({row.tobytes() for row in mixed.training.rows})


def test_a_file_with_one_label_cannot_be_split() -> None:
    data = make_data(seed=1, rows=1000)
    with pytest.raises(ValueError, match="both labels are needed on both sides"):
        split_by_content(data.take(data.labels == 1))


def test_quarters_of_a_feature_are_segments_of_equal_size() -> None:
    names = quantile_segments(DATA.held_out.rows[:, 3], name="feature_03")
    assert {name: int((names == name).sum()) for name in np.unique(names)} == {
        f"feature_03 part {part} of 4": 100 for part in (1, 2, 3, 4)
    }


def test_missing_values_are_a_segment_of_their_own() -> None:
    names = quantile_segments(np.array([np.nan, 1.0, 2.0, 3.0, 4.0]), name="x")
    assert names.tolist() == ["x missing", *(f"x part {part} of 4" for part in (1, 2, 3, 4))]


def test_a_small_segment_is_left_out_and_one_label_has_no_roc_auc() -> None:
    labels = np.array([0, 1] * 20 + [1] * 30 + [0] * 5)
    names = np.array(["both"] * 40 + ["ones"] * 30 + ["few"] * 5)
    found = evaluate_segments(labels, np.full(75, 0.5), names)
    assert set(found) == {"both", "ones"}
    assert "roc_auc" in found["both"]
    assert "roc_auc" not in found["ones"]


def test_a_nullable_feature_is_filled_and_null_in_the_examples(tmp_path: Path) -> None:
    data = make_data(seed=3, rows=800)
    rows = data.rows.copy()
    rows[::7, 2] = np.nan
    holed = Data(rows=rows, labels=data.labels, nullable=frozenset({"feature_02"}))
    model = fit_recipe(holed, Recipe())
    assert evaluate(model, holed)["roc_auc"] > 0.9
    files, parts = dump(model, ["skops", "joblib"]), split(holed)
    manifest = describe(model, files, label=Label(name="m", version="1"), data=parts, metrics={})
    nulls = [row[2] is None for row in manifest.examples.rows]
    assert nulls == np.isnan(parts.held_out.rows[:8, 2]).tolist()
    assert any(nulls)
    assert [feature.name for feature in manifest.features if feature.nullable] == ["feature_02"]
    loaded, _ = load_model(write(manifest, files, output=tmp_path).path)
    assert np.array_equal(loaded.predict_proba(rows), model.predict_proba(rows))


def test_a_training_that_is_interrupted_leaves_nothing_half_made(tmp_path: Path) -> None:
    options = (*training.VERSION, *training.ROWS, "--max-steps", 2_000_000)
    command = training.command(tmp_path, *options)
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as running:
        assert running.stderr is not None
        for line in running.stderr:
            if "fitting sgd" in line:
                break
        running.send_signal(signal.SIGINT)
        assert "stopped; what was not finished was not written" in running.stderr.read()
    assert running.returncode == 130
    assert list((tmp_path / "qna").iterdir()) == []
