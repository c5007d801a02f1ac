"""Every line of the first design does what its page says: what can run here runs as it is typed,
and the rest is held against the commands, the Makefile, the schema and the files.
"""

import json
import os
import re
import shlex
import stat
import subprocess
import sys
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml

from modelrelease_contract import metrics
from modelrelease_operator.api import names
from modelrelease_operator.api.spec import ReleaseSpec
from modelrelease_operator.cli import parser as operators
from modelrelease_serving.settings import variables
from modelrelease_training import __main__ as training
from modelrelease_training.drift import __main__ as drift
from modelrelease_training.flow import __main__ as flow
from tests.support import predictors
from tests.test_repository import ROOT

PAGE = ROOT / "docs/reference/from-the-first-design.md"
NOT_HERE = "not here"
TOLD = {
    "EMB_MODEL", "MLFLOW_TRACKING_URI", "MLFLOW_EXPERIMENT_NAME", "PREFECT_API_URL",
    "SLACK_WEBHOOK_URL", "WANDB_API_KEY",
}  # fmt: skip
"""Variables that training, drift and the libraries below them read."""
PUBLISHED = re.compile(r"\$\{(\w+):-")


class Line(NamedTuple):
    """A row of the page."""

    was: str
    here: str
    note: str


def lines() -> list[Line]:
    rows = [row for row in PAGE.read_text().splitlines() if row.startswith("| ")]
    cells = [[cell.strip() for cell in row[1:-1].split("|")] for row in rows]
    return [Line(*row) for row in cells if row[0] != "it was"]


LINES = lines()
COMMANDS = list(dict.fromkeys(line.here.strip("`") for line in LINES if line.here != NOT_HERE))


def starting(*words: str) -> list[str]:
    return [command for command in COMMANDS if command.startswith(words)]


def released(patch: dict[str, Any]) -> ReleaseSpec:
    """Return the spec of the smallest release after a merge patch."""
    spec = yaml.safe_load((ROOT / "examples/releases/smallest.yaml").read_text())["spec"]
    return ReleaseSpec.parse({**spec, **patch["spec"]}, strict=True)


def test_every_line_says_what_does_it_or_why_nothing_does():
    assert len(LINES) > 60
    assert [line for line in LINES if line.here == NOT_HERE and not line.note] == []
    assert [line for line in LINES if line.here != NOT_HERE and not line.here.startswith("`")] == []


def test_what_is_called_as_it_was_is_typed_as_it_was():
    same = [line for line in LINES if line.note.startswith("as it was")]
    assert len(same) > 25
    assert [line for line in same if line.here not in line.was] == []


def modelrelease(words: list[str]) -> None:
    operators().parse_args(words[1:])


def with_help(command: Callable[[list[str]], int], words: list[str]) -> None:
    """Have a command that needs more words than a page names show its help."""
    with pytest.raises(SystemExit) as ended:
        command([*words[1:], "--help"])
    assert ended.value.code == 0


def of_make(words: list[str]) -> None:
    assert f"\n{words[1]}:" in (ROOT / "Makefile").read_text()


def of_kubectl(words: list[str]) -> None:
    if "-f" in words and words[1] == "apply":
        assert (ROOT / words[words.index("-f") + 1]).is_file()
    if "patch" in words:
        assert words[2] == names.KIND.lower()
        assert released(json.loads(words[words.index("-p") + 1]))
    if "-l" in words:
        labels = {label.partition("=")[0] for label in words[words.index("-l") + 1].split(",")}
        assert labels <= {names.LABEL_RELEASE, names.LABEL_VERSION}


def of_docker(words: list[str]) -> None:
    file = words[words.index("-f") + 1] if "-f" in words else "compose.yaml"
    assert (ROOT / file).is_file()


def of_pytest(words: list[str]) -> None:
    assert (ROOT / words[1]).is_file()


def of_python(words: list[str]) -> None:
    """Have the command that a script leads to read the words. Those of MODULES are looked at by
    other tests.
    """
    leads = {
        "drift_detector.py": (drift._parser(), ["check"]),
        "flow_retrain.py": (flow._parser(), [] if "serve" in words else ["run"]),
        "scripts/generate_baseline.py": (drift._parser(), ["baseline"]),
    }
    if words[1] in leads:
        parser, command = leads[words[1]]
        parser.parse_args([*command, *(word.replace("_", "-") if word.startswith("--") else word
                                       for word in words[2:])])  # fmt: skip
    elif words[1] not in ("-c", "-m"):
        assert words[1] in RUN


def of_another(words: list[str]) -> None:
    """The words are others' own."""


