"""Fast forms of well-known estimators: scikit-learn's numbers, without its checks at each call.

`compile_estimator` reads the fitted parameters of an estimator that it knows, and returns None for
any other. Nothing here is trusted: `model` compares what a fast form answers with scikit-learn at
every load, and goes back to scikit-learn where they differ.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from operator import mul, sub
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from modelrelease_serving.errors import ModelFailedError

Floats = NDArray[np.float64]

_MERGED_NODES_MAX: Final = 1_000_000
"""A merged forest is a copy of 64 bytes a node: at most 64 MB."""
_REPLICATED_ROWS_MAX: Final = 8
"""Up to here one call for all trees is faster than one for each tree."""

_LINEAR_REGRESSORS: Final = frozenset(
    {
        "LinearRegression",
        "Ridge",
        "RidgeCV",
        "Lasso",
        "LassoCV",
        "ElasticNet",
        "ElasticNetCV",
        "SGDRegressor",
    }
)
_LOGISTIC: Final = frozenset({"LogisticRegression", "LogisticRegressionCV"})
_FORESTS: Final = frozenset(
    {
        "RandomForestClassifier",
        "RandomForestRegressor",
        "ExtraTreesClassifier",
        "ExtraTreesRegressor",
    }
)
_TREES: Final = frozenset({"DecisionTreeClassifier", "DecisionTreeRegressor"})
_BOOSTED: Final = frozenset({"GradientBoostingClassifier", "GradientBoostingRegressor"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Compiled:
    """A fast form of an estimator."""

    name: str
    """What a log calls it."""
    predict: Callable[[Floats], NDArray[Any]]
    """From rows, shape (n, features), to what the estimator's `predict` returns, shape (n,)."""
    predict_proba: Callable[[Floats], Floats] | None = None
    """The same for `predict_proba`, shape (n, classes)."""
    predict_row: Callable[[Sequence[Any]], float | None] | None = None
    """From one row to its number: the second class's probability, or the regression's value."""


def compile_estimator(estimator: Any) -> Compiled | None:
    """Return a fast form of `estimator`, or None when none is known."""
    *transformers, last = _steps(estimator)
    if any(not _is(step, "StandardScaler") for step in transformers) or len(transformers) > 1:
        return None
    scale = _Scale(transformers[0] if transformers else None, _width(last))
    if _is(last, *_LINEAR_REGRESSORS):
        return _linear_regression(last, scale)
    if _is(last, *_LOGISTIC):
        return _logistic(last, scale)
    if _is(last, *_FORESTS, *_TREES, *_BOOSTED):
        return _trees(last, scale)
    return None


def _steps(estimator: Any) -> list[Any]:
    steps = [step for _, step in estimator.steps] if _is(estimator, "Pipeline") else [estimator]
    return [step for step in steps if step is not None and not isinstance(step, str)] or [None]


def thresholds(estimator: Any) -> list[list[float]]:
    """Return for each feature where an estimator's trees branch, in the feature's own numbers."""
    *transformers, last = _steps(estimator)
    members = getattr(last, "estimators_", [last])
    trees = [
        member.tree_
        for member in np.ravel(np.asarray(members, dtype=object))
        if hasattr(member, "tree_")
    ]
    if not trees:
        return []
    scale = _Scale(transformers[0] if transformers else None, _width(last))
    features = np.concatenate([tree.feature for tree in trees])
    edges = np.concatenate([tree.threshold for tree in trees])
    # Branches that only part missing values from others have an infinite threshold.
    features, edges = features[np.isfinite(edges)], edges[np.isfinite(edges)]
    return [
        (edges[features == index] * scale.spread[index] + scale.mean[index]).tolist()
        for index in range(_width(last))
    ]


def _is(estimator: Any, *names: str) -> bool:
    """Say whether it is exactly one of scikit-learn's own: a subclass may answer otherwise."""
    kind = type(estimator)
    return kind.__module__.startswith("sklearn.") and kind.__name__ in names


