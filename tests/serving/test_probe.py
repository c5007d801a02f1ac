"""The prober beside real predictors: what it asks, how it counts,
and that no user's count learns of it.
"""

import json
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from random import Random

import pytest
from prometheus_client.parser import text_string_to_metric_families

from examples.models import faulty
from modelrelease_contract import ArtifactManifest
from modelrelease_contract import metrics as names
from modelrelease_contract.runtime import EXIT_REFUSED
from modelrelease_serving.fetch import fetch
from modelrelease_serving.probe import Probe, Reference, send_probe
from modelrelease_training.export import Exported, Label
from tests.serving.support import Predictor, Web, predictor, settings, train, wait_until
from tests.support.predictors import process

Counts = dict[tuple[str, str], float]


@pytest.fixture(scope="module")
def failing(tmp_path_factory: pytest.TempPathFactory) -> Exported:
    """A model that fails on most rows of others, and on none of its own."""
    label = Label(name="qna", version="3")
    return faulty.failing(
        faulty.Order(label=label, output=tmp_path_factory.mktemp("failing"), share=0.7)
    )


def manifests(folder: Path, stable: Exported, canary: Exported) -> Path:
    """Put both manifests where the fetch containers do."""
    for name, exported in (("stable", stable), ("canary", canary)):
        target = folder / name
        target.mkdir()
        (target / "manifest.json").write_bytes((exported.path / "manifest.json").read_bytes())
    return folder


@contextmanager
def prober(folder: Path, stable: str, canary: str, **environment: str) -> Iterator[Predictor]:
    values = {
        "MODEL_PATH": str(folder), "MODELRELEASE_RELEASE": "qna", "MODELRELEASE_REVISION": "new",
        "PROBE_STABLE_REVISION": "old", "PROBE_STABLE_URL": stable, "PROBE_CANARY_URL": canary,
        "PROBE_RATE": "200", "TERMINATION_LOG": str(folder / "last-words"),
    }  # fmt: skip
    with process("probe", **{**values, **environment}) as running:
        yield running


def counted(running: Predictor) -> Counts:
    """Return the prober's counts by revision and result."""
    return {
        (sample.labels["revision"], sample.labels["result"]): sample.value
        for family in text_string_to_metric_families(running.get("/metrics")[1])
        for sample in family.samples
        if sample.name == names.PROBE_ANSWERS_TOTAL
    }


def total(counts: Counts, revision: str) -> float:
    return sum(value for (of, _), value in counts.items() if of == revision)


def wait_for(running: Predictor, probes: int) -> Counts:
    wait_until(f"{probes} probes", lambda: total(counted(running), "new") >= probes, within=60)
    return counted(running)


def url(running: Predictor) -> str:
    return f"http://127.0.0.1:{running.port}"


def test_two_good_versions_repeat_their_records_and_are_asked_alike(
    artifact: Exported, tmp_path: Path
) -> None:
    other = train(tmp_path, "2", seed=8)
    with predictor(artifact.path) as stable, predictor(other.path) as canary:
        stable.wait_ready()
        canary.wait_ready()
        folder = manifests(tmp_path, artifact, other)
        with prober(folder, url(stable), url(canary)) as running:
            found = wait_for(running, 200)
            users = stable.get("/metrics")[1]
            running.send(signal.SIGTERM)
            assert running.wait() == 0
    for revision in ("old", "new"):
        assert found[revision, names.PROBE_SAME] > 0
        assert found[revision, names.PROBE_ANSWERED] > 0, "rows of the other artifact"
        assert not any(found[revision, bad] for bad in ("different", "error", "refused"))
    # A scrape may fall between the two arms of one pair.
    assert abs(total(found, "old") - total(found, "new")) <= 1
    assert _value(users, "predictions_total", code="200") == 0, "probes are no users"
    assert _value(users, "probe_predictions_total", code="200") >= total(found, "old")
    assert _value(users, "prediction_duration_seconds_count") == 0
    assert _value(users, "prediction_bin_total") == 0
    assert running.logged("probed"), "its last words are what it saw"


def test_a_version_that_fails_on_the_other_ones_rows_is_seen(
    artifact: Exported, failing: Exported, tmp_path: Path
) -> None:
    with predictor(artifact.path) as stable, predictor(failing.path) as canary:
        stable.wait_ready()
        canary.wait_ready()
        with prober(manifests(tmp_path, artifact, failing), url(stable), url(canary)) as running:
            found = wait_for(running, 200)
    assert found["new", names.PROBE_ERROR] > 10
    assert found["new", names.PROBE_SAME] > 10
    assert found["old", names.PROBE_ERROR] == 0


def test_a_revision_that_nobody_answers_for_is_all_errors_and_the_other_is_asked_on(
    artifact: Exported, tmp_path: Path
) -> None:
    other = train(tmp_path, "2", seed=8)
    with predictor(artifact.path) as stable:
        stable.wait_ready()
        with prober(
            manifests(tmp_path, artifact, other), url(stable), "http://127.0.0.1:9"
        ) as running:
            found = wait_for(running, 50)
    assert found["new", names.PROBE_ERROR] == total(found, "new")
    assert found["old", names.PROBE_ERROR] == 0


