"""The models that are served, in every form that a candidate wants,
and the answers that are right.
"""

import json
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import joblib
from sklearn.ensemble import RandomForestClassifier

from benchmarks.serving.candidates import Candidate, Row, Work
from cluster.progress import step
from cluster.shell import run
from modelrelease_training.data import Split, make_data, split
from modelrelease_training.export import Label, export_artifact
from modelrelease_training.train import fit

APPS: Final = Path(__file__).parent / "apps"
ROWS_COMPARED: Final = 64
_ROWS: Final = 3000
"""With so many the forest has about 50,000 nodes."""
_BATCHES: Final = {"max_batch_size": 32, "max_batch_time": 0.002}


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """A folder with every model, rows to ask with, and scikit-learn's own answer to each."""

    folder: Path
    rows: list[Row]
    answers: dict[Work, list[float]]
    """Probability of class 1, by model."""
    digests: dict[str, str]
    """What pins each of our artifacts, by name."""


@contextmanager
def prepared(
    candidates: Iterable[Candidate], environment: Callable[[str], Path], *, trees: int = 100
) -> Iterator[Prepared]:
    """Fit the models and write what these candidates need into a folder that is removed at the
    end.
    """
    prepared_candidates = list(candidates)
    data = split(make_data(seed=1, rows=_ROWS))
    with tempfile.TemporaryDirectory(prefix="bench-serving-") as name:
        folder = Path(name)
        with step("fitting the models"):
            fitted_models = {
                Work.LOGISTIC: fit(data.training),
                Work.FOREST: RandomForestClassifier(n_estimators=trees, random_state=0).fit(
                    data.training.rows, data.training.labels
                ),
            }
        digests = {
            str(work): _write(folder, work, model, data) for work, model in fitted_models.items()
        }
        for candidate in prepared_candidates:
            if candidate.environment.startswith("mlflow"):
                _save_for_mlflow(folder, candidate.work, environment(candidate.environment))
        rows = data.held_out.rows[:ROWS_COMPARED]
        probabilities = {
            work: model.predict_proba(rows)[:, 1].tolist() for work, model in fitted_models.items()
        }
        yield Prepared(folder=folder, rows=rows.tolist(), answers=probabilities, digests=digests)


def _write(folder: Path, work: Work, model: Any, data: Split) -> str:
    """Write a joblib file, MLServer's folders and our artifact; return the digest of the last."""
    file = folder / work / "model.joblib"
    file.parent.mkdir()
    joblib.dump(model, file)
    for variant, batches in (("mlserver", {}), ("mlserver-tuned", _BATCHES)):
        settings = {
            "name": "model",
            "implementation": "mlserver_sklearn.SKLearnModel",
            "parameters": {"uri": str(file)},
            **batches,
        }
        model_folder = folder / variant / work
        model_folder.mkdir(parents=True)
        (model_folder / "model-settings.json").write_text(json.dumps(settings))
    label = Label(name=work, version="1")
    return export_artifact(
        model, label=label, data=data, metrics={}, output=folder / "artifacts"
    ).digest


def _save_for_mlflow(folder: Path, work: Work, environment: Path) -> None:
    target = folder / "mlflow" / work
    if not target.exists():
        source = folder / work / "model.joblib"
        with step(f"saving the {work} model with MLflow"):
            run((environment / "bin" / "python", APPS / "mlflow_save.py", source, target))
