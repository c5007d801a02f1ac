"""The pipelines run what the Makefile has, pin what they take from others, and need few rights; and
what a release is made of can be made here.
"""

import hashlib
import os
import re
import shutil
import stat
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from cluster import toolchain, versions
from cluster.errors import ClusterError
from cluster.providers.kind import _node
from tests.test_repository import ROOT

WORKFLOWS = sorted((ROOT / ".github/workflows").glob("*.yaml"))
TARGETS = set(re.findall(r"(?m)^([a-z-]+):", (ROOT / "Makefile").read_text()))
PIN = re.compile(r"uses: \S+@[0-9a-f]{40} # v\d+\.\d+\.\d+$")


def jobs() -> Iterator[tuple[str, dict[str, Any]]]:
    for file in WORKFLOWS:
        for name, job in yaml.safe_load(file.read_text())["jobs"].items():
            yield f"{file.stem}: {name}", job


def commands() -> list[str]:
    return [step["run"] for _, job in jobs() for step in job["steps"] if "run" in step]


@pytest.mark.parametrize("file", WORKFLOWS, ids=lambda file: file.stem)
def test_what_is_taken_from_others_is_pinned_by_digest_and_says_its_version(file: Path):
    taken = [line.strip() for line in file.read_text().splitlines() if "uses:" in line]
    assert taken
    assert [line for line in taken if not PIN.search(line)] == []


def test_one_action_has_one_version():
    pins = {
        match for file in WORKFLOWS for match in re.findall(r"uses: (\S+)@(\S+)", file.read_text())
    }
    assert len({name for name, _ in pins}) == len(pins)


def test_every_command_is_a_target_of_the_makefile():
    """But for the last step of a release, which hands files to the forge."""
    others = [command for command in commands() if not command.startswith("make ")]
    assert [command.split()[:3] for command in others] == [["gh", "release", "create"]]
    told = {
        word
        for command in commands()
        if command.startswith("make ")
        for word in command.split()[1:]
        if "=" not in word
    }
    assert {"lint", "test-fast", "test-cluster", "smoke", "images"} <= told
    assert told <= TARGETS


@pytest.mark.parametrize("file", WORKFLOWS, ids=lambda file: file.stem)
def test_a_workflow_as_a_whole_may_at_most_read(file: Path):
    assert yaml.safe_load(file.read_text())["permissions"] in ({}, {"contents": "read"})


@pytest.mark.parametrize(("name", "job"), list(jobs()), ids=[name for name, _ in jobs()])
def test_a_job_ends_and_only_a_release_may_write(name: str, job: dict[str, Any]):
    assert 0 < job["timeout-minutes"] <= 90
    if name.startswith("ci"):
        assert "permissions" not in job


def test_nothing_of_an_event_is_put_into_a_command():
    assert [command for command in commands() if "${{" in command] == []


def test_the_cluster_tests_run_on_every_supported_version():
    (cluster,) = (job for name, job in jobs() if name == "ci: cluster")
    assert cluster["strategy"]["matrix"]["kubernetes"] == list(versions.kind_nodes())


@pytest.mark.parametrize("minor", versions.kind_nodes())
def test_a_wanted_version_of_kubernetes_is_a_node_by_digest(minor: str, monkeypatch):
    monkeypatch.setenv(versions.WANTED, minor)
    option, image = _node()
    assert option == "--image"
    assert re.fullmatch(rf"kindest/node:v{re.escape(minor)}\.\d+@sha256:[0-9a-f]{{64}}", image)


def test_without_a_wanted_version_kind_takes_its_own(monkeypatch):
    monkeypatch.delenv(versions.WANTED, raising=False)
    assert _node() == []


def test_the_node_of_a_version_is_run_by_the_kind_that_it_is_made_for(tmp_path: Path, monkeypatch):
    (tmp_path / "kind").write_text("#!/bin/sh\n")
    (tmp_path / "kind").chmod(stat.S_IRWXU)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv(versions.WANTED, raising=False)
    assert toolchain.kind_here() == str(tmp_path / "kind")
    monkeypatch.setenv(versions.WANTED, "1.34")
    assert toolchain.kind_here() is None


def test_a_version_that_there_is_no_node_for_is_refused_with_those_that_there_are(monkeypatch):
    monkeypatch.setenv(versions.WANTED, "1.12")
    with pytest.raises(ClusterError, match=r"(?s)MODELRELEASE_KUBERNETES=1\.12.*1\.34, 1\.35"):
        _node()


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """What the tools of a release read, so that a test may change it."""
    for name in (
        "tools/release-notes", "tools/krew", "tools/registry", "tools/chart", "pyproject.toml",
        "CHANGELOG.md", "operator/modelrelease_operator/__init__.py", "LICENSE",
        "Dockerfile.serving",
    ):  # fmt: skip
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    shutil.copytree(ROOT / "charts", tmp_path / "charts")
    return tmp_path


