"""The manifest of a model artifact.

An artifact is a folder (or a URL prefix) with `manifest.json` and the files
that it names. The sha256 of the manifest's bytes pins the whole artifact,
because the manifest holds the sha256 of every file: this one digest is what a
release names, what its revision is made of, and what the predictor checks
before it unpickles anything.
"""

import hashlib
import json
import zlib
from bisect import bisect_right
from collections.abc import Iterable
from enum import StrEnum
from pathlib import PurePosixPath
from typing import Annotated, Literal, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    StringConstraints,
    field_validator,
    model_serializer,
    model_validator,
)

MANIFEST_NAME = "manifest.json"
"""File name of the manifest, at the top of the artifact."""

MANIFEST_BYTES_MAX = 8 * 1024 * 1024
"""What a predictor reads of it."""
NAME_BYTES_MAX = 249
"""Of a file, in UTF-8: 255 on the disk, less what it is called while it is not whole."""
PATH_BYTES_MAX = 3072
"""Of a file below the artifact's folder: 4096 on the disk, less the folders above."""

Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
Format = Literal["joblib", "skops", "mlflow", "xgboost", "lightgbm", "catboost", "onnx", "files"]
"""How the model file is read: joblib is a pickle, skops builds only trusted types, mlflow is an
`MLmodel` whose scikit-learn flavour names the one or the other, and the others are what XGBoost,
LightGBM, CatBoost and ONNX Runtime read, which holds no code. `files` are for a server that is not
ours, such as the weights of a language model: nothing is known of them but their digests."""
LONGEST_NAME = 253
Name = Annotated[str, StringConstraints(min_length=1, max_length=LONGEST_NAME)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class FeatureKind(StrEnum):
    """What a feature's values are."""

    NUMERIC = "numeric"
    CATEGORICAL = "categorical"


class Feature(_Strict):
    """One input of the model, in the order in which the model takes them."""

    name: Name
    kind: FeatureKind = FeatureKind.NUMERIC
    minimum: float | None = None
    """Smallest value seen in training: a description, not a limit that refuses."""
    maximum: float | None = None
    categories: tuple[str, ...] = ()
    nullable: bool = False
    boolean: bool = False
    """True: a numeric feature whose values are true and false, 1 and 0."""

    @model_serializer(mode="wrap")
    def _as_older_readers_know_it(self, write: SerializerFunctionWrapHandler) -> dict[str, object]:
        written: dict[str, object] = write(self)
        if not self.boolean:
            # They refuse members that they do not know.
            written.pop("boolean", None)
        return written

    @model_validator(mode="after")
    def _boolean_is_numeric(self) -> Self:
        if self.boolean and self.kind is not FeatureKind.NUMERIC:
            msg = (
                f"feature {self.name!r}: only a numeric feature can be boolean, and this is "
                f"{self.kind}"
            )
            raise ValueError(msg)
        return self

    @model_validator(mode="after")
    def _range_is_ordered(self) -> Self:
        if self.minimum is not None and self.maximum is not None and self.minimum > self.maximum:
            msg = f"feature {self.name!r}: minimum {self.minimum} is above maximum {self.maximum}"
            raise ValueError(msg)
        return self


class OutputColumn(_Strict):
    """One value of an answer that is a list."""

    name: Name
    classes: tuple[str, ...] = ()


class Output(_Strict):
    """What the model answers for one row: a number or class, or a list of them."""

    name: Name = "prediction"
    task: Literal["classification", "regression"] = "classification"
    classes: tuple[str, ...] = ()
    probability: bool = False
    """True: the answer is the probability of the second of two classes, not the class."""
    columns: tuple[OutputColumn, ...] = Field(default=(), exclude_if=lambda columns: not columns)
    """One for each value of an answer that is a list, in its order. None at all, and then left out
    for older readers: an answer is one value."""

    @model_validator(mode="after")
    def _columns_are_several(self) -> Self:
        names = [column.name for column in self.columns]
        if len(names) == 1 or len(set(names)) < len(names):
            msg = f"the columns of an output must be several of different names, got {names}"
            raise ValueError(msg)
        if names and (self.classes or self.probability):
            msg = "an output of several columns has its classes there, and no probability"
            raise ValueError(msg)
        return self

    @model_validator(mode="after")
    def _probability_is_of_two_classes(self) -> Self:
        if self.probability and len(self.classes) != 2:
            msg = f"a probability is answered for exactly two classes, got {list(self.classes)}"
            raise ValueError(msg)
        return self


class Histogram(_Strict):
    """Counts of held-out data in bins: the reference that drift is measured against.

    `bin_of` says which bin a value belongs to; whoever counts faster must count the same. Numbers:
    `edges` are the inner bin edges, ascending, so there is one more bin than edges. Texts: `labels`
    name the bins. First those that hold the one value that they are called, then those of `shared`,
    and at the end `others` bins that any other value is dealt out to. Missing values are counted
    apart.
    """

    edges: tuple[float, ...] = ()
    labels: tuple[str, ...] = ()
    shared: tuple[tuple[str, ...], ...] = Field(default=(), exclude_if=lambda shared: not shared)
    """Values that are too rare for a bin of their own, by the bin that they share."""
    others: int = Field(default=1, ge=1, exclude_if=lambda others: others == 1)
    """Bins for values that nobody named: by their CRC-32, so that one that becomes common is seen.

    This and `shared` are left out where they say nothing, so that older readers take what they
    understand."""
    counts: tuple[int, ...]
    missing: int = 0

    @model_validator(mode="after")
    def _counts_match_bins(self) -> Self:
        bins = len(self.labels) if self.labels else len(self.edges) + 1
        if len(self.counts) != bins:
            msg = f"{bins} bins need {bins} counts, got {len(self.counts)}"
            raise ValueError(msg)
        if list(self.edges) != sorted(set(self.edges)):
            msg = f"bin edges must ascend, got {self.edges}"
            raise ValueError(msg)
        if self.labels and self.alone < 0:
            msg = (
                f"{len(self.shared)} shared and {self.others} other bins need labels, got "
                f"{self.labels}"
            )
            raise ValueError(msg)
        return self

    @property
    def alone(self) -> int:
        """How many bins of texts, the first ones, hold one value each: that of their label."""
        return len(self.labels) - len(self.shared) - self.others

    @property
    def places(self) -> dict[str, int]:
        """The bin of every text that is named."""
        bins: dict[str, int] = {}
        for index, values in enumerate(self.shared, start=self.alone):
            bins |= dict.fromkeys(values, index)
        return bins | {label: index for index, label in enumerate(self.labels[: self.alone])}

    def place_of_other(self, text: str) -> int:
        """Return the bin of a text that is not named."""
        if self.others == 1:
            return len(self.labels) - 1
        dealt = zlib.crc32(text.encode("utf-8", "surrogatepass")) % self.others
        return len(self.labels) - self.others + dealt

    def bin_of(self, value: float | str | None) -> int | None:
        """Return the index of the bin that a value is counted in; None for a missing one.

        A number is in the bin that begins at the last edge which is not above it.
        """
        if value is None or value != value:  # noqa: PLR0124 - NaN, the only value unlike itself
            return None
        if not self.labels:
            return bisect_right(self.edges, float(value))
        text = str(value)
        index = self.places.get(text)
        return self.place_of_other(text) if index is None else index

    @property
    def layout(self) -> str:
        """A short fingerprint of the bins: only counts with the same one can be compared."""
        parts: list[object] = [self.edges, self.labels]
        if self.shared or self.others > 1:
            parts += [self.shared, self.others]
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:12]


