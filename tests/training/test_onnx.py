"""Models in ONNX, exported and answered by ONNX Runtime."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pandas as pd
import pytest
from skl2onnx import to_onnx
from sklearn.compose import make_column_transformer
from sklearn.datasets import load_diabetes, load_wine
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from modelrelease_contract import ArtifactManifest
from modelrelease_serving.errors import RefusedError
from modelrelease_serving.model import Model
from modelrelease_training import own_model
from modelrelease_training.__main__ import main
from modelrelease_training.errors import ArtifactError
from modelrelease_training.export import Exported

ROWS = 1000


def more(rows: Any) -> Any:
    """Return a thousand rows near those of a data set, as 32-bit numbers hold them."""
    draw = np.random.default_rng(2)
    others = rows[draw.integers(0, len(rows), ROWS)] * draw.uniform(0.99, 1.01, (ROWS, 1))
    return others.astype(np.float32)


def written(model: Any, first: Any, folder: Path) -> Path:
    path = folder / "model.onnx"
    path.write_bytes(to_onnx(model, first).SerializeToString())
    return path


def exported(path: Path, rows: Any, folder: Path, said: list[str]) -> Exported:
    return own_model.export(
        path, rows, name="mine", version="1", output=folder / "artifacts", say=said.append
    )


def loaded(artifact: Exported) -> Model:
    model = Model.open(artifact.path, sha256=artifact.digest)
    model.load()
    return model


@pytest.mark.parametrize("labels", [[0, 1, 2], ["red", "rosé", "white"]])
def test_a_classifier_answers_as_scikit_learn_does(labels: list[Any], tmp_path: Path) -> None:
    rows, target = load_wine(return_X_y=True)
    fitted = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
    fitted.fit(rows, np.array(labels)[target])
    others, said = more(rows), list[str]()
    artifact = exported(written(fitted, others[:1], tmp_path), others, tmp_path, said)
    assert "the predictor gave the same 1000 of 1000 answers (by onnxruntime)" in said[-1]
    assert "onnxruntime" in said[0]
    assert artifact.manifest.output.classes == tuple(str(label) for label in labels)
    assert loaded(artifact).predict(others.tolist()) == fitted.predict(others).tolist()


def test_a_regressor_answers_as_scikit_learn_does(tmp_path: Path) -> None:
    rows, target = load_diabetes(return_X_y=True)
    fitted = LinearRegression().fit(rows, target)
    others = more(rows)
    artifact = exported(written(fitted, others[:1], tmp_path), others, tmp_path, [])
    assert artifact.manifest.output.task == "regression"
    answers = loaded(artifact).predict(others.tolist())
    assert answers == pytest.approx(fitted.predict(others), rel=1e-5)


def test_a_tensor_for_each_column_takes_texts(tmp_path: Path) -> None:
    draw = np.random.default_rng(0)
    table = pd.DataFrame(
        {
            "age": draw.normal(40, 9, ROWS).astype(np.float32),
            "city": draw.choice(["Bern", "Oslo"], ROWS),
        }
    )
    steps = make_column_transformer((StandardScaler(), ["age"]), (OneHotEncoder(), ["city"]))
    fitted = make_pipeline(steps, LogisticRegression())
    fitted.fit(table, (table["age"] > 40) & (table["city"] == "Oslo"))
    artifact = exported(written(fitted, table[:1], tmp_path), table, tmp_path, [])
    assert [feature.name for feature in artifact.manifest.features] == ["age", "city"]
    rows = table.to_numpy(dtype=object).tolist()
    assert loaded(artifact).predict(rows) == fitted.predict(table).tolist()


def test_the_command_takes_a_file_in_onnx(tmp_path: Path) -> None:
    rows, target = load_wine(return_X_y=True, as_frame=True)
    fitted = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000)).fit(
        rows.to_numpy(), target
    )
    path = written(fitted, rows.to_numpy(dtype=np.float32)[:1], tmp_path)
    rows.to_csv(tmp_path / "rows.csv", index=False)
    label = ["--name", "mine", "--version", "1", "--output", str(tmp_path / "artifacts")]
    assert main(["export", str(path), "--examples", str(tmp_path / "rows.csv"), *label]) == 0
    raw = (tmp_path / "artifacts/mine/1/manifest.json").read_bytes()
    manifest = ArtifactManifest.model_validate_json(raw)
    assert manifest.format == "onnx"
    assert len(manifest.examples.predictions) == len(manifest.examples.rows)


def test_what_is_no_onnx_is_refused_in_a_sentence(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(b"nothing")
    with pytest.raises(ArtifactError, match=r"refuses the model: model\.onnx cannot be loaded"):
        exported(path, np.ones((3, 2)), tmp_path, [])


def test_several_outputs_in_onnx_are_refused_in_a_sentence(tmp_path: Path) -> None:
    rows = np.random.default_rng(0).normal(size=(300, 2)).astype(np.float32)
    path = written(LinearRegression().fit(rows, rows), rows[:1], tmp_path)
    with pytest.raises(ArtifactError, match="answers with 2 values a row"):
        exported(path, rows, tmp_path, [])


def graph(path: Path, kind: int, shape: list[int | None], *, apart: bool = False) -> Path:
    """Write a graph that adds up the columns of rows of some kind, its weights in a file apart."""
    ones = onnx.numpy_helper.from_array(np.ones(3, dtype=np.float32), "ones")
    steps = [
        onnx.helper.make_node("Cast", ["x"], ["numbers"], to=onnx.TensorProto.FLOAT),
        onnx.helper.make_node("MatMul", ["numbers", "ones"], ["sum"]),
    ]
    inputs = [onnx.helper.make_tensor_value_info("x", kind, shape)]
    outputs = [onnx.helper.make_tensor_value_info("sum", onnx.TensorProto.FLOAT, shape[:1])]
    model = onnx.helper.make_model(
        onnx.helper.make_graph(steps, "sum", inputs, outputs, [ones]),
        opset_imports=[onnx.helper.make_opsetid("", 17)],
        ir_version=8,
    )
    onnx.save(model, path, save_as_external_data=apart, location="weights", size_threshold=0)
    return path


FLAGS = np.random.default_rng(0).integers(0, 2, (300, 3)).astype(np.float64)


@pytest.mark.parametrize(
    ("kind", "value", "takes"),
    [
        (onnx.TensorProto.INT64, np.nan, "whole numbers"),
        (onnx.TensorProto.INT64, 1.5, "whole numbers"),
        (onnx.TensorProto.INT32, 2.0**31, "whole numbers"),
        (onnx.TensorProto.BOOL, np.nan, "true and false"),
        (onnx.TensorProto.BOOL, 2.0, "true and false"),
    ],
)
def test_rows_are_not_answered_by_other_numbers_than_they_have(
    kind: int, value: float, takes: str, tmp_path: Path
) -> None:
    path, rows = graph(tmp_path / "sum.onnx", kind, [None, 3]), FLAGS.copy()
    artifact = exported(path, rows, tmp_path, [])
    assert loaded(artifact).predict(rows[:9].tolist()) == rows[:9].sum(axis=1).tolist()
    rows[1, 1] = value
    with pytest.raises(ValueError, match=f"takes {takes}, and a value is missing or another"):
        loaded(artifact).predict(rows.tolist())
    with pytest.raises(ArtifactError, match=rf"takes {takes}, .*: give rows with the columns"):
        exported(path, rows, tmp_path, [])


def test_a_column_too_many_is_refused_with_the_way_out(tmp_path: Path) -> None:
    path = graph(tmp_path / "sum.onnx", onnx.TensorProto.FLOAT, [None, 3])
    wrong = r"it takes 3 columns, and a row has 4\): .* \(--drop leaves one out\)"
    with pytest.raises(ArtifactError, match=wrong):
        exported(path, np.ones((3, 4)), tmp_path, [])


def test_a_graph_of_so_many_rows_is_refused_in_a_sentence(tmp_path: Path) -> None:
    path = graph(tmp_path / "sum.onnx", onnx.TensorProto.FLOAT, [1, 3])
    with pytest.raises(ArtifactError, match="'x' takes 1 rows at once, no more and no fewer"):
        exported(path, FLAGS, tmp_path, [])


def test_weights_in_a_file_of_their_own_are_refused_in_a_sentence(tmp_path: Path) -> None:
    path = graph(tmp_path / "sum.onnx", onnx.TensorProto.FLOAT, [None, 3], apart=True)
    with pytest.raises(ArtifactError, match=r"lie in another file: save it as one, in PyTorch by"):
        exported(path, FLAGS, tmp_path, [])


@pytest.mark.parametrize(
    ("name", "reason"),
    [("absent.onnx", r"cannot be read \(No such file"), ("model.joblib", "is no file in ONNX by")],
)
def test_a_path_of_no_model_is_refused_in_a_sentence(
    name: str, reason: str, tmp_path: Path
) -> None:
    for path in (tmp_path / name, str(tmp_path / name)):
        with pytest.raises(ArtifactError, match=reason):
            own_model.export(path, FLAGS, name="mine", version="1", output=tmp_path)


def test_a_file_that_nobody_pinned_is_not_read(tmp_path: Path) -> None:
    rows = np.random.default_rng(0).normal(size=(300, 2)).astype(np.float32)
    path = written(LinearRegression().fit(rows, rows[:, 0]), rows[:1], tmp_path)
    artifact = exported(path, rows, tmp_path, [])
    assert json.loads((artifact.path / "manifest.json").read_text())["libraries"]["onnxruntime"]
    with pytest.raises(RefusedError, match=r"model\.onnx is read by code that trusts"):
        Model.open(artifact.path).load()
