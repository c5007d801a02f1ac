"""What training writes, serving reads, with the same meaning on both sides."""

import copy
import json
import math
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families
from pydantic import ValidationError

from modelrelease_contract import ArtifactManifest, Baseline, Histogram, ModelFile, metrics, runtime
from modelrelease_contract.shadow import ENV_SHADOW, ShadowSettings
from modelrelease_serving.app import create_app
from modelrelease_serving.model import Model
from modelrelease_serving.settings import Settings, explain, variables
from modelrelease_training.bins import edges, histogram
from modelrelease_training.data import Split, make_data, split
from modelrelease_training.evaluate import evaluate
from modelrelease_training.export import Exported, Label, export_artifact
from modelrelease_training.train import fit

VERSION = "2026-11-01"


@pytest.fixture(scope="module")
def data() -> Split:
    return split(make_data(seed=7, rows=400))


@pytest.fixture(scope="module")
def trained(data: Split) -> Any:
    return fit(data.training)


@pytest.fixture(scope="module")
def exported(trained: Any, data: Split, tmp_path_factory: pytest.TempPathFactory) -> Exported:
    return export_artifact(
        trained,
        label=Label(name="qna", version=VERSION),
        data=data,
        metrics=evaluate(trained, data.held_out),
        output=tmp_path_factory.mktemp("artifacts"),
    )


@pytest.fixture
async def client(exported: Exported) -> AsyncIterator[httpx.AsyncClient]:
    model = Model.open(exported.path, version=VERSION, sha256=exported.digest)
    model.load()
    app = create_app(model, Settings(release="qna", revision="abc"))
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(app), base_url="http://predictor"
    ) as client:
        yield client


async def samples(client: httpx.AsyncClient) -> dict[str, dict[str, dict[str, float]]]:
    """Return {sample name: {feature: {bin: value}}} of the bins, and the names of all others."""
    found: dict[str, dict[str, dict[str, float]]] = {}
    for family in text_string_to_metric_families((await client.get("/metrics")).text):
        for one in family.samples:
            place = found.setdefault(one.name, {}).setdefault(
                one.labels.get(metrics.FEATURE, ""), {}
            )
            place[one.labels.get(metrics.BIN, "")] = one.value
    return found


async def test_serving_predicts_what_training_predicts(
    client: httpx.AsyncClient, trained: Any, data: Split
) -> None:
    rows = data.held_out.rows
    answer = (await client.post("/predict", json={"features": rows.tolist()})).json()
    assert answer["predictions"] == pytest.approx(
        trained.predict_proba(rows)[:, 1].tolist(), abs=1e-12
    )
    assert answer["model_version"] == VERSION


async def test_serving_counts_held_out_rows_exactly_as_the_baseline_has_them(
    client: httpx.AsyncClient, exported: Exported, data: Split
) -> None:
    await client.post("/predict", json={"features": data.held_out.rows.tolist()})
    baseline, counted = exported.manifest.baseline, await samples(client)
    assert baseline is not None
    assert baseline.prediction is not None
    expected = {**baseline.features, "": baseline.prediction}
    bins = {**counted[metrics.FEATURE_BIN_TOTAL], **counted[metrics.PREDICTION_BIN_TOTAL]}
    assert set(bins) == set(expected)
    for feature, known in expected.items():
        assert bins[feature].pop(metrics.BIN_MISSING) == 0
        assert list(bins[feature].values()) == list(known.counts)
        assert list(bins[feature]) == [str(index) for index in range(len(known.counts))]


async def test_the_baseline_is_exported_beside_the_counts_it_is_compared_with(
    client: httpx.AsyncClient, exported: Exported, data: Split
) -> None:
    await client.post("/predict", json={"features": data.held_out.rows.tolist()})
    found = await samples(client)
    assert found[metrics.FEATURE_BASELINE_ROWS] == found[metrics.FEATURE_BIN_TOTAL]
    assert found[metrics.PREDICTION_BASELINE_ROWS] == found[metrics.PREDICTION_BIN_TOTAL]


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ({"edges": (0.5,), "counts": (1, 2)}, {"edges": (0.5,), "counts": (9, 9)}, True),
        ({"edges": (0.5,), "counts": (1, 2)}, {"edges": (0.6,), "counts": (1, 2)}, False),
        (
            {"labels": ("a", "other"), "counts": (1, 2)},
            {"labels": ("b", "other"), "counts": (1, 2)},
            False,
        ),
        (
            {"labels": ("rare 1", "other"), "shared": (("a",),), "counts": (1, 2)},
            {"labels": ("rare 1", "other"), "shared": (("b",),), "counts": (1, 2)},
            False,
        ),
    ],
    ids=["other counts", "other edges", "other labels", "other rare values"],
)
def test_bins_have_the_same_layout_when_a_value_falls_in_the_same_bin_of_both(
    one: dict[str, Any], other: dict[str, Any], same: bool
) -> None:
    assert (Histogram(**one).layout == Histogram(**other).layout) is same


