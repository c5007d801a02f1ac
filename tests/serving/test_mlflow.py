"""Folders that MLflow itself wrote are served without MLflow,
under the same rules as our own artifacts.
"""

import json
import logging
import shutil
import subprocess
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.tree import DecisionTreeClassifier

from modelrelease_contract import MLMODEL_NAME, listing_digest
from modelrelease_serving.artifact import read_manifest
from modelrelease_serving.compare import rows_of
from modelrelease_serving.errors import RefusedError
from modelrelease_serving.loaders import Rules
from modelrelease_serving.model import Model
from modelrelease_serving.probe import Reference
from tests.serving.support import Web, wait_until
from tests.serving.test_fetch import bring, names

ROWS = np.random.default_rng(3).normal(size=(40, 3))
LABELS = (ROWS[:, 0] > 0).astype(int)
TABLE = pd.DataFrame(ROWS, columns=["a", "b", "c"])


def save(folder: Path, model: Any, **options: Any) -> Path:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import mlflow.sklearn  # noqa: PLC0415 - it warns, and takes seconds

        # Named, so that MLflow does not look for them in a process of its own.
        mlflow.sklearn.save_model(model, folder, pip_requirements=["scikit-learn"], **options)
    return folder


@pytest.fixture(scope="module")
def pickled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    model = make_pipeline(StandardScaler(), DecisionTreeClassifier()).fit(ROWS, LABELS)
    folder = tmp_path_factory.mktemp("mlflow") / "pickled"
    return save(folder, model, serialization_format="pickle", input_example=ROWS[:4])


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("mlflow") / "table"
    return save(folder, of_table(), serialization_format="skops", input_example=TABLE[:4])


def of_table() -> Any:
    return make_pipeline(StandardScaler(), LogisticRegression()).fit(TABLE, LABELS)


def digest_of(folder: Path) -> str:
    return read_manifest(folder, sha256=None)[1]


def changed(folder: Path, to: Path, old: str, new: str) -> Path:
    shutil.copytree(folder, to)
    text = (to / MLMODEL_NAME).read_text()
    assert old in text
    (to / MLMODEL_NAME).write_text(text.replace(old, new))
    return to


def test_a_pinned_pickle_answers_as_the_model_did(pickled: Path) -> None:
    model = Model.open(pickled, sha256=digest_of(pickled), name="qna", version="7")
    model.load()
    assert (model.manifest.name, model.manifest.version, model.ready) == ("qna", "7", True)
    assert [feature.name for feature in model.manifest.features] == ["x0", "x1", "x2"]
    assert model.predict(ROWS.tolist()) == LABELS.tolist()
    assert len(model.manifest.examples.rows) == 4


def test_a_pickle_of_mlflow_that_nobody_pinned_is_refused(pickled: Path) -> None:
    with pytest.raises(RefusedError, match="nobody pinned its digest"):
        Model.open(pickled).load()


def test_a_skops_file_of_mlflow_needs_no_pin(table: Path, caplog: pytest.LogCaptureFixture) -> None:
    model = Model.open(table)
    with caplog.at_level(logging.WARNING):
        model.load()
    assert [feature.name for feature in model.manifest.features] == ["a", "b", "c"]
    assert model.predict(ROWS.tolist()) == of_table().predict(TABLE).tolist()
    assert [record.message for record in caplog.records] == [
        "training recorded no answers, so the example rows only have to be answered"
    ]


def test_a_prober_asks_the_rows_of_an_input_example_of_which_nobody_recorded_an_answer(
    table: Path,
) -> None:
    manifest, _ = read_manifest(table, sha256=None)
    assert [pair[0].recorded for pair in Reference(manifest, manifest).pairs] == [None] * 4
    assert [list(row) for row in rows_of(manifest, manifest)] == [["a", "b", "c"]] * 4


def test_without_a_version_mlflows_own_id_is_taken(pickled: Path) -> None:
    manifest, _ = read_manifest(pickled, sha256=None)
    assert manifest.version in (pickled / MLMODEL_NAME).read_text()


def test_the_digest_is_what_a_shell_finds(pickled: Path) -> None:
    found = subprocess.run(
        ["sh", "-c", "sha256sum MLmodel input_example.json model.pkl | sha256sum"],
        cwd=pickled,
        capture_output=True,
        check=True,
        text=True,
    )
    assert found.stdout.split()[0] == digest_of(pickled)


def test_the_digest_does_not_depend_on_the_order_of_files(pickled: Path) -> None:
    manifest, digest = read_manifest(pickled, sha256=None)
    assert listing_digest(reversed(manifest.files)) == digest