def _width(estimator: Any) -> int:
    return int(getattr(estimator, "n_features_in_", 0))


class _Scale:
    """What StandardScaler does: subtract, then divide, in this order, for the same bits."""

    def __init__(self, scaler: Any, width: int) -> None:
        mean = getattr(scaler, "mean_", None) if getattr(scaler, "with_mean", False) else None
        spread = getattr(scaler, "scale_", None)
        self.mean: Floats = np.zeros(width) if mean is None else mean
        self.spread: Floats = np.ones(width) if spread is None else spread
        self.identity = scaler is None

    def __call__(self, rows: Floats) -> Floats:
        return rows if self.identity else (rows - self.mean) / self.spread


def _linear_regression(estimator: Any, scale: _Scale) -> Compiled | None:
    coefficients = np.asarray(estimator.coef_, dtype=np.float64)
    if coefficients.ndim != 1:
        return None
    intercept = float(np.ravel(estimator.intercept_)[0])
    return Compiled(
        name="linear",
        predict=lambda rows: scale(rows) @ coefficients + intercept,
        predict_row=_score_of_one(coefficients, intercept, scale),
    )


def _logistic(estimator: Any, scale: _Scale) -> Compiled:
    coefficients = np.asarray(estimator.coef_, dtype=np.float64)
    intercept = np.asarray(estimator.intercept_, dtype=np.float64)
    classes = estimator.classes_

    def scores(rows: Floats) -> Floats:
        return _finite(scale(rows) @ coefficients.T + intercept)

    if len(coefficients) > 1:
        return Compiled(
            name="linear",
            predict=lambda rows: classes[scores(rows).argmax(axis=1)],
            predict_proba=lambda rows: _softmax(scores(rows)),
        )
    score = _score_of_one(coefficients[0], float(intercept[0]), scale)

    def one(row: Sequence[Any]) -> float:
        return _logistic_of(score(row))

    return Compiled(
        name="linear",
        predict=lambda rows: classes[(scores(rows)[:, 0] > 0).astype(int)],
        predict_proba=lambda rows: _two_columns(_logistic_of_all(scores(rows)[:, 0])),
        predict_row=one,
    )


def _score_of_one(
    coefficients: Floats, intercept: float, scale: _Scale
) -> Callable[[Sequence[Any]], float]:
    """Return a function from one row to its score, in plain Python: numpy costs ten times that."""
    means = scale.mean.tolist()
    factors = (coefficients / scale.spread).tolist()

    def score(row: Sequence[Any]) -> float:
        total = sum(map(mul, factors, map(sub, row, means)), intercept)
        if not math.isfinite(total):
            raise ModelFailedError(_TOO_LARGE)
        return total

    return score


_TOO_LARGE: Final = "a value is so large that the model cannot count with it"


def _finite(numbers: Floats) -> Floats:
    """Refuse what scikit-learn refuses: values that overflow on their way to the answer."""
    if not np.isfinite(numbers).all():
        raise ModelFailedError(_TOO_LARGE)
    return numbers


def _logistic_of(score: float) -> float:
    if score >= 0:
        return 1 / (1 + math.exp(-score))
    odds = math.exp(score)
    return odds / (1 + odds)


def _logistic_of_all(scores: Floats) -> Floats:
    odds = np.exp(-np.abs(scores))
    result: Floats = np.where(scores >= 0, 1, odds) / (1 + odds)
    return result


def _softmax(scores: Floats) -> Floats:
    odds = np.exp(scores - scores.max(axis=1, keepdims=True))
    result: Floats = odds / odds.sum(axis=1, keepdims=True)
    return result


def _two_columns(second: Floats) -> Floats:
    return np.stack([1 - second, second], axis=1)


