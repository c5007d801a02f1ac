"""The base of what the API server stores:
frozen, in camel case, and changed by checked copies alone.
"""

from collections.abc import Callable
from functools import cache
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, TypeAdapter
from pydantic.alias_generators import to_camel


class Model(BaseModel):
    """Part of a ModelRelease. Unknown fields are ignored:
    a newer operator may have written them.
    """

    model_config = ConfigDict(
        alias_generator=to_camel, populate_by_name=True, extra="ignore", frozen=True
    )

    def but(self, **changes: Any) -> Self:
        """Return a copy with some fields changed.

        `model_copy` would keep a field that does not exist, and a value of another type. Raises
        TypeError for the first and pydantic's ValidationError for the second: both are defects of
        this program.
        """
        kind = type(self)
        checked = {name: _check_of(kind, name)(value) for name, value in changes.items()}
        return self.model_copy(update=checked)


@cache
def _check_of(kind: type[Model], name: str) -> Callable[[Any], Any]:
    """Return what validates a value of one field of a model."""
    field = kind.model_fields.get(name)
    if field is None:
        msg = f"{kind.__name__} has no field {name}: it has {', '.join(kind.model_fields)}"
        raise TypeError(msg)
    return TypeAdapter(field.rebuild_annotation()).validator.validate_python
