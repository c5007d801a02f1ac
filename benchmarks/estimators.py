"""Whether the predictor answers as `predict` does: every estimator of scikit-learn, in each form.

`python -m benchmarks.estimators` exports each and has a predictor answer 1,000 rows, as clients
send them. XGBoost, LightGBM and CatBoost are among them (the extra `boosters`). `--write` puts the
table into benchmarks/README.md.
"""

import argparse
import json
import sys
import tempfile
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from sklearn.datasets import load_diabetes, load_wine

from benchmarks.doc_markers import put
from modelrelease_serving.check import check
from modelrelease_serving.comparison import repeats
from modelrelease_serving.errors import RefusedError
from modelrelease_serving.settings import Settings
from modelrelease_training.export import Label, write
from modelrelease_training.own_model import TOLERANCE, Served, describe
from testbed import estimators

README: Final = Path(__file__).parent / "README.md"
MARK: Final = "estimators"
_FORMS: Final[tuple[Served, ...]] = ("joblib", "skops")


@dataclass(frozen=True, slots=True)
class Result:
    """What came of one model in one form."""

    name: str
    form: Served
    rows: int = 0
    same: int = 0
    refused: str = ""

    @property
    def good(self) -> bool:
        """Whether every row was answered as the model itself answers."""
        return not self.refused and self.same == self.rows == estimators.ROWS


def cases() -> Iterator[tuple[str, tuple[Served, ...], Callable[[], estimators.Case]]]:
    """Yield each model's name, the forms that it is served in, and what fits it."""
    for name in estimators.NAMES:
        yield name, _FORMS, lambda name=name: estimators.fitted(name)  # type: ignore[misc]
    for kind in estimators.MIXED:
        yield (
            f"mixed columns, {kind}",
            _FORMS,
            lambda kind=kind: estimators.fitted_to_customers(kind),  # type: ignore[misc]
        )
    yield "KMeans of 32-bit numbers", _FORMS, estimators.clusters_of_32_bits
    for name, fit in _boosters().items():
        yield name, ("joblib", "native"), fit


def _boosters() -> dict[str, Callable[[], estimators.Case]]:
    from catboost import CatBoostClassifier, CatBoostRegressor  # noqa: PLC0415 - of an extra
    from lightgbm import LGBMClassifier, LGBMRegressor  # noqa: PLC0415
    from xgboost import XGBClassifier, XGBRegressor  # noqa: PLC0415

    quiet = {"verbose": 0, "allow_writing_files": False, "thread_count": 1}
    return {
        "XGBClassifier": lambda: _boosted(XGBClassifier(n_estimators=20), load_wine),
        "XGBRegressor": lambda: _boosted(XGBRegressor(n_estimators=20), load_diabetes),
        "LGBMClassifier": lambda: _boosted(LGBMClassifier(verbose=-1), load_wine),
        "LGBMRegressor": lambda: _boosted(LGBMRegressor(verbose=-1), load_diabetes),
        "CatBoostClassifier": lambda: _boosted(CatBoostClassifier(50, **quiet), load_wine),
        "CatBoostRegressor": lambda: _boosted(CatBoostRegressor(50, **quiet), load_diabetes),
    }


def _boosted(model: Any, load: Callable[..., Any]) -> estimators.Case:
    rows, target = load(return_X_y=True, as_frame=True)
    others = rows.sample(estimators.ROWS, replace=True, random_state=1).reset_index(drop=True)
    others *= np.random.default_rng(2).uniform(0.99, 1.01, others.shape)
    others.iloc[::9, 0] = np.nan
    return model.fit(rows, target), others


def serve(name: str, form: Served, case: estimators.Case) -> Result:
    """Export a model, have a predictor answer the rows, and compare."""
    label = Label(name="model", version="1")
    try:
        own = describe(*case, label=label, served=form)
        with tempfile.TemporaryDirectory(prefix="modelrelease-") as folder:
            exported = write(own.manifest, own.files, output=Path(folder))
            settings = Settings(model_path=exported.path, model_sha256=exported.digest)
            said = check(settings, [json.dumps({"features": own.columns.rows}).encode()])
    except (RefusedError, ValueError) as error:
        return Result(name, form, refused=str(error))
    answers: Any = said["answers"]
    same = [repeats(*pair, TOLERANCE) for pair in zip(answers, own.answers, strict=True)]
    return Result(name, form, rows=len(same), same=sum(same))


def run() -> list[Result]:
    """Fit and serve everything."""
    results = []
    for name, forms, fit in cases():
        case = fit()
        results += [serve(name, form, case) for form in forms]
        print(
            name,
            *("ok" if each.good else "not" for each in results[-len(forms) :]),
            file=sys.stderr,
        )
    return results


def table(results: list[Result]) -> str:
    """Return the figures as a table in Markdown, and each refusal in its sentence."""
    lines = ["| form | models | 1,000 of 1,000 answers equal | refused | other answers |"]
    lines += ["|---|---|---|---|---|"]
    for form in ("joblib", "skops", "native"):
        of_form = [result for result in results if result.form == form]
        good = sum(result.good for result in of_form)
        refused = sum(bool(result.refused) for result in of_form)
        other = len(of_form) - good - refused
        lines.append(f"| {form} | {len(of_form)} | {good} | {refused} | {other} |")
    reasons: dict[str, list[str]] = {}
    for result in results:
        if result.refused:
            reasons.setdefault(f"{result.form}: {_short(result.refused)}", []).append(result.name)
        elif not result.good:
            reasons.setdefault(f"{result.form}: other answers", []).append(
                f"{result.name} ({result.same} of {result.rows} equal)"
            )
    listed = [f"* {reason} ({', '.join(names)})" for reason, names in reasons.items()]
    return "\n".join([*lines, "", *listed])


def _short(sentence: str) -> str:
    return sentence if len(sentence) <= 300 else f"{sentence[:300]} …"


def main() -> int:
    """Print the table. Return 1 where an answer differs."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.estimators", description=__doc__)
    parser.add_argument("--write", action="store_true", help=f"put the table into {README.name}")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    results = run()
    printed = table(results)
    print(printed)
    if options.write:
        put(README, printed, mark=MARK)
    ends = Counter(result.good or bool(result.refused) for result in results)
    return 1 if ends[False] else 0


if __name__ == "__main__":
    sys.exit(main())
