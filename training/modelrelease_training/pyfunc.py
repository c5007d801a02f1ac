"""Lets MLflow load a registered artifact: `mlflow.pyfunc.load_model("models:/qna@champion")`."""

from pathlib import Path
from typing import Any

from modelrelease_contract import ArtifactManifest
from modelrelease_training.load import load_model


class Loaded:
    """A model behind MLflow's generic interface."""

    def __init__(self, model: Any, manifest: ArtifactManifest) -> None:
        self._model = model
        self._manifest = manifest

    def predict(self, rows: Any, params: dict[str, Any] | None = None) -> Any:  # noqa: ARG002 (MLflow passes it)
        """Answer as the predictor does, row by row. Columns may come in any order."""
        names = [feature.name for feature in self._manifest.features]
        matrix = rows[names].to_numpy() if hasattr(rows, "to_numpy") else rows
        if self._manifest.output.probability:
            return self._model.predict_proba(matrix)[:, 1]
        return self._model.predict(matrix)


def _load_pyfunc(path: str) -> Loaded:
    """Return the model in the folder `path`. MLflow calls this by its name."""
    return Loaded(*load_model(Path(path)))
