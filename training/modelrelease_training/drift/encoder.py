"""The sentence encoder: the only module that knows torch, which takes seconds to import."""

import os
import sys
from collections.abc import Sequence
from contextlib import redirect_stdout
from typing import Any, Final, Protocol

import numpy as np
from numpy.typing import NDArray

from modelrelease_training.drift.errors import DriftError

Vectors = NDArray[np.float32]

MODEL_VARIABLE: Final = "EMB_MODEL"
DEFAULT_MODEL: Final = "all-mpnet-base-v2"
LONGEST_TEXT: Final = 10_000
"""Characters of a text that are read: encoders cut off far earlier."""
_BATCH: Final = 32


class Encoder(Protocol):
    """Turns texts into directions."""

    name: str

    def encode(self, texts: Sequence[str], *, progress: bool = False) -> Vectors:
        """Return one vector of length 1 for each text, shape (texts, dimension)."""


class SentenceEncoder:
    """A model of sentence-transformers, by its name or folder. It is never trained here."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._model = _load(name)

    def encode(self, texts: Sequence[str], *, progress: bool = False) -> Vectors:
        """Return one vector of length 1 for each text, shape (texts, dimension)."""
        # Traffic repeats itself, and encoding is what a check costs.
        rows: dict[str, int] = {}
        row_of_text = [rows.setdefault(text[:LONGEST_TEXT], len(rows)) for text in texts]
        vectors = self._model.encode(
            list(rows),
            batch_size=_BATCH,
            normalize_embeddings=True,
            convert_to_numpy=True,
            show_progress_bar=progress,
        )
        return np.asarray(vectors, dtype=np.float32)[row_of_text]


def model_name(option: str | None) -> str:
    """Return which encoder to use: the option's, else that of `EMB_MODEL`, else the default."""
    return option or os.environ.get(MODEL_VARIABLE) or DEFAULT_MODEL


def _load(name: str) -> Any:
    """Return the model. Raises DriftError where it, or the library, is not there."""
    # Some of what is imported here speaks on standard output, which belongs to the command's
    # answer.
    with redirect_stdout(sys.stderr):
        try:
            from sentence_transformers import SentenceTransformer  # noqa: PLC0415 - only here, torch is slow

            return SentenceTransformer(name, trust_remote_code=False)
        except ImportError as error:
            msg = f"texts need sentence-transformers ({error}): pip install 'modelrelease[drift]'"
            raise DriftError(msg) from error
        except (OSError, ValueError, RuntimeError) as error:
            reason = str(error).partition("\n")[0]
            msg = (
                f"the encoder {name!r} cannot be loaded ({reason}): set {MODEL_VARIABLE} to the "
                "name of a sentence-transformers model, or to its folder where there is no network"
            )
            raise DriftError(msg) from error