def _trees(estimator: Any, scale: _Scale) -> Compiled | None:
    boosted = _is(estimator, *_BOOSTED)
    members = estimator.estimators_ if hasattr(estimator, "estimators_") else np.array([estimator])
    if getattr(estimator, "n_outputs_", 1) != 1:
        return None
    grid = np.asarray(members, dtype=object)
    if boosted and grid.shape[1] > 1:
        return None
    trees = [member.tree_ for member in grid.ravel()]
    if sum(tree.node_count for tree in trees) > _MERGED_NODES_MAX:
        return None
    total = _Sum(trees, scale)
    return _boosted(estimator, total) if boosted else _averaged(estimator, total, len(trees))


def _averaged(estimator: Any, total: "_Sum", members: int) -> Compiled:
    if not hasattr(estimator, "classes_"):
        return Compiled(
            name="trees",
            predict=lambda rows: total(rows)[:, 0] / members,
            predict_row=lambda row: total.of_one(row, 0) / members,
        )
    classes = estimator.classes_

    def shares(rows: Floats) -> Floats:
        return total(rows) / members

    def second_share(row: Sequence[Any]) -> float:
        return total.of_one(row, 1) / members

    return Compiled(
        name="trees",
        predict=lambda rows: classes[shares(rows).argmax(axis=1)],
        predict_proba=shares,
        predict_row=second_share if len(classes) == 2 else None,
    )


def _boosted(estimator: Any, total: "_Sum") -> Compiled | None:
    if not _starts_alike(estimator.init_):
        return None
    rate = float(estimator.learning_rate)
    origin = np.zeros((1, total.width))
    classifies = hasattr(estimator, "classes_")
    # Where the sum of the trees begins is only known to the estimator; one row tells it.
    raw = estimator.decision_function(origin) if classifies else estimator.predict(origin)
    start = float(raw[0] - rate * total.of_scaled(origin)[0, 0])

    def scores(rows: Floats) -> Floats:
        result: Floats = start + rate * total(rows)[:, 0]
        return result

    def score(row: Sequence[Any]) -> float:
        return start + rate * total.of_one(row, 0)

    if not classifies:
        return Compiled(name="trees", predict=scores, predict_row=score)
    classes = estimator.classes_
    return Compiled(
        name="trees",
        predict=lambda rows: classes[(scores(rows) >= 0).astype(int)],
        predict_proba=lambda rows: _two_columns(_logistic_of_all(scores(rows))),
        predict_row=lambda row: _logistic_of(score(row)),
    )


def _starts_alike(start: Any) -> bool:
    """Say whether boosting begins with one number for every row, not another model's answer."""
    if isinstance(start, str):
        return start == "zero"
    steady = {"prior", "most_frequent", "constant"}
    return _is(start, "DummyRegressor") or (
        _is(start, "DummyClassifier") and start.strategy in steady
    )


