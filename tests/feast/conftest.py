"""A feature store and a model trained from it, in .venv-feast: Feast wants another pandas."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import pytest
from feast import FeatureStore

from examples.feast.features import (
    define,
    make_deliveries,
    make_facts,
    materialize,
    open_store,
)
from examples.feast.train import train
from modelrelease_training.export import Exported
from tests.support.predictors import Predictor, predictor


@dataclass(frozen=True, slots=True)
class Trained:
    store: FeatureStore
    facts: Path
    deliveries: pd.DataFrame
    artifact: Exported


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    folder = tmp_path_factory.mktemp("store")
    facts = folder / "facts.parquet"
    make_facts(facts)
    store = open_store(folder)
    define(store, facts)
    deliveries = make_deliveries(facts)
    artifact = train(store, deliveries, folder / "artifacts")
    materialize(store)
    return Trained(store, facts, deliveries, artifact)


@pytest.fixture(scope="session")
def served(trained: Trained) -> Iterator[Predictor]:
    """The predictor itself, as a process of its own."""
    with predictor(trained.artifact.path) as process:
        process.wait_ready()
        yield process
