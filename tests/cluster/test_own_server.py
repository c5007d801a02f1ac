"""Model servers that are not ours are released by evidence, with not a line of them changed."""

from pathlib import Path
from typing import Any

import yaml

from examples.waiting import wait_until
from testbed.releases import FAST, Object, Release, phase_is, rejected

README = Path(__file__).parents[2] / "README.md"
HEADING = "## Bring your own server"
ANALYSIS: dict[str, Any] = {
    "interval": "3s",
    "gates": [
        {"name": "errors", "errorRate": {"margin": {"ratio": 1.25, "points": 2}}},
        {"name": "latency", "latency": {}, "dryRun": True},
    ],
}
"""Errors decide. How fast a canary is on a shared machine is looked at, and decides nothing."""


def readme_example() -> str:
    """Return the example as the README has it."""
    _, _, section = README.read_text().partition(f"{HEADING}\n")
    _, _, block = section.partition("```yaml\n")
    return block.partition("```")[0]


def test_mlserver_is_promoted_and_taken_back_as_the_readme_has_it(release: Release) -> None:
    release.cluster.build_images("mlserver")
    text = readme_example()
    release.cluster.kubectl("apply", "-n", release.space, "-f", "-", input=text)
    spec: Object = yaml.safe_load(text)["spec"]
    assert spec["model"]["uri"] == release.uri("1"), "or it is not the README's that is tested"
    release.serves("1")
    release.spec = {"serving": spec["serving"]}
    is_promoted_and_taken_back(release, path="/v2/models/qna/infer")


def test_a_bentoml_service_is_promoted_and_taken_back(release: Release) -> None:
    release.cluster.build_images("bentoml")
    serving = {"image": "bentoml-qna:dev", "replicas": 2, "runtime": {"profile": "bentoml"}}
    release.spec = {"serving": serving}
    release.begins("1")
    is_promoted_and_taken_back(release, path="/predict")


def is_promoted_and_taken_back(release: Release, *, path: str) -> None:
    """Check that version 2 becomes stable and version 3 does not, by what the server counts."""
    release.load(rps=40, path=path)
    release.scraped_often()
    release.apply("2", canary=FAST["canary"], analysis=ANALYSIS)
    release.serves("2")
    gates = {gate["name"]: gate for gate in release.status()["gates"]}
    assert gates["errors"]["verdict"] == "Pass"
    assert gates["errors"]["canaryTotal"] > 100
    assert gates["latency"]["canaryTotal"] > 100

    release.apply("3")
    status = release.wait("version 3 to be rejected", rejected("3"))
    assert status["rejected"]["reason"] == "Regression"
    assert "canary 3 fails" in status["rejected"]["message"]
    assert status["stable"]["version"] == "2"


PROBABILITY = (
    '{"inputs": [{"name": "predict", "shape": [1, $(COUNT)], "datatype": "FP64", "data": $(ROW)}],'
    ' "outputs": [{"name": "predict_proba"}]}'
)
"""A request to MLServer for what a model is sure of, and not only for a class."""
MLSERVER: dict[str, Any] = {
    "image": "mlserver-sklearn:dev",
    "replicas": 2,
    "env": [{"name": "MLSERVER_MODEL_IMPLEMENTATION", "value": "mlserver_sklearn.SKLearnModel"}],
    "runtime": {"profile": "mlserver", "exampleRequests": {"body": PROBABILITY}},
}
BENTOML: dict[str, Any] = {
    "image": "bentoml-qna:dev",
    "replicas": 2,
    "runtime": {
        "profile": "bentoml",
        "exampleRequests": {"path": "/predict", "body": '{"features": $(ROW)}'},
    },
}
SHADOW: dict[str, Any] = {"copiesPerSecond": 50, "pairs": 500}
STRICT: dict[str, Any] = {**SHADOW, "maxDisagreementPercent": 1, "tolerance": 0.001}


def shadowed(shadow: Object) -> Object:
    """Return a canary that is compared first, on the artifact's example rows."""
    return {**FAST["canary"], "shadow": shadow}


def test_mlserver_is_compared_by_the_prober_before_the_first_user(release: Release) -> None:
    release.cluster.build_images("mlserver")
    release.spec = {"serving": MLSERVER, "canary": shadowed(STRICT), "analysis": ANALYSIS}
    release.scraped_often()
    release.begins("1")
    release.load(rps=40, path="/v2/models/qna/infer")
    release.apply("2")
    is_taken_back_unmet(release, "2", stable="1")

    release.apply("2", canary=shadowed(SHADOW))
    release.annotate(retry="2")
    release.wait("users to meet version 2", phase_is("Progressing", "Promoting"))
    told = release.events()
    assert "canary 2 answers example requests in the dark" in told
    assert "pairs of answers to example requests" in told
    assert release.reasons().count("ShadowPassed") == 1
    wait_until("the prober to be gone", release.probers, lambda found: not found)
    release.serves("2")
    release.apply("3")
    is_taken_back_unmet(release, "3", stable="2", says="fails")


def test_a_bentoml_service_that_answers_otherwise_is_met_by_no_user(release: Release) -> None:
    release.cluster.build_images("bentoml")
    analysis = {**ANALYSIS, "source": "Pods"}
    release.spec = {"serving": BENTOML, "canary": shadowed(STRICT), "analysis": analysis}
    release.begins("1")
    release.load(rps=20, path="/predict")
    release.apply("2")
    is_taken_back_unmet(release, "2", stable="1")


def is_taken_back_unmet(
    release: Release, version: str, *, stable: str, says: str = "requests otherwise than stable"
) -> None:
    """Check that a version is taken back for its answers, and that no user has met it."""
    steps = release.reasons().count("StepStarted")
    release.wait(f"version {version} to be compared", phase_is("Shadowing"))
    status = release.wait(f"version {version} to be rejected", rejected(version))
    message = status["rejected"]["message"]
    assert message.startswith(f"in the shadow, canary {version} ")
    assert says in message
    assert " example requests" in message
    assert release.reasons().count("StepStarted") == steps, "users met it"
    assert status["stable"]["version"] == stable
