"""How soon ONNX Runtime answers, beside a predictor's own way with the same model from joblib.

`python -m benchmarks.onnx_runtime` fits, turns into ONNX what skl2onnx can, and times calls with
the rows of one request: processor time of one thread, the median of many. `--write` puts the table
into benchmarks/README.md.
"""

import argparse
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median
from typing import Any, Final

import numpy as np
from skl2onnx import to_onnx
from sklearn.datasets import load_breast_cancer, load_diabetes
from sklearn.ensemble import (
    GradientBoostingRegressor,
    HistGradientBoostingClassifier,
    RandomForestClassifier,
)
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from benchmarks.doc_markers import put
from modelrelease_serving.model import Model
from modelrelease_serving.onnx_model import OnnxModel
from modelrelease_training.export import Label, write
from modelrelease_training.own_model import describe

README: Final = Path(__file__).parent / "README.md"
MARK: Final = "onnx"
ROWS: Final = (1, 32, 1000)
_SECONDS: Final = 0.5


def models() -> Iterator[tuple[str, Any, Any]]:
    """Yield what a model is called, the fitted model, and the rows that it was fitted to."""
    rows, target = load_breast_cancer(return_X_y=True)
    numbers, values = load_diabetes(return_X_y=True)
    logistic = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
    yield "logistic regression", logistic.fit(rows, target), rows
    yield "support vectors", make_pipeline(StandardScaler(), SVC()).fit(rows, target), rows
    yield "forest of 100 trees", RandomForestClassifier(random_state=0).fit(rows, target), rows
    boosted = GradientBoostingRegressor(random_state=0).fit(numbers, values)
    yield "boosting of 100 trees", boosted, numbers
    histograms = HistGradientBoostingClassifier(random_state=0).fit(rows, target)
    yield "histogram boosting of 100 trees", histograms, rows


def _seconds(call: Callable[[], object]) -> float:
    """Return the median processor time of a call."""
    times: list[float] = []
    while sum(times) < _SECONDS:
        began = time.process_time_ns()
        call()
        times.append((time.process_time_ns() - began) / 1e9)
    return median(times)


def lines(name: str, fitted: Any, rows: Any) -> Iterator[str]:
    """Yield a line of the table for each number of rows."""
    draw = np.random.default_rng(1)
    others = rows[draw.integers(0, len(rows), max(ROWS))]
    others = (others * draw.uniform(0.99, 1.01, others.shape)).astype(np.float32).astype(float)
    with tempfile.TemporaryDirectory(prefix="modelrelease-") as folder:
        own = describe(fitted, rows, label=Label(name="model", version="1"))
        exported = write(own.manifest, own.files, output=Path(folder))
        model = Model.open(exported.path, sha256=exported.digest)
        model.load()
        graph = Path(folder) / "model.onnx"
        try:
            graph.write_bytes(to_onnx(fitted, rows[:1].astype(np.float32)).SerializeToString())
        except Exception as error:
            yield f"| {name} | | | skl2onnx cannot write it ({type(error).__name__}) | |"
            return
        onnx = OnnxModel(graph)
    expected = fitted.predict(others)
    equal = np.isclose(np.ravel(onnx.predict(others)), expected, rtol=1e-6, atol=1e-6).sum()
    for number in ROWS:
        request = others[:number].tolist()
        ours = _seconds(lambda request=request: model.predict(request))  # type: ignore[misc]
        theirs = _seconds(lambda request=request: onnx.predict(np.array(request)).tolist())  # type: ignore[misc]
        yield (
            f"| {name} | {number:,} | {ours * 1e6:,.0f} us ({model.estimator.form}) "
            f"| {theirs * 1e6:,.0f} us | {equal:,} of {len(others):,} |"
        )


def main() -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.onnx_runtime", description=__doc__)
    parser.add_argument("--write", action="store_true", help=f"put the table into {README.name}")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    table = [
        "| model | rows | joblib (answered by) | ONNX Runtime | answers as `predict`'s |",
        "|---|---|---|---|---|",
    ]
    for model in models():
        for line in lines(*model):
            print(line, file=sys.stderr)
            table.append(line)
    printed = "\n".join(table)
    print(printed)
    if options.write:
        put(README, printed, mark=MARK)
    return 0


if __name__ == "__main__":
    sys.exit(main())
