"""A report is one file that needs nothing else, and in which no text becomes an element."""

import base64
import hashlib
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from modelrelease_operator.api.status import Phase
from modelrelease_operator.cli import main
from modelrelease_operator.ui.moments import Past
from modelrelease_operator.ui.report import report
from modelrelease_operator.ui.story import story
from testbed.world import a_world_in
from tests.unit.ui.test_story import the_object

MARKUP = "<img src=x onerror=alert(1)></script><script>alert(2)</script>"
STEPS = Path(__file__).parents[3] / "examples/releases/steps.yaml"


class Elements(HTMLParser):
    """The elements of a file, and the text of each script and style."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.inside: list[tuple[str, str]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        if self.tags and self.tags[-1][0] in ("script", "style"):
            self.inside.append((self.tags[-1][0], data))


def a_report(**status: str) -> str:
    world = a_world_in(Phase.PROGRESSING).steps(4)
    told = story(the_object(world, **status), world.now, Past())
    return report(told, source="as a test made it")


def test_words_of_the_cluster_become_no_elements():
    plain, hostile = Elements(a_report()), Elements(a_report(message=MARKUP))
    assert [tag for tag, _ in hostile.tags] == [tag for tag, _ in plain.tags]
    assert "img" not in {tag for tag, _ in hostile.tags}


def test_its_policy_lets_run_what_is_in_it_and_nothing_else():
    text = a_report()
    policy = next(attrs["content"] for tag, attrs in Elements(text).tags if "content" in attrs
                  and attrs.get("http-equiv") == "Content-Security-Policy")  # fmt: skip
    assert policy is not None
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    scripts = re.findall(r"<(script|style)>(.*?)</\1>", text, re.DOTALL)
    assert [kind for kind, _ in scripts] == ["style", "script"]
    for kind, inside in scripts:
        digest = base64.b64encode(hashlib.sha256(inside.encode()).digest()).decode()
        assert f"{kind}-src 'sha256-{digest}'" in policy


def test_it_asks_no_other_address():
    for tag, attrs in Elements(a_report()).tags:
        assert not {"src", "href", "action"} & set(attrs), tag


def test_without_scripts_the_words_and_the_evidence_are_there():
    text = a_report().partition("<script")[0]
    assert "Progressing" in text
    assert "to go back" in text
    assert "Made by modelrelease" in text


def test_a_report_is_written_of_what_kubectl_printed(tmp_path: Path):
    world = a_world_in(Phase.PROGRESSING)
    (tmp_path / "release.json").write_text(
        json.dumps({"apiVersion": "modelrelease.dev/v1alpha1", **the_object(world)})
    )
    out = tmp_path / "report.html"
    assert main(["report", "-f", str(tmp_path / "release.json"), "-o", str(out)]) == 0
    assert "of a release" in out.read_text()


def test_a_report_of_nothing_is_none(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert main(["report"]) == 2
    assert "a NAME or -f FILE is needed" in capsys.readouterr().err
    (tmp_path / "empty.yaml").write_text("")
    assert main(["report", "-f", str(tmp_path / "empty.yaml")]) == 1
    assert "has no ModelRelease of that name" in capsys.readouterr().err


def test_a_place_that_cannot_be_written_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    arguments = ["simulate", str(STEPS), "--rps", "400", "--runs", "1"]
    assert main([*arguments, "--report", str(tmp_path / "no" / "report.html")]) == 1
    assert "report.html: cannot be written: No such file" in capsys.readouterr().err


def test_a_simulated_release_is_told_from_its_first_look_to_its_end(tmp_path: Path):
    out = tmp_path / "report.html"
    arguments = ["simulate", str(STEPS), "--rps", "400", "--runs", "1", "--seed", "3"]
    assert main([*arguments, "--canary-error-rate", "0.05", "--report", str(out)]) == 0
    text = out.read_text()
    data = re.search(r'id="data">(.*?)</script>', text, re.DOTALL)
    assert data
    told = json.loads(data[1])
    assert "run 1 of seed 3 of a simulation, which was rolled back" in told["made"]
    moments = told["story"]["moments"]
    assert moments["phase"][0] == "Starting"
    assert moments["phase"][-1] == "RollingBack"
    assert len(moments["gates"]["errors"]["canary"]) == len(moments["at"])
    assert told["story"]["actions"] == []
