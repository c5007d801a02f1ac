"""Trains on what the feature store knew when each delivery began, and exports the model with the
name of its feature service.

    .venv-feast/bin/python -m examples.feast.train store artifacts
"""

import argparse
from pathlib import Path

import pandas as pd
from feast import FeatureStore
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LinearRegression
from sklearn.pipeline import make_pipeline

from examples.feast.features import (
    FEATURES,
    SERVICE,
    define,
    make_deliveries,
    make_facts,
    materialize,
    open_store,
)
from modelrelease_training.export import Exported
from modelrelease_training.own_model import export

HELD_OUT = 500


def training_rows(store: FeatureStore, deliveries: pd.DataFrame) -> pd.DataFrame:
    """Return deliveries with the features as they were known at each one's beginning."""
    joined = store.get_historical_features(
        entity_df=deliveries,
        features=store.get_feature_service(SERVICE),
        # Or a correction counts as known from the time that it is about.
        filter_by_created_timestamp=True,
    ).to_df()
    return joined.sort_values(["event_timestamp", "driver_id"], ignore_index=True)


def train(
    store: FeatureStore, deliveries: pd.DataFrame, output: Path, *, version: str = "1"
) -> Exported:
    """Fit a regression and write it to `<output>/arrival/<version>`."""
    rows = training_rows(store, deliveries)
    fitted, held_out = rows[:-HELD_OUT], rows[-HELD_OUT:]
    columns = list(FEATURES)
    # What cannot be looked up comes as a gap: the model has to know them, or refuses every one.
    model = make_pipeline(SimpleImputer(), LinearRegression())
    model.fit(fitted[columns], fitted["minutes"])
    examples = held_out[columns].reset_index(drop=True)
    examples.loc[0, columns] = None
    return export(
        model,
        examples,
        name="arrival",
        version=version,
        output=output,
        feature_service=SERVICE,
        force=True,
    )


def main() -> None:
    """Make facts, the store, and a model; then bring the newest facts to the online store."""
    parser = argparse.ArgumentParser(prog="examples.feast.train", description=__doc__)
    parser.add_argument("store", type=Path, help="folder of the feature store")
    parser.add_argument("output", type=Path, help="folder that the artifact goes to")
    options = parser.parse_args()
    options.store.mkdir(parents=True, exist_ok=True)
    facts = options.store.absolute() / "facts.parquet"
    make_facts(facts)
    store = open_store(options.store.absolute())
    define(store, facts)
    exported = train(store, make_deliveries(facts), options.output)
    materialize(store)
    print(exported.path, exported.digest)


if __name__ == "__main__":
    main()
