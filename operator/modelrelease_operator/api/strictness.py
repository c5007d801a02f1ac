"""Whether a spec is read as a person wrote it, or as it is stored.

What an older schema let through is stored and runs: the operator reads it on. A person is told.
"""

from pydantic import ValidationInfo

STRICT = {"strict": True}
"""The context of a validation."""


def is_strict(info: ValidationInfo) -> bool:
    """Return whether a person's own words are read."""
    context = info.context
    return isinstance(context, dict) and bool(context.get("strict"))
