"""A feature store in one folder: Feast's local provider, Parquet for training, SQLite for serving.

Two days in the life of a delivery service: what is known of a driver changes, and a delivery must
be learnt from with what was known when it began.
"""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

import numpy as np
import pandas as pd
from feast import Entity, FeatureService, FeatureStore, FeatureView, Field, FileSource, RepoConfig
from feast.types import Float64
from feast.value_type import ValueType

SERVICE: Final = "arrival_v1"
"""Of one version of the model, so that what it was trained on can be found by its name."""
FEATURES: Final = ("speed", "load", "rating")
DRIVERS: Final = 200
BEGAN: Final = datetime(2026, 11, 1, tzinfo=UTC)
ENDED: Final = BEGAN + timedelta(days=2)


def open_store(folder: Path) -> FeatureStore:
    """Return the store of a folder. It knows nothing until `define` was called."""
    config = RepoConfig(
        project="deliveries",
        provider="local",
        registry=str(folder / "registry.db"),
        online_store={"type": "sqlite", "path": str(folder / "online.db")},
        offline_store={"type": "file"},
        entity_key_serialization_version=3,
    )
    return FeatureStore(config=config)


def define(store: FeatureStore, facts: Path) -> None:
    """Tell the store what is in a Parquet file of facts, and which of it a model takes."""
    driver = Entity(name="driver", join_keys=["driver_id"], value_type=ValueType.INT64)
    source = FileSource(
        path=str(facts), timestamp_field="event_timestamp", created_timestamp_column="created"
    )
    view = FeatureView(
        name="driver_facts",
        entities=[driver],
        # Older facts are none: a training row then has gaps, as an online look-up would.
        ttl=timedelta(days=2),
        schema=[Field(name=name, dtype=Float64) for name in FEATURES],
        source=source,
    )
    store.apply([driver, view, FeatureService(name=SERVICE, features=[view])])


def make_facts(path: Path, *, seed: int = 7, drivers: int = DRIVERS) -> None:
    """Write what was measured of each driver, four times in two days, to a Parquet file."""
    rng = np.random.default_rng(seed)
    rows = [
        {
            "driver_id": driver,
            "event_timestamp": BEGAN + timedelta(hours=12 * half),
            "created": BEGAN + timedelta(hours=12 * half),
            # Rises by the hour: whoever learns from later facts learns another relation.
            "speed": 30 + 5 * rng.standard_normal() + 10 * half,
            "load": rng.uniform(0, 10),
            "rating": rng.uniform(3, 5),
        }
        for driver in range(drivers)
        for half in range(4)
    ]
    # A correction of what was measured at the beginning, written when both days were over.
    corrected = {**rows[0], "created": ENDED + timedelta(hours=1), "speed": 1000.0}
    pd.DataFrame([*rows, corrected]).to_parquet(path)


def make_deliveries(
    facts: Path, *, seed: int = 8, rows: int = 2000, drivers: int = DRIVERS
) -> pd.DataFrame:
    """Return deliveries: who drove, when it began, and how many minutes it took."""
    rng = np.random.default_rng(seed)
    seconds = np.sort(rng.integers(3600, 47 * 3600, rows))
    known = pd.read_parquet(facts).query("created <= @ENDED").sort_values("event_timestamp")
    begun = pd.DataFrame(
        {
            "driver_id": rng.integers(0, drivers, rows),
            "event_timestamp": [BEGAN + timedelta(seconds=int(each)) for each in seconds],
        }
    ).astype({"event_timestamp": known["event_timestamp"].dtype})
    at = pd.merge_asof(begun, known, on="event_timestamp", by="driver_id")
    begun["minutes"] = 60 - 0.5 * at["speed"] + at["load"] + rng.standard_normal(rows)
    return begun


def materialize(store: FeatureStore) -> None:
    """Bring the newest facts of the two days to the online store."""
    store.materialize(start_date=BEGAN - timedelta(days=1), end_date=ENDED)
