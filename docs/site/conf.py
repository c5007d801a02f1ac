"""The documentation as a site: Sphinx reads the repository's own Markdown where it lies.

So links are those that GitHub follows, and each that leads nowhere ends the build. Documents are
found by their folder: a new one is in the navigation without a word here.
"""

import os
import re
import tomllib
from pathlib import Path
from typing import Any, Final

ROOT: Final = Path(os.environ.get("SITE_SOURCE", Path(__file__).parents[2])).resolve()
"""The tree that is read: this one, or that of a tag."""

KINDS: Final = {
    "docs/tutorial/README": ("docs/tutorial/*.md",),
    "docs/how-to/README": ("docs/how-to/*.md",),
    "docs/reference/README": ("docs/reference/*.md", "docs/*.md"),
    "docs/explanation/README": ("docs/explanation/*.md", "benchmarks/README.md"),
    "docs/decisions/README": ("docs/decisions/*.md",),
}
"""The page of each kind, and which documents are listed on it."""
PROJECT: Final = (
    "*.md",
    "cluster/README.md",
    "tests/README.md",
    "examples/*.md",
    "examples/**/*.md",
)
"""What stands beside the kinds."""
LINK: Final = re.compile(r"(?<!!)\[([^\]\n]+)\]\(([\w./-]+)\)")

project = "modelrelease"
author = "the authors of modelrelease"
version = release = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
extensions = ["myst_parser"]
root_doc = "README"
include_patterns = sorted({pattern for found in (*KINDS.values(), PROJECT) for pattern in found})
exclude_patterns = [".*", "build", "dist"]
highlight_language = "text"
myst_heading_anchors = 6
nitpicky = True

html_theme = "pydata_sphinx_theme"
html_title = "modelrelease"
html_static_path = ["static"]
html_css_files = ["site.css"]
html_context = {"default_mode": "auto"}
html_copy_source = False
html_show_sourcelink = False
html_show_sphinx = False
html_theme_options = {
    "navbar_align": "left",
    "navbar_end": ["version-switcher", "theme-switcher", "navbar-icon-links"],
    "secondary_sidebar_items": ["page-toc"],
    "header_links_before_dropdown": len(KINDS),
    "footer_start": [],
    "footer_end": [],
    "switcher": {
        "json_url": "../versions.json",
        "version_match": os.environ.get("SITE_VERSION", "latest"),
    },
    # It lies beside the versions, and is written after the last of them.
    "check_switcher": False,
}


def documents(*patterns: str) -> list[str]:
    """Return what some patterns find, as Sphinx names it, without the pages of kinds.

    Pages for who extends the project come last.
    """
    found = {path.relative_to(ROOT) for pattern in patterns for path in ROOT.glob(pattern)}
    names = {str(path.with_suffix("")) for path in found}
    return sorted(names - set(KINDS) - {root_doc}, key=lambda name: ("/add-" in name, name))


def toctree(names: list[str], *, hidden: bool) -> str:
    """Return a table of contents in Markdown."""
    options = ":maxdepth: 1\n" + (":hidden:\n" if hidden else "")
    listed = "\n".join(f"/{name}" for name in names)
    return f"\n\n```{{toctree}}\n{options}\n{listed}\n```\n"


def read(_: Any, name: str, source: list[str]) -> None:
    """Add its list to the page of a kind, and to the first page what the top bar shows."""
    source[0] = LINK.sub(lambda link: _without_folder(name, link), source[0])
    if name == root_doc:
        kinds = [kind for kind in KINDS if (ROOT / f"{kind}.md").exists()]
        source[0] += toctree([*kinds, *documents(*PROJECT)], hidden=True)
    elif name in KINDS:
        source[0] += toctree(documents(*KINDS[name]), hidden=False)


def _without_folder(name: str, link: re.Match[str]) -> str:
    """Lead a link to a folder to what it says of itself; a site has no page of the others."""
    target = (ROOT / name).parent / link[2]
    if not target.is_dir():
        return link[0]
    if (target / "README.md").is_file():
        return f"[{link[1]}]({link[2].rstrip('/')}/README.md)"
    return link[1]


def setup(app: Any) -> dict[str, bool]:
    """Have Sphinx call `read` for each document."""
    app.connect("source-read", read)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
