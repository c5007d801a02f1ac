"""The drift service's manifests and metrics fit what the operator reads."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from modelrelease_contract.artifact import Histogram
from modelrelease_contract.drift import DriftVerdict
from modelrelease_operator.api.drift import Drift
from modelrelease_operator.api.spec import ReleaseSpec
from modelrelease_operator.core.drift.windows import BinSample, Memory, look
from modelrelease_serving.settings import variables as of_the_predictor
from modelrelease_training.drift.exported import Exported
from modelrelease_training.drift.settings import variables

ROOT = Path(__file__).parents[3]
EXAMPLE = ROOT / "examples/drift-service"
NOW = datetime(2026, 11, 1, tzinfo=UTC)


def bins(service: Exported) -> list[BinSample]:
    """Read the service's metrics as the operator's query returns them."""
    return [
        BinSample(
            revision=sample.labels["revision"],
            pod="drift-1" if sample.name == "feature_bin_total" else None,
            feature=sample.labels["feature"],
            bin=sample.labels["bin"],
            value=sample.value,
        )
        for family in text_string_to_metric_families(service.render().decode())
        for sample in family.samples
        if sample.name in {"feature_bin_total", "feature_baseline_rows"}
    ]


@pytest.mark.parametrize(
    ("counts", "verdict"), [([480, 120], DriftVerdict.STABLE), ([300, 300], DriftVerdict.DRIFTED)]
)
def test_the_operator_judges_texts_as_any_feature(counts: list[int], verdict: DriftVerdict) -> None:
    service = Exported({"text:topic": Histogram(labels=("0", "1"), counts=(800, 200))})
    service.counted(("qna", "abc"), {"text:topic": [0, 0]}, 0, 0)
    memory = look(Memory(opened=NOW), bins(service), settings=Drift(), now=NOW)
    service.counted(("qna", "abc"), {"text:topic": counts}, 600, 0)
    memory = look(memory, bins(service), settings=Drift(), now=NOW + timedelta(minutes=10))
    (feature,) = memory.windows[-1].features
    assert (feature.name, feature.n, feature.verdict) == ("text:topic", 600, verdict)


def test_the_release_is_one_and_samples() -> None:
    spec = ReleaseSpec.model_validate(
        yaml.safe_load((EXAMPLE / "release.yaml").read_text())["spec"]
    )
    names = {
        each["name"]
        for each in yaml.safe_load((EXAMPLE / "release.yaml").read_text())["spec"]["serving"]["env"]
    }
    assert spec.serving.env
    assert names <= set(of_the_predictor())


def test_the_deployment_may_do_nothing_and_sets_only_what_is_read() -> None:
    deployment, service, policy = yaml.safe_load_all((EXAMPLE / "drift.yaml").read_text())
    pod: dict[str, Any] = deployment["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert pod["securityContext"]["runAsNonRoot"]
    assert pod["automountServiceAccountToken"] is False
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert {each["name"] for each in container["env"]} <= {*variables(), "HF_HUB_OFFLINE"}
    assert (
        service["spec"]["selector"].items()
        <= deployment["spec"]["template"]["metadata"]["labels"].items()
    )
    assert policy["spec"]["podSelector"]["matchLabels"] == service["spec"]["selector"]


def test_every_setting_of_the_service_is_documented_with_its_default() -> None:
    page = (ROOT / "docs/reference/drift.md").read_text()
    for name, default in variables().items():
        assert f"`{name}`" in page
        assert f"`{default}`" in page or not default, (name, default)
