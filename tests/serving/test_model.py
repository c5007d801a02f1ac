"""A model is loaded only if it is the one exported, and trusted only if it answers as recorded."""

import hashlib
import os
from pathlib import Path

import joblib
import numpy as np
import pytest
from sklearn.compose import TransformedTargetRegressor
from sklearn.linear_model import LinearRegression

from examples.models import faulty
from modelrelease_contract import (
    MANIFEST_NAME,
    ArtifactManifest,
    Examples,
    Feature,
    ModelFile,
    Output,
)
from modelrelease_serving.errors import ModelFailedError, RefusedError
from modelrelease_serving.loaders import Rules
from modelrelease_serving.model import Model
from modelrelease_training.export import Exported, Label, dump
from tests.serving.support import train


def order(output: Path) -> faulty.Order:
    return faulty.Order(label=Label(name="qna", version="3"), output=output, rows=400)


class Bomb:
    """Leaves a trace where it is unpickled."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return os.mkdir, (str(self.trace),)


def test_it_repeats_its_examples(loaded: Model) -> None:
    examples = loaded.manifest.examples
    assert loaded.ready
    assert loaded.predict(examples.rows) == pytest.approx(list(examples.predictions))


def test_other_recorded_predictions_are_refused(tmp_path: Path) -> None:
    broken = faulty.broken(order(tmp_path))
    model = Model.open(broken.path, sha256=broken.digest)
    with pytest.raises(
        RefusedError, match=r"example row 0 is answered with .*, recorded was .*export it again"
    ):
        model.load()
    assert not model.ready


def test_a_changed_file_is_refused(tmp_path: Path) -> None:
    model = Model.open(faulty.tampered(order(tmp_path)).path)
    with pytest.raises(RefusedError, match=r"model\.joblib has sha256 .* but the manifest says"):
        model.load()


def test_nothing_is_unpickled_before_its_digest_was_checked(tmp_path: Path) -> None:
    exported = train(tmp_path)
    trace = tmp_path / "trace"
    joblib.dump(Bomb(trace), exported.path / "model.joblib")
    with pytest.raises(RefusedError):
        Model.open(exported.path).load()
    assert not trace.exists()


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    exported = train(tmp_path)
    (exported.path / "model.joblib").unlink()
    with pytest.raises(
        RefusedError, match=r"model\.joblib cannot be read .*fetch the artifact again"
    ):
        Model.open(exported.path).load()


def test_another_version_than_asked_for_is_refused(artifact: Exported) -> None:
    with pytest.raises(RefusedError, match="holds version '1', but MODEL_VERSION asks for '2'"):
        Model.open(artifact.path, version="2")


def test_another_digest_than_pinned_is_refused(artifact: Exported) -> None:
    assert Model.open(artifact.path, sha256=artifact.digest).digest == artifact.digest
    with pytest.raises(RefusedError, match="the release pins 000"):
        Model.open(artifact.path, sha256="0" * 64)


@pytest.mark.parametrize(
    ("manifest", "words"),
    [
        pytest.param(None, "cannot be read .*MODEL_PATH", id="no manifest"),
        pytest.param("{", "the document: Invalid JSON", id="no JSON"),
        pytest.param(
            '{"schema_version": 2}', "schema_version: Input should be 1", id="a newer format"
        ),
    ],
)
def test_a_folder_without_a_usable_manifest_is_refused(
    tmp_path: Path, manifest: str | None, words: str
) -> None:
    if manifest is not None:
        (tmp_path / MANIFEST_NAME).write_text(manifest)
    with pytest.raises(RefusedError, match=words):
        Model.open(tmp_path)


def test_an_answer_that_is_not_finite_is_a_failure(tmp_path: Path) -> None:
    rows = np.array([[1.0], [2.0], [3.0]])
    logarithm = TransformedTargetRegressor(LinearRegression(), func=np.exp, inverse_func=np.log)
    model = open_regression(logarithm.fit(rows, [1.0, 2.0, 3.0]), tmp_path)
    model.load()
    assert model.predict([[2.0]])
    with pytest.raises(ModelFailedError, match="not finite"):
        model.predict([[2.0], [-50.0]])


def open_regression(estimator: TransformedTargetRegressor, folder: Path) -> Model:
    """Open an artifact whose answer is what `predict` says, written by hand."""
    content = dump(estimator)["model.joblib"]
    (folder / "model.joblib").write_bytes(content)
    manifest = ArtifactManifest(
        name="curve",
        version="1",
        features=(Feature(name="x"),),
        output=Output(task="regression"),
        examples=Examples(rows=((1.0,),), predictions=tuple(estimator.predict([[1.0]]).tolist())),
        files=(
            ModelFile(
                path="model.joblib", sha256=hashlib.sha256(content).hexdigest(), size=len(content)
            ),
        ),
    )
    (folder / MANIFEST_NAME).write_text(manifest.model_dump_json())
    return Model.open(folder, rules=Rules(allow_unpinned=True))
