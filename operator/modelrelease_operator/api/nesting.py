"""How deep a document may go: whoever walks it pays a call for each level, and calls have an end.

The API server takes ten thousand levels where a schema has `x-kubernetes-preserve-unknown-fields`.
"""

from collections.abc import Iterable
from typing import Any

from modelrelease_operator.errors import Invalid

MOST_LEVELS = 64
"""Of a spec: no pod has twenty."""


def check_depth(document: Any, name: str, most: int = MOST_LEVELS) -> None:
    """Raise Invalid for a document, called `name`, that has more levels."""
    level, levels = [document], 0
    while level:
        levels += 1
        if levels > most:
            msg = f"{name} has more than {most} levels of lists and mappings: take some away"
            raise Invalid(msg)
        level = [inner for outer in level for inner in _within(outer) if _has_levels(inner)]


def _has_levels(value: Any) -> bool:
    return isinstance(value, dict | list)


def _within(value: Any) -> Iterable[Any]:
    if isinstance(value, dict):
        return value.values()
    return value if isinstance(value, list) else ()