class Baseline(_Strict):
    """Histograms of held-out data, never of the data that the model was fitted to."""

    rows: int = Field(gt=0)
    features: dict[str, Histogram] = Field(default_factory=dict)
    prediction: Histogram | None = None


Prediction = float | str | tuple[float | str, ...]
"""A number or class; several of them where the output has columns."""


class Examples(_Strict):
    """Rows with outputs recorded at training, which a predictor repeats before it is ready."""

    rows: tuple[tuple[float | str | None, ...], ...]
    predictions: tuple[Prediction, ...]
    """As many as rows. None at all: nobody recorded them, so the rows need only be answered."""
    tolerance: float = Field(default=1e-6, ge=0)
    """Largest difference between a recorded and a repeated number; beyond 1, a share of it."""

    @model_validator(mode="after")
    def _one_prediction_per_row(self) -> Self:
        if self.predictions and len(self.rows) != len(self.predictions):
            msg = (
                f"{len(self.rows)} example rows need as many predictions, got "
                f"{len(self.predictions)}"
            )
            raise ValueError(msg)
        return self


class ModelFile(_Strict):
    """One file of the artifact."""

    path: str
    sha256: Sha256
    size: int = Field(ge=0)
    """Bytes."""

    @field_validator("path")
    @classmethod
    def _stays_inside(cls, path: str) -> str:
        pure = PurePosixPath(path)
        escapes = pure.is_absolute() or ".." in pure.parts or not pure.parts
        if escapes or "\\" in path or "\0" in path or str(pure) != path:
            msg = f"file path {path!r} must be relative, plain and stay inside the artifact"
            raise ValueError(msg)
        longest = max(map(_bytes_of, pure.parts))
        if _bytes_of(path) > PATH_BYTES_MAX or longest > NAME_BYTES_MAX:
            msg = (
                f"file path {path[:80]!r} has {_bytes_of(path)} bytes, {longest} of them in one "
                f"name: at most {PATH_BYTES_MAX}, and {NAME_BYTES_MAX} in a name, can be fetched"
            )
            raise ValueError(msg)
        return path


