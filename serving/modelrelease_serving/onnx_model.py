"""A model in ONNX, answered by ONNX Runtime: a graph of numbers and known operators, and no code.

It takes either one matrix of numbers, or a tensor for each feature by its place. What it answers
first is the answer; probabilities, which have no names of classes there, are not served.
"""

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

_KINDS: Final[Mapping[str, type]] = {
    "tensor(float)": np.float32,
    "tensor(double)": np.float64,
    "tensor(int64)": np.int64,
    "tensor(int32)": np.int32,
    "tensor(bool)": np.bool_,
    "tensor(string)": np.object_,
}


class OnnxModel:
    """Answers rows by a session of ONNX Runtime."""

    def __init__(self, path: Path) -> None:
        """Read the graph. Raises whatever ONNX Runtime raises, ValueError for other inputs."""
        import onnxruntime  # noqa: PLC0415 - each format brings its own library

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = int(os.environ.get("OMP_NUM_THREADS", "1"))
        options.inter_op_num_threads = 1
        session = onnxruntime.InferenceSession(
            str(path), options, providers=["CPUExecutionProvider"]
        )
        self._run: Callable[..., list[Any]] = session.run
        self._inputs = [(each.name, _kind(each.name, each.type)) for each in session.get_inputs()]
        self._answer = session.get_outputs()[0].name

    def predict(self, matrix: NDArray[Any]) -> NDArray[Any]:
        """Return the first output for rows, shape (rows, features)."""
        (answers,) = self._run([self._answer], self._tensors(matrix))
        return np.asarray(answers)

    def _tensors(self, matrix: NDArray[Any]) -> dict[str, NDArray[Any]]:
        """Return the inputs by name: the whole matrix, or each column of it."""
        if len(self._inputs) == 1:
            ((name, kind),) = self._inputs
            return {name: matrix.astype(kind)}
        columns = zip(self._inputs, matrix.T, strict=True)
        return {name: column.astype(kind)[:, None] for (name, kind), column in columns}


def _kind(name: str, described: str) -> type:
    if described not in _KINDS:
        msg = f"its input {name!r} is a {described}, and numbers, booleans and texts are sent"
        raise ValueError(msg)
    return _KINDS[described]