CHECKS: dict[str, Callable[[list[str]], None]] = {
    "modelrelease": modelrelease,
    "modelrelease-drift": lambda words: with_help(drift.main, words),
    "modelrelease-train": lambda words: with_help(training.main, words),
    "make": of_make, "kubectl": of_kubectl, "docker": of_docker,
    "pytest": of_pytest, "python": of_python, "curl": of_another, "cp": of_another,
    "ls": of_another, "gh": of_another, "mlflow": of_another, "pip": of_another,
    "prefect": of_another, "./rollback.sh": of_another,
}  # fmt: skip
"""What is `of_another` and ours runs in a test below: curl, cp, ls and rollback.sh."""
RUN = ("scripts/ingest.py", "train.py")


@pytest.mark.parametrize("command", [it for it in COMMANDS if "=" not in it.split()[0]])
def test_a_command_is_one_that_there_is(command: str):
    words = shlex.split(command)
    if (ROOT / words[0]).exists() and words[0] not in CHECKS:
        return
    CHECKS[words[0]](words)


@pytest.mark.parametrize("setting", [it for it in COMMANDS if "=" in it.split()[0]])
def test_a_variable_is_one_that_is_read(setting: str):
    published = set(PUBLISHED.findall((ROOT / "compose.yaml").read_text()))
    assert setting.partition("=")[0] in TOLD | set(variables()) | published


def test_the_example_of_an_environment_has_only_variables_that_are_read():
    text = (ROOT / ".env.example").read_text()
    named = set(re.findall(r"(?m)^(?:# )?([A-Z_]+)=", text))
    published = set(PUBLISHED.findall((ROOT / "compose.yaml").read_text()))
    assert len(named) > 10
    assert named <= TOLD | set(variables()) | published


def test_the_example_of_an_environment_holds_no_secret():
    values = dict(re.findall(r"(?m)^([A-Z_]+)=(.*)$", (ROOT / ".env.example").read_text()))
    assert {values["WANDB_API_KEY"], values["SLACK_WEBHOOK_URL"]} == {""}
    assert ".env" in (ROOT / ".gitignore").read_text().splitlines()


def test_the_first_designs_autoscaling_is_the_default():
    (command,) = starting(
        'kubectl patch modelrelease qna --type merge -p \'{"spec":{"serving":{"auto'
    )
    scaling = released(json.loads(shlex.split(command)[-1])).serving.autoscaling
    assert scaling is not None
    assert (scaling.min_replicas, scaling.max_replicas) == (3, 10)
    assert scaling.target_cpu_utilization_percent == 70


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which lines can be typed as in a clone, and what they write is nobody's."""
    folder = tmp_path_factory.mktemp("clone")
    for name in ("scripts", "train.py", "drift_detector.py", "rollback.sh", ".env.example"):
        (folder / name).symlink_to(ROOT / name)
    return folder


def typed(clone: Path, line: str, **environment: str) -> subprocess.CompletedProcess[str]:
    words = shlex.split(line)
    words[0] = sys.executable if words[0] == "python" else words[0]
    return subprocess.run(
        words, cwd=clone, env={**os.environ, **environment}, capture_output=True, text=True,
        check=False,
    )  # fmt: skip


def test_the_latest_is_what_was_trained_last_however_its_version_was_named(
    clone: Path, tmp_path: Path
):
    few = "--rows 200 --max_steps 1 --no-card"
    done = typed(clone, f"python train.py --out {tmp_path} --vers v7 {few}")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "latest").readlink() == Path("qna/v7")


@pytest.fixture(scope="module")
def trained(clone: Path) -> Path:
    """After the lines of a first run, in their order."""
    for line in starting("cp ", *(f"python {script}" for script in RUN), "ls "):
        done = typed(clone, line, WANDB_MODE="offline", WANDB_ERROR_REPORTING="false")
        assert done.returncode == 0, (line, done.stderr)
    return clone


def asked(line: str, port: int) -> tuple[int, str]:
    """Ask as a line of curl does, but at this port."""
    words = shlex.split(line.replace(":8080", f":{port}").replace("localhost", "127.0.0.1"))
    data = words[words.index("-d") + 1].encode() if "-d" in words else None
    headers = dict([words[words.index("-H") + 1].split(": ")]) if "-H" in words else {}
    (url,) = (word for word in words if word.startswith("http"))
    with urllib.request.urlopen(urllib.request.Request(url, data, headers)) as answer:  # noqa: S310
        return answer.status, answer.read().decode()


def test_the_first_run_trains_serves_and_answers_as_it_was_typed(
    trained: Path, monkeypatch: pytest.MonkeyPatch
):
    assert list(trained.glob("wandb/offline-run-*"))
    assert (trained / "artifacts/latest").readlink() == Path("qna/v1.0.0")
    monkeypatch.chdir(trained)
    (start,) = starting("MODEL_PATH=artifacts/latest/model.joblib ALLOW")
    told = dict(word.split("=") for word in start.split() if "=" in word)
    del told["PORT"]  # Another process may have it.
    with predictors.process(**told, API_VERSION="v1.0.0", MODEL_VERSION="v1.0.0") as running:
        running.wait_ready()
        answers = {
            line.split("localhost:8080")[1].split()[0]: asked(line, running.port)
            for line in starting("curl ")
        }
    assert {status for status, _ in answers.values()} == {200}
    assert set(answers) == {"/health", "/predict", "/metrics", "/version"}
    assert 0 <= json.loads(answers["/predict"][1])["prediction"] <= 1
    version = json.loads(answers["/version"][1])
    assert (version["api_version"], version["model_version"]) == ("v1.0.0", "v1.0.0")
    assert (version["service"], version["model"]) == ("modelrelease-predictor", "qna")
    for name in (
        metrics.PREDICTIONS_TOTAL,
        metrics.PREDICTION_DURATION_SECONDS,
        metrics.MODEL_VERSION_INFO,
    ):
        assert name in answers["/metrics"][1]