def _bytes_of(text: str) -> int:
    return len(text.encode(errors="replace"))


Version = Annotated[
    str,
    StringConstraints(
        min_length=1, max_length=63, pattern=r"^[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?$"
    ),
]
"""As a label of Kubernetes may have it."""


class ArtifactIdentity(_Strict):
    """What an artifact was found to be: what the command `describe` answers."""

    version: Version
    sha256: Sha256
    """What pins it: the digest of its manifest, or of MLflow's listing."""


class ArtifactManifest(_Strict):
    """Everything about a model that can be known without loading it."""

    schema_version: Literal[1] = 1
    name: Name
    version: Version
    format: Format = "joblib"
    model_file: str = "model.joblib"
    """The file of `files` that is loaded. Others may hold the same model in another format."""
    features: tuple[Feature, ...]
    output: Output = Output()
    libraries: dict[str, str] = Field(default_factory=dict)
    """Library name to the version that trained the model, `python` among them."""
    metrics: dict[str, float] = Field(default_factory=dict)
    baseline: Baseline | None = None
    examples: Examples
    files: tuple[ModelFile, ...] = Field(min_length=1)
    feature_service: Name | None = Field(default=None, exclude_if=lambda name: name is None)
    """What a feature store calls the features that the model was trained on. The predictor looks
    nothing up: whoever asks it does, by this name. Left out where there is none, so that older
    readers take what they understand."""
    created: str | None = None
    """RFC 3339 time. Left out by a build that must be reproducible."""

    @property
    def inputs(self) -> list[tuple[str, FeatureKind]]:
        """What a row is made of: models with the same inputs take each other's rows."""
        return [(feature.name, feature.kind) for feature in self.features]

    @model_validator(mode="after")
    def _parts_agree(self) -> Self:
        paths = [file.path for file in self.files]
        if self.model_file not in paths:
            msg = f"model_file {self.model_file!r} is not among the files {paths}"
            raise ValueError(msg)
        if len(set(paths)) != len(paths) or MANIFEST_NAME in paths:
            msg = f"file paths must differ, and none may be {MANIFEST_NAME}, got {paths}"
            raise ValueError(msg)
        if self.format != "files" and not (self.features and self.examples.rows):
            msg = f"an artifact of format {self.format} needs features and example rows"
            raise ValueError(msg)
        if self.format not in {"mlflow", "onnx", "files"} and not self.examples.predictions:
            msg = "the example rows need predictions: one for each"
            raise ValueError(msg)
        _require_width(self.examples.predictions, len(self.output.columns))
        names = [feature.name for feature in self.features]
        if len(set(names)) != len(names):
            msg = f"feature names must differ, got {names}"
            raise ValueError(msg)
        for index, row in enumerate(self.examples.rows):
            if len(row) != len(names):
                msg = f"example row {index} has {len(row)} values for {len(names)} features"
                raise ValueError(msg)
        return self


def _require_width(predictions: Iterable[Prediction], columns: int) -> None:
    """Raise ValueError unless every prediction has as many values as the output has columns."""
    wanted = f"{columns} values, one for each column" if columns else "one number or class"
    for index, prediction in enumerate(predictions):
        values = len(prediction) if isinstance(prediction, tuple) else None
        if values != (columns or None):
            got = "one value" if values is None else f"{values} values"
            msg = f"prediction {index} has {got}: by its output, the model answers with {wanted}"
            raise ValueError(msg)


def manifest_digest(raw: bytes) -> str:
    """Return the sha256 of a manifest's bytes, in hexadecimal: the digest of the whole artifact."""
    return hashlib.sha256(raw).hexdigest()
