"""Guards of the repository: what no compiler checks and nobody remembers."""

import ast
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from functools import cache
from importlib.metadata import packages_distributions, requires
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import modelrelease_operator
from cluster.imageset import IMAGES
from modelrelease_contract import runtime
from modelrelease_operator.settings import Settings
from modelrelease_serving.settings import variables

ROOT = Path(__file__).parents[1]
SOURCE_ROOTS = ("operator", "serving", "training", "contract")
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
OURS = {
    "modelrelease_operator",
    "modelrelease_serving",
    "modelrelease_training",
    "modelrelease_contract",
}


def committed() -> list[Path]:
    listed = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return [path for name in listed.stdout.split("\0") if name and (path := ROOT / name).is_file()]


COMMITTED = committed()
PYTHON = [path for path in COMMITTED if path.suffix == ".py"]


def imported(path: Path) -> Iterator[str]:
    """Yield every absolute import of a file, wherever in it, by its full name."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module


def test_no_image_is_bound_to_one_kind_of_processor():
    named = re.compile(r"--platform|x86_64|amd64|aarch64|arm64")
    recipes = sorted(ROOT.glob("Dockerfile.*"))
    assert {"Dockerfile.operator", "Dockerfile.serving"} <= {path.name for path in recipes}
    assert [path.name for path in recipes if named.search(path.read_text())] == []


@pytest.mark.parametrize("root", SOURCE_ROOTS)
def test_source_roots_hold_only_packages(root: str):
    assert not list((ROOT / root).glob("*.py")), f"{root}/ is a source root, not a package"


def test_the_standard_librarys_operator_wins_from_the_repository_root():
    code = "import operator; print(operator.itemgetter)"
    done = subprocess.run(
        [sys.executable, "-S", "-E", "-c", code],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "itemgetter" in done.stdout


def test_no_folder_of_tests_takes_the_name_of_a_standard_module():
    folders = {path.name for path in (ROOT / "tests").rglob("*") if path.is_dir()}
    assert "operator" not in folders


def test_nothing_is_imported_through_a_source_root():
    for path in PYTHON:
        for name in imported(path):
            first, _, rest = name.partition(".")
            assert not (first in SOURCE_ROOTS and rest), f"{path.relative_to(ROOT)} imports {name}"


def test_there_is_one_copy_of_the_schema():
    link = ROOT / "charts/modelrelease/files/modelreleases.yaml"
    assert link.is_symlink()
    assert link.resolve() == ROOT / "crds/modelreleases.yaml"


def test_versions_agree():
    chart = yaml.safe_load((ROOT / "charts/modelrelease/Chart.yaml").read_text())
    versions = {
        PROJECT["version"],
        modelrelease_operator.__version__,
        chart["version"],
        chart["appVersion"],
    }
    assert len(versions) == 1, versions


SETTINGS = ROOT / "docs/reference/settings.md"


def documented() -> dict[str, list[str]]:
    rows = [
        line.strip("| ").split(" | ")
        for line in SETTINGS.read_text().splitlines()
        if line.startswith("| `")
    ]
    return {row[0].strip("`"): [cell.strip() for cell in row[1:]] for row in rows}


def shown(default: object) -> str:
    return "empty" if default == "" else f"`{default}`"


def test_every_setting_of_the_operator_is_documented_with_its_default():
    for name, field in Settings.model_fields.items():
        assert documented()[f"MODELRELEASE_{name.upper()}"][0] == shown(field.default), name


def test_every_setting_of_the_predictor_is_documented_with_its_default():
    for name, default in variables().items():
        assert documented()[name][0] == shown(default), name


def test_no_setting_is_documented_that_is_not_read():
    operators = {f"MODELRELEASE_{name.upper()}" for name in Settings.model_fields}
    assert set(documented()) == operators | set(variables())


def test_what_the_operator_tells_the_predictor_is_something_that_it_reads():
    spelled = {value for name, value in vars(runtime).items() if name.startswith("ENV_")}
    assert spelled <= set(variables())


def test_the_chart_sets_only_settings_that_exist():
    template = (ROOT / "charts/modelrelease/templates/deployment.yaml").read_text()
    known = {f"MODELRELEASE_{name.upper()}" for name in Settings.model_fields}
    told = set(re.findall(r"MODELRELEASE_[A-Z_]+", template))
    assert told
    assert told <= known


# Put together here, so that this file does not hold what it looks for.
HOSTS = [
    ".".join(parts)
    for parts in (
        ("pypi", "org"), ("files", "pythonhosted", "org"), ("docker", "io"), ("ghcr", "io"),
        ("quay", "io"),
        ("gcr", "io"), ("registry", "k8s", "io"), ("public", "ecr", "aws"), ("proxy", "golang",
        "org"),
        ("sum", "golang", "org"), ("deb", "debian", "org"), ("registry", "npmjs", "org"), ("dl",
        "k8s", "io"),
    )
]  # fmt: skip
LOCAL_IMAGE = HOSTS[2] + "/library/"
"""How container runtimes spell the name of an image that no registry has:
nothing is fetched there.
"""


def texts() -> Iterator[tuple[Path, int, str]]:
    for path in COMMITTED:
        try:
            lines = path.read_text().splitlines()
        except UnicodeDecodeError:
            continue
        yield from ((path.relative_to(ROOT), number, line) for number, line in enumerate(lines, 1))


def test_no_committed_file_names_a_host_to_fetch_from():
    pattern = re.compile("|".join(rf"(?<![\w.-]){re.escape(host)}\b" for host in HOSTS))
    found = [
        f"{path}:{number}: {line.strip()}"
        for path, number, line in texts()
        if pattern.search(line.replace(LOCAL_IMAGE, ""))
    ]
    assert found == [], "where packages and images come from is for the environment to say"


def test_no_committed_file_names_a_folder_of_somebodys_machine():
    homes = "|".join(("home", "work", "Users", "root"))
    pattern = re.compile(rf"(?<![\w.~$}}/-])/(?:{homes})/\w")
    found = [
        f"{path}:{number}: {line.strip()}" for path, number, line in texts() if pattern.search(line)
    ]
    assert found == []


@cache
def needed_by(extra: str) -> frozenset[str]:
    """Return every distribution that an install of one extra brings, by its normal name."""
    found: set[str] = set()
    waiting: list[tuple[str, frozenset[str]]] = [("modelrelease", frozenset({extra}))]
    done: set[tuple[str, frozenset[str]]] = set()
    while waiting:
        name, extras = item = waiting.pop()
        if item in done:
            continue
        done.add(item)
        found.add(canonicalize_name(name))
        for text in requires(name) or ():
            requirement = Requirement(text)
            marker = requirement.marker
            wanted = (
                any(marker.evaluate({"extra": each}) for each in (*extras, "")) if marker else True
            )
            if wanted:
                waiting.append((requirement.name, frozenset(requirement.extras)))
    return frozenset(found)


PARTS = [
    (
        "operator",
        ROOT / "operator/modelrelease_operator",
        {"modelrelease_operator", "modelrelease_contract"},
    ),
    (
        "serving",
        ROOT / "serving/modelrelease_serving",
        {"modelrelease_serving", "modelrelease_contract"},
    ),
    (
        "training",
        ROOT / "training/modelrelease_training",
        {"modelrelease_training", "modelrelease_contract"},
    ),
    ("", ROOT / "contract/modelrelease_contract", {"modelrelease_contract"}),
]
each_part = pytest.mark.parametrize(
    ("extra", "folder", "own"), PARTS, ids=[it[1].name for it in PARTS]
)


OF_DRIFT = ROOT / "training/modelrelease_training/drift"
"""Has an extra of its own, installed for tests/text alone:
tests/text/test_extra.py looks after it.
"""
OF_PAGE = ROOT / "operator/modelrelease_operator/ui"
"""Needs a server, which an extra brings: the command line names it where it is missing."""
OF_FLOW = ROOT / "training/modelrelease_training/flow"
"""Has an extra of its own, installed for tests/flow alone, which import and run all of it."""


OPTIONAL = {"catboost", "lightgbm", "onnxruntime", "wandb", "xgboost", "xgboost-cpu"}
"""Imported where a model or a setting needs it, and missed in a sentence elsewhere."""


def third_parties(folder: Path) -> dict[str, Path]:
    """Return what a part imports that is neither Python's own nor of this distribution."""
    found = {}
    for path in sorted(folder.rglob("*.py")):
        if {OF_DRIFT, OF_FLOW} & set(path.parents) and folder not in (OF_DRIFT, OF_FLOW):
            continue
        for name in imported(path):
            top = name.partition(".")[0]
            if top not in sys.stdlib_module_names and top not in OURS:
                found[top] = path.relative_to(ROOT)
    return found