def test_an_answer_that_does_not_come_in_time_is_an_error(artifact: Exported) -> None:
    with listening(_Silent) as address:
        outcome = send_probe(address, Probe(row=(1.0,)), timeout_seconds=0.2)
    assert outcome.result == names.PROBE_ERROR
    assert outcome.seconds >= 0.2


@pytest.mark.parametrize(
    ("status", "body", "result"),
    [
        (200, '{"prediction": 0.5}', names.PROBE_SAME),
        (200, '{"prediction": 0.6}', names.PROBE_DIFFERENT),
        (200, '{"prediction": "a"}', names.PROBE_DIFFERENT),
        (200, '{"prediction": null}', names.PROBE_ERROR),
        (200, '{"predictions": [0.5]}', names.PROBE_ERROR),
        (200, "<html>", names.PROBE_ERROR),
        (422, "{}", names.PROBE_REFUSED),
        (404, "no such path: an image that knows no probes", names.PROBE_REFUSED),
        (500, "{}", names.PROBE_ERROR),
        (503, "{}", names.PROBE_ERROR),
        (302, "", names.PROBE_ERROR),
    ],
)
def test_what_an_answer_counts_as(status: int, body: str, result: str) -> None:
    class Scripted(_Silent):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(status)
            self.end_headers()
            self.wfile.write(body.encode())

    with listening(Scripted) as address:
        probe = Probe(row=(1.0,), recorded=0.5, tolerance=0.01)
        assert send_probe(address, probe, timeout_seconds=5).result == result


def test_every_row_of_both_goes_to_both_and_only_ones_own_has_a_record(artifact: Exported) -> None:
    mine = artifact.manifest
    theirs = _changed(mine, rows=[[9.0] * 16], predictions=[0.5])
    pairs = Reference(mine, theirs).pairs
    assert len(pairs) == len(mine.examples.rows) + 1
    assert all(stable.row == canary.row for stable, canary in pairs)
    assert [canary.recorded for _, canary in pairs] == [None] * len(mine.examples.rows) + [0.5]
    assert pairs[-1][0].recorded is None


def test_a_row_that_both_record_is_one_row_with_both_records(artifact: Exported) -> None:
    pairs = Reference(artifact.manifest, artifact.manifest).pairs
    assert len(pairs) == len(artifact.manifest.examples.rows)
    assert all(
        stable.recorded is not None and canary.recorded is not None for stable, canary in pairs
    )


def test_versions_with_other_features_are_each_asked_their_own_rows(artifact: Exported) -> None:
    mine = artifact.manifest
    renamed = tuple(each.model_copy(update={"name": f"new_{each.name}"}) for each in mine.features)
    theirs = mine.model_copy(update={"features": renamed})
    stable, canary = Reference(mine, theirs).draw(Random(1))
    assert stable.recorded is not None
    assert canary.recorded is not None


def test_only_the_manifest_is_fetched_for_a_prober(
    artifact: Exported, web: Web, tmp_path: Path
) -> None:
    web.publish(artifact.path)
    fetch(
        settings(
            model_uri=web.url, model_path=tmp_path, model_sha256=artifact.digest,
            manifest_only=True,
            artifact_max_bytes=1,
        )
    )  # fmt: skip
    assert [item.name for item in tmp_path.iterdir()] == ["manifest.json"]
    assert web.asked == ["/qna/manifest.json"]


def test_without_manifests_or_addresses_it_says_what_is_missing(
    artifact: Exported, tmp_path: Path
) -> None:
    (tmp_path / "last-words").touch()
    with prober(tmp_path, "http://a", "http://b") as running:
        assert running.wait() == EXIT_REFUSED
    assert "stable/manifest.json cannot be read" in (tmp_path / "last-words").read_text()
    with prober(manifests(tmp_path, artifact, artifact), "http://a", "qna-canary") as running:
        assert running.wait() == EXIT_REFUSED
    assert "PROBE_CANARY_URL='qna-canary' is wrong" in (tmp_path / "last-words").read_text()


class _Silent(BaseHTTPRequestHandler):
    """Takes a request and does not answer until the client leaves."""

    def do_POST(self) -> None:
        self.rfile.read()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Stay silent."""


@contextmanager
def listening(handler: type[BaseHTTPRequestHandler]) -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()


def _changed(manifest: ArtifactManifest, **examples: object) -> ArtifactManifest:
    raw = json.loads(manifest.model_dump_json(exclude_none=True))
    raw["examples"] |= examples
    return ArtifactManifest.model_validate(raw)


def _value(text: str, name: str, **labels: str) -> float:
    """Sum the samples of a name that carry these labels."""
    return sum(
        sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name == name and labels.items() <= sample.labels.items()
    )
