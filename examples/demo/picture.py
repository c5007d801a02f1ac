"""Draws what `make demo` printed: `python -m examples.demo.picture < log > docs/demo.svg`."""

import io
import re
import sys

from rich.console import Console
from rich.text import Text

WIDTH = 150
STYLES = {"Pass": "green", "Fail": "red", "Insufficient": "yellow", "Unavailable": "magenta"}


def main() -> None:
    """Read a log, keep its scenario, colour its verdicts, write the picture."""
    console = Console(record=True, width=WIDTH, file=io.StringIO())
    in_scenario = False
    for line in sys.stdin.read().splitlines():
        in_scenario = in_scenario or line.startswith("== Version 1")
        if line.startswith("The whole took"):
            break
        if in_scenario:
            console.print(_coloured(line), no_wrap=True, overflow="ellipsis")
    picture = console.export_svg(title="make demo")
    # No fonts and no addresses from elsewhere: a page that shows the picture should load nothing
    # for it.
    sys.stdout.write(re.sub(r"@font-face \{.*?\}|<!--.*?-->", "", picture, flags=re.DOTALL))


def _coloured(line: str) -> Text:
    style = "bold" if line.startswith("== ") else ""
    text = Text(line, style=style)
    for word, colour in STYLES.items():
        text.highlight_regex(rf"\b{re.escape(word)}\b", colour)
    text.highlight_regex(r"rolled back after \d+ s", "bold red")
    text.highlight_regex(r"promoted after \d+ s", "bold green")
    return text


if __name__ == "__main__":
    main()