def test_a_folder_of_ones_own_called_latest_is_left_alone(clone: Path, tmp_path: Path):
    (tmp_path / "latest").mkdir()
    few = "--rows 200 --max_steps 1 --no-card"
    done = typed(clone, f"python train.py --output {tmp_path} --seed 3 {few}")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "latest").is_dir()
    assert not (tmp_path / "latest").is_symlink()
    assert "is no link of ours" in done.stderr


SCRIPTS = ("train.py", "drift_detector.py", "flow_retrain.py", "scripts/ingest.py",
           "scripts/generate_baseline.py")  # fmt: skip


@pytest.mark.parametrize("script", SCRIPTS)
def test_a_script_helps(script: str):
    done = typed(ROOT, f"python {script} --help")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("usage: ")


DOUBLE = """#!/bin/sh
if [ "$1" = history ]; then
  case "$2 $5 $6" in
    "odd-svc "*|"far-svc --context prod") echo "TIME FROM TO"; exit 0 ;;
    "away-svc "*) echo "the API server does not answer" >&2; exit 1 ;;
    *) echo "modelrelease history: ModelRelease $4/$2 does not exist" >&2; exit 1 ;;
  esac
fi
echo "modelrelease $*"
[ "$2" != steady ]
"""


@pytest.mark.parametrize("script", SCRIPTS)
def test_a_script_in_a_clone_that_is_not_set_up_says_what_to_do(script: str):
    """As another Python finds it: one that has neither the package nor what that needs."""
    done = typed(ROOT, f"python -I -S {script}")
    assert done.returncode == 1
    assert done.stderr == (
        f"{script}: No module named 'modelrelease_training': "
        "`make setup` and `. .venv/bin/activate` first\n"
    )


@pytest.fixture
def tools(tmp_path: Path) -> Path:
    """A double of `modelrelease` that repeats what it was told: a cluster is not here. It knows the
    release `odd-svc`, `far-svc` in another context, one that cannot be read, and `steady`, which
    has no canary.
    """
    folder = tmp_path / "bin"
    folder.mkdir()
    (folder / "modelrelease").write_text(DOUBLE)
    (folder / "modelrelease").chmod(stat.S_IRWXU)
    return folder


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("./rollback.sh mlops-demo qna-svc", "modelrelease abort qna -n mlops-demo\n"),
        ("./rollback.sh mlops-demo qna", "modelrelease abort qna -n mlops-demo\n"),
        ("./rollback.sh demo odd-svc --wait 0s", "modelrelease abort odd-svc -n demo --wait 0s\n"),
        (
            "./rollback.sh demo far-svc --wait 0s --context prod",
            "modelrelease abort far-svc -n demo --wait 0s --context prod\n",
        ),
        ("./rollback.sh demo away-svc", "modelrelease abort away-svc -n demo\n"),
    ],
)
def test_a_rollback_aborts_the_release_that_is_meant(
    clone: Path, tools: Path, line: str, said: str
):
    done = typed(clone, line, PATH=f"{tools}:{os.environ['PATH']}")
    assert (done.returncode, done.stdout) == (0, said), done.stderr
    assert operators().parse_args(said.split()[1:]).command == "abort"


def test_a_rollback_without_the_command_says_how_to_get_it(clone: Path):
    done = typed(clone, "./rollback.sh demo qna", PATH="/usr/bin:/bin")
    assert done.returncode == 127
    assert done.stderr.startswith("rollback: the command modelrelease is not here: in a clone, run")
    assert "history" not in done.stderr


def test_a_rollback_without_a_canary_says_how_to_go_back(clone: Path, tools: Path):
    done = typed(clone, "./rollback.sh demo steady", PATH=f"{tools}:{os.environ['PATH']}")
    assert done.returncode == 1
    assert "set spec.model back to it; `modelrelease history steady -n demo`" in done.stderr


@pytest.mark.parametrize(("line", "code"), [("./rollback.sh", 2), ("./rollback.sh --help", 0)])
def test_a_rollback_of_nothing_shows_how_it_is_called(clone: Path, line: str, code: int):
    done = typed(clone, line)
    assert done.returncode == code
    assert "./rollback.sh NAMESPACE RELEASE" in done.stdout
