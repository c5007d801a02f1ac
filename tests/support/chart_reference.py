"""docs/reference/chart.md, as it is written from the chart's values and their schema.

`python -m tests.support.chart_reference` writes it anew.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from tests.support.chart import CHART, SCHEMA, default, options

DOCUMENT = Path(__file__).parents[2] / "docs/reference/chart.md"
BEGIN, END = "<!-- options: begin -->\n", "<!-- options: end -->\n"
HEAD = ("| option | default | takes | what it says |", "|---|---|---|---|")
TYPES = {
    "boolean": "`true`, `false`", "string": "text", "array": "a list", "object": "a mapping",
    "integer": "a whole number", "number": "a number",
}  # fmt: skip


def told() -> dict[str, str]:
    """Return the words above each option and each group of values.yaml, by path."""
    text = (CHART / "values.yaml").read_text()
    return dict(_told(yaml.compose(text), text.splitlines()))


def _told(node: yaml.Node | None, lines: list[str], before: str = "") -> Iterator[tuple[str, str]]:
    assert isinstance(node, yaml.MappingNode)
    for key, value in node.value:
        path = f"{before}{key.value}"
        yield path, _above(lines, key.start_mark.line)
        if isinstance(value, yaml.MappingNode) and path not in options():
            yield from _told(value, lines, f"{path}.")


def _above(lines: list[str], line: int) -> str:
    """Return the comment that ends above a line, as one paragraph."""
    words: list[str] = []
    while line and lines[line - 1].strip().startswith("#"):
        line -= 1
        words.insert(0, lines[line].strip().removeprefix("#").strip())
    return " ".join(words)


def reference() -> str:
    """Return the tables: one for options on their own, one for each group."""
    words = told()
    alone = [path for path in options() if "." not in path]
    parts = ["\n".join((*HEAD, *(_row(path, words) for path in alone)))]
    for group, rule in SCHEMA["properties"].items():
        if "properties" in rule:
            rows = [_row(path, words) for path in options() if path.startswith(f"{group}.")]
            intro = [_text(words[group])] if words[group] else []
            parts.append("\n\n".join((f"## {group}", *intro, "\n".join((*HEAD, *rows)))))
    return "\n\n".join(parts) + "\n"


def _row(path: str, words: dict[str, str]) -> str:
    cells = (f"`{path}`", _shown(default(path)), _takes(options()[path]), _text(words[path]))
    return "| " + " | ".join(cell.replace("|", r"\|") for cell in cells) + " |"


def _text(words: str) -> str:
    return words.replace("<", "&lt;")


def _shown(value: Any) -> str:
    return "empty" if value in ("", [], {}) else f"`{json.dumps(value).strip(chr(34))}`"


def _takes(rule: dict[str, Any]) -> str:
    """Say in words what the schema lets through."""
    if "oneOf" in rule:
        return " or ".join(_takes(each) for each in rule["oneOf"])
    if "enum" in rule:
        return ", ".join(f"`{each}`" for each in rule["enum"])
    if rule["type"] == "array" and (items := rule.get("items", {})).get("type") != "object":
        return f"a list of {_takes(items)}" if items else "a list"
    words = TYPES[rule["type"]]
    if "pattern" in rule:
        words += f" like `{rule['pattern']}`"
    return words + _bounds(rule)


def _bounds(rule: dict[str, Any]) -> str:
    if "minimum" in rule and "maximum" in rule:
        return f", {rule['minimum']} to {rule['maximum']}"
    if "minimum" in rule:
        return f", at least {rule['minimum']}"
    if "exclusiveMinimum" in rule:
        return f" above {rule['exclusiveMinimum']}"
    return ", not empty" if rule.get("minLength") or rule.get("minProperties") else ""


def parts() -> tuple[str, str, str]:
    """Return the document before, in and after what is written from the chart."""
    before, _, rest = DOCUMENT.read_text().partition(BEGIN)
    written, _, after = rest.partition(END)
    return before, written, after


if __name__ == "__main__":
    head, _, tail = parts()
    DOCUMENT.write_text(f"{head}{BEGIN}{reference()}{END}{tail}")
