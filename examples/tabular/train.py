"""Fits a pipeline to a table with numbers, categories and gaps, and makes an artifact of it.

    python -m examples.tabular.train --version 1 --output artifacts

The table is drawn: rents of flats. Put your own in its place.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import HistGradientBoostingRegressor
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import OneHotEncoder

from modelrelease_training.export import Exported
from modelrelease_training.own_model import export

DISTRICTS = ("harbour", "old town", "station", "hill")


def draw(rows: int, seed: int) -> pd.DataFrame:
    """Return flats with their rent; where a lift is not known, its column has a gap."""
    drawn = np.random.default_rng(seed)
    table = pd.DataFrame(
        {
            "square_metres": drawn.gamma(9, 8, rows).round(1),
            "rooms": drawn.integers(1, 6, rows).astype(float),
            "floors_without_lift": drawn.integers(0, 6, rows).astype(float),
            "district": drawn.choice(DISTRICTS, rows, p=(0.1, 0.3, 0.4, 0.2)),
        }
    )
    factor = table["district"].map(dict(zip(DISTRICTS, (1.4, 1.2, 0.9, 1.0), strict=True)))
    rent = 9 * table["square_metres"] * factor - 15 * table["floors_without_lift"]
    table["rent"] = (rent + drawn.normal(0, 40, rows)).round(2)
    table.loc[drawn.random(rows) < 0.1, "floors_without_lift"] = np.nan
    return table


def fit(table: pd.DataFrame) -> Pipeline:
    """Return a pipeline that takes the table's columns by name, gaps and unknown districts too."""
    encode = ColumnTransformer(
        [("districts", OneHotEncoder(handle_unknown="ignore", sparse_output=False), ["district"])],
        remainder="passthrough",
    )
    pipeline = Pipeline([("encode", encode), ("predict", HistGradientBoostingRegressor())])
    return pipeline.fit(table.drop(columns="rent"), table["rent"])


def make(output: Path, version: str, *, rows: int = 4000, seed: int = 1) -> Exported:
    """Write the artifact; its examples and its baseline are rows that it was not fitted to."""
    held_out = draw(max(rows // 4, 300), seed + 1).drop(columns="rent")
    return export(fit(draw(rows, seed)), held_out, name="rents", version=version, output=output)


def main(arguments: Sequence[str] | None = None) -> int:
    """Train and export. Return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--version", required=True)
    parser.add_argument("--output", type=Path, default=Path("artifacts"))
    parser.add_argument("--rows", type=int, default=4000)
    options = parser.parse_args(arguments)
    make(options.output, options.version, rows=options.rows)
    return 0


if __name__ == "__main__":
    sys.exit(main())
