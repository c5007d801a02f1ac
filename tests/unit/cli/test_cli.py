"""The command line, without a cluster."""

import subprocess
import sys
from pathlib import Path

import pytest

from modelrelease_operator import __version__
from modelrelease_operator.cli import main

GOOD = """\
apiVersion: modelrelease.dev/v1alpha1
kind: ModelRelease
metadata: {name: qna}
spec:
  model: {uri: "http://store/qna/7"}
"""
BAD = GOOD.replace("qna}", "sick}") + "  serving: {replicas: 0}\n"


def write(tmp_path: Path, *documents: str, name: str = "release.yaml") -> str:
    path = tmp_path / name
    path.write_text("---\n".join(documents))
    return str(path)


def test_a_good_manifest_is_called_valid(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    path = write(tmp_path, GOOD.replace("http://", "https://"))
    assert main(["validate", path]) == 0
    out, err = capsys.readouterr()
    assert out == f"{path}: ModelRelease qna is valid\n"
    assert err == ""


@pytest.mark.parametrize(("pin", "remarks"), [("", 1), (f', sha256: "{"0" * 64}"', 0)])
def test_an_unpinned_model_over_http_is_valid_and_remarked_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], pin: str, remarks: int
):
    path = write(tmp_path, GOOD.replace('qna/7"', f'qna/7"{pin}'))
    assert main(["validate", path]) == 0
    assert (
        capsys.readouterr().err.count("remark: spec.model.uri is http:// and spec.model.sha256")
        == remarks
    )


def test_every_bad_manifest_gets_its_sentence_and_the_good_ones_are_still_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    path = write(tmp_path, BAD, GOOD)
    assert main(["validate", path]) == 1
    out, err = capsys.readouterr()
    assert "ModelRelease qna is valid" in out
    assert (
        f"{path}:6: ModelRelease sick: spec.serving.replicas: Input should be greater than" in err
    )


@pytest.mark.parametrize(
    ("document", "sentence"),
    [
        ("kind: ModelRelease\n", "spec.model: Field required"),
        ("kind: ModelRelease\nspec: text\n", "spec: Input should be"),
        ("kind: ModelRelease\nspec: [1]\n", "spec: Input should be"),
        (GOOD.replace("http:", "models:"), "spec.model.uri: must be models:/name@alias"),
    ],
    ids=["no spec", "a text for a spec", "a list for a spec", "an unknown scheme"],
)
def test_a_malformed_manifest_gets_a_sentence_and_no_stack(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], document: str, sentence: str
):
    assert main(["validate", write(tmp_path, document)]) == 1
    assert sentence in capsys.readouterr().err


def test_other_kinds_are_left_to_others(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    other = "kind: Service\nmetadata: {name: x}\n"
    assert main(["validate", write(tmp_path, other, GOOD, "", "just text\n")]) == 0
    assert capsys.readouterr().out.count("is valid") == 1


def test_a_file_without_a_release_is_not_called_valid(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    path = write(tmp_path, "kind: Service\n")
    assert main(["validate", path]) == 2
    assert capsys.readouterr().err == f"no ModelRelease was found in {path}\n"


@pytest.mark.parametrize("content", ["{", "a: b: c\n", "\tx", "x: \x00"], ids=repr)
def test_a_file_that_is_no_yaml_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], content: str
):
    path = write(tmp_path, content)
    assert main(["validate", path]) == 1
    assert f"{path}: cannot be read: " in capsys.readouterr().err


def test_a_file_that_cannot_be_read_says_so_and_the_next_is_checked(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    binary = tmp_path / "binary.yaml"
    binary.write_bytes(b"\xff\xfe\xff")
    missing, good = tmp_path / "missing.yaml", write(tmp_path, GOOD)
    assert main(["validate", str(missing), str(binary), str(tmp_path), good]) == 1
    out, err = capsys.readouterr()
    assert err.count("cannot be read") == 3
    assert "ModelRelease qna is valid" in out


def test_the_version_is_the_distributions(capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit) as ended:
        main(["--version"])
    assert ended.value.code == 0
    assert capsys.readouterr().out == f"modelrelease {__version__}\n"


@pytest.mark.parametrize(
    "arguments", [[], ["validate"], ["dance"]], ids=["nothing", "no file", "unknown"]
)
def test_wrong_usage_shows_the_usage(arguments: list[str], capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2
    assert "usage: modelrelease" in capsys.readouterr().err


def test_every_command_has_a_line_of_help(capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit):
        main(["--help"])
    out = capsys.readouterr().out
    assert "run the operator until it is told to stop" in out
    assert "check ModelRelease manifests without a cluster" in out
    assert "examples:" in out


def test_checking_a_manifest_needs_neither_kopf_nor_a_client_of_kubernetes(tmp_path: Path):
    code = (
        "import sys; from modelrelease_operator.cli import main; "
        f"assert main(['validate', {write(tmp_path, GOOD)!r}]) == 0; "
        "heavy = {'kopf', 'kubernetes', 'aiohttp', 'prometheus_api_client'} & set(sys.modules); "
        "assert not heavy, heavy"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
