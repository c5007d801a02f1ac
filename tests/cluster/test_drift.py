"""Drifting data is found with the feature's name; the same traffic without drift is not."""

from typing import Any

from examples import kit
from tests.support.releases import Release

QUICK = {"window": "20s", "minSamples": 300, "sustained": {"windows": 3, "atLeast": 2}}
MOVED = {"feature_03": 0.75}


def test_drift_in_one_feature_raises_the_condition_with_its_name_and_ends_with_the_drift(
    release: Release,
) -> None:
    release.apply("1", drift=QUICK)
    release.serves("1")
    release.load(rps=60)
    calm = release.wait("windows without drift", windows("SS"), within=180)
    assert condition(calm)["status"] == "False"

    release.load(rps=60, shifts=MOVED)
    kit.restart(release.cluster, release.space)
    found = release.wait("drift to be raised", lambda status: condition(status).get("status") == "True")
    assert found["drift"]["features"][0]["name"] == "feature_03"
    assert "feature_03" in condition(found)["message"]
    assert condition(found)["reason"] == "Drifted"
    assert "Drifted" in release.reasons()
    assert found["phase"] == "Stable"
    assert {each["type"]: each["status"] for each in found["conditions"]}["Ready"] == "True"

    release.load(rps=60)
    kit.restart(release.cluster, release.space)
    release.wait("drift to end", lambda status: condition(status).get("status") == "False")
    assert "DriftEnded" in release.reasons()


def condition(status: dict[str, Any]) -> dict[str, Any]:
    return next((each for each in status.get("conditions", []) if each["type"] == "Drifted"), {})


def windows(ending: str) -> Any:
    return lambda status: status.get("drift", {}).get("windows", "").endswith(ending)
