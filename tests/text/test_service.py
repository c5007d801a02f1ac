"""The drift service as a process: sampled requests of a real predictor in, drift of texts out."""

import hashlib
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import joblib
import pytest
from prometheus_client.parser import text_string_to_metric_families
from sklearn.dummy import DummyClassifier

from modelrelease_contract import (
    ArtifactManifest,
    Examples,
    Feature,
    ModelFile,
    Output,
    manifest_digest,
)
from modelrelease_contract.artifact import FeatureKind
from modelrelease_contract.events import BATCH, STRUCTURED
from modelrelease_training.drift.baseline import TextBaseline, save
from tests.support.predictors import predictor, wait_until
from tests.text.conftest import MODEL
from tests.text.corpus import bank, mixed

WHO = {"release": "qna", "revision": "abc"}


@dataclass
class Service:
    """A drift service on loopback."""

    process: subprocess.Popen[str]
    lines: list[str] = field(default_factory=list)

    def read(self) -> None:
        assert self.process.stderr is not None
        self.lines.extend(self.process.stderr)

    @property
    def port(self) -> int:
        found = wait_until(
            "it listens", lambda: [line for line in self.lines if "listening" in line], within=120
        )
        return int(found[0].rsplit(":", 1)[1])

    def ask(
        self, method: str, path: str, body: bytes | None = None, **headers: str
    ) -> tuple[int, str]:
        connection = HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            connection.request(
                method,
                path,
                body,
                {name.replace("_", "-"): value for name, value in headers.items()},
            )
            answer = connection.getresponse()
            return answer.status, answer.read().decode()
        finally:
            connection.close()

    def post(self, document: Any, media_type: str = STRUCTURED) -> tuple[int, str]:
        return self.ask("POST", "/events", json.dumps(document).encode(), Content_Type=media_type)

    def value(self, name: str, **labels: str) -> float | None:
        for family in text_string_to_metric_families(self.ask("GET", "/metrics")[1]):
            for sample in family.samples:
                if sample.name == name and labels.items() <= sample.labels.items():
                    return sample.value
        return None

    def wait_ready(self) -> None:
        wait_until("it is ready", lambda: self.ask("GET", "/ready")[0] == 200, within=180)


