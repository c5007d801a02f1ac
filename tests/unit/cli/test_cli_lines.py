"""`modelrelease validate` says on which line a wrong field is."""

from pathlib import Path

import pytest

from modelrelease_operator.cli import main

MANIFEST = """\
kind: Service
---
apiVersion: modelrelease.dev/v1alpha1
kind: ModelRelease
metadata:
  name: qna
spec:
  model:
    uri: "https://store/qna/7"
  canary:
    steps:
      - weight: 5
      - {weight: 50, bake: 1m}
  analysis:
    gates:
      - name: errors
        errorRate:
          tolerated: {ratio: 1.1, points: 0.05}
"""


def said(tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str) -> list[str]:
    """Validate a manifest that is wrong; return what is said of it, without the file's name."""
    path = tmp_path / "release.yaml"
    path.write_text(text)
    assert main(["validate", str(path)]) == 1
    lines = capsys.readouterr().err.splitlines()
    return [line.removeprefix(f"{path}:") for line in lines]


@pytest.mark.parametrize(
    ("before", "after", "line"),
    [
        ("weight: 5\n", "weight: 500\n", 12),
        ("bake: 1m", "bake: soon", 13),
        ("ratio: 1.1", "ratio: 0.1", 18),
        ("  analysis:", "  analyses:", 14),
        ("uri: ", "url: ", 9),
        ("name: qna", "name: Qna", 6),
        ("weight: 5\n", "weight: 60\n", 10),
    ],
    ids=["a step", "on one line", "deep", "unknown field", "in the model", "a name", "a rule"],
)
def test_the_line_is_that_of_the_wrong_field(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], before: str, after: str, line: int
):
    numbers = [
        int(text.split(":")[0]) for text in said(tmp_path, capsys, MANIFEST.replace(before, after))
    ]
    assert line in numbers


def test_what_is_missing_is_on_the_line_of_what_it_is_missing_in(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    text = MANIFEST.replace('  model:\n    uri: "https://store/qna/7"\n', "")
    assert said(tmp_path, capsys, text) == ["7: ModelRelease qna: spec.model: Field required"]


def test_each_problem_has_a_line_of_its_own(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    text = MANIFEST.replace("weight: 5\n", "weight: 0\n").replace("1m", "soon")
    first, second = said(tmp_path, capsys, text)
    assert first.startswith("12: ModelRelease qna: spec.canary.steps.0.weight: ")
    assert second.startswith("13: ModelRelease qna: spec.canary.steps.1.bake: ")


def test_a_list_whose_one_item_is_wrong_is_not_called_empty(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    (line,) = said(tmp_path, capsys, MANIFEST.replace("ratio: 1.1", "ratio: 5"))
    assert line.startswith("17: ModelRelease qna: spec.analysis.gates.0.errorRate: margin must")


def test_what_the_operator_would_refuse_has_a_line_too(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    text = MANIFEST + "  serving:\n    podTemplate:\n      spec: {hostNetwork: true}\n"
    (line,) = said(tmp_path, capsys, text)
    assert line.startswith(("20:", "21:")), line


def test_a_remark_has_a_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    path = tmp_path / "release.yaml"
    path.write_text(MANIFEST.replace("https:", "http:"))
    assert main(["validate", str(path)]) == 0
    assert capsys.readouterr().err.startswith(f"{path}:9: ModelRelease qna: remark: spec.model.uri")


def test_json_has_lines_like_yaml(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    text = '{"kind": "ModelRelease",\n "metadata": {"name": "qna"},\n "spec": {"model":\n  {}}}'
    (line,) = said(tmp_path, capsys, text)
    assert line == "3: ModelRelease qna: spec.model.uri: Field required"


@pytest.mark.parametrize(
    ("before", "after", "words"),
    [
        ("  name: qna\n", "  labels: {}\n", "metadata.name is missing"),
        ("name: qna", "name: 7", "metadata.name must be text, got 7: put it in quotes"),
        ("metadata:\n  name: qna", "metadata: [qna]", "metadata must be a mapping with a name"),
        ("name: qna", "name: qna\n  namespace: Prod", "metadata.namespace must be at most 63"),
        ("/v1alpha1", "/v1", "apiVersion must be modelrelease.dev/v1alpha1, got"),
        ("uri: ", "version: 2026-13-45\n    uri: ", "(month must be in 1..12): put it in quotes"),
        ("uri: ", f"version: {'7' * 5000}\n    uri: ", "looks like a date or a number and is none"),
        ("  model:", f"  model: {'[' * 2000}{']' * 2000}\n  m:", "it is nested too deeply"),
    ],
)
def test_a_manifest_that_kubernetes_would_not_take_is_not_valid(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], before: str, after: str, words: str
):
    (line,) = said(tmp_path, capsys, MANIFEST.replace(before, after, 1))
    assert words in line


def test_a_name_that_kubernetes_will_make_is_none_yet(tmp_path: Path):
    path = tmp_path / "release.yaml"
    path.write_text(MANIFEST.replace("name: qna", "generateName: qna-", 1))
    assert main(["validate", str(path)]) == 0


def test_a_kind_of_the_same_name_of_others_is_left_alone(tmp_path: Path):
    path = tmp_path / "release.yaml"
    path.write_text(MANIFEST.replace("modelrelease.dev/", "others.example/"))
    assert main(["validate", str(path)]) == 2


def test_releases_in_a_list_are_checked_on_their_lines(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    """As `kubectl get modelreleases -o yaml` writes them."""
    lines = MANIFEST.partition("---\n")[2].replace("weight: 5\n", "weight: 500\n").splitlines()
    items = "\n    ".join(lines)
    (first, *_) = said(tmp_path, capsys, f"apiVersion: v1\nkind: List\nitems:\n  - {items}\n")
    assert first.startswith("13: ModelRelease qna: spec.canary.steps.0.weight: ")