async def test_every_metric_of_the_contract_is_exported(client: httpx.AsyncClient) -> None:
    text = (await client.get("/metrics")).text
    found = {
        one.name: set(one.labels)
        for family in text_string_to_metric_families(text)
        for one in family.samples
    }
    who = {metrics.RELEASE, metrics.REVISION}
    assert found[metrics.PREDICTIONS_TOTAL] == {*who, metrics.MODEL_VERSION, metrics.CODE}
    assert found[f"{metrics.PREDICTION_DURATION_SECONDS}_bucket"] == {
        *who,
        metrics.MODEL_VERSION,
        "le",
    }
    assert found[metrics.MODEL_VERSION_INFO] == {*who, metrics.MODEL_VERSION}
    assert found[metrics.FEATURE_BIN_TOTAL] == {*who, metrics.FEATURE, metrics.BIN}
    assert found[metrics.PREDICTION_BIN_TOTAL] == {*who, metrics.BIN}
    assert found[metrics.FEATURE_BASELINE_ROWS] == {*who, metrics.FEATURE, metrics.BIN}
    assert found[metrics.PREDICTION_BASELINE_ROWS] == {*who, metrics.BIN}
    assert found[metrics.PREDICTION_BINS_INFO] == {*who, metrics.LAYOUT}


async def test_the_histogram_has_exactly_the_bounds_of_the_contract(
    client: httpx.AsyncClient,
) -> None:
    text = (await client.get("/metrics")).text
    bounds = [
        float(one.labels["le"])
        for family in text_string_to_metric_families(text)
        for one in family.samples
        if one.name == f"{metrics.PREDICTION_DURATION_SECONDS}_bucket"
    ]
    assert tuple(bounds) == (*metrics.duration_buckets(), float("inf"))


def test_every_variable_of_the_contract_is_read_by_the_settings() -> None:
    contract = {value for name, value in vars(runtime).items() if name.startswith("ENV_")}
    assert contract <= set(variables())


def test_every_variable_reaches_its_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    values = {
        runtime.ENV_RELEASE: "qna",
        runtime.ENV_REVISION: "abc",
        runtime.ENV_MODEL_URI: "pvc://claim/path",
        runtime.ENV_MODEL_SHA256: "0" * 64,
        runtime.ENV_MODEL_PATH: "/somewhere",
        runtime.ENV_ARTIFACT_CACHE_PATH: "/kept",
        runtime.ENV_ARTIFACT_CACHE_KEEP: "1" * 64,
        runtime.ENV_MODEL_VERSION: "7",
        runtime.ENV_API_VERSION: "v2",
        runtime.ENV_LOG_LEVEL: "warning",
        runtime.ENV_LOG_FORMAT: "text",
        runtime.ENV_DRAIN_SECONDS: "3.5",
        runtime.ENV_CONNECTION_MAX_AGE_SECONDS: "4.5",
        runtime.ENV_MANIFEST_ONLY: "true",
        runtime.ENV_FETCH_SIGNATURE: "true",
        runtime.ENV_RELEASE_KEY: "key",
        runtime.ENV_OPERATOR_KEYS: "keys",
        runtime.ENV_PROBE_STABLE_REVISION: "abd",
        runtime.ENV_PROBE_STABLE_URL: "http://stable",
        runtime.ENV_PROBE_CANARY_URL: "http://canary",
        runtime.ENV_PROBE_RATE: "0.5",
        runtime.ENV_PROBE_TIMEOUT_SECONDS: "2.5",
    }
    for name, value in values.items():
        monkeypatch.setenv(name, value)
    read = Settings()
    assert (read.release, read.revision, read.model_uri) == ("qna", "abc", "pvc://claim/path")
    assert (read.model_sha256, read.model_path, read.model_version) == (
        "0" * 64,
        Path("/somewhere"),
        "7",
    )
    assert (read.artifact_cache_path, read.artifact_cache_keep) == (Path("/kept"), "1" * 64)
    assert (read.api_version, read.log_level, read.log_format) == ("v2", "WARNING", "text")
    assert (read.drain_seconds, read.connection_max_age_seconds) == (3.5, 4.5)
    assert (read.manifest_only, read.probe_stable_revision) == (True, "abd")
    assert (read.fetch_signature, read.release_key, read.operator_keys) == (True, "key", "keys")
    assert (read.probe_stable_url, read.probe_canary_url) == ("http://stable", "http://canary")
    assert (read.probe_rate, read.probe_timeout_seconds) == (0.5, 2.5)
    assert len(values) == sum(name.startswith("ENV_") for name in vars(runtime))