@each_part
def test_each_part_imports_only_what_its_own_extra_brings(extra: str, folder: Path, own: set[str]):
    """So that an image with one extra can import its part.
    To try it in an environment takes minutes.
    """
    for module, path in third_parties(folder).items():
        extras = (extra, "ui") if OF_PAGE in (ROOT / path).parents else (extra,)
        brought = frozenset().union(*map(needed_by, extras))
        owners = {canonicalize_name(name) for name in packages_distributions()[module]}
        assert owners & (brought | OPTIONAL), (
            f"{path} imports {module}, which [{','.join(extras)}] does not bring"
        )


@each_part
def test_each_part_imports_no_other_part(extra: str, folder: Path, own: set[str]):
    for path in folder.rglob("*.py"):
        assert {name.partition(".")[0] for name in imported(path)} & OURS <= own, path


def test_the_closure_of_an_extra_is_not_everything_that_is_installed():
    """Or the tests above could not fail."""
    assert "scikit-learn" not in needed_by("operator")
    assert "kopf" not in needed_by("serving")
    assert "pytest" not in needed_by("operator") | needed_by("serving") | needed_by("training")


@pytest.mark.parametrize("extra", ["boosters", "operator", "serving", "training"])
def test_each_lock_holds_all_that_its_extra_needs(extra: str):
    text = (ROOT / f"locks/{extra}.txt").read_text()
    locked = {canonicalize_name(name) for name in re.findall(r"(?m)^([\w.-]+)(?:\[.*\])?==", text)}
    declared = {
        canonicalize_name(Requirement(text).name)
        for text in (*PROJECT["dependencies"], *PROJECT["optional-dependencies"][extra])
    }
    assert declared <= locked
    assert needed_by(extra) - {"modelrelease"} <= locked


def test_docker_is_given_everything_that_an_image_is_built_from():
    allowed = {
        line[1:]
        for line in (ROOT / ".dockerignore").read_text().splitlines()
        if line.startswith("!")
    }
    needed = {name for image in IMAGES.values() for name in image.inputs}
    assert {name for name in needed if not {name, name.partition("/")[0]} & allowed} == set()
