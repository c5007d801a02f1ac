"""One model: opened by its manifest, loaded by its digest, trusted once it repeats its examples.

No HTTP, no metrics, no settings here. A model file is code, so nothing is unpickled before its
digest was compared.
"""

import logging
import math
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np

from modelrelease_contract import ArtifactManifest
from modelrelease_contract.artifact import FeatureKind
from modelrelease_serving.artifact import check_file, read_manifest
from modelrelease_serving.errors import ModelFailedError, RefusedError
from modelrelease_serving.loaders import ADVICE, Rules, load_estimator
from modelrelease_serving.logs import fields

_LOG = logging.getLogger(__name__)

Value = float | str | None
Answer = float | str


class Model:
    """A model that may not be loaded yet. `manifest` and `digest` are known from the start."""

    __slots__ = ("_dtype", "_estimator", "_pinned", "_rules", "digest", "folder", "manifest", "ready")

    def __init__(
        self, folder: Path, manifest: ArtifactManifest, digest: str, *, pinned: bool, rules: Rules
    ) -> None:
        numeric = all(feature.kind is FeatureKind.NUMERIC for feature in manifest.features)
        self.folder = folder
        self.manifest = manifest
        self.digest = digest
        self.ready = False
        self._pinned = pinned
        self._rules = rules
        self._dtype: type = np.float64 if numeric else object
        self._estimator: Any = None

    @classmethod
    def open(
        cls,
        folder: Path,
        *,
        version: str | None = None,
        sha256: str | None = None,
        rules: Rules = Rules(),  # noqa: B008 - frozen
    ) -> Self:
        """Read the manifest in `folder`, which must have this version and digest where they are given.

        Raises RefusedError.
        """
        manifest, digest = read_manifest(folder, sha256=sha256)
        if version is not None and manifest.version != version:
            msg = f"{folder} holds version {manifest.version!r}, but MODEL_VERSION asks for {version!r}"
            raise RefusedError(msg)
        return cls(folder, manifest, digest, pinned=sha256 is not None, rules=rules)

    def load(self) -> None:
        """Check every file, load, and repeat the examples. Takes seconds; raises RefusedError."""
        began = time.monotonic()
        for file in self.manifest.files:
            check_file(self.folder, file)
        self._estimator = load_estimator(self.folder, self.manifest, pinned=self._pinned, rules=self._rules)
        self._repeat_examples()
        self.ready = True
        _LOG.info(
            "ready",
            extra=fields(
                model=self.manifest.name,
                version=self.manifest.version,
                sha256=self.digest,
                examples=len(self.manifest.examples.rows),
                seconds=round(time.monotonic() - began, 3),
            ),
        )

    def predict(self, rows: Sequence[Sequence[Value]]) -> list[Answer]:
        """Return one answer for each row of valid values: a class, a number, or a probability.

        Raises whatever the estimator raises, and ModelFailedError for an answer that is no number.
        """
        matrix: Any = np.array(rows, dtype=self._dtype)
        # numpy warns of each NaN that it makes, at every call; the check below says it once.
        with np.errstate(all="ignore"):
            if self.manifest.output.probability:
                answers = self._estimator.predict_proba(matrix)[:, 1].tolist()
            else:
                answers = self._estimator.predict(matrix).tolist()
        if len(answers) != len(rows):
            msg = f"the model gave {len(answers)} answers for {len(rows)} rows"
            raise ModelFailedError(msg)
        if any(isinstance(answer, float) and not math.isfinite(answer) for answer in answers):
            msg = "the model answered with a number that is not finite"
            raise ModelFailedError(msg)
        return list(answers)

    def _repeat_examples(self) -> None:
        """Answer the example rows one by one, as clients will ask. Raises RefusedError on a difference."""
        examples = self.manifest.examples
        for index, (row, recorded) in enumerate(zip(examples.rows, examples.predictions, strict=True)):
            try:
                (answer,) = self.predict([row])
            except Exception as error:
                msg = f"the model fails on example row {index} ({type(error).__name__}: {error}): {ADVICE}"
                raise RefusedError(msg) from error
            if not _same(answer, recorded, examples.tolerance):
                difference = f"example row {index} is answered with {answer!r}, recorded was {recorded!r}"
                msg = f"{difference}: {ADVICE}"
                raise RefusedError(msg)


def _same(answer: Answer, recorded: Answer, tolerance: float) -> bool:
    if isinstance(answer, str) or isinstance(recorded, str):
        return answer == recorded
    return abs(answer - recorded) <= tolerance
