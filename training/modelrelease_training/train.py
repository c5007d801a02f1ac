"""Fits the model. Pure: data, a recipe and a seed in, a fitted estimator out."""

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, Final, Literal

import numpy as np
from sklearn.ensemble import RandomForestClassifier
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression, SGDClassifier
from sklearn.metrics import log_loss
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler

from modelrelease_training.data import Data

REGULARIZATION: Final = 1.0
"""scikit-learn's C: the inverse of the penalty's strength, so that smaller is stricter."""
MAX_STEPS: Final = 500
BATCH_SIZE: Final = 64
TREES: Final = 100
_REPORTS: Final = 20
"""Times that progress is told in one training."""

Estimator = Literal["logistic", "sgd", "forest"]
Progress = Callable[[int, int, float], None]
"""Called with steps done, steps in all, and the log loss on the training rows."""


def usual_estimator(*, max_steps: int | None, batch_size: int | None) -> Estimator:
    """Return what is fitted where nobody named an estimator: only `sgd` learns in steps."""
    return "logistic" if max_steps is None and batch_size is None else "sgd"


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """How to fit. Everything that decides the model, apart from the data."""

    estimator: Estimator = "logistic"
    regularization: float = REGULARIZATION
    """scikit-learn's C. A forest has none."""
    max_steps: int | None = None
    """Mini-batches for `sgd`, drawn without replacement within a pass over the rows."""
    batch_size: int | None = None
    """Rows in a mini-batch."""
    seed: int = 0

    def __post_init__(self) -> None:
        if not self.regularization > 0:
            rule = "regularization must be above 0 (scikit-learn's C, smaller is stricter)"
            msg = f"{rule}, got {self.regularization}"
            raise ValueError(msg)
        for name, value in (("max-steps", self.max_steps), ("batch-size", self.batch_size)):
            if value is not None and self.estimator != "sgd":
                msg = (
                    f"--{name} is for --estimator sgd, which learns in steps; {self.estimator} "
                    "does not"
                )
                raise ValueError(msg)
            if value is not None and value < 1:
                msg = f"{name} must be at least 1, got {value}"
                raise ValueError(msg)

    def parameters(self) -> dict[str, str]:
        """Return what was decided, as texts, without what is open or says nothing of a forest."""
        idle = {"regularization"} if self.estimator == "forest" else set()
        return {
            name: str(value)
            for name, value in asdict(self).items()
            if value is not None and name not in idle
        }


def fit(data: Data, *, regularization: float = REGULARIZATION, seed: int = 0) -> Any:
    """Return a scaler and a logistic regression fitted to `data`, as one scikit-learn Pipeline.

    Raises ValueError when `regularization` is not above zero.
    """
    return fit_recipe(data, Recipe(regularization=regularization, seed=seed))


def fit_recipe(data: Data, recipe: Recipe, *, progress: Progress | None = None) -> Any:
    """Return a Pipeline fitted to `data`: what prepares the inputs, and the recipe's estimator.

    The same data, recipe and library versions give the same model. `progress` is told of `sgd`
    only: the others are one call of a library.
    """
    prepare = [("impute", SimpleImputer(strategy="median"))] if data.nullable else []
    match recipe.estimator:
        case "logistic":
            classify: Any = LogisticRegression(
                C=recipe.regularization, max_iter=1000, random_state=recipe.seed
            )
        case "forest":
            classify = RandomForestClassifier(
                n_estimators=TREES, min_samples_leaf=5, random_state=recipe.seed
            )
        case "sgd":
            return _fit_in_steps(data, recipe, prepare, progress)
    model = Pipeline([*prepare, ("scale", StandardScaler()), ("classify", classify)])
    return model.fit(data.rows, data.labels)


def _fit_in_steps(data: Data, recipe: Recipe, prepare: list[Any], progress: Progress | None) -> Any:
    """Fit a logistic regression by averaged stochastic gradient descent (Bottou 2010, 4.2)."""
    steps = recipe.max_steps or MAX_STEPS
    size = min(recipe.batch_size or BATCH_SIZE, len(data.labels))
    inputs = Pipeline([*prepare, ("scale", StandardScaler())])
    scaled = inputs.fit_transform(data.rows)
    # scikit-learn's penalty is a share of the mean loss here, and of its sum in LogisticRegression.
    alpha = 1 / (recipe.regularization * len(data.labels))
    classify = SGDClassifier(
        loss="log_loss",
        alpha=alpha,
        learning_rate="invscaling",
        eta0=0.1,
        power_t=0.25,
        average=True,
        random_state=recipe.seed,
    )
    draw, order = np.random.default_rng(recipe.seed), np.empty(0, dtype=np.int64)
    report_every = math.ceil(steps / _REPORTS)
    for step in range(1, steps + 1):
        if len(order) < size:
            order = np.concatenate([order, draw.permutation(len(data.labels))])
        batch, order = order[:size], order[size:]
        classify.partial_fit(scaled[batch], data.labels[batch], classes=[0, 1])
        if progress and (step % report_every == 0 or step == steps):
            progress(
                step, steps, float(log_loss(data.labels, classify.predict_proba(scaled)[:, 1]))
            )
    return Pipeline([*inputs.steps, ("classify", classify)])
