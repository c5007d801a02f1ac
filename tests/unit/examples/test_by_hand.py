"""What the tutorial pipes into kubectl: a store of models, and clients that call one."""

import json
from pathlib import Path
from typing import Any

import pytest

from examples import store
from examples.load import __main__ as load


def kinds(printed: str) -> dict[str, Any]:
    items = json.loads(printed)["items"]
    assert {item["metadata"]["namespace"] for item in items} == {"tutorial"}
    return {f"{item['kind']}/{item['metadata']['name']}": item for item in items}


def test_a_store_has_each_artifact_at_its_model_and_version(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    for version in ("1", "2"):
        (tmp_path / "qna" / version).mkdir(parents=True)
        (tmp_path / "qna" / version / "manifest.json").write_text("{}")
    monkeypatch.chdir(tmp_path / "qna")
    assert store.main(["-n", "tutorial", "1", "2"]) == 0
    found = kinds(capsys.readouterr().out)
    assert found.keys() == {
        "ConfigMap/artifact-qna-1", "ConfigMap/artifact-qna-2", "Deployment/model-store",
        "Service/model-store",
    }  # fmt: skip
    (container,) = found["Deployment/model-store"]["spec"]["template"]["spec"]["containers"]
    places = {mount["mountPath"] for mount in container["volumeMounts"]}
    assert places == {"/store/qna/1", "/store/qna/2"}


def test_a_folder_that_is_no_artifact_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit):
        store.main(["-n", "tutorial", str(tmp_path)])
    assert f"{tmp_path} is no artifact: it has no manifest.json" in capsys.readouterr().err


def test_clients_call_what_they_are_told_as_often_as_they_are_told(
    capsys: pytest.CaptureFixture[str],
):
    url = "http://qna/predict"
    assert load.main(["-n", "tutorial", "--url", url, "--rps", "7"]) == 0
    found = kinds(capsys.readouterr().out)
    (container,) = found["Deployment/load"]["spec"]["template"]["spec"]["containers"]
    assert {f"--url={url}", "--rps=7.0"} <= set(container["command"])