def run(
    checkout: Path, tool: str, *arguments: str, **environment: str
) -> subprocess.CompletedProcess[str]:
    clean = {name: value for name, value in os.environ.items() if name != "IMAGES"}
    return subprocess.run(
        [checkout / "tools" / tool, *arguments], env={**clean, **environment},
        capture_output=True, text=True, check=False,
    )  # fmt: skip


VERSION = yaml.safe_load((ROOT / "charts/modelrelease/Chart.yaml").read_text())["version"]


def test_a_releases_notes_are_its_part_of_the_changelog(checkout: Path):
    changelog = (
        f"# Changelog\n\n## {VERSION}, 2026-12-01\n\n- new\n\n## 0.0.1, 2026-01-01\n\n- old\n"
    )
    (checkout / "CHANGELOG.md").write_text(changelog)
    done = run(checkout, "release-notes", f"v{VERSION}")
    assert done.returncode == 0, done.stderr
    assert (checkout / "build/release/notes.md").read_text().split() == ["-", "new"]


def test_a_tag_without_a_word_in_the_changelog_is_refused(checkout: Path):
    (checkout / "CHANGELOG.md").write_text("# Changelog\n\n## Unreleased\n")
    done = run(checkout, "release-notes", f"v{VERSION}")
    assert done.returncode == 1
    assert f"nothing below '## {VERSION}, DATE'" in done.stderr


@pytest.mark.parametrize("file", ["pyproject.toml", "operator/modelrelease_operator/__init__.py"])
def test_a_tag_that_a_file_does_not_name_is_refused_with_the_file(checkout: Path, file: str):
    text = (checkout / file).read_text()
    (checkout / file).write_text(text.replace(f'"{VERSION}"', '"9.9.9"'))
    done = run(checkout, "release-notes", f"v{VERSION}")
    assert done.returncode == 1
    assert file in done.stderr


@pytest.mark.parametrize("tag", ["", "v1", "main", "v1.2.3-rc1"])
def test_what_is_no_tag_of_a_release_is_refused(checkout: Path, tag: str):
    done = run(checkout, "release-notes", tag)
    assert done.returncode == 1
    assert "is no tag of a release" in done.stderr


RELEASES = "https://forge.example/me/it/releases/download"


def test_krews_manifest_names_the_archives_digest(checkout: Path):
    done = run(checkout, "krew", "v1.2.3", RELEASES=RELEASES)
    assert done.returncode == 0, done.stderr
    made = checkout / "build/release/krew"
    plugin = yaml.safe_load((made / "modelrelease.yaml").read_text())
    (platform,) = plugin["spec"]["platforms"]
    archive = (made / "kubectl-modelrelease.tar.gz").read_bytes()
    assert platform["sha256"] == hashlib.sha256(archive).hexdigest()
    assert platform["uri"] == f"{RELEASES}/v1.2.3/kubectl-modelrelease.tar.gz"
    assert plugin["spec"]["version"] == "v1.2.3"
    assert len(plugin["spec"]["shortDescription"]) <= 50  # as krew's index wants it


