"""docs/reference/metrics.md lists every metric that is exported, with its type, labels and meaning."""

from collections.abc import Iterable
from pathlib import Path

import pytest
from prometheus_client import Counter, Gauge, Histogram
from prometheus_client.metrics import MetricWrapperBase

from modelrelease_contract import metrics as words
from modelrelease_operator.runtime import metrics as operators
from modelrelease_serving.metrics import Metrics
from modelrelease_training.data import make_data, split
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
    return {
        row[0].strip("`"): (row[1], frozenset(row[2].replace("`", "").split(", ")), row[3]) for row in cells
    }


def of_the_operator() -> dict[str, Row]:
    found = [each for each in vars(operators).values() if isinstance(each, Counter | Gauge | Histogram)]
    return {name_of(each): (each._type, frozenset(each._labelnames), each._documentation) for each in found}


def name_of(metric: MetricWrapperBase) -> str:
    return f"{metric._name}_total" if isinstance(metric, Counter) else metric._name


@pytest.fixture(scope="module")
def of_the_predictor() -> dict[str, Row]:
    data = split(make_data(seed=7, rows=400))
    model = fit(data.training)
    manifest = describe(model, dump(model), label=Label(name="qna", version="1"), data=data, metrics={})
    registry = Metrics(manifest, release="qna", revision="abc").registry
    found = {}
    for family in registry.collect():
        if family.name.startswith("process_"):
            continue
        name = f"{family.name}_total" if family.type == "counter" else family.name
        labels: Iterable[str] = {label for sample in family.samples for label in sample.labels}
        found[name] = (family.type, frozenset(labels) - {"le"}, family.documentation)
    return found


def test_every_metric_is_documented_and_no_other(of_the_predictor: dict[str, Row]) -> None:
    assert set(documented()) == {*of_the_operator(), *of_the_predictor}


def test_types_labels_and_meanings_are_those_of_the_code(of_the_predictor: dict[str, Row]) -> None:
    for name, row in (of_the_operator() | of_the_predictor).items():
        assert documented()[name] == row, f"{name} should be {row}"


def test_every_metric_of_the_contract_is_exported(of_the_predictor: dict[str, Row]) -> None:
    spelled = {
        value
        for name, value in vars(words).items()
        if name.endswith(("_TOTAL", "_ROWS", "_INFO", "_SECONDS"))
    }
    assert spelled == set(of_the_predictor)


@pytest.mark.parametrize("name", of_the_operator())
def test_metrics_of_the_operator_carry_its_name_and_a_sentence(name: str) -> None:
    _, _, text = of_the_operator()[name]
    assert name.startswith("modelrelease_")
    assert len(text) > 15
    assert text.endswith(".")