@contextmanager
def service(baseline: Path, **environment: str) -> Iterator[Service]:
    values = {
        "TEXT_BASELINE": str(baseline),
        "EMB_MODEL": MODEL,
        "HOST": "127.0.0.1",
        "PORT": "0",
        **environment,
    }
    process = subprocess.Popen(
        [sys.executable, "-m", "modelrelease_training.drift", "serve"],
        env={**os.environ, **values}, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    running = Service(process)
    reader = threading.Thread(target=running.read)
    reader.start()
    try:
        yield running
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()
        reader.join()
        assert process.stderr is not None
        process.stderr.close()


@pytest.fixture(scope="module")
def baseline(known: TextBaseline, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("service") / "baseline.npz"
    save(known, path)
    return path


@pytest.fixture(scope="module")
def running(baseline: Path) -> Iterator[Service]:
    with service(baseline, TEXT_WINDOW_TEXTS="100", TEXT_QUEUE="400") as process:
        process.wait_ready()
        yield process


@pytest.fixture(scope="module")
def artifact(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A model that takes a text and a number, and its digest."""
    folder = tmp_path_factory.mktemp("artifact")
    rows = [["How do I block my card?", 1.0], ["Can I raise my limit?", 2.0]]
    joblib.dump(
        DummyClassifier(strategy="constant", constant=1).fit(rows, [0, 1]), folder / "model.joblib"
    )
    content = (folder / "model.joblib").read_bytes()
    digest = hashlib.sha256(content).hexdigest()
    manifest = ArtifactManifest(
        name="qna",
        version="7",
        features=(Feature(name="question", kind=FeatureKind.CATEGORICAL), Feature(name="age")),
        output=Output(classes=("0", "1")),
        examples=Examples(rows=tuple(tuple(row) for row in rows), predictions=(1, 1)),
        files=(ModelFile(path="model.joblib", sha256=digest, size=len(content)),),
    )
    raw = manifest.model_dump_json().encode()
    (folder / "manifest.json").write_bytes(raw)
    return folder, manifest_digest(raw)


def event(texts: list[str], *, revision: str = "abc", **changes: Any) -> dict[str, Any]:
    data = {
        "features": ["question", "age"],
        "rows": [[text, 1.0] for text in texts],
        "predictions": [1.0] * len(texts),
    }
    return {
        "specversion": "1.0", "id": "1", "source": "/tests",
        "type": "dev.modelrelease.prediction.sampled",
        "release": "qna", "revision": revision, "modelversion": "7", "data": data, **changes,
    }  # fmt: skip


def test_what_a_predictor_samples_shows_as_drift_when_its_texts_change_topic(
    running: Service, artifact: tuple[Path, str]
) -> None:
    folder, digest = artifact
    environment = {
        "SAMPLE_URL": f"http://127.0.0.1:{running.port}/events", "SAMPLE_SHARE": "1",
        "SAMPLE_QUEUE": "1000",
        "MODELRELEASE_RELEASE": "qna", "MODELRELEASE_REVISION": "e2e", "MODEL_SHA256": digest,
    }  # fmt: skip
    who = {"release": "qna", "revision": "e2e"}
    with predictor(folder, **environment) as model:
        model.wait_ready()

        def asked(texts: list[str]) -> None:
            connection = model.connect()
            for text in texts:
                body = json.dumps({"features": [text, 40]})
                connection.request("POST", "/predict", body, {"Content-Type": "application/json"})
                answer = connection.getresponse()
                assert (answer.status, bool(answer.read())) == (200, True)
                if answer.will_close:
                    connection.close()
            connection.close()

        asked(bank(100, seed=31))
        wait_until(
            "a window is complete",
            lambda: running.value("text_drift_windows_total", **who),
            within=120,
        )
        assert running.value("text_drifted", **who) == 0
        asked(mixed(100, 32, share=0.5))
        wait_until("drift shows", lambda: running.value("text_drifted", **who) == 1, within=120)
    score, limit = (
        running.value("text_drift_score", **who),
        running.value("text_drift_limit", **who),
    )
    assert score is not None
    assert limit is not None
    assert score > limit
    assert (running.value("text_drift_p_value", **who) or 0) <= 0.001
    assert running.value("text_drift_texts_total", **who) == 200
    assert running.value("feature_bin_total", **who, feature="text:script", bin="0") == 200
    assert (
        running.value("feature_baseline_rows", **who, feature="text:script", bin="0") or 0
    ) == 300
    assert any("found by text:centroid" in line for line in running.lines)


def test_events_come_in_every_mode_of_cloud_events(running: Service) -> None:
    who = {"release": "qna", "revision": "modes"}
    texts = bank(3, seed=1)
    assert running.post(event(texts[:1], revision="modes"))[0] == 202
    assert running.post([event([text], revision="modes") for text in texts[1:]], BATCH)[0] == 202
    whole = event(texts[:1], revision="modes")
    data = json.dumps(whole.pop("data")).encode()
    attributes = {f"ce_{name}": value for name, value in whole.items()}
    assert (
        running.ask("POST", "/events", data, Content_Type="application/json", **attributes)[0]
        == 202
    )
    wait_until(
        "all are counted", lambda: running.value("text_drift_texts_total", **who) == 4, within=60
    )


BAD: list[tuple[Any, str, int, str]] = [
    ({}, STRUCTURED, 422, "specversion"),
    ([1], STRUCTURED, 422, "the event"),
    ({}, BATCH, 400, "a batch must be a list"),
    (event(["x"]), "application/json", 415, "send CloudEvents"),
    (event(["x"], type="other"), STRUCTURED, 422, "type"),
    (event(["x"], release=""), STRUCTURED, 422, "release"),
    (
        event(["x"], data={"features": ["a", "b"], "rows": [["x"]]}),
        STRUCTURED,
        422,
        "every row must hold 2",
    ),
    (
        event(["x"], data={"features": ["a"], "rows": [[1.0]]}),
        STRUCTURED,
        422,
        "one feature must hold texts",
    ),
    (
        event(["x"], data={"features": ["a", "b"], "rows": [["x", "y"]]}),
        STRUCTURED,
        422,
        "set TEXT_FEATURE",
    ),
]


@pytest.mark.parametrize(
    ("document", "media_type", "status", "sentence"), BAD, ids=[it[3] for it in BAD]
)
def test_an_event_that_cannot_be_used_is_refused_with_its_fault(
    running: Service, document: Any, media_type: str, status: int, sentence: str
) -> None:
    before = running.value("text_drift_events_total", outcome="refused")
    found, body = running.post(document, media_type)
    assert found == status
    assert sentence in body
    assert running.value("text_drift_events_total", outcome="refused") == (before or 0) + 1


def test_a_body_that_is_broken_or_too_large_is_refused(running: Service) -> None:
    assert running.ask("POST", "/events", b"{nonsense", Content_Type=STRUCTURED)[0] == 400
    assert running.ask("POST", "/events", b"[" * 100_000, Content_Type=STRUCTURED)[0] == 400
    assert running.ask("POST", "/events", b" " * 2_100_000, Content_Type=STRUCTURED)[0] == 413


def test_more_than_waits_is_refused_and_counted_and_the_service_goes_on(running: Service) -> None:
    found, body = running.post(event(bank(401, seed=2), revision="flood"))
    assert found == 429
    assert "too many texts wait" in body
    assert (running.value("text_drift_events_total", outcome="dropped") or 0) >= 1
    assert running.ask("GET", "/health")[0] == 200
    assert running.post(event(["How do I block my card?"], revision="after"))[0] == 202


def test_it_leaves_when_told(baseline: Path) -> None:
    with service(baseline) as process:
        process.wait_ready()
        process.process.send_signal(signal.SIGTERM)
        assert process.process.wait(timeout=120) == 0


@pytest.mark.parametrize(
    ("environment", "sentence"),
    [
        ({"TEXT_BASELINE": ""}, "TEXT_BASELINE must be set"),
        ({"TEXT_BASELINE": "nowhere.npz"}, "there is no baseline nowhere.npz"),
        ({"EMB_MODEL": "./nowhere"}, "cannot be loaded"),
        (
            {"TEXT_WINDOW_TEXTS": "10", "TEXT_WINDOW_MINIMUM": "20"},
            "TEXT_WINDOW_MINIMUM=20 is above",
        ),
    ],
)
def test_a_service_that_can_never_work_ends_with_2_and_one_sentence(
    baseline: Path, environment: dict[str, str], sentence: str
) -> None:
    with service(baseline, **environment) as process:
        assert process.process.wait(timeout=180) == 2
    assert sentence in process.lines[-1]
