"""The retrain flow on real servers: it releases, refuses, goes on where it stopped,
and is a deployment.
"""

import json
import os
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import yaml

from examples.waiting import wait_until
from testbed.ports import free_port

ROOT = Path(__file__).parents[2]
PATIENCE = 600
BUSY = 503


def run(
    workdir: Path, environment: dict[str, str], *arguments: str
) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(ROOT / "flow_retrain.py"), "-o", "json"]
    command += ["--workdir", str(workdir), *arguments]
    return subprocess.run(
        command,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )


def answer(done: subprocess.CompletedProcess[str]) -> dict[str, object]:
    found: dict[str, object] = json.loads(done.stdout.strip().splitlines()[-1])
    return found


def alias(url: str, model: str, name: str) -> dict[str, object] | None:
    """Return the version that an alias means, asked as the operator asks."""
    address = f"{url}/api/2.0/mlflow/registered-models/alias?name={model}&alias={name}"
    try:
        with urllib.request.urlopen(address, timeout=30) as reply:  # noqa: S310
            found: dict[str, object] = json.load(reply)["model_version"]
            return found
    except urllib.error.HTTPError:
        return None


def make_champion(url: str, model: str) -> None:
    """Let the newest version of a model be its champion, as the operator does on promotion."""
    candidate = alias(url, model, "candidate")
    assert candidate is not None
    body = json.dumps(
        {"name": model, "alias": "champion", "version": candidate["version"]}
    ).encode()
    asked = urllib.request.Request(  # noqa: S310
        f"{url}/api/2.0/mlflow/registered-models/alias",
        data=body,
        headers={"Content-Type": "application/json"},
    )
    urllib.request.urlopen(asked, timeout=30).close()  # noqa: S310


def test_the_first_model_is_released_and_a_worse_one_after_it_is_refused(
    mlflow: str, workdir: Path, quiet: dict[str, str]
):
    environment = {**quiet, "MLFLOW_TRACKING_URI": mlflow}
    first = run(workdir, environment, "--model", "spam", "--id", "one", "--drawn", "3000")
    assert first.returncode == 0, first.stderr
    assert "no champion" in str(answer(first)["reason"])
    make_champion(mlflow, "spam")
    champion = alias(mlflow, "spam", "champion")

    worse = run(
        workdir,
        environment,
        "--model",
        "spam",
        "--id",
        "two",
        "--drawn",
        "3000",
        "--max-steps",
        "1",
        "--batch-size",
        "2",
    )

    assert worse.returncode == 4, worse.stderr
    assert answer(worse)["accepted"] is False
    assert alias(mlflow, "spam", "champion") == champion
    assert alias(mlflow, "spam", "candidate") == champion


def test_a_run_that_was_stopped_goes_on_where_it_stopped(
    mlflow: str, workdir: Path, quiet: dict[str, str]
):
    dead = f"http://127.0.0.1:{free_port()}"
    request = ("--model", "resumed", "--id", "one", "--drawn", "3000")
    broken = run(workdir, {**quiet, "MLFLOW_TRACKING_URI": dead}, *request)
    assert broken.returncode == 2
    (complaint,) = (line for line in broken.stderr.splitlines() if line.startswith("retrain: "))
    assert dead in complaint
    artifact = workdir / "one" / "artifacts" / "resumed" / "one" / "manifest.json"
    before = artifact.stat().st_mtime_ns

    resumed = run(workdir, {**quiet, "MLFLOW_TRACKING_URI": mlflow}, *request)

    assert resumed.returncode == 0, resumed.stderr
    assert artifact.stat().st_mtime_ns == before
    assert "Cached" in resumed.stderr
    assert alias(mlflow, "resumed", "candidate") is not None


def test_data_that_breaks_its_schema_stops_before_training(
    mlflow: str, workdir: Path, quiet: dict[str, str]
):
    data = workdir.parent / "wrong.csv"
    data.write_text("row_id,label\n1,0\n")
    done = run(
        workdir, {**quiet, "MLFLOW_TRACKING_URI": mlflow}, "--id", "bad", "--data", str(data)
    )
    assert done.returncode == 3, done.stderr
    assert "feature_00" in done.stderr
    assert not (workdir / "bad" / "artifacts").exists()


def test_a_release_by_commit_changes_the_file_in_git(
    mlflow: str, workdir: Path, quiet: dict[str, str]
):
    origin = workdir.parent / "origin"
    origin.mkdir()
    (origin / "qna.yaml").write_text(
        "kind: ModelRelease\nmetadata: {name: qna}\nspec:\n  model: {uri: 'models:/gitted/0'}\n"
    )
    for words in (
        "init --quiet --initial-branch=main",
        "add .",
        "-c user.name=a -c user.email=a@localhost commit --quiet -m first",
        "checkout --quiet --detach",
    ):
        subprocess.run(["git", *words.split()], cwd=origin, check=True)

    done = run(
        workdir, {**quiet, "MLFLOW_TRACKING_URI": mlflow}, "--model", "gitted", "--id", "one",
        "--drawn", "3000", "--git-repository", str(origin), "--git-file", "qna.yaml",
    )  # fmt: skip

    assert done.returncode == 0, done.stderr
    text = subprocess.run(
        ["git", "show", "main:qna.yaml"], cwd=origin, check=True, capture_output=True, text=True
    )
    assert yaml.safe_load(text.stdout)["spec"]["model"] == {"uri": "models:/gitted/1"}
    assert alias(mlflow, "gitted", "candidate") is None