def test_the_copies_that_a_canary_wants_come_as_json(monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = ShadowSettings(
        share=0.5, per_second=20, noise_share=0.1, slower_ratio=1.25, slower_seconds=0.005
    )
    monkeypatch.setenv(ENV_SHADOW, wanted.model_dump_json())
    assert Settings().shadow == wanted


@pytest.mark.parametrize(
    ("value", "rule"),
    [
        ("copies", "the document: Invalid JSON"),
        ("{}", "share: Field required"),
        ('{"share": 2}', "share: Input should be less than or equal to 1"),
    ],
)
def test_copies_that_nobody_can_give_are_refused_with_the_rule(
    monkeypatch: pytest.MonkeyPatch, value: str, rule: str
) -> None:
    monkeypatch.setenv(ENV_SHADOW, value)
    with pytest.raises(ValidationError) as caught:
        Settings()
    sentence = explain(caught.value)
    assert sentence.startswith(f"environment variable {ENV_SHADOW}={value!r} is wrong")
    assert rule in sentence


@pytest.mark.parametrize("url", ["https://qna-canary", "qna-canary"])
def test_an_arm_is_asked_by_plain_http_alone(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    monkeypatch.setenv("SHADOW_CANARY_URL", url)
    with pytest.raises(ValidationError, match="must be an http"):
        Settings()


def test_an_empty_variable_counts_as_not_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(runtime.ENV_MODEL_SHA256, "")
    assert Settings().model_sha256 is None


def test_a_manifest_survives_being_written_and_read(exported: Exported) -> None:
    assert (
        ArtifactManifest.model_validate_json(exported.manifest.model_dump_json())
        == exported.manifest
    )


@given(st.text(max_size=12))
def test_a_file_path_is_plain_and_inside_or_refused(path: str) -> None:
    try:
        ModelFile(path=path, sha256="0" * 64, size=0)
    except ValidationError:
        return
    inside = Path("/models") / path
    assert inside.is_relative_to("/models")
    assert ".." not in inside.parts
    assert inside != Path("/models")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        pytest.param(
            {"model_file": "other"}, "is not among the files", id="a model file that is no file"
        ),
        pytest.param(
            {"output": {"probability": True, "classes": ["a"]}}, "two classes", id="one class"
        ),
        pytest.param({"version": "a b"}, "pattern", id="a version with a space"),
        pytest.param({"colour": "red"}, "Extra inputs", id="an unknown member"),
        pytest.param({"features": []}, "needs features and example rows", id="no features"),
        pytest.param(
            {"examples": {"rows": [], "predictions": []}},
            "format joblib needs features and example rows",
            id="no examples",
        ),
        pytest.param({"schema_version": 2}, "Input should be 1", id="a newer schema"),
    ],
)
def test_a_manifest_that_contradicts_itself_is_refused(
    change: dict[str, Any], words: str, exported: Exported
) -> None:
    document = copy.deepcopy(json.loads(exported.manifest.model_dump_json()))
    with pytest.raises(ValidationError, match=words):
        ArtifactManifest.model_validate_json(json.dumps({**document, **change}))


def test_two_files_may_not_share_a_path_nor_be_the_manifest(exported: Exported) -> None:
    document = json.loads(exported.manifest.model_dump_json())
    (file,) = document["files"]
    for extra in (file, {**file, "path": "manifest.json"}):
        with pytest.raises(ValidationError, match="file paths must differ"):
            ArtifactManifest.model_validate({**document, "files": [file, extra]}, strict=False)


STORED = """{"rows": 200, "features": {
 "age": {"edges": [1.5, 2.0, 8.25], "labels": [], "counts": [50, 50, 40, 60], "missing": 3},
 "flag": {"edges": [0.0], "labels": [], "counts": [0, 200], "missing": 0},
 "city": {"edges": [], "labels": ["a", "b", "other"], "counts": [120, 60, 20], "missing": 0}},
 "prediction": {"edges": [0.5], "labels": [], "counts": [90, 110], "missing": 0}}"""
"""A baseline as it was written before values had bins of their own."""
LAYOUTS = ["81e57f4f4425", "b74ad45fa2af", "12cb4789bde9"]
"""What the layouts of its features were then."""


def test_a_baseline_of_the_form_before_is_read_counted_and_written_as_it_was() -> None:
    known = Baseline.model_validate_json(STORED)
    assert json.loads(known.model_dump_json()) == json.loads(STORED)
    age, flag, city = known.features.values()
    assert [age.bin_of(value) for value in (1.4, 1.5, 2, 8.25, None, math.nan)] == [
        0,
        1,
        2,
        3,
        None,
        None,
    ]
    assert [flag.bin_of(value) for value in (-1, 0, 1, True)] == [0, 1, 1, 1]
    assert [city.bin_of(value) for value in ("a", "b", "other", "c", "", None)] == [
        0,
        1,
        2,
        2,
        2,
        None,
    ]
    assert [each.layout for each in known.features.values()] == LAYOUTS


def test_a_baseline_of_numbers_has_the_form_before() -> None:
    """A predictor that is older than training reads it, too."""
    written = histogram(np.zeros(100), edges(np.zeros(100))).model_dump_json()
    assert set(json.loads(written)) == {"edges", "labels", "counts", "missing"}


@pytest.mark.parametrize(
    "wrong",
    [
        {"labels": ("rare 1",), "shared": (("a",),), "counts": (1,)},
        {"labels": ("a", "other"), "others": 3, "counts": (1, 2)},
        {"labels": ("a", "other"), "others": 0, "counts": (1, 2)},
    ],
)
def test_bins_that_contradict_their_labels_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Histogram(**wrong)
