"""Every ModelRelease that a document or an example shows passes `modelrelease validate`."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from modelrelease_operator.api import names
from modelrelease_operator.api.pod_policy import Allowed
from modelrelease_operator.cli.validate import checked
from tests.test_repository import ROOT, committed

BLOCK = re.compile(r"^(?P<indent> *)```yaml\n(?P<text>.*?)^ *```", re.MULTILINE | re.DOTALL)
BASES = {ROOT / f"examples/gitops/models/{model}/release.yaml" for model in ("qna", "churn")}
"""What an environment adds its model to: no whole release by itself."""
MOVING = sorted((ROOT / "docs/how-to").glob("move-from-*.md"))
SCHEDULING = Allowed.parse("scheduling")


def documents(text: str) -> Iterator[dict[str, Any]]:
    """Yield the manifests of a YAML text; a fragment without a kind is none."""
    for found in yaml.safe_load_all(text):
        if isinstance(found, dict) and "kind" in found:
            yield found


def shown(path: Path) -> Iterator[dict[str, Any]]:
    """Yield the manifests that a document or a file of YAML shows."""
    text = path.read_text()
    if path.suffix != ".md":
        yield from documents(text)
        return
    for block in BLOCK.finditer(text):
        # A block that is no YAML by itself, such as one with an ellipsis, shows no whole manifest.
        if f"kind: {names.KIND}" in block["text"] or path in MOVING:
            yield from documents(block["text"])


def files() -> list[Path]:
    """Return every committed document, and every example in YAML."""
    return [
        path
        for path in committed()
        if path.suffix == ".md" or (path.suffix == ".yaml" and ROOT / "examples" in path.parents)
        if path not in BASES
    ]


def releases() -> list[Any]:
    return [
        pytest.param(found, id=f"{path.relative_to(ROOT)}-{number}")
        for path in files()
        for number, found in enumerate(shown(path))
        if found["kind"] == names.KIND and "spec" in found
    ]


@pytest.mark.parametrize("manifest", releases())
def test_a_release_that_is_shown_is_valid(manifest: dict[str, Any]):
    checked(manifest, SCHEDULING)


@pytest.mark.parametrize("page", MOVING, ids=lambda page: page.stem)
def test_a_page_about_moving_shows_what_was_there_and_what_it_becomes(page: Path):
    kinds = [found["kind"] for found in shown(page)]
    assert names.KIND in kinds
    assert set(kinds) - {names.KIND}, "and the other tool's own"


def test_the_documents_show_releases():
    assert len(releases()) > 15