@pytest.mark.parametrize("file", ["MLmodel", "model.pkl", "input_example.json"])
def test_every_byte_that_matters_is_pinned(file: str, pickled: Path, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    shutil.copytree(pickled, folder)
    with (folder / file).open("ab") as stream:
        stream.write(b"\n")
    with pytest.raises(RefusedError, match="but the release pins"):
        Model.open(folder, sha256=digest_of(pickled))


def test_files_that_nobody_loads_may_change(pickled: Path, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    shutil.copytree(pickled, folder)
    (folder / "conda.yaml").write_text("other")
    assert digest_of(folder) == digest_of(pickled)


def test_an_answer_that_is_a_number_makes_it_a_regression(tmp_path: Path) -> None:
    model = LinearRegression().fit(ROWS, ROWS[:, 0])
    folder = save(tmp_path / "model", model, input_example=ROWS[:2], serialization_format="skops")
    assert read_manifest(folder, sha256=None)[0].output.task == "regression"


REFUSED: list[Any] = [
    pytest.param(
        "  sklearn:\n",
        "  xgboost:\n",
        r"only scikit-learn models .*'xgboost'",
        id="another library",
    ),
    pytest.param(
        "serialization_format: pickle", "serialization_format: dill", "'dill'", id="another format"
    ),
    pytest.param(
        "pickled_model: model.pkl", "pickled_model: ../m", "stay inside", id="a file outside"
    ),
    pytest.param(
        "pickled_model: model.pkl", "pickled_model: gone.pkl", "cannot be read", id="no file"
    ),
    pytest.param("code: null", "code: code", "brings code of its own", id="code"),
    pytest.param(
        "predict_fn: predict", "predict_fn: predict_log_proba", "only 'predict'", id="no predict"
    ),
    pytest.param("signature:", "unsigned:", "no signature.*input_example", id="no signature"),
    pytest.param('"shape": [-1, 3]', '"shape": [-1, 3, 3]', r"shape \[-1, 3, 3\]", id="pictures"),
    pytest.param('"shape": [-1, 3]', '"shape": "x"', "describes no model", id="a broken signature"),
    pytest.param(
        '"dtype": "float64"', '"dtype": "datetime64"', "only numbers and text", id="dates"
    ),
    pytest.param(
        "flavors:", "flavors: !!python/object:os.system", "describes no model", id="code in YAML"
    ),
    pytest.param("flavors:", "- flavors", "describes no model", id="no YAML"),
]


@pytest.mark.parametrize(("old", "new", "words"), REFUSED)
def test_what_cannot_be_served_is_refused_in_a_sentence(
    old: str, new: str, words: str, pickled: Path, tmp_path: Path
) -> None:
    with pytest.raises(RefusedError, match=words):
        Model.open(changed(pickled, tmp_path / "model", old, new))


def test_columns_in_another_order_are_refused(table: Path, tmp_path: Path) -> None:
    folder = changed(table, tmp_path / "model", '"name": "a"', '"name": "z"')
    with pytest.raises(
        RefusedError,
        match=r"fitted to 3 columns, but the manifest names 3 features, and they differ from "
        r"number 1 on: \['a', 'b', 'c'\] there, \['z', 'b', 'c'\] here",
    ):
        Model.open(folder).load()


def test_another_minor_version_of_scikit_learn_is_refused(pickled: Path, tmp_path: Path) -> None:
    folder = changed(pickled, tmp_path / "model", "sklearn_version: 1.", "sklearn_version: 0.")
    with pytest.raises(RefusedError, match="trained with scikit-learn 0"):
        Model.open(folder, rules=Rules(allow_unpinned=True)).load()


def test_an_example_that_fails_is_a_refusal(pickled: Path, tmp_path: Path) -> None:
    folder = changed(pickled, tmp_path / "model", '"shape": [-1, 3]', '"shape": [-1, 4]')
    with pytest.raises(RefusedError, match="the model fails on its example rows"):
        Model.open(folder, sha256=digest_of(folder)).load()


def publish(web: Web, folder: Path) -> None:
    web.publish(folder)
    web.script["/qna/manifest.json"] = [(404, b"")]


def test_it_is_fetched_by_what_mlmodel_names(web: Web, pickled: Path, tmp_path: Path) -> None:
    publish(web, pickled)
    web.script["/qna/model.pkl"][:0] = [(503, b"")]
    bring(web.url, tmp_path, model_sha256=digest_of(pickled))
    assert names(tmp_path) == {"MLmodel", "model.pkl", "input_example.json"}
    Model.open(tmp_path, sha256=digest_of(pickled)).load()


def test_a_fetched_folder_with_another_digest_is_refused(
    web: Web, pickled: Path, tmp_path: Path
) -> None:
    publish(web, pickled)
    with pytest.raises(RefusedError, match="but the release pins 000"):
        bring(web.url, tmp_path, model_sha256="0" * 64)


def test_a_fetched_folder_that_is_too_large_is_refused(
    web: Web, pickled: Path, tmp_path: Path
) -> None:
    publish(web, pickled)
    with pytest.raises(RefusedError, match="ARTIFACT_MAX_BYTES"):
        bring(web.url, tmp_path, artifact_max_bytes=300)
    assert "model.pkl" not in names(tmp_path)


def test_a_manifest_that_was_here_before_does_not_hide_it(
    web: Web, pickled: Path, tmp_path: Path
) -> None:
    publish(web, pickled)
    (tmp_path / "manifest.json").write_text(json.dumps({"old": True}))
    bring(web.url, tmp_path, model_sha256=digest_of(pickled))
    wait_until("only the new one is here", lambda: "manifest.json" not in names(tmp_path))
