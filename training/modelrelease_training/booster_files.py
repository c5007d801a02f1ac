"""Writes models of XGBoost, LightGBM and CatBoost as files of these libraries, which hold no code.

Only what the file holds is served from it, so what it leaves out is refused here.
"""

import math
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

from modelrelease_contract.artifact import Format


def is_bare(model: Any, library: str) -> bool:
    """Say whether it is what a library's `train` returns: trees without an estimator around."""
    return type(model).__name__ == "Booster" and type(model).__module__.startswith(f"{library}.")


def _xgboost(model: Any, path: Path) -> None:
    if type(model).__name__ == "XGBRanker":
        msg = "a predictor reads the file of a classifier or a regressor, and none of a ranker"
        raise ValueError(msg)
    if not math.isnan(model.get_params()["missing"]):
        msg = "the file does not keep which number stands for a missing value"
        raise ValueError(msg)
    model.save_model(path)


def _lightgbm(model: Any, path: Path) -> None:
    if is_bare(model, "lightgbm"):
        msg = "it is a Booster as lightgbm.train returns it: fit LGBMClassifier or LGBMRegressor"
        raise ValueError(msg)
    if callable(model.get_params()["objective"]):
        msg = "the file does not keep an objective that is a function of one's own"
        raise ValueError(msg)
    model.booster_.save_model(path)


def _catboost(model: Any, path: Path) -> None:
    model.save_model(str(path))


_WRITERS: Final[Mapping[Format, tuple[str, Callable[[Any, Path], None]]]] = {
    "xgboost": ("model.ubj", _xgboost),
    "lightgbm": ("model.txt", _lightgbm),
    "catboost": ("model.cbm", _catboost),
}
BOOSTERS: Final = frozenset(_WRITERS)
"""Formats, and packages, of these libraries."""


def native_format(model: Any) -> Format | None:
    """Return the format of the library that an estimator is of, None for one of another."""
    library = type(model).__module__.partition(".")[0]
    return next((form for form in _WRITERS if form == library), None)


def native_files(model: Any) -> dict[str, bytes]:
    """Return an estimator of one of these libraries as its file, by the file's name.

    Raises ValueError for what the file would leave out, and whatever the library raises.
    """
    form = native_format(model)
    if form is None:
        msg = f"a {type(model).__name__} has no file of its own"
        raise ValueError(msg)
    name, save = _WRITERS[form]
    with tempfile.TemporaryDirectory(prefix="modelrelease-") as folder:
        path = Path(folder) / name
        save(model, path)
        return {name: path.read_bytes()}
