"""The documentation as a site: what its navigation has, and which versions stand beside each other.

That no link of it leads nowhere, `make docs` finds out, which needs Sphinx.
"""

import importlib.util
import re
from types import ModuleType

import pytest

from tests.test_repository import COMMITTED, ROOT

ELSEWHERE = (".github/",)
"""Where Markdown is no document: forms for issues."""


def module(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"site_{name}", ROOT / f"docs/site/{name}.py")
    assert spec
    assert spec.loader
    found = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(found)
    return found


conf, build = module("conf"), module("build")
DOCUMENTS = {
    str(path.relative_to(ROOT).with_suffix(""))
    for path in COMMITTED
    if path.suffix == ".md" and not str(path.relative_to(ROOT)).startswith(ELSEWHERE)
}


def listed() -> list[str]:
    """Return every document of the navigation, once for each place of it."""
    kinds = [name for patterns in conf.KINDS.values() for name in conf.documents(*patterns)]
    return [conf.root_doc, *conf.KINDS, *kinds, *conf.documents(*conf.PROJECT)]


def test_the_navigation_has_every_document():
    lost = DOCUMENTS - set(listed())
    assert not lost, "add a pattern to KINDS or PROJECT of docs/site/conf.py"


def test_no_document_stands_in_two_places():
    names = [name for name in listed() if name in DOCUMENTS]
    assert sorted(names) == sorted(set(names))


def test_each_kind_has_a_page_with_a_sentence():
    for kind in conf.KINDS:
        heading, _, rest = (ROOT / f"{kind}.md").read_text().partition("\n")
        assert heading.startswith("# ")
        assert rest.strip()


def read(name: str, text: str) -> str:
    source = [text]
    conf.read(None, name, source)
    return source[0]


def test_a_page_of_a_kind_lists_its_documents_and_those_for_extending_come_last():
    page = read("docs/how-to/README", "# How-to\n")
    names = re.findall(r"(?m)^/(docs/how-to/.+)$", page)
    adding = [name for name in names if "/add-" in name]
    assert adding
    assert names[-len(adding) :] == adding
    assert "docs/how-to/README" not in names


def test_any_other_page_stays_as_it_is():
    text = "# A\n\n[b](../reference/cli.md#plan) ![c](../demo.svg)\n"
    assert read("docs/how-to/look-at-releases", text) == text


def test_a_link_to_a_folder_leads_to_what_it_says_of_itself_or_is_none():
    assert read("CHANGELOG", "[why](docs/decisions)") == "[why](docs/decisions/README.md)"
    page = read("docs/reference/cli", "see [examples](../../examples/releases), too")
    assert page == "see examples, too"


def test_nothing_is_fetched_from_elsewhere():
    assert not re.search(r"https?://", (ROOT / "docs/site/static/site.css").read_text())
    assert not re.search(r"https?://", (ROOT / "docs/site/conf.py").read_text())


def test_releases_are_tags_of_a_version_and_the_newest_comes_first():
    tags = ["v0.9.0", "v0.10.0", "chart-1", "v1.0.0-rc1", "v0.2.11"]
    assert build.releases(tags) == ["v0.10.0", "v0.9.0", "v0.2.11"]


@pytest.mark.parametrize(
    ("versions", "first"), [(["latest"], "latest"), (["latest", "v0.2.0", "v0.1.0"], "v0.2.0")]
)
def test_the_first_page_leads_to_the_newest_release_once_there_is_one(
    versions: list[str], first: str
):
    assert build.first(versions) == first
    shown = build.switcher(versions, "/docs/")
    assert [it["version"] for it in shown] == versions
    assert [it["version"] for it in shown if it["preferred"]] == [first]
    assert shown[0]["url"] == "/docs/latest/"


def test_the_lock_holds_what_the_site_is_made_with():
    wanted = re.findall(r"(?m)^([\w-]+)>=", (ROOT / "locks/docs.in").read_text())
    locked = re.findall(r"(?m)^([\w-]+)==", (ROOT / "locks/docs.txt").read_text())
    assert wanted
    assert set(wanted) <= set(locked)