@contextmanager
def process(name: str, folder: Path, environment: dict[str, str], *command: str) -> Iterator[Path]:
    """Run a process until the block ends; yields its log."""
    log = folder / f"{name}.log"
    with log.open("wb") as sink:
        child = subprocess.Popen(
            [sys.executable, "-m", *command],
            env={**os.environ, **environment},
            stdout=sink,
            stderr=sink,
        )
    try:
        yield log
    finally:
        child.terminate()
        try:
            child.wait(timeout=30)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()


def answers(url: str) -> bool:
    try:
        urllib.request.urlopen(url, timeout=5).close()  # noqa: S310
    except OSError:
        return False
    return True


def post(url: str, body: object) -> dict[str, object]:
    """Ask a server, again while it says that it is busy, as Prefect's own client does."""
    asked = urllib.request.Request(  # noqa: S310
        url, data=json.dumps(body).encode(), headers={"Content-Type": "application/json"}
    )

    def answer() -> dict[str, object] | None:
        try:
            with urllib.request.urlopen(asked, timeout=30) as reply:  # noqa: S310
                found: dict[str, object] = json.load(reply)
                return found
        except urllib.error.HTTPError as problem:
            if problem.code != BUSY:
                raise
            return None

    found = wait_until(f"an answer of {url}", answer, lambda it: it is not None, within=60, every=1)
    assert found is not None
    return found


def get(url: str) -> dict[str, object]:
    with urllib.request.urlopen(url, timeout=30) as reply:  # noqa: S310
        found: dict[str, object] = json.load(reply)
        return found


@pytest.fixture
def prefect(tmp_path: Path, quiet: dict[str, str]) -> Iterator[str]:
    """A real Prefect server."""
    port = free_port()
    home = {**quiet, "PREFECT_HOME": str(tmp_path / "server")}
    command = ("prefect", "server", "start", "--host", "127.0.0.1", "--port", str(port))
    with process("prefect", tmp_path, home, *command) as log:
        url = f"http://127.0.0.1:{port}/api"
        wait_until(
            f"Prefect to answer ({log})", lambda: answers(f"{url}/health"), bool, within=PATIENCE
        )
        yield url


def test_it_is_a_deployment_of_a_prefect_server(
    prefect: str, mlflow: str, workdir: Path, tmp_path: Path, quiet: dict[str, str]
):
    environment = {
        **quiet,
        "PREFECT_API_URL": prefect,
        "PREFECT_HOME": str(tmp_path / "client"),
        "MLFLOW_TRACKING_URI": mlflow,
    }
    with process("serve", tmp_path, environment, "modelrelease_training.flow", "serve") as log:
        name = f"{prefect}/deployments/name/retrain-flow/production-retrain"
        wait_until(
            f"the deployment to be there ({log})", lambda: answers(name), bool, within=PATIENCE
        )
        request = {
            "id": "one", "model": "deployed", "drawn": {"rows": 3000}, "workdir": str(workdir)
        }  # fmt: skip
        asked = post(
            f"{prefect}/deployments/{get(name)['id']}/create_flow_run",
            {"parameters": {"request": request}},
        )
        ended = wait_until(
            f"the flow run to end ({log})",
            lambda: get(f"{prefect}/flow_runs/{asked['id']}")["state_type"],
            lambda state: state in ("COMPLETED", "FAILED", "CRASHED", "CANCELLED"),
            within=PATIENCE,
            every=1,
        )
    assert ended == "COMPLETED", log.read_text()
    assert alias(mlflow, "deployed", "candidate") is not None


def test_the_deployment_runs_as_it_is_printed_and_every_run_is_a_version_of_its_own(
    prefect: str, mlflow: str, workdir: Path, tmp_path: Path, quiet: dict[str, str]
):
    """`prefect deployment run retrain-flow/production-retrain`, without parameters."""
    environment = {
        **quiet,
        "PREFECT_API_URL": prefect,
        "PREFECT_HOME": str(tmp_path / "client"),
        "MLFLOW_TRACKING_URI": mlflow,
    }
    options = ("--model", "plain", "--drawn", "3000", "--workdir", str(workdir))
    run = [
        sys.executable,
        "-m",
        "prefect",
        "deployment",
        "run",
        "retrain-flow/production-retrain",
        "--watch",
    ]
    with process(
        "serve", tmp_path, environment, "modelrelease_training.flow", "serve", *options
    ) as log:
        name = f"{prefect}/deployments/name/retrain-flow/production-retrain"
        wait_until(
            f"the deployment to be there ({log})", lambda: answers(name), bool, within=PATIENCE
        )
        for number in ("1", "2"):
            done = subprocess.run(
                run,
                env={**os.environ, **environment},
                capture_output=True,
                text=True,
                timeout=PATIENCE,
                check=False,
            )
            assert done.returncode == 0, done.stdout + done.stderr + log.read_text()
            candidate = alias(mlflow, "plain", "candidate")
            assert candidate is not None
            assert candidate["version"] == number


@pytest.mark.parametrize("command", ["run", "serve"])
def test_help_of_each_command_shows_an_example(command: str):
    done = subprocess.run(
        [sys.executable, "-m", "modelrelease_training.flow", command, "--help"],
        capture_output=True,
        text=True,
        check=True,
        timeout=PATIENCE,
    )
    assert f"python -m modelrelease_training.flow {command}" in done.stdout