@pytest.mark.parametrize(
    ("bringer", "said"),
    [
        ("uvx", "--quiet --from modelrelease[operator]==1.2.3 kubectl-modelrelease status -A\n"),
        ("pipx", "run --spec modelrelease[operator]==1.2.3 kubectl-modelrelease status -A\n"),
        ("", ""),
    ],
)
def test_krews_plugin_has_this_version_brought(checkout: Path, bringer: str, said: str):
    """By a double of uv or pipx, which repeats what it was told: no package index is here."""
    run(checkout, "krew", "v1.2.3", RELEASES=RELEASES).check_returncode()
    with tarfile.open(checkout / "build/release/krew/kubectl-modelrelease.tar.gz") as archive:
        archive.extractall(checkout / "plugin", filter="data")
    (tools := checkout / "bin").mkdir()
    if bringer:
        (tools / bringer).write_text('#!/bin/sh\necho "$@"\n')
        (tools / bringer).chmod(stat.S_IRWXU)
    done = subprocess.run(
        ["/bin/sh", checkout / "plugin/kubectl-modelrelease", "status", "-A"],
        env={"PATH": str(tools)}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.stdout == said
    assert done.returncode == (0 if bringer else 2)
    assert bool(said) or "uv or pipx is needed" in done.stderr


@pytest.mark.parametrize("arguments", [["push", "operator"], ["publish", "v1.2.3"]])
def test_nothing_is_pushed_where_nobody_said_where_to(checkout: Path, arguments: list[str]):
    done = run(checkout, "registry", *arguments)
    assert done.returncode != 0
    assert "set the variable IMAGES" in done.stderr


DOCKER = """\
case "$*" in *inspect*) echo sha256:both; exit;; esac
while [ $# -gt 0 ]; do
  [ "$1" != --metadata-file ] || echo '{"containerimage.digest": "sha256:one"}' >"$2"
  shift
done"""


@pytest.fixture
def doubles(checkout: Path) -> Path:
    """Doubles of docker, helm and cosign, which note what they are told: no registry is here."""
    (tools := checkout / "bin").mkdir()
    bodies = {
        "docker": DOCKER,
        "helm": 'case "$1" in push) echo "Digest: sha256:chart";; esac',
        "cosign": ":",
    }
    for name, body in bodies.items():
        note = f'echo "{name} $*" >>"{checkout}/told"'
        # A password that nobody reads would end who writes it.
        password = 'case "$*" in *--password-stdin*) cat >/dev/null;; esac'
        (tools / name).write_text(f"#!/bin/sh\n{note}\n{password}\n{body}\n")
        (tools / name).chmod(stat.S_IRWXU)
    return tools


REGISTRY = {"IMAGES": "registry.example/models", "REGISTRY_USER": "me", "REGISTRY_PASSWORD": "x"}


def test_an_image_is_pushed_without_a_name_and_its_digest_is_kept(checkout: Path, doubles: Path):
    environment = {**REGISTRY, "PATH": f"{doubles}:{os.environ['PATH']}"}
    done = run(checkout, "registry", "push", "serving", **environment)
    assert done.returncode == 0, done.stderr
    (kept,) = (checkout / "build/digests").iterdir()
    assert kept.name == f"serving-{os.uname().machine}"
    assert kept.read_text() == "sha256:one\n"
    (build,) = (it for it in (checkout / "told").read_text().splitlines() if "buildx build" in it)
    for word in ("-f Dockerfile.serving", "--sbom=true", "--provenance=mode=max", "push-by-digest"):
        assert word in build
    assert "--build-arg BASE=python:3.12-slim-bookworm@sha256:both " in build


def test_an_image_whose_base_has_no_digest_is_not_pushed(checkout: Path, doubles: Path):
    (doubles / "docker").write_text('#!/bin/sh\ncase "$*" in *login*) cat >/dev/null;; esac\n')
    environment = {**REGISTRY, "PATH": f"{doubles}:{os.environ['PATH']}"}
    done = run(checkout, "registry", "push", "serving", **environment)
    assert done.returncode != 0
    assert "the registry tells no digest of python:3.12-slim-bookworm" in done.stderr
    assert not (checkout / "build/digests").exists()


@pytest.mark.parametrize("file", sorted(ROOT.glob("Dockerfile.*")), ids=lambda file: file.name)
def test_a_release_can_pin_the_only_base_of_an_image(file: Path):
    text = file.read_text()
    assert len(re.findall(r"^ARG BASE=\S+:\S+$", text, re.MULTILINE)) == 1
    bases = set(re.findall(r"^FROM (\S+)", text, re.MULTILINE))
    stages = set(re.findall(r"^FROM .* AS (\S+)$", text, re.MULTILINE))
    assert bases - stages <= {"${BASE}", "scratch"}


def test_what_is_published_has_both_processors_and_is_signed_by_digest(
    checkout: Path, doubles: Path
):
    digests = checkout / "build/digests"
    digests.mkdir(parents=True)
    for part in ("operator", "serving", "training", "drift"):
        for machine in ("aarch64", "x86_64"):
            (digests / f"{part}-{machine}").write_text(f"sha256:{part}-{machine}\n")
    environment = {**REGISTRY, "PATH": f"{doubles}:{os.environ['PATH']}"}
    done = run(checkout, "registry", "publish", "v1.2.3", **environment)
    assert done.returncode == 0, done.stderr
    told = (checkout / "told").read_text().splitlines()
    name = "registry.example/models/modelrelease-drift"
    assert (
        f"docker buildx imagetools create -t {name}:1.2.3 {name}@sha256:drift-aarch64 "
        f"{name}@sha256:drift-x86_64"
    ) in told
    signed = [line for line in told if line.startswith("cosign ")]
    assert len(signed) == 5
    assert all("@sha256:" in line for line in signed)
    assert "x" not in "".join(told).split()
    # What is handed on of the chart names the images that were signed.
    values = yaml.safe_load((checkout / "build/chart/modelrelease/values.yaml").read_text())
    assert values["image"]["repository"] == "registry.example/models/modelrelease-operator"
    assert values["image"]["digest"] == "sha256:both"
    serving = "registry.example/models/modelrelease-serving@sha256:both"
    assert values["serving"]["image"] == serving
    assert (checkout / "build/published/install.yaml").is_file()


def test_the_supported_versions_are_those_that_are_tested():
    page = (ROOT / "docs/reference/support.md").read_text()
    assert f": {', '.join(versions.kind_nodes())} |" in page
    assert versions.native("kubernetes").startswith(list(versions.kind_nodes())[-1])
    for name, job in jobs():
        if name == "ci: fast":
            for python in job["strategy"]["matrix"]["python"]:
                assert python in page


@pytest.mark.parametrize("form", ["bug", "idea"])
def test_a_form_for_an_issue_asks_for_something(form: str):
    asked = yaml.safe_load((ROOT / f".github/ISSUE_TEMPLATE/{form}.yaml").read_text())
    assert {"name", "description", "body"} <= set(asked)
    ids = [field["id"] for field in asked["body"] if field["type"] != "markdown"]
    assert len(set(ids)) == len(ids)
    assert any(field.get("validations", {}).get("required") for field in asked["body"])
