"""Build the documentation: this tree as `latest`, and on request every release beside it.

    .venv-docs/bin/python docs/site/build.py --releases --base /modelrelease/

What is built is in build/site: one folder a version, the list that the pages' switcher reads, and
a first page that leads to the newest release. Any web server serves it.
"""

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[2]
TARGET: Final = ROOT / "build/site"
LATEST: Final = "latest"
TAG: Final = re.compile(r"v(\d+)\.(\d+)\.(\d+)")
FIRST_PAGE: Final = """\
<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta http-equiv="refresh" content="0; url={version}/README.html">
<title>modelrelease</title>
<a href="{version}/README.html">modelrelease {version}</a>
</html>
"""


def releases(tags: Sequence[str]) -> list[str]:
    """Return the tags that are releases, the newest first."""
    found = [match for tag in tags if (match := TAG.fullmatch(tag))]
    return [match[0] for match in sorted(found, key=_number, reverse=True)]


def _number(match: re.Match[str]) -> tuple[int, ...]:
    return tuple(map(int, match.groups()))


def switcher(versions: Sequence[str], base: str) -> list[dict[str, object]]:
    """Return what the pages' switcher shows; the newest release is preferred."""
    preferred = first(versions)
    return [
        {"version": version, "url": f"{base}{version}/", "preferred": version == preferred}
        for version in versions
    ]


def first(versions: Sequence[str]) -> str:
    """Return the version that the first page leads to: the newest release, once there is one."""
    return next((version for version in versions if version != LATEST), LATEST)


def build(source: Path, version: str, *, strict: bool) -> None:
    """Build one version; of this tree every remark is an error."""
    # Afresh: a page of a kind changes with the documents beside it, which Sphinx does not know.
    told = ["--fresh-env", *(["--fail-on-warning", "--keep-going"] if strict else [])]
    places = ["-c", str(Path(__file__).parent), "-d", str(ROOT / "build/site-state" / version)]
    command = [sys.executable, "-m", "sphinx", "-q", "-b", "html", *told, *places]
    environment = {**os.environ, "SITE_SOURCE": str(source), "SITE_VERSION": version}
    subprocess.run([*command, str(source), str(TARGET / version)], env=environment, check=True)


def build_tag(tag: str) -> None:
    """Build a release as it was tagged, with the looks of today."""
    with tempfile.TemporaryDirectory() as folder:
        archive = subprocess.run(
            ["git", "archive", tag], cwd=ROOT, stdout=subprocess.PIPE, check=True
        )
        subprocess.run(["tar", "-x", "-C", folder], input=archive.stdout, check=True)
        build(Path(folder), tag, strict=False)


def main(arguments: Sequence[str] | None = None) -> int:
    """Build what is asked for; return the exit code."""
    about = (__doc__ or "").partition("\n")[0]
    parser = argparse.ArgumentParser(prog="make docs", description=about)
    parser.add_argument("--releases", action="store_true", help="every tagged release, too")
    parser.add_argument("--base", default="/", help="path of the site on its host (default: /)")
    options = parser.parse_args(arguments)
    shutil.rmtree(TARGET, ignore_errors=True)
    listed = subprocess.run(
        ["git", "tag", "--list", "v*"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    tags = releases(listed.stdout.split()) if options.releases else []
    try:
        build(ROOT, LATEST, strict=True)
        for tag in tags:
            build_tag(tag)
    except subprocess.CalledProcessError:
        print("the documentation was not built: mend what is said above", file=sys.stderr)
        return 1
    versions = [LATEST, *tags]
    (TARGET / "versions.json").write_text(json.dumps(switcher(versions, options.base), indent=1))
    (TARGET / "index.html").write_text(FIRST_PAGE.format(version=first(versions)))
    print(f"built {', '.join(versions)}: {TARGET}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
