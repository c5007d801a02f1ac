"""docs/reference/metrics.md lists every metric that is exported, with its type,
labels and meaning.
"""

from collections.abc import Iterable
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.metrics import MetricWrapperBase

from modelrelease_contract import Histogram as Bins
from modelrelease_contract import metrics as words
from modelrelease_contract import shadow
from modelrelease_operator.runtime import metrics as operators
from modelrelease_serving.metrics import Metrics
from modelrelease_serving.probe import ProbeMetrics
from modelrelease_serving.sampling import Origin, PayloadSampler
from modelrelease_serving.shadow_pairs import ShadowPairs
from modelrelease_training.data import make_data, split
from modelrelease_training.drift.exported import Exported
from modelrelease_training.drift.text import CentroidTest, TextDrift
from modelrelease_training.export import Label, describe, dump
from modelrelease_training.train import fit

PAGE = Path(__file__).parents[2] / "docs/reference/metrics.md"

Row = tuple[str, frozenset[str], str]
"""Type, labels, meaning."""


def documented() -> dict[str, Row]:
    cells = [
        [cell.strip() for cell in line.strip("| ").split(" | ")]
        for line in PAGE.read_text().splitlines()
        if line.startswith("| `")
    ]
    assert len({row[0] for row in cells}) == len(cells), "a metric is listed twice"
    return {row[0].strip("`"): (row[1], _labels(row[2]), row[3]) for row in cells}


def _labels(cell: str) -> frozenset[str]:
    return frozenset(cell.replace("`", "").split(", ")) - {"none"}


def of_the_operator() -> dict[str, Row]:
    found = [
        each for each in vars(operators).values() if isinstance(each, Counter | Gauge | Histogram)
    ]
    return {
        name_of(each): (each._type, frozenset(each._labelnames), each._documentation)
        for each in found
    }


def name_of(metric: MetricWrapperBase) -> str:
    return f"{metric._name}_total" if isinstance(metric, Counter) else metric._name


@pytest.fixture(scope="module")
def of_the_predictor() -> dict[str, Row]:
    data = split(make_data(seed=7, rows=400))
    model = fit(data.training)
    manifest = describe(
        model, dump(model), label=Label(name="qna", version="1"), data=data, metrics={}
    )
    registry = Metrics(manifest, release="qna", revision="abc").registry
    origin = Origin(release="qna", revision="abc", version="1", features=())
    PayloadSampler("http://nobody", share=0, waiting=1, origin=origin, registry=registry)
    pairs = ShadowPairs(release="qna", revision="abc")
    pairs.begin("new")
    registry.register(pairs)
    return exported(registry)


@pytest.fixture(scope="module")
def of_the_drift_service() -> dict[str, Row]:
    bins = Bins(labels=("0", "1"), counts=(3, 4))
    service = Exported({"text:topic": bins})
    centroid = CentroidTest(distance=0.1, expected=0.01, limit=0.02, p_value=0.5, drifted=False)
    service.counted(("qna", "abc"), {"text:topic": [1, 2]}, 3, 3)
    service.judged(
        ("qna", "abc"), TextDrift(n=3, threshold=0.12, centroid=centroid, features=()), now=0.0
    )
    return exported(service.registry)


def exported(registry: CollectorRegistry) -> dict[str, Row]:
    found = {}
    for family in registry.collect():
        if family.name.startswith("process_"):
            continue
        name = f"{family.name}_total" if family.type == "counter" else family.name
        samples = [sample for sample in family.samples if not sample.name.endswith("_created")]
        labels: Iterable[str] = {label for sample in samples for label in sample.labels}
        found[name] = (family.type, frozenset(labels) - {"le"}, family.documentation)
    return found


@pytest.fixture(scope="module")
def of_the_prober() -> dict[str, Row]:
    return exported(ProbeMetrics(release="qna", revisions=("old", "new")).registry)


def test_every_metric_is_documented_and_no_other(
    of_the_predictor: dict[str, Row],
    of_the_drift_service: dict[str, Row],
    of_the_prober: dict[str, Row],
) -> None:
    every = {*of_the_operator(), *of_the_predictor, *of_the_drift_service, *of_the_prober}
    assert set(documented()) == every


def test_types_labels_and_meanings_are_those_of_the_code(
    of_the_predictor: dict[str, Row],
    of_the_drift_service: dict[str, Row],
    of_the_prober: dict[str, Row],
) -> None:
    for found in (of_the_operator(), of_the_predictor, of_the_drift_service, of_the_prober):
        for name, row in found.items():
            assert documented()[name] == row, f"{name} should be {row}"


def test_every_metric_of_the_contract_is_exported(
    of_the_predictor: dict[str, Row],
    of_the_drift_service: dict[str, Row],
    of_the_prober: dict[str, Row],
) -> None:
    spelled = {
        value
        for name, value in {**vars(words), **vars(shadow)}.items()
        if name.endswith(("_TOTAL", "_ROWS", "_INFO", "_SECONDS"))
    }
    assert spelled == {*of_the_predictor, *of_the_prober}
    assert {value for name, value in vars(words).items() if name.startswith("TEXT_")} <= set(
        of_the_drift_service
    )


@pytest.mark.parametrize("name", of_the_operator())
def test_metrics_of_the_operator_carry_its_name_and_a_sentence(name: str) -> None:
    _, _, text = of_the_operator()[name]
    assert name.startswith("modelrelease_")
    assert len(text) > 15
    assert text.endswith(".")
