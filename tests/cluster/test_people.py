"""What a person says is heard once, as an answer, and what nobody can serve is said."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from examples import fixtures
from examples.waiting import wait_until
from testbed.releases import SOON_SURE, Release, phase_is

TAKES_OVER_WITHIN = 120
"""Seconds from a person's word until the fix serves alone."""


def test_an_approval_that_stood_before_the_question_promotes_nothing(release: Release) -> None:
    release.begins("1")
    release.load(rps=60)
    release.annotate(approve="2")
    manual = {**release.spec["canary"], "approval": "Manual"}
    release.apply("2", canary=manual, analysis=SOON_SURE)
    status = release.wait(
        "a person to be asked",
        lambda seen: phase_is("Paused")(seen) and "annotate" in seen["message"],
    )
    assert status["stable"]["version"] == "1"
    seen = {each["command"]: each for each in status["commands"]}
    assert seen["approve"]["value"] == "2"
    assert not seen["approve"]["taken"], "it was there before anybody asked"

    release.annotate(approve=status["canary"]["revision"])
    release.serves("2")
    taken = {each["command"]: each for each in release.status()["commands"]}["approve"]
    assert taken["taken"]
    assert taken["by"].startswith("kubectl")


def test_when_no_pod_of_stable_is_ready_the_fix_takes_over_by_a_persons_word(
    release: Release,
) -> None:
    release.apply("1", serving={**release.spec["serving"], "replicas": 1})
    release.serves("1")
    slow = {"steps": [{"weight": 50, "bake": "30m"}], "keepPrevious": "1s"}
    release.apply("2", canary=slow)
    release.wait("canary 2 to have clients", phase_is("Progressing"))
    with _no_room(release):
        for name in release.pods("1"):
            release.cluster.kubectl("delete", "pod", "-n", release.space, name, "--wait=false")
        status = release.wait(
            "it to be said", lambda seen: "no pod of stable 1 is ready" in seen.get("message", "")
        )
        assert "canary 2" in status["message"]
        assert f"promote={status['canary']['revision']}" in status["message"]
        assert _modelrelease(release, "promote").endswith("; taken\n")
        release.serves("2", within=TAKES_OVER_WITHIN)
    assert "PromotedByHand" in [each["outcome"] for each in release.status()["history"]]
    given = {each["command"]: each for each in release.status()["commands"]}["promote"]
    assert given["by"] == "modelrelease"


def test_the_doctor_finds_nothing_wrong_where_a_release_serves_and_its_history_is_told(
    release: Release,
) -> None:
    release.begins("1")
    found = json.loads(_run(release, "doctor", "-o", "json"))
    by_check: dict[str, list[dict[str, str]]] = {}
    for each in found:
        by_check.setdefault(each["check"], []).append(each)
    for check in ("API server", "ModelRelease kind", "schema", "operator", "your rights"):
        assert [each["result"] for each in by_check[check]] == ["ok"], by_check[check]
    about = {each["about"] for each in by_check["spec"]}
    assert f"{release.space}/{release.name}" in about
    told = json.loads(_run(release, "history", release.name, "-o", "json"))
    assert [(each["to"], each["outcome"], each["by"]) for each in told] == [
        ("1", "FirstVersionServes", "operator")
    ]


def _modelrelease(release: Release, verb: str) -> str:
    """Run a command of the command line about a release; return what it printed."""
    return _run(release, verb, release.name)


def _run(release: Release, *arguments: str) -> str:
    """Run the command line in a release's namespace; return what it printed."""
    program = Path(sys.executable).with_name("modelrelease")
    command = [str(program), *arguments, "-n", release.space]
    kubeconfig = {"KUBECONFIG": str(release.cluster.kubeconfig)}
    done = subprocess.run(
        command, env={**os.environ, **kubeconfig}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@contextmanager
def _no_room(release: Release) -> Iterator[None]:
    """Have no pod start beside the release; the nodes are others' too."""
    quota = {
        "apiVersion": "v1",
        "kind": "ResourceQuota",
        "metadata": {"name": "no-pods", "namespace": release.space},
        "spec": {"hard": {"pods": "0"}},
    }
    fixtures.apply(release.cluster, quota)
    wait_until(
        "the quota to be in force",
        lambda: release.read("resourcequota", "no-pods"),
        lambda found: "hard" in found.get("status", {}),
    )
    try:
        yield
    finally:
        release.cluster.kubectl("delete", "resourcequota", "no-pods", "-n", release.space)
