"""Drifting data is found with the feature's name; the same traffic without drift is not."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cluster import Cluster
from examples import fixtures
from modelrelease_training.data import Data, split
from modelrelease_training.evaluate import evaluate
from modelrelease_training.export import Label, export_artifact
from modelrelease_training.train import fit
from testbed.releases import Release

QUICK = {"window": "20s", "minSamples": 300, "sustained": {"windows": 3, "atLeast": 2}}
MOVED = {"feature_03": 0.75}
KINDS = ("flag", "count", "category", "constant")
ONE_POD = {"replicas": 1, "resources": {"requests": {"cpu": "20m", "memory": "128Mi"}}}


def test_drift_in_one_feature_raises_the_condition_with_its_name_and_ends_with_the_drift(
    release: Release,
) -> None:
    release.apply("1", drift=QUICK)
    release.serves("1")
    release.load(rps=60)
    calm = release.wait("windows without drift", windows("SS"))
    assert condition(calm)["status"] == "False"

    release.load(rps=60, shifts=MOVED)
    fixtures.restart(release.cluster, release.space)
    found = release.wait(
        "drift to be raised", lambda status: condition(status).get("status") == "True"
    )
    assert found["drift"]["features"][0]["name"] == "feature_03"
    assert "feature_03" in condition(found)["message"]
    assert condition(found)["reason"] == "Drifted"
    assert "Drifted" in release.reasons()
    assert found["phase"] == "Stable"
    assert {each["type"]: each["status"] for each in found["conditions"]}["Ready"] == "True"

    release.load(rps=60)
    fixtures.restart(release.cluster, release.space)
    release.wait("drift to end", lambda status: condition(status).get("status") == "False")
    assert "DriftEnded" in release.reasons()


def test_drift_in_each_kind_of_column_is_named_and_a_calm_twin_says_nothing(
    cluster: Cluster, space: str, tmp_path: Path
) -> None:
    """One model, two releases: the same kinds of columns, as they were and moved."""
    folder = a_model_of_each_kind(tmp_path)
    fixtures.apply(
        cluster, fixtures.artifact_configmap(space, folder), *fixtures.model_store(space, [folder])
    )
    cluster.kubectl(
        "rollout", "status", "-n", space, f"deployment/{fixtures.STORE}", "--timeout=600s"
    )
    moved, calm = (
        Release(cluster=cluster, space=space, store=space, name=name) for name in ("moved", "calm")
    )
    for release, rows in ((moved, moved_rows()), (calm, calm_rows(seed=2))):
        release.apply("1", drift=QUICK, serving=ONE_POD)
        url = f"http://{release.name}.{space}/predict"
        callers = fixtures.load_generator(
            space, name=f"load-{release.name}", url=url, rps=60, seconds=3600, rows=rows.tolist()
        )
        fixtures.apply(cluster, *callers)
    found = moved.wait(
        "drift in every kind of column to be raised",
        lambda status: condition(status).get("status") == "True" and drifted(status) >= set(KINDS),
    )
    assert condition(found)["reason"] == "Drifted"

    quiet = calm.wait("windows without drift", windows("SSS"))
    assert condition(quiet)["status"] == "False"
    assert not drifted(quiet)
    assert "Drifted" not in calm.reasons()


def calm_rows(*, seed: int, rows: int = fixtures.CALLERS_ROWS) -> NDArray[np.float64]:
    """Return a flag set in one row of twenty, counts that are mostly 0,
    forty codes and a constant.
    """
    draw = np.random.default_rng(seed)
    flag = draw.random(rows) < 0.05
    count = np.where(draw.random(rows) < 0.8, 0, 1 + draw.poisson(2, rows))
    category = 10 * draw.integers(0, 40, rows)
    return np.column_stack([flag, count, category, np.full(rows, 3.7)]).astype(np.float64)


def moved_rows() -> NDArray[np.float64]:
    """Return rows with the flag in three of five, counts in half,
    a new code and another constant.
    """
    rows, draw = calm_rows(seed=3), np.random.default_rng(4)
    size = len(rows)
    rows[:, 0] = draw.random(size) < 0.6
    rows[:, 1] = np.where(draw.random(size) < 0.5, 0, 1 + draw.poisson(2, size))
    rows[:, 2] = np.where(draw.random(size) < 0.2, 15, rows[:, 2])
    rows[:, 3] = np.where(draw.random(size) < 0.05, 3.71, rows[:, 3])
    return rows


def a_model_of_each_kind(output: Path) -> Path:
    """Export a model of these columns; return its folder."""
    rows = calm_rows(seed=1, rows=10_000)
    chance = np.where(rows[:, 0] > 0, 0.8, 0.3)
    labels = (np.random.default_rng(5).random(len(rows)) < chance).astype(np.int64)
    data = split(Data(rows=rows, labels=labels, names=KINDS))
    model = fit(data.training)
    exported = export_artifact(
        model,
        label=Label(name="qna", version="1"),
        data=data,
        metrics=evaluate(model, data.held_out),
        output=output,
    )
    return exported.path


def drifted(status: dict[str, Any]) -> set[str]:
    """Return the features that status says have drifted in the newest window."""
    features = status.get("drift", {}).get("features", [])
    return {each["name"] for each in features if each["verdict"] == "Drifted"}


def condition(status: dict[str, Any]) -> dict[str, Any]:
    return next((each for each in status.get("conditions", []) if each["type"] == "Drifted"), {})


def windows(ending: str) -> Any:
    return lambda status: status.get("drift", {}).get("windows", "").endswith(ending)
