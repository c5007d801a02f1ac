"""The chart as it is handed on: an archive in a registry, and plain objects without Helm."""

import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from cluster import toolchain
from tests.support.chart import CHART, VALUES, helm, rendered
from tests.support.oci_registry import oci_registry

ROOT = CHART.parents[1]
VERSION: str = yaml.safe_load((CHART / "Chart.yaml").read_text())["version"]
ONE, TWO = "sha256:" + "1" * 64, "sha256:" + "2" * 64


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """What the tool reads: it writes beside it."""
    for name in ("tools", "crds", "charts"):
        shutil.copytree(ROOT / name, tmp_path / name, symlinks=True)
    return tmp_path


def tool(checkout: Path, what: str, **environment: str) -> subprocess.CompletedProcess[str]:
    clean = {name: value for name, value in os.environ.items() if name != "IMAGES"}
    return subprocess.run(
        [checkout / "tools/chart", what], env={**clean, "HELM": toolchain.helm(), **environment},
        capture_output=True, text=True, check=False,
    )  # fmt: skip


def archive(checkout: Path) -> Path:
    return checkout / f"build/chart/modelrelease-{VERSION}.tgz"


def values_of(chart: Path) -> dict[str, Any]:
    code, printed, complained = helm("show", "values", chart)
    assert code == 0, complained
    values: dict[str, Any] = yaml.safe_load(printed)
    return values


def test_a_package_of_ones_own_has_the_values_of_the_chart(checkout: Path):
    assert tool(checkout, "package").returncode == 0
    assert values_of(archive(checkout)) == VALUES


def test_a_released_package_names_the_released_images_by_digest(checkout: Path):
    images = {"IMAGES": "registry.example/models", "OPERATOR_DIGEST": ONE, "SERVING_DIGEST": TWO}
    assert tool(checkout, "package", **images).returncode == 0
    values = values_of(archive(checkout))
    repository = "registry.example/models/modelrelease-operator"
    assert values["image"] == {
        **VALUES["image"], "repository": repository, "tag": VERSION, "digest": ONE,
    }  # fmt: skip
    assert values["serving"] == {"image": f"registry.example/models/modelrelease-serving@{TWO}"}
    code, _, complained = helm("lint", "--strict", archive(checkout))
    assert code == 0, complained


def test_without_digests_it_names_them_by_the_version(checkout: Path):
    assert tool(checkout, "package", IMAGES="registry.example").returncode == 0
    values = values_of(archive(checkout))
    assert (values["image"]["tag"], values["image"]["digest"]) == (VERSION, "")
    assert values["serving"]["image"] == f"registry.example/modelrelease-serving:{VERSION}"


def test_a_chart_that_was_pushed_is_installed_from_the_registry(checkout: Path):
    with oci_registry() as registry:
        images = {"IMAGES": f"{registry.host}/models", "HELM_PUSH": "--plain-http"}
        assert tool(checkout, "package", **images).returncode == 0
        done = tool(checkout, "push", **images)
        assert done.returncode == 0, done.stdout + done.stderr
        digest = (checkout / "build/chart/digest").read_text().strip()
        assert re.fullmatch(r"sha256:[0-9a-f]{64}", digest)
        chart = f"oci://{registry.host}/models/charts/modelrelease"
        by_version = helm("template", "mr", chart, "--plain-http", "--version", VERSION)
        by_digest = helm("template", "mr", f"{chart}@{digest}", "--plain-http")
    assert by_version[0] == by_digest[0] == 0, by_version[2] + by_digest[2]
    assert by_version[1].partition("---")[2] == by_digest[1].partition("---")[2]
    assert f'image: "{registry.host}/models/modelrelease-operator:{VERSION}"' in by_version[1]


def test_a_push_that_fails_says_so(checkout: Path):
    assert tool(checkout, "package").returncode == 0
    with oci_registry() as registry:
        nowhere = registry.host
    done = tool(checkout, "push", IMAGES=nowhere, HELM_PUSH="--plain-http")
    assert done.returncode != 0


def test_nothing_is_pushed_where_nobody_said_where_to(checkout: Path):
    done = tool(checkout, "push")
    assert done.returncode != 0
    assert "where the chart is pushed to" in done.stderr


def objects(text: str) -> dict[tuple[str, str], dict[str, Any]]:
    found = [each for each in yaml.safe_load_all(text) if each]
    return {(each["kind"], each["metadata"]["name"]): each for each in found}


def test_the_plain_objects_are_those_of_helm_and_a_namespace(checkout: Path):
    done = tool(checkout, "install-yaml")
    assert done.returncode == 0, done.stderr
    plain = objects((checkout / "build/chart/install.yaml").read_text())
    space = plain.pop(("Namespace", "modelrelease-system"))
    assert space["apiVersion"] == "v1"
    by_helm = objects(rendered().replace("mr-", "modelrelease-"))
    assert len(plain) == len(by_helm)
    assert {kind for kind, _ in plain} == {kind for kind, _ in by_helm}
    assert ("ValidatingAdmissionPolicy", "modelrelease-system-modelrelease-pods") in plain


def test_the_plain_objects_say_nothing_of_helm_but_that_the_kind_stays(checkout: Path):
    assert tool(checkout, "install-yaml").returncode == 0
    text = (checkout / "build/chart/install.yaml").read_text()
    said = [line.strip() for line in text.splitlines() if "helm" in line.lower()]
    assert said == ["helm.sh/resource-policy: keep"]
