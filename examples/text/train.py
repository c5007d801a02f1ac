"""Fits a classifier to short texts, and makes an artifact and a file of texts for a baseline.

    python -m examples.text.train --version 1 --output artifacts
    modelrelease-drift baseline --input-file artifacts/tickets.txt --output-file baseline.npz

The texts are drawn: what people write to a bank. Put your own in their place.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline

from examples.text.tickets import draw
from modelrelease_training.export import Exported
from modelrelease_training.own_model import export


def make(output: Path, version: str, *, texts: int = 2000, seed: int = 1) -> Exported:
    """Write the artifact, and beside it texts that it was not fitted to, one a line."""
    written, topics = draw(texts, seed)
    pipeline = Pipeline([("words", TfidfVectorizer()), ("topic", LogisticRegression())])
    held_out, _ = draw(600, seed + 1)
    made = export(
        pipeline.fit(written, topics), held_out, name="tickets", version=version, output=output
    )
    (output / "tickets.txt").write_text("".join(f"{text}\n" for text in held_out))
    return made


def main(arguments: Sequence[str] | None = None) -> int:
    """Train and export. Return the exit code."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--version", required=True)
    parser.add_argument("--output", type=Path, default=Path("artifacts"))
    options = parser.parse_args(arguments)
    make(options.output, options.version)
    return 0


if __name__ == "__main__":
    sys.exit(main())
