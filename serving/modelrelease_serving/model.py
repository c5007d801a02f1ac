"""One model: opened by its manifest, loaded by its digest, trusted once it repeats its examples.

No HTTP, no metrics, no settings here. A model file is code, so nothing is unpickled before its
digest was compared.
"""

import logging
import textwrap
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

from modelrelease_contract import ArtifactManifest
from modelrelease_serving.artifact import check_file, read_manifest
from modelrelease_serving.comparison import repeats, values_of
from modelrelease_serving.errors import NoAnswerError, RefusedError
from modelrelease_serving.estimator import (
    Answer,
    CostModel,
    Estimator,
    Row,
    compare,
    measure,
    mixes_rows,
    require_plain,
)
from modelrelease_serving.loaders import ADVICE, Rules, load_estimator
from modelrelease_serving.logs import fields

_LOG = logging.getLogger(__name__)


class Model:
    """A model that may not be loaded yet. `manifest` and `digest` are known from the start."""

    __slots__ = (
        "_estimator",
        "_pinned",
        "_rules",
        "answer_type",
        "cost",
        "digest",
        "folder",
        "manifest",
        "mixes_rows",
        "ready",
    )

    def __init__(
        self, folder: Path, manifest: ArtifactManifest, digest: str, *, pinned: bool, rules: Rules
    ) -> None:
        self.folder = folder
        self.manifest = manifest
        self.digest = digest
        self.ready = False
        self.cost = CostModel(0.0, 0.0)
        """How long it takes to answer, measured when it was loaded."""
        self.mixes_rows = False
        """True when a row's answer depends on the rows beside it: requests cannot share a call."""
        self.answer_type: type[float | str] = float
        """What an answer is, or each value of it, seen when it was loaded."""
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
        """Read the manifest in `folder`, which must have this version and digest, where given.

        A folder that MLflow wrote does not tell its name and version, so it takes those that are
        given. Raises RefusedError.
        """
        manifest, digest = read_manifest(folder, sha256=sha256, name=name, version=version)
        if version is not None and manifest.version != version:
            msg = (
                f"{folder} holds version {manifest.version!r}, but MODEL_VERSION asks for "
                f"{version!r}"
            )
            raise RefusedError(msg)
        if manifest.format == "files":
            msg = (
                f"{folder} holds files for another server, and no model that this predictor knows: "
                "name that server in spec.serving.runtime"
            )
            raise RefusedError(msg)
        return cls(folder, manifest, digest, pinned=sha256 is not None, rules=rules)

    def load(self, *, fast: bool = True) -> None:
        """Check every file, load, and repeat the examples. Takes seconds; raises RefusedError.

        `fast` allows a faster form of a known estimator, where it gives scikit-learn's answers.
        """
        try:
            self._load(fast=fast)
        except (RefusedError, MemoryError):
            raise
        except NoAnswerError as error:
            raise RefusedError(str(error)) from error
        except Exception as error:
            # Files and estimators come from others, and fail in ways that nobody here foresees.
            _LOG.exception("the model cannot be served")
            msg = f"the model cannot be served ({_brief(error)}): {ADVICE}"
            raise RefusedError(msg) from error

    def _load(self, *, fast: bool) -> None:
        began = time.monotonic()
        for file in self.manifest.files:
            check_file(self.folder, file)
        fitted = load_estimator(self.folder, self.manifest, pinned=self._pinned, rules=self._rules)
        estimator = self._estimator = Estimator(fitted, self.manifest)
        self._record_examples()
        self._repeat_examples()
        reason = self._use_fast_form(fitted, estimator) if fast else "switched off by COMPILE_MODEL"
        rows = self.manifest.examples.rows
        self.answer_type = _type_of(self.predict(rows[:1])[0])
        self.mixes_rows = mixes_rows(estimator, self.manifest)
        self.cost = measure(estimator, rows)
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
                microseconds_of_a_row=round(self.cost.seconds(1) * 1e6, 1),
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
        """Answer through an equal fast form of the estimator, if any. Return why, or why not."""
        comparison = compare(fitted, self.manifest)
        if comparison.compiled is not None:
            estimator.use(comparison.compiled)
            self._repeat_examples()
        return comparison.reason

    def _record_examples(self) -> None:
        """Take the model's own answers where training recorded none. Raises RefusedError."""
        examples = self.manifest.examples
        if examples.predictions:
            return
        _LOG.warning("training recorded no answers, so the example rows only have to be answered")
        try:
            predictions = [self._answer(index, row) for index, row in enumerate(examples.rows)]
        except RefusedError:
            # What the estimator was fitted to does not always show.
            if not self.estimator.table.swap():
                raise
            predictions = [self._answer(index, row) for index, row in enumerate(examples.rows)]
        recorded = examples.model_copy(update={"predictions": tuple(predictions)})
        self.manifest = self.manifest.model_copy(update={"examples": recorded})

    def _repeat_examples(self) -> None:
        """Answer example rows one by one, as clients ask. Raises RefusedError if any differs."""
        try:
            self._compare_examples()
        except RefusedError:
            # What the estimator was fitted to does not always show; the recorded answers do.
            if not self.estimator.table.swap():
                raise
            try:
                self._compare_examples()
            except RefusedError:
                self.estimator.table.swap()
                self._compare_examples()

    def _compare_examples(self) -> None:
        examples = self.manifest.examples
        for index, (row, recorded) in enumerate(
            zip(examples.rows, examples.predictions, strict=True)
        ):
            answer = self._answer(index, row)
            if not repeats(answer, recorded, examples.tolerance):
                mismatch = (
                    f"example row {index} is answered with {answer!r}, recorded was {recorded!r}"
                )
                allowed = f"more apart than the tolerance of {examples.tolerance:g}"
                msg = f"{mismatch}, {allowed}: {ADVICE}"
                raise RefusedError(msg)

    def _answer(self, index: int, row: Row) -> Answer:
        """Return the answer to one example row. Raises RefusedError or NoAnswerError."""
        try:
            (answer,) = self.predict([row])
            require_plain([answer])
        except NoAnswerError:
            raise
        except Exception as error:
            fact = f"the model fails on its example rows, at row {index} ({_brief(error)})"
            msg = f"{fact}: {_advice(error)}"
            raise RefusedError(msg) from error
        return answer


def _type_of(answer: Answer) -> type[float | str]:
    """Return what all values of an answer can be: texts where they mix with numbers."""
    kinds = {type(value) for value in values_of(answer)}
    if len(kinds) == 1:
        return kinds.pop()
    return str if str in kinds else float


def _brief(error: Exception) -> str:
    return textwrap.shorten(f"{type(error).__name__}: {error}", 400, placeholder=" …")


def _advice(error: Exception) -> str:
    """Return what to do about a model that fails on its own example rows."""
    if "dataframe" in str(error).lower() or "'numpy.ndarray' object has no attribute" in str(error):
        return (
            "it needs a table of pandas, which a predictor does not build: select columns by "
            "position"
        )
    return ADVICE
