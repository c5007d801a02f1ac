"""What `modelrelease init` writes: a manifest that is valid, and comments that are true."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from modelrelease_contract import manifest_digest
from modelrelease_operator.api.spec import ReleaseSpec
from modelrelease_operator.cli import main

DIGEST = "a" * 64
MANIFEST = {
    "name": "qna",
    "version": "2026-11-01",
    "features": [{"name": "x", "kind": "numeric"}],
    "examples": {"rows": [[1.0]], "predictions": [0]},
    "files": [{"path": "model.joblib", "sha256": DIGEST, "size": 3}],
}


def written(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert main(["init", *arguments]) == 0, capsys.readouterr().err
    return capsys.readouterr().out


def refused(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert main(["init", *arguments]) == 1
    out, err = capsys.readouterr()
    assert out == "", "nothing that is wrong may reach a pipe"
    return err


def spec_of(text: str) -> dict[str, Any]:
    spec: dict[str, Any] = yaml.safe_load(text)["spec"]
    return spec


@pytest.mark.parametrize(
    ("uri", "name"),
    [
        ("models:/qna@champion", "qna"),
        ("models:/Fraud_Score/7", "fraud-score"),
        ("https://store.example/qna/7", "qna"),
        ("http://store.example/models/ranker/2026-11-01", "ranker"),
        ("oci://registry.example:5000/team/qna:7", "qna"),
        (f"oci://registry.example/team/qna@sha256:{DIGEST}", "qna"),
        ("hf://me/qna-small@v7", "qna-small"),
        ("runs:/0123abcd/pricing", "pricing"),
    ],
)
def test_the_smallest_manifest_of_each_place_is_valid_and_named_after_its_model(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], uri: str, name: str
):
    text = written(capsys, uri)
    assert yaml.safe_load(text)["metadata"] == {"name": name}
    assert spec_of(text) == {"model": {"uri": uri}}
    path = tmp_path / "release.yaml"
    path.write_text(text)
    assert main(["validate", str(path)]) == 0


@pytest.mark.parametrize("uri", ["s3://models/qna/7", "pvc://claim/qna/7", "file:///models/qna"])
def test_a_place_that_only_pods_read_may_have_a_version_and_a_digest(
    capsys: pytest.CaptureFixture[str], uri: str
):
    assert spec_of(written(capsys, uri, "--name", "qna"))["model"] == {"uri": uri}
    text = written(capsys, uri, "--model-version", "7", "--sha256", DIGEST)
    assert spec_of(text)["model"] == {"uri": uri, "version": "7", "sha256": DIGEST}


def test_what_is_commented_out_is_what_is_done_without_it(capsys: pytest.CaptureFixture[str]):
    text = written(capsys, "models:/qna@champion")
    shown = re.sub(r"^  # (?=(?:  )*(?:- )?[a-z{-])", "  ", text, flags=re.MULTILINE)
    spec = spec_of(shown)
    assert {"serving", "canary", "analysis"} <= set(spec)
    commented, smallest = ReleaseSpec.parse(spec, strict=True), ReleaseSpec.parse(spec_of(text))
    assert commented.canary.plan == smallest.canary.plan
    assert commented.canary.approval == smallest.canary.approval
    assert commented.serving.replicas == smallest.serving.replicas
    assert commented.analysis.gates == smallest.analysis.gates
    assert commented.analysis.interval == smallest.analysis.interval


def test_what_is_asked_for_is_set(capsys: pytest.CaptureFixture[str]):
    options = ["--name", "answers", "-n", "prod", "--replicas", "9", "--gateway", "infra/public"]
    text = written(capsys, "models:/qna@a", *options, "--prometheus", "http://prometheus:9090")
    assert yaml.safe_load(text)["metadata"] == {"name": "answers", "namespace": "prod"}
    assert spec_of(text) == {
        "model": {"uri": "models:/qna@a"},
        "serving": {"replicas": 9},
        "canary": {
            "routing": {"gatewayAPI": {"parentRefs": [{"name": "public", "namespace": "infra"}]}}
        },
        "analysis": {"prometheus": {"url": "http://prometheus:9090"}},
    }
    assert "The rest has defaults" not in text


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "artifact"
    folder.mkdir()
    (folder / "manifest.json").write_text(json.dumps(MANIFEST))
    return folder


def test_a_folder_gives_name_version_and_digest(folder: Path, capsys: pytest.CaptureFixture[str]):
    text = written(capsys, str(folder), "--at", "s3://models/qna/7")
    assert yaml.safe_load(text)["metadata"] == {"name": "qna"}
    assert spec_of(text)["model"] == {
        "uri": "s3://models/qna/7",
        "version": "2026-11-01",
        "sha256": manifest_digest((folder / "manifest.json").read_bytes()),
    }


def test_a_folder_that_pods_cannot_reach_is_refused_with_what_to_do(
    folder: Path, capsys: pytest.CaptureFixture[str]
):
    said = refused(capsys, str(folder))
    assert "copy it to where they can, and name the place with --at" in said


def test_a_digest_that_is_not_the_folders_is_refused(
    folder: Path, capsys: pytest.CaptureFixture[str]
):
    said = refused(capsys, str(folder), "--at", "s3://m/qna", "--sha256", DIGEST)
    assert f"not {DIGEST}" in said


def test_a_folder_without_a_manifest_of_ours_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    assert "manifest.json cannot be read" in refused(capsys, str(tmp_path), "--at", "s3://m/qna")
    (tmp_path / "manifest.json").write_text("{}")
    assert "is no manifest of ours: name: Field" in refused(capsys, str(tmp_path), "--at", "s3://m")


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["ftp://store/qna"], "spec.model.uri: must be models:/name@alias"),
        (["https://store/7"], "tells no name for a release: give --name"),
        (["models:/qna@a", "--name", "Qna"], "metadata.name must be at most 50 characters"),
        (["models:/qna@a", "--at", "s3://m/qna"], "--at belongs to a folder"),
        (["models:/qna@a", "--gateway", "a/b/c"], "spec.canary.routing.gatewayAPI"),
        (["models:/qna@a", "--prometheus", "prometheus:9090"], "spec.analysis.prometheus.url"),
    ],
)
def test_what_cannot_be_a_release_is_refused_and_nothing_is_written(
    capsys: pytest.CaptureFixture[str], arguments: list[str], sentence: str
):
    assert sentence in refused(capsys, *arguments)


def test_letters_beyond_the_first_plane_are_a_uri_like_any_other(
    capsys: pytest.CaptureFixture[str],
):
    uri = "s3://models/\N{ROCKET}/é/7"
    assert spec_of(written(capsys, uri, "--name", "x"))["model"] == {"uri": uri}


def test_a_namespace_that_there_cannot_be_is_refused(capsys: pytest.CaptureFixture[str]):
    assert "metadata.namespace must" in refused(capsys, "models:/qna@a", "-n", "My Team")
