"""A model in ONNX, answered by ONNX Runtime: a graph of numbers and known operators, and no code.

It takes either one matrix of numbers, or a tensor for each feature by its place. What it answers
first is the answer; probabilities, which have no names of classes there, are not served.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from modelrelease_serving import threads

_KINDS: Final[Mapping[str, type]] = {
    "tensor(float)": np.float32,
    "tensor(double)": np.float64,
    "tensor(int64)": np.int64,
    "tensor(int32)": np.int32,
    "tensor(bool)": np.bool_,
    "tensor(string)": np.object_,
}
_WHOLE: Final = frozenset({np.int64, np.int32, np.bool_})
"""Kinds that hold neither gaps nor fractions: numpy makes other numbers of them without a word."""
_WEIGHTS_ELSEWHERE: Final = "External data"
"""Of the words of ONNX Runtime about a file that it does not find beside the model."""


class OnnxModel:
    """Answers rows by a session of ONNX Runtime."""

    def __init__(self, path: Path) -> None:
        """Read the graph. Raises whatever ONNX Runtime raises, ValueError for other inputs."""
        import onnxruntime  # noqa: PLC0415 - each format brings its own library

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads.chosen()
        options.inter_op_num_threads = 1
        try:
            session = onnxruntime.InferenceSession(
                str(path), options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:
            if _WEIGHTS_ELSEWHERE not in str(error):
                raise
            msg = (
                "its weights lie in another file: save it as one, in PyTorch by "
                "torch.onnx.export(…, external_data=False)"
            )
            raise ValueError(msg) from error
        self._run: Callable[..., list[Any]] = session.run
        self._inputs = [(each.name, _kind(each.name, each.type)) for each in session.get_inputs()]
        self._width = _width(session.get_inputs())
        self._answer = session.get_outputs()[0].name

    def predict(self, matrix: NDArray[Any]) -> NDArray[Any]:
        """Return the first output for rows, shape (rows, features)."""
        (answers,) = self._run([self._answer], self._tensors(matrix))
        return np.asarray(answers)

    def _tensors(self, matrix: NDArray[Any]) -> dict[str, NDArray[Any]]:
        """Return the inputs by name: the whole matrix, or each column of it.

        Raises ValueError for rows that they cannot hold.
        """
        if self._width not in {None, matrix.shape[1]}:
            msg = f"it takes {self._width} columns, and a row has {matrix.shape[1]}"
            raise ValueError(msg)
        if len(self._inputs) == 1:
            ((name, kind),) = self._inputs
            return {name: _as(kind, matrix, name)}
        columns = zip(self._inputs, matrix.T, strict=True)
        return {name: _as(kind, column, name)[:, None] for (name, kind), column in columns}


def _as(kind: type, values: NDArray[Any], name: str) -> NDArray[Any]:
    with np.errstate(invalid="ignore"):
        same: NDArray[Any] = values.astype(kind)
    if kind in _WHOLE and (same != values).any():
        what = "true and false" if kind is np.bool_ else "whole numbers"
        msg = f"its input {name!r} takes {what}, and a value is missing or another"
        raise ValueError(msg)
    return same


def _width(inputs: Sequence[Any]) -> int | None:
    """Return how many columns the inputs take together, None where they do not say it.

    Raises ValueError for inputs that take a fixed number of rows.
    """
    for each in inputs:
        if each.shape and isinstance(each.shape[0], int):
            msg = (
                f"its input {each.name!r} takes {each.shape[0]} rows at once, no more and no "
                "fewer: export it with a first dimension of any size"
            )
            raise ValueError(msg)
    if len(inputs) > 1:
        return len(inputs)
    columns = inputs[0].shape[1] if len(inputs[0].shape) == 2 else None
    return columns if isinstance(columns, int) else None


def _kind(name: str, described: str) -> type:
    if described not in _KINDS:
        msg = f"its input {name!r} is a {described}, and numbers, booleans and texts are sent"
        raise ValueError(msg)
    return _KINDS[described]
