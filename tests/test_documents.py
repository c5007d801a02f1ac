"""Documents close: what code and documents refer to is there,
and words mean the same everywhere.
"""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from modelrelease_operator.api.status import Phase, Verdict
from modelrelease_operator.core.release import conditions
from modelrelease_operator.core.release.autoscaling import AUTOSCALED
from modelrelease_operator.core.release.commands import KINDS
from tests.test_repository import ROOT, committed

RECORD = re.compile(r"docs/decisions/(\d{4})\b")
DOCUMENT = re.compile(r"\bdocs/[\w./-]+\.(?:md|svg)\b")
LINK = re.compile(r"\]\((?!https?://|mailto:)([^)\s#]*)(?:#([^)\s]+))?\)")
HEADING = re.compile(r"^#+ +(.+)$", re.MULTILINE)
FENCED = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)
CODE = {".py", ".toml", ".yaml", ".sh", ""}


def files(*suffixes: str) -> list[Path]:
    return [path for path in committed() if path.suffix in suffixes and path.is_file()]


def anchors(document: Path) -> set[str]:
    """Return the anchors of a document's headings, as GitHub makes them."""
    headings = HEADING.findall(document.read_text())
    plain = [re.sub(r"[^\w\- ]", "", heading.lower()) for heading in headings]
    return {heading.strip().replace(" ", "-") for heading in plain}


def links() -> Iterator[tuple[Path, str, str | None]]:
    for document in files(".md"):
        for path, anchor in LINK.findall(FENCED.sub("", document.read_text())):
            yield document, path, anchor or None


def test_every_link_between_documents_leads_somewhere():
    lost = []
    for document, path, anchor in links():
        target = (document.parent / path).resolve() if path else document
        if not target.exists():
            lost.append(f"{document.relative_to(ROOT)}: {path}")
        elif anchor and target.suffix == ".md" and anchor not in anchors(target):
            lost.append(f"{document.relative_to(ROOT)}: {path}#{anchor}")
    assert not lost


def test_every_document_that_is_named_in_code_or_text_exists():
    lost = []
    for path in files(*CODE, ".md"):
        text = path.read_text(errors="ignore")
        lost += [
            f"{path.relative_to(ROOT)}: {name}"
            for name in DOCUMENT.findall(text)
            if not (ROOT / name).exists()
        ]
    assert not lost


def test_every_record_that_is_named_by_its_number_exists():
    records = {path.name[:4] for path in (ROOT / "docs/decisions").glob("[0-9]*.md")}
    lost = []
    for path in files(*CODE, ".md"):
        numbers = RECORD.findall(path.read_text(errors="ignore"))
        lost += [
            f"{path.relative_to(ROOT)}: {number}" for number in numbers if number not in records
        ]
    assert not lost


def test_each_record_has_a_number_of_its_own():
    numbers = [path.name[:4] for path in (ROOT / "docs/decisions").glob("[0-9]*.md")]
    assert sorted(numbers) == sorted(set(numbers))


@pytest.mark.parametrize("heading", ["Context", "Decision", "Cost"])
def test_records_keep_one_form(heading: str):
    records = sorted((ROOT / "docs/decisions").glob("[0-9]*.md"))
    without = [path.name for path in records if f"**{heading}" not in path.read_text()]
    assert not without


@pytest.mark.parametrize(
    "word",
    [
        *Phase,
        *Verdict,
        *KINDS,
        "Ready",
        "Reconciling",
        "Stalled",
        conditions.WAITING,
        conditions.RESOLVED,
        conditions.DRIFTED,
        conditions.PROTECTED,
        AUTOSCALED,
    ],
)
def test_the_glossary_has_every_word_of_status_and_commands(word: str):
    assert f"`{word}`" in (ROOT / "docs/glossary.md").read_text()
