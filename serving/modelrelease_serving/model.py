"""One model: opened by its manifest, loaded by its digest, trusted once it repeats its examples.

No HTTP, no metrics, no settings here. A model file is code, so nothing is unpickled before its
digest was compared.
"""

import logging
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

from modelrelease_contract import ArtifactManifest
from modelrelease_serving.artifact import check_file, read_manifest
from modelrelease_serving.errors import RefusedError
from modelrelease_serving.estimator import Answer, Estimator, Pace, Row, compare, measure
from modelrelease_serving.loaders import ADVICE, Rules, load_estimator
from modelrelease_serving.logs import fields
from modelrelease_serving.records import difference

_LOG = logging.getLogger(__name__)


class Model:
    """A model that may not be loaded yet. `manifest` and `digest` are known from the start."""

    __slots__ = (
        "_estimator",
        "_pinned",
        "_rules",
        "answer_type",
        "digest",
        "folder",
        "manifest",
        "mixes_rows",
        "pace",
        "ready",
    )

    def __init__(
        self, folder: Path, manifest: ArtifactManifest, digest: str, *, pinned: bool, rules: Rules
    ) -> None:
        self.folder = folder
        self.manifest = manifest
        self.digest = digest
        self.ready = False
        self.pace = Pace(0.0, 0.0)
        """How long it takes to answer, measured when it was loaded."""
        self.mixes_rows = False
        """True when a row's answer depends on the rows beside it, so that requests cannot share a call."""
        self.answer_type: type[Answer] = float
        """What an answer is, seen when it was loaded."""
        self._pinned = pinned
        self._rules = rules
        self._estimator: Estimator | None = None

    @classmethod
    def open(
        cls,
        folder: Path,
        *,
        version: str | None = None,
        sha256: str | None = None,
        name: str = "model",
        rules: Rules = Rules(),  # noqa: B008 - frozen
    ) -> Self:
        """Read the manifest in `folder`, which must have this version and digest where they are given.

        A folder that MLflow wrote does not tell its name and version, so it takes those that are given.
        Raises RefusedError.
        """
        manifest, digest = read_manifest(folder, sha256=sha256, name=name, version=version)
        if version is not None and manifest.version != version:
            msg = f"{folder} holds version {manifest.version!r}, but MODEL_VERSION asks for {version!r}"
            raise RefusedError(msg)
        return cls(folder, manifest, digest, pinned=sha256 is not None, rules=rules)

    def load(self, *, fast: bool = True) -> None:
        """Check every file, load, and repeat the examples. Takes seconds; raises RefusedError.

        `fast` allows a faster form of a known estimator, where it gives scikit-learn's answers.
        """
        began = time.monotonic()
        for file in self.manifest.files:
            check_file(self.folder, file)
        fitted = load_estimator(self.folder, self.manifest, pinned=self._pinned, rules=self._rules)
        estimator = self._estimator = Estimator(fitted, self.manifest)
        self._record_examples()
        self._repeat_examples()
        reason = self._use_fast_form(fitted, estimator) if fast else "switched off by COMPILE_MODEL"
        rows = self.manifest.examples.rows
        self.answer_type = type(self.predict(rows[:1])[0])
        self.mixes_rows = self._differs_in_company()
        self.pace = measure(estimator, rows)
        self.ready = True
        _LOG.info(
            "ready",
            extra=fields(
                model=self.manifest.name,
                version=self.manifest.version,
                sha256=self.digest,
                examples=len(rows),
                answers_from=estimator.form,
                because=reason,
                microseconds_of_a_row=round(self.pace.seconds(1) * 1e6, 1),
                seconds=round(time.monotonic() - began, 3),
            ),
        )

    @property
    def estimator(self) -> Estimator:
        """The estimator of a loaded model."""
        if self._estimator is None:
            msg = "the model is not loaded"
            raise RuntimeError(msg)
        return self._estimator

    def predict(self, rows: Sequence[Row]) -> list[Answer]:
        """Return one answer for each row of valid values. Raises as `Estimator.predict` does."""
        return self.estimator.predict(rows)

    def _use_fast_form(self, fitted: Any, estimator: Estimator) -> str:
        """Answer through the estimator's fast form if it has an equal one. Return why, or why not."""
        found = compare(fitted, self.manifest)
        if found.compiled is not None:
            estimator.use(found.compiled)
            self._repeat_examples()
        return found.reason

    def _differs_in_company(self) -> bool:
        """Say whether the example rows are answered otherwise together than one by one."""
        rows, tolerance = self.manifest.examples.rows, self.manifest.examples.tolerance
        try:
            together = self.predict(rows)
        except Exception:
            return True
        return any(
            difference(answer, *self.predict([row])) > tolerance
            for answer, row in zip(together, rows, strict=True)
        )

    def _record_examples(self) -> None:
        """Take this model's own answers where training recorded none. Raises RefusedError if it has none."""
        examples = self.manifest.examples
        if examples.predictions:
            return
        _LOG.warning("training recorded no answers, so the example rows only have to be answered")
        try:
            answers = [self.predict([row])[0] for row in examples.rows]
        except Exception as error:
            msg = f"the model fails on its example rows ({type(error).__name__}: {error}): {ADVICE}"
            raise RefusedError(msg) from error
        recorded = examples.model_copy(update={"predictions": tuple(answers)})
        self.manifest = self.manifest.model_copy(update={"examples": recorded})

    def _repeat_examples(self) -> None:
        """Answer the example rows one by one, as clients will ask. Raises RefusedError on a difference."""
        examples = self.manifest.examples
        for index, (row, recorded) in enumerate(zip(examples.rows, examples.predictions, strict=True)):
            try:
                (answer,) = self.predict([row])
            except Exception as error:
                msg = f"the model fails on example row {index} ({type(error).__name__}: {error}): {ADVICE}"
                raise RefusedError(msg) from error
            if not difference(answer, recorded) <= examples.tolerance:
                wrong = f"example row {index} is answered with {answer!r}, recorded was {recorded!r}"
                msg = f"{wrong}: {ADVICE}"
                raise RefusedError(msg)
