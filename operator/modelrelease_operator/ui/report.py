"""One release as one file that needs nothing else: for a ticket, or for an audit.

The pictures are drawn by the page's own scripts, which are in the file, from figures that are in it
too. Where scripts are not run, the words and tables of this module are what is read.
"""

import base64
import hashlib
import html
import json
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from modelrelease_operator import __version__

STATIC: Final = Path(__file__).parent / "static"
STYLES: Final = ("vendor/uPlot.min.css", "page.css")
SCRIPTS: Final = ("vendor/uPlot.iife.min.js", "dom.js", "charts.js", "story.js", "report.js")
WORDS: Final = (
    ("gate", "gate"), ("verdict", "verdict"), ("canary", "canary bad"), ("stable", "stable bad"),
    ("back", "to go back"), ("on", "to go on"),
)  # fmt: skip


def report(story: Mapping[str, Any], *, source: str) -> str:
    """Return the file; `source` says where the story is from, as the end of a sentence."""
    style = "\n".join((STATIC / name).read_text() for name in STYLES)
    script = "\n".join((STATIC / name).read_text() for name in SCRIPTS)
    moment = f"{datetime.fromtimestamp(story['now'], UTC):%Y-%m-%d %H:%M:%S} UTC"
    made = f"Made by modelrelease {__version__}; of {moment}, {source}."
    title = html.escape(f"{story['namespace']}/{story['name']}")
    data = json.dumps({"story": story, "made": made}, allow_nan=False).replace("<", "\\u003c")
    sources = f"{_hashed('style', style)}; {_hashed('script', script)}"
    policy = f"default-src 'none'; img-src data:; {sources}"
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}: report of a release</title>
<style>{style}</style>
</head>
<body class="report">
<main id="main">
{"".join(_words(story))}<p>{html.escape(made)}</p>
</main>
<script type="application/json" id="data">{data}</script>
<script>{script}</script>
</body>
</html>
"""


def _hashed(kind: str, text: str) -> str:
    digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
    return f"{kind}-src 'sha256-{digest}'"


def _words(story: Mapping[str, Any]) -> Iterator[str]:
    """Yield the story without pictures."""
    yield f"<h1>{html.escape(story['namespace'])}/{html.escape(story['name'])}</h1>"
    yield f"<p><strong>{html.escape(story['phase'])}</strong>: {html.escape(story['message'])}</p>"
    yield from (f"<p>{html.escape(text)}</p>" for text in (*story["warnings"], *story["notes"]))
    for arm in story["arms"]:
        which = f"{arm['track']}: version {arm['version']} ({arm['revision']})"
        yield f"<p>{html.escape(which)} since {_at(arm['since'])}</p>"
    if story["gates"]:
        yield "<h2>Evidence</h2>"
        yield _table([words for _, words in WORDS], [_gate(gate) for gate in story["gates"]])
        yield from (
            f"<p>{html.escape(gate['name'])}: {html.escape(gate['message'])}</p>"
            for gate in story["gates"]
        )
    if story["history"]:
        yield "<h2>What was decided</h2>"
        keys = ("from", "to", "outcome", "by", "message")
        rows = [[_at(told["at"]), *(told[key] or "" for key in keys)] for told in story["history"]]
        yield _table(["time", *keys], rows)


def _gate(gate: Mapping[str, Any]) -> list[str]:
    arms = [f"{gate[arm]['bad']:,} of {gate[arm]['total']:,}" for arm in ("canary", "stable")]
    evidence = [f"{100 * gate[way]:.0f} %" for way in ("back", "on")]
    return [gate["name"], gate["verdict"], *arms, *evidence]


def _table(head: list[str], rows: list[list[str]]) -> str:
    titles = "".join(f"<th scope='col'>{html.escape(word)}</th>" for word in head)
    lines = ("".join(f"<td>{html.escape(str(cell))}</td>" for cell in row) for row in rows)
    body = "".join(f"<tr>{line}</tr>" for line in lines)
    return f"<table><thead><tr>{titles}</tr></thead><tbody>{body}</tbody></table>"


def _at(seconds: float) -> str:
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M:%S} UTC"