class _Sum:
    """The sum over all trees of the values of the leaves that a row falls in.

    All trees are merged into one: above them stands a small tree that branches by a last column,
    the number of the tree. So one call of scikit-learn's own compiled code walks every tree, where
    one call for each tree costs more than the walk.
    """

    def __init__(self, trees: Sequence[Any], scale: _Scale) -> None:
        self.width = int(trees[0].n_features)
        self._count = len(trees)
        self._scale = scale
        self._tree, self._values = _merge(trees)
        self._numbers = np.arange(self._count, dtype=np.float32)[:, None]
        self._form = np.concatenate(
            [np.zeros((self._count, self.width), np.float32), self._numbers], axis=1
        )
        """The columns for one row, which is still to be filled in."""
        # One row is asked for its first or second value, and leaves may have a hundred.
        self._columns = np.ascontiguousarray(self._values.T[:2])

    def __call__(self, rows: Floats) -> Floats:
        """Return the sums, shape (rows, values of a leaf)."""
        return self.of_scaled(self._scale(rows))

    def of_scaled(self, rows: Floats) -> Floats:
        """Return the sums of rows that the scaler has seen, as the last step takes them."""
        narrow = _narrow(rows)
        if len(rows) <= _REPLICATED_ROWS_MAX:
            return self._sum_at_once(narrow)
        columns = np.empty((len(rows), self.width + 1), dtype=np.float32)
        columns[:, :-1] = narrow
        sums: Floats = np.zeros((len(rows), self._values.shape[1]))
        for number in range(self._count):
            columns[:, -1] = number
            sums += self._values.take(self._tree.apply(columns), axis=0)
        return sums

    def of_one(self, row: Sequence[Any], value: int) -> float:
        """Return the sum over one row's leaves of the value with this number."""
        columns = self._form.copy()
        if self._scale.identity:
            # Requests with numbers beyond 32 bits were refused, and gaps are no infinity.
            columns[:, :-1] = row
        else:
            with np.errstate(all="ignore"):
                columns[:, :-1] = _narrow(self._scale(np.array(row, dtype=np.float64)))
        # `cumsum` adds in order, as the estimator does; `sum` would not.
        return float(self._columns[value].take(self._tree.apply(columns)).cumsum()[-1])

    def _sum_at_once(self, narrow: NDArray[np.float32]) -> Floats:
        rows = len(narrow)
        columns = np.empty((self._count, rows, self.width + 1), dtype=np.float32)
        columns[:, :, :-1] = narrow
        columns[:, :, -1] = self._numbers
        leaves = self._tree.apply(columns.reshape(-1, self.width + 1))
        # Along the first axis numpy adds in order, as the estimator does.
        sums: Floats = self._values.take(leaves, axis=0).reshape(self._count, rows, -1).sum(axis=0)
        return sums


def _narrow(rows: Floats) -> NDArray[np.float32]:
    """Return the rows as trees take them. Raises ModelFailedError where float32 is too small."""
    narrow = rows.astype(np.float32)
    if np.isinf(narrow).any():
        raise ModelFailedError(_TOO_LARGE)
    return narrow


def _merge(trees: Sequence[Any]) -> tuple[Any, Floats]:
    """Return one tree that holds all `trees`, and its nodes' values, shape (nodes, values)."""
    states = [tree.__getstate__() for tree in trees]
    width = int(trees[0].n_features)
    starts = np.cumsum([len(trees) - 1, *(tree.node_count for tree in trees)]).tolist()
    head = np.zeros(len(trees) - 1, dtype=states[0]["nodes"].dtype)
    _branch(head, width, starts, 0, len(trees))
    parts, values = [head], [np.zeros((len(head), *states[0]["values"].shape[1:]))]
    for start, state in zip(starts, states, strict=False):
        nodes = state["nodes"].copy()
        inner = nodes["left_child"] >= 0
        nodes["left_child"][inner] += start
        nodes["right_child"][inner] += start
        parts.append(nodes)
        values.append(state["values"])
    all_nodes, all_values = np.concatenate(parts), np.concatenate(values)
    kind, (_, classes, outputs), _ = trees[0].__reduce__()
    merged = kind(width + 1, classes, outputs)
    depth = max(tree.max_depth for tree in trees) + len(trees).bit_length()
    merged.__setstate__(
        {"max_depth": depth, "node_count": len(all_nodes), "nodes": all_nodes, "values": all_values}
    )
    return merged, np.ascontiguousarray(all_values[:, 0, :])


def _branch(
    head: NDArray[Any], column: int, starts: Sequence[int], low: int, high: int, at: int = 0
) -> int:
    """Write the branches from node `at` to trees `low` to `high`; return the node they begin at."""
    if high - low == 1:
        return starts[low]
    middle = (low + high) // 2
    # The left half needs middle - low - 1 nodes, which come right after this one.
    head[at]["feature"] = column
    head[at]["threshold"] = middle - 0.5
    head[at]["left_child"] = _branch(head, column, starts, low, middle, at + 1)
    head[at]["right_child"] = _branch(head, column, starts, middle, high, at + middle - low)
    return at
